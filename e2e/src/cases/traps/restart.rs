//! Trap 16, and every way in which the agent ends.

use super::{DENY_X, FROM_Y, once, trap};
use crate::case::{Case, Stage, matrix, policy};
use crate::cases::hands::{self, FAMILIES, eventually, page, run, see, see_denied};
use crate::cases::watch::{Always, Watch};
use crate::probe::{Outcome, tcp, udp};
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use std::time::Duration;

/// Kills and restarts in one case.
const ROUNDS: u32 = 6;
/// The longest that is waited before a kill, in microseconds: about one transaction.
const LONGEST: u64 = 30_000;

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        once(trap(
            "after-a-reboot-the-last-program-holds",
            "dataplane.md, trap 16",
        ))
        .policy("x/from-y", FROM_Y)
        .act("reboot while there is no source", reboot)
        .expect(matrix(&[tcp(80), udp(80)])),
        trap("a-graceful-stop-leaves-the-rules", "design.md, stop")
            .policy("x/from-y", FROM_Y)
            .open("allowed", "y/a", "x/b", tcp(80))
            .act("stop within two seconds", |stage| {
                for node in stage.node_names() {
                    let status = stage
                        .enforcer(&node)?
                        .stop(Signal::SIGTERM, Duration::from_secs(2))?;
                    ensure!(status.success(), "{node}: {status}");
                }
                Ok(())
            })
            .act("rules stay", |stage| {
                see(stage, "z/a", "x/b", tcp(80), Outcome::Rejected)?;
                see(stage, "y/a", "x/b", tcp(80), Outcome::Allowed)
            })
            .act("start again", |stage| {
                let watch = Watch::start(
                    stage,
                    &[
                        ("z/a", "x/b", Always::Denied),
                        ("y/a", "x/b", Always::Allowed),
                    ],
                )?;
                hands::kill_all(stage)?;
                hands::start_all(stage)?;
                watch.finish().map(drop)
            })
            .kept(&["allowed"]),
        once(trap(
            "killed-in-the-middle-of-changes",
            "design.md, any moment",
        ))
        .policy("x/deny", DENY_X)
        .act("kill, restart, change, again and again", kill_at_random),
        once(trap("cleanup-removes-exactly-ours", "design.md, stop"))
            .policy("x/deny", DENY_X)
            .act("clean up", cleanup),
    ]
}

fn reboot(stage: &mut Stage) -> Result<()> {
    for node in stage.node_names() {
        stage
            .enforcer(&node)?
            .stop(Signal::SIGTERM, Duration::from_secs(2))?;
    }
    hands::kill_all(stage)?;
    for node in stage.node_names() {
        for program in FAMILIES {
            for table in ["mangle", "filter", "security"] {
                run(stage, &node, &format!("{program} -w 5 -t {table} -F"))?;
                run(stage, &node, &format!("{program} -w 5 -t {table} -X"))?;
            }
        }
        run(stage, &node, "ipset destroy")?;
        run(stage, &node, "conntrack -F")?;
    }
    see(stage, "z/a", "x/b", tcp(80), Outcome::Allowed)
        .context("after the reboot the node is open")?;
    let folder = hands::objects_folder(stage)?;
    let away = folder.with_extension("away");
    std::fs::rename(&folder, &away)?;
    for node in stage.node_names() {
        stage.start_enforcer(&node)?;
    }
    eventually("enforced without any source", || {
        see(stage, "z/a", "x/b", tcp(80), Outcome::Rejected)?;
        see(stage, "z/a", "x/a", tcp(80), Outcome::Rejected)
    })?;
    see(stage, "y/a", "x/b", tcp(80), Outcome::Allowed)?;
    ensure!(
        page(stage, "node1", "/livez").is_ok(),
        "not alive while there is no source"
    );
    std::fs::rename(&away, &folder)?;
    stage.wait_applied()
}

fn kill_at_random(stage: &mut Stage) -> Result<()> {
    let watch = Watch::start(
        stage,
        &[
            ("z/a", "x/a", Always::Denied),
            ("z/b", "x/b", Always::Denied),
            ("x/a", "y/a", Always::Allowed),
            ("z/c", "y/b", Always::Allowed),
        ],
    )?;
    // Each state denies z -> x; what else they allow differs as much as it can.
    let states = [
        "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}",
        "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 172.17.0.0/16}}], ports: [{port: 80}, {port: serve-81-tcp}]}]}",
        "{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{from: [{podSelector: {}}]}], egress: [{}]}",
    ];
    for round in 0..ROUNDS {
        for (index, state) in states.iter().enumerate() {
            stage.hand_over(&policy("x/deny", state), "x")?;
            let labels = format!("{round}-{index}");
            let mut pod = stage.object("Pod x/c")?;
            pod["metadata"]["labels"]["round"] = labels.into();
            stage.hand_over(&serde_json::to_string(&pod)?, "x")?;
            std::thread::sleep(Duration::from_micros(fastrand::u64(..LONGEST)));
        }
        hands::kill_all(stage)?;
        for node in stage.node_names() {
            stage.start_enforcer(&node)?;
        }
        // Sometimes killed while it starts, sometimes while it works.
        if round % 2 == 0 {
            stage.wait_applied()?;
        }
    }
    stage.wait_applied()?;
    let flows = watch.finish()?;
    tracing::info!(flows, "watched while the agent was killed");
    see_denied(stage, "z/a", "x/a", tcp(80))?;
    see(stage, "x/b", "x/a", tcp(80), Outcome::Allowed)
}

fn cleanup(stage: &mut Stage) -> Result<()> {
    stage.uninstall()?;
    hands::tables(
        stage,
        "-A FORWARD -p tcp --dport 7 -m comment --comment RF-mine",
    )?;
    hands::everywhere(stage, "ipset create rf4-mine hash:ip")?;
    let clean: Vec<String> = stage
        .node_names()
        .iter()
        .map(|n| hands::everything(stage, n))
        .collect::<Result<_>>()?;
    hands::start_all(stage)?;
    see(stage, "y/a", "x/a", tcp(80), Outcome::Rejected)?;
    stage.uninstall()?;
    for (node, before) in stage.node_names().iter().zip(clean) {
        let after = hands::everything(stage, node)?;
        ensure!(
            rules(&after) == rules(&before),
            "{node} was\n{before}\nand is\n{after}"
        );
        ensure!(
            !after.contains("-j RF-") && !after.contains(":RF-"),
            "left on {node}:\n{after}"
        );
        ensure!(
            rules(&after).len() == 3,
            "foreign rules and sets are gone from {node}:\n{after}"
        );
    }
    see(stage, "y/a", "x/a", tcp(80), Outcome::Allowed)?;
    stage.spoil();
    hands::start_all(stage)
}

/// Rules and sets, without comments and counters.
fn rules(text: &str) -> Vec<&str> {
    text.lines()
        .filter(|line| {
            line.starts_with("-A") || line.starts_with("create") || line.starts_with("add")
        })
        .collect()
}
