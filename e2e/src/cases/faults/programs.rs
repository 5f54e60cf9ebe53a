//! Programs that fail, are missing, or wait for a lock.

use super::fault;
use crate::case::{Case, Stage, matrix, policy};
use crate::cases::hands::{self, eventually, page, run, see};
use crate::cases::watch::{Always, Watch};
use crate::probe::{Outcome, tcp};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What the enforcer calls with the nft flavour.
const PROGRAMS: [&str; 5] = [
    "ipset",
    "iptables-nft-restore",
    "ip6tables-nft-restore",
    "iptables-nft-save",
    "ip6tables-nft-save",
];

const FROM_Y: &str =
    "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}";
const FROM_BLOCK: &str =
    "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 172.17.0.0/16}}], ports: [{port: 80}]}]}";

/// The cases.
pub fn cases() -> Vec<Case> {
    let fails = |name, act| {
        fault(name)
            .flags(&["--iptables-flavour=nft"])
            .policy("x/deny", FROM_Y)
            .act("fail on the n-th call", act)
            .expect(matrix(&[tcp(80)]))
    };
    vec![
        fails("ipset-fails-on-the-nth-call", |stage| {
            fail_nth(stage, "ipset")
        }),
        fails("iptables-fails-on-the-nth-call", |stage| {
            fail_nth(stage, "iptables-nft-restore")
        }),
        fails("ip6tables-fails-on-the-nth-call", |stage| {
            fail_nth(stage, "ip6tables-nft-restore")
        }),
        fault("a-program-disappears")
            .flags(&["--iptables-flavour=nft"])
            .policy("x/deny", FROM_Y)
            .act("ipset is gone and comes back", disappears)
            .expect(matrix(&[tcp(80)])),
        fault("a-program-is-missing-at-the-start")
            .policy("x/deny", FROM_Y)
            .act("start without ipset", missing)
            .expect(matrix(&[tcp(80)])),
        fault("the-lock-is-held")
            .flags(&["--iptables-flavour=legacy"])
            .policy("x/deny", FROM_Y)
            .act("another program holds the xtables lock", |stage| {
                locked(stage, Duration::ZERO)
            })
            .expect(matrix(&[tcp(80)])),
        fault("the-lock-is-held-for-twenty-seconds")
            .tags(&["slow"])
            .flags(&["--iptables-flavour=legacy"])
            .policy("x/deny", FROM_Y)
            .act("another program holds the xtables lock", |stage| {
                locked(stage, Duration::from_secs(20))
            })
            .expect(matrix(&[tcp(80)])),
    ]
}

/// Puts wrappers before the real programs and restarts the enforcers. A wrapper fails on
/// the call whose number its file `fail` has, counted from when `calls` was emptied.
fn wrap(stage: &mut Stage) -> Result<PathBuf> {
    let folder = hands::own_folder(stage, "wrappers")?;
    for program in PROGRAMS {
        let real = which(program)?;
        let file = folder.join(program);
        let base = file.display();
        let text = format!(
            "#!/bin/sh\n\
             echo >> {base}.calls\n\
             if [ -e {base}.fail ] && [ \"$(wc -l < {base}.calls)\" -eq \"$(cat {base}.fail)\" ]; then\n\
             cat > /dev/null; rm {base}.fail; echo 'told to fail' >&2; exit 1\n\
             fi\n\
             exec {} \"$@\"\n",
            real.display()
        );
        fs::write(&file, text).with_context(|| format!("writing {base}"))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    }
    let path = format!(
        "{}:{}",
        folder.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    stage.set_environment(&[("PATH", &path)]);
    hands::kill_all(stage)?;
    hands::start_all(stage)?;
    Ok(folder)
}

fn which(program: &str) -> Result<PathBuf> {
    let folders = ["/usr/sbin", "/sbin", "/usr/bin", "/usr/local/sbin"];
    let found = folders
        .iter()
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.is_file());
    found.with_context(|| format!("{program} is not installed"))
}

/// What holds in both states between which a case goes to and fro.
fn watch(stage: &Stage) -> Result<Watch> {
    Watch::start(
        stage,
        &[
            ("z/a", "x/a", Always::Denied),
            ("z/b", "x/b", Always::Denied),
            ("x/a", "y/a", Always::Allowed),
            ("x/b", "z/a", Always::Allowed),
        ],
    )
}

