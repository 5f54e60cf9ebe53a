//! What a failure says, shown by a deny that is taken out of the kernel by hand.
//!
//! Own `main`: the process must enter its sandbox before it has threads.

use anyhow::{Context, Result, bail, ensure};
use ringfence_e2e::case::{Case, Options, Runner, Stage, Status, cells};
use ringfence_e2e::fabric::{Placement, PodKind};
use ringfence_e2e::probe::tcp;
use ringfence_e2e::{report, sandbox};
use std::path::Path;
use std::process::ExitCode;

/// x/b is whitelisted, y/a is not.
const POLICY: &str = "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Ingress], \
                      ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}]}]}";

fn main() -> ExitCode {
    if std::env::args().any(|word| word == "--list") {
        return ExitCode::SUCCESS;
    }
    let ci = std::env::var_os("CI").is_some();
    let enforcer =
        Path::new(env!("CARGO_BIN_EXE_ringfence-e2e")).with_file_name("ringfence-enforcer");
    if !enforcer.is_file() && !ci {
        println!(
            "skipped: no {}: cargo build --workspace",
            enforcer.display()
        );
        return ExitCode::SUCCESS;
    }
    if let Err(error) = sandbox::enter() {
        println!("skipped: {error:#}");
        return if ci {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        };
    }
    let options = Options {
        enforcer: Some(enforcer),
        ..Options::default()
    };
    match a_leak_is_explained(&options) {
        Ok(()) => {
            println!("test result: ok. 1 passed; 0 failed");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn a_leak_is_explained(options: &Options) -> Result<()> {
    let case = Case::new("leaking", "this test")
        .kinds(&[PodKind::Bridge])
        .placements(&[Placement::Same])
        .policy("x/only-b", POLICY)
        .act("take the deny out", take_the_deny_out)
        .expect(cells(&[tcp(80)], &[("x/b", "x/a"), ("y/a", "x/a")]).denied("y/a", "x/a"));
    let mut runner = Runner::new(options.clone());
    let variants = runner.variants([&case]);
    let result = runner.play(variants.first().context("one variant")?);
    let Status::Failed(failures) = &result.status else {
        bail!("the leak was not noticed");
    };
    ensure!(failures.len() == 2, "two families leak: {failures:?}");
    let text = report::failure(&result, "ringfence-e2e run leaking/same-bridge");
    for part in [
        "leaking/same-bridge (from this test)",
        // The cell.
        "y/a -> x/a TCP 80 IPv4: expected rejected, observed allowed",
        // The verdict and the policy.
        "Ingress: x/a is isolated by x/only-b",
        // The packet, the rules that counted it, and a set that they ask.
        "packet: TCP 10.16.1.13 -> 10.16.1.10:80",
        "mangle [1] -A RF-FORWARD",
        "--match-set RF4-",
        "Type: hash:ip",
        // What conntrack says, where to look, and how to see it again.
        "src=10.16.1.13 dst=10.16.1.10",
        "nsenter --net=/proc/",
        "repeat: ringfence-e2e run leaking/same-bridge",
    ] {
        ensure!(text.contains(part), "{part:?} is missing:\n{text}");
    }
    Ok(())
}

/// The enforcer is stopped first, or it would mend that at once.
fn take_the_deny_out(stage: &mut Stage) -> Result<()> {
    for name in stage.node_names() {
        stage.kill_enforcer(&name)?;
        let node = stage.world()?.node(&name)?;
        for tables in ["iptables", "ip6tables"] {
            let saved = node.exec(&format!("{tables}-save"), &["-t", "mangle"], "")?;
            let denies = saved
                .lines()
                .filter(|rule| rule.starts_with("-A RF-SI-") && rule.ends_with("-g RF-DENY"));
            let deletes: String = denies
                .map(|rule| rule.replacen("-A", "-D", 1) + "\n")
                .collect();
            let script = format!("*mangle\n{deletes}COMMIT\n");
            node.exec(&format!("{tables}-restore"), &["--noflush"], &script)?;
        }
    }
    Ok(())
}
