//! Traps 10, 12, 13 and 14: what other programs and the kernel's limits do to us.

use super::{DENY_X, FROM_Y, once, trap};
use crate::case::{Case, Stage, cells, matrix, policy};
use crate::cases::hands::{self, eventually, metric, see, see_denied, tables};
use crate::probe::{Outcome, tcp, udp};
use anyhow::{Result, ensure};
use serde_json::json;
use std::net::Ipv4Addr;

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        trap("an-accept-before-us-opens-nothing", "dataplane.md, trap 10")
            .policy("x/deny", DENY_X)
            .act("accept everything at the top of filter FORWARD", |stage| {
                tables(stage, "-N KUBE-FORWARD")?;
                tables(stage, "-A KUBE-FORWARD -j ACCEPT")?;
                tables(stage, "-I FORWARD -j KUBE-FORWARD")?;
                for transport in [tcp(80), udp(80)] {
                    see_denied(stage, "y/a", "x/a", transport)?;
                    see_denied(stage, "y/b", "x/a", transport)?;
                }
                see(stage, "x/a", "y/a", tcp(80), Outcome::Allowed)?;
                // Whose rule is first, and so whether a refusal is heard, is open here.
                tables(stage, "-D FORWARD -j KUBE-FORWARD")?;
                stage.spoil();
                Ok(())
            }),
        once(trap("everyone-by-cidr", "dataplane.md, trap 12"))
            .policy("x/any", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}, {ipBlock: {cidr: '::/0'}}]}]}")
            .expect(matrix(&[tcp(80), udp(80)]).allowed("*", "*"))
            .policy("x/any", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [172.17.1.0/24]}}, {ipBlock: {cidr: '::/0', except: ['2001:db8:51::/48']}}]}]}")
            .expect(
                cells(&[tcp(80), udp(80)], &[("net172", "x/a"), ("net172-1", "x/a"), ("office6", "x/a"), ("stranger6", "x/a"), ("y/a", "x/a")])
                    .denied("net172-1", "x/a")
                    .denied("stranger6", "x/a"),
            )
            .policy("x/any", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '::/0'}}]}]}")
            .expect(cells(&[tcp(80)], &[("net172", "x/a"), ("office6", "x/a")]).denied("net172", "x/a")),
        once(trap("a-set-of-more-than-65536-members", "dataplane.md, trap 12")).act("seventy thousand blocks", many_blocks),
        once(trap("native-rules-in-our-tables", "dataplane.md, trap 13"))
            .flags(&["--iptables-flavour=nft", "--sync-period=1s"])
            .policy("x/deny", DENY_X)
            .act("put native rules beside ours", beside_native),
        once(trap("limited-icmp-turns-refusals-into-silence", "dataplane.md, trap 14"))
            .policy("x/deny", DENY_X)
            .act("limit ICMP errors and burst", limited),
    ]
}

fn many_blocks(stage: &mut Stage) -> Result<()> {
    let block = |cidr: String| json!({ "ipBlock": { "cidr": cidr } });
    let mut blocks = vec![block("172.17.0.5/32".to_owned())];
    // Every other address: no two blocks can be joined.
    blocks.extend(
        (0..70_000_u32).map(|n| block(format!("{}/32", Ipv4Addr::from(0x6400_0000 + n * 2)))),
    );
    stage.replace(&json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "namespace": "x", "name": "many" },
        "spec": { "podSelector": {}, "ingress": [{ "from": blocks }] },
    }))?;
    let seen = hands::probe(stage, "net172", "x/a", tcp(80), true)?;
    ensure!(seen == Outcome::Allowed, "the first block: {seen}");
    let seen = hands::probe(stage, "net172-1", "x/a", tcp(80), true)?;
    ensure!(seen == Outcome::Rejected, "outside of every block: {seen}");
    let broken = metric(stage, "node1", "broken_sets")?;
    ensure!(broken == 0, "{broken} sets were refused");
    let members = metric(stage, "node1", "set_elements")?;
    ensure!(members > 70_000, "only {members} members");
    stage.delete("NetworkPolicy x/many")
}

/// iptables can neither print nor read a table with such a rule.
fn beside_native(stage: &mut Stage) -> Result<()> {
    for (family, table) in [("ip", "mangle"), ("ip", "filter"), ("ip6", "mangle")] {
        hands::everywhere(
            stage,
            &format!(
                "nft add rule {family} {table} FORWARD meta length 1-65535 numgen random mod 2 0-1 counter"
            ),
        )?;
    }
    see(stage, "y/a", "x/a", tcp(80), Outcome::Rejected)?;
    stage.apply(&policy("x/deny", FROM_Y), "x")?;
    see(stage, "y/a", "x/a", tcp(80), Outcome::Allowed)?;
    see(stage, "z/a", "x/a", tcp(80), Outcome::Rejected)?;
    let node = hands::node_of(stage, "x/a")?;
    // Until a read-back has met such a table, its rules are written anew without a count.
    let readbacks = "sync_duration_seconds_count{phase=\"readback\"}";
    let met = metric(stage, &node, readbacks)? + 1;
    hands::grows(stage, &node, readbacks, met)?;
    let before = metric(stage, &node, "drift_total{what=\"rules\"}")?
        + metric(stage, &node, "drift_total{what=\"entry_rule\"}")?;
    hands::run(stage, &node, "nft flush chain ip mangle RF-FORWARD")?;
    eventually("the flushed chain is written again", || {
        let seen = hands::probe(stage, "z/a", "x/a", tcp(80), true)?;
        ensure!(seen == Outcome::Rejected, "z/a -> x/a: {seen}");
        Ok(())
    })?;
    eventually("the repair is counted", || {
        let after = metric(stage, &node, "drift_total{what=\"rules\"}")?
            + metric(stage, &node, "drift_total{what=\"entry_rule\"}")?;
        ensure!(after > before, "still {after}");
        Ok(())
    })?;
    for (family, table) in [("ip", "mangle"), ("ip", "filter"), ("ip6", "mangle")] {
        for node in stage.node_names() {
            let rules = hands::run(
                stage,
                &node,
                &format!("nft list chain {family} {table} FORWARD"),
            )?;
            ensure!(
                rules.contains("numgen"),
                "the native rule in {family} {table} of {node} is gone"
            );
        }
    }
    stage.spoil();
    Ok(())
}

/// What is refused may then be silent, and is never allowed.
fn limited(stage: &mut Stage) -> Result<()> {
    hands::sysctl(stage, "ipv4/icmp_ratelimit", "1000")?;
    hands::sysctl(stage, "ipv4/icmp_ratemask", "6168")?;
    let mut silent = 0;
    for _ in 0..3 {
        let pods = ["x/a", "x/b", "x/c"];
        for pod in pods {
            match hands::probe(stage, "y/a", pod, udp(80), true)? {
                Outcome::Rejected => {}
                Outcome::Dropped => silent += 1,
                other => anyhow::bail!("y/a -> {pod}: {other}"),
            }
        }
    }
    tracing::info!(silent, "refusals that the limit swallowed");
    // TCP is answered by a reset, which no limit holds back.
    see(stage, "y/a", "x/a", tcp(80), Outcome::Rejected)?;
    stage.spoil();
    Ok(())
}