fn fail_nth(stage: &mut Stage, program: &str) -> Result<()> {
    let folder = wrap(stage)?;
    let watch = watch(stage)?;
    let mut failed = 0;
    for call in 1..=3 {
        for spec in [FROM_BLOCK, FROM_Y] {
            let before = errors(stage)?;
            fs::write(folder.join(format!("{program}.calls")), "")?;
            fs::write(folder.join(format!("{program}.fail")), call.to_string())?;
            stage.apply(&policy("x/deny", spec), "x")?;
            see(stage, "z/a", "x/a", tcp(80), Outcome::Rejected)?;
            // The n-th call may not have been needed.
            if !folder.join(format!("{program}.fail")).exists() {
                failed += 1;
                ensure!(
                    errors(stage)? > before,
                    "the failure of {program} was not counted"
                );
            }
        }
    }
    ensure!(
        failed >= 2,
        "{program} was called only so often that {failed} failures happened"
    );
    watch.finish().map(drop)?;
    stage.spoil();
    Ok(())
}

/// All errors that the enforcers have counted.
fn errors(stage: &Stage) -> Result<u64> {
    let mut sum = 0;
    for node in stage.node_names() {
        let text = page(stage, &node, "/metrics")?;
        for line in text
            .lines()
            .filter(|line| line.starts_with("ringfence_enforcer_errors_total{"))
        {
            let (_, number) = line.rsplit_once(' ').context("a series without a value")?;
            sum += number.parse::<u64>()?;
        }
    }
    Ok(sum)
}

fn disappears(stage: &mut Stage) -> Result<()> {
    let folder = wrap(stage)?;
    let watch = watch(stage)?;
    let before = errors(stage)?;
    fs::rename(folder.join("ipset"), folder.join("away"))?;
    stage.hand_over(&policy("x/deny", FROM_BLOCK), "x")?;
    eventually("the failure is counted", || {
        ensure!(errors(stage)? > before, "no error yet");
        Ok(())
    })?;
    let node = hands::node_of(stage, "x/a")?;
    eventually("not ready meanwhile", || {
        let ready = page(stage, &node, "/readyz")?;
        ensure!(ready.contains("ipset"), "/readyz says {ready}");
        Ok(())
    })?;
    see(stage, "z/a", "x/a", tcp(80), Outcome::Rejected)?;
    fs::rename(folder.join("away"), folder.join("ipset"))?;
    stage.wait_applied()?;
    watch.finish().map(drop)?;
    stage.spoil();
    Ok(())
}

fn missing(stage: &mut Stage) -> Result<()> {
    let watch = watch(stage)?;
    hands::kill_all(stage)?;
    let ipset = which("ipset")?.display().to_string();
    hands::everywhere(stage, &format!("mount --bind /dev/null {ipset}"))?;
    for node in stage.node_names() {
        stage.start_enforcer(&node)?;
    }
    stage.hand_over(&policy("x/deny", FROM_BLOCK), "x")?;
    for node in stage.node_names() {
        eventually("it says what is missing", || {
            let ready = page(stage, &node, "/readyz")?;
            ensure!(ready.contains("ipset"), "/readyz says {ready}");
            page(stage, &node, "/livez").map(drop)
        })?;
    }
    see(stage, "z/a", "x/a", tcp(80), Outcome::Rejected)?;
    hands::everywhere(stage, &format!("umount {ipset}"))?;
    stage.wait_applied()?;
    watch.finish().map(drop)
}

/// Another program holds the lock until the enforcer has noticed, and `least` long.
fn locked(stage: &mut Stage, least: Duration) -> Result<()> {
    let watch = watch(stage)?;
    let start = Instant::now();
    let mut holders = Vec::new();
    for node in stage.world()?.nodes() {
        let args = ["-F", "/run/xtables.lock", "sleep", "60"].map(str::to_owned);
        holders.push(node.spawn("holder", Path::new("flock"), &args, &[])?);
    }
    for node in stage.node_names() {
        eventually("the lock is taken", || {
            ensure!(
                run(stage, &node, "flock -n /run/xtables.lock true").is_err(),
                "nobody holds the lock"
            );
            Ok(())
        })?;
    }
    stage.hand_over(&policy("x/deny", FROM_BLOCK), "x")?;
    let node = hands::node_of(stage, "x/a")?;
    hands::grows(stage, &node, "errors_total{kind=\"lock_held\"}", 0)?;
    ensure!(
        page(stage, &node, "/livez").is_ok(),
        "not alive while it waits for the lock"
    );
    see(stage, "z/a", "x/a", tcp(80), Outcome::Rejected)?;
    std::thread::sleep(least.saturating_sub(start.elapsed()));
    see(stage, "z/b", "x/b", tcp(80), Outcome::Rejected)?;
    for holder in &mut holders {
        holder.stop(nix::sys::signal::Signal::SIGKILL, Duration::from_secs(2))?;
    }
    stage.wait_applied()?;
    watch.finish().map(drop)
}
