//! The enforcer with the privileges that `docs/enforcer.md` asks for, and not one more: two
//! capabilities, no way to gain others, a root file system that is read-only. It programs
//! both flavours, refuses, cuts and spares flows, makes bridges visible, restores after a
//! reboot and cleans up.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// What it is started through, in the node's namespaces. That the root is read-only is
/// tried first, by a file that must not come into being.
const LEAST: &str = r#"#!/bin/sh
exec unshare --mount --propagation private sh -c '
    mount -o remount,bind,ro / || exit 98
    touch /writable 2>/dev/null && exit 99
    exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all,+net_admin,+net_raw \
        "$0" "$@"
' ENFORCER "$@"
"#;

const CASES: [&str; 7] = [
    "both-flavours-legacy",
    "both-flavours-nft",
    "first-installation-cuts-what-is-denied/cross-bridge",
    "an-invisible-bridge-is-made-visible",
    "tagged-frames-do-not-pass-by",
    "after-a-reboot-the-last-program-holds",
    "cleanup-removes-exactly-ours",
];

#[test]
fn two_capabilities_and_a_read_only_root_are_enough() {
    let program = Path::new(env!("CARGO_BIN_EXE_ringfence-e2e"));
    let enforcer = program.with_file_name("ringfence-enforcer");
    let ci = std::env::var_os("CI").is_some();
    if !ci && (!enforcer.is_file() || !nix::unistd::geteuid().is_root()) {
        eprintln!("not run: needs root, and an enforcer (`cargo build --workspace`)");
        return;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("privileges");
    fs::create_dir_all(&folder).unwrap();
    let wrapper = folder.join("enforcer");
    let enforcer = format!("'{}'", enforcer.display());
    fs::write(&wrapper, LEAST.replace("ENFORCER", &enforcer)).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(program)
        .arg("run")
        .args(CASES)
        .arg("--enforcer")
        .arg(&wrapper)
        .arg("--report")
        .arg(folder.join("report"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("7 passed, 0 failed"), "{said}");
}
