//! A private network namespace for one test: its own rules, flows, links, /run.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::Uid;
use std::env;
use std::process::Command;
use std::thread;

const PROGRAMS: [&str; 6] = [
    "ip",
    "ipset",
    "iptables-nft",
    "iptables-legacy",
    "nft",
    "flock",
];

/// Runs `test` in a thread that has network and mount namespaces of its own. Without
/// root says "skipped"; in CI (the variable `CI` is set) that is a failure.
pub fn private(test: impl FnOnce() + Send + 'static) {
    if let Some(missing) = missing() {
        assert!(
            env::var_os("CI").is_none(),
            "this test must run in CI: {missing}"
        );
        eprintln!("skipped: {missing}");
        return;
    }
    let inside = move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("unshare");
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private /");
        // The xtables lock is a file in /run; `ip netns` keeps names there.
        mount(Some("run"), "/run", Some("tmpfs"), MsFlags::empty(), none).expect("own /run");
        sh("ip link set lo up");
        test();
    };
    if let Err(panic) = thread::spawn(inside).join() {
        std::panic::resume_unwind(panic);
    }
}

fn missing() -> Option<String> {
    if !Uid::effective().is_root() {
        return Some("needs root".to_owned());
    }
    let absent = |program: &&&str| {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {program}")])
            .output();
        !found.is_ok_and(|output| output.status.success())
    };
    PROGRAMS
        .iter()
        .find(absent)
        .map(|program| format!("needs the program {program}"))
}

/// Runs a script in the caller's namespaces; panics with its output when it fails.
pub fn sh(script: &str) -> String {
    let output = Command::new("bash")
        .args(["-ec", script])
        .output()
        .expect("bash");
    assert!(
        output.status.success(),
        "{script}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
