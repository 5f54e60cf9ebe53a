//! Trap 15, and drift: what the agent does not do, and what it repairs.

use super::{DENY_X, FROM_Y, once, trap};
use crate::case::{Case, Stage, matrix, policy};
use crate::cases::hands::{self, FAMILIES, eventually, grows, metric, see};
use crate::cases::watch::{Always, Watch};
use crate::probe::{Outcome, tcp};
use anyhow::{Context, Result, ensure};

/// The cases.
pub fn cases() -> Vec<Case> {
    let drift = "dataplane.md, keeping it there";
    vec![
        once(trap("widening-dumps-no-conntrack", "dataplane.md, trap 15"))
            .policy("x/deny", DENY_X)
            .act("widen, then narrow", dumps),
        once(trap("a-rule-taken-out-is-put-back", drift))
            .flags(&["--sync-period=1s"])
            .policy("x/from-y", FROM_Y)
            .act("flush chains of ours", |stage| {
                drift_of(stage, "rules", |stage, node| {
                    for chain in ["RF-DENY", "RF-JUDGE"] {
                        FAMILIES.iter().try_for_each(|program| {
                            hands::run(stage, node, &format!("{program} -w 5 -t mangle -F {chain}"))
                                .map(drop)
                        })?;
                    }
                    Ok(())
                })
            })
            .expect(matrix(&[tcp(80)])),
        once(trap("a-member-taken-out-is-put-back", drift))
            .flags(&["--sync-period=1s"])
            .policy("x/from-y", FROM_Y)
            .act("flush the sets", |stage| {
                drift_of(stage, "sets", |stage, node| {
                    hands::run(stage, node, "ipset flush").map(drop)
                })
            })
            .expect(matrix(&[tcp(80)])),
        once(trap("an-entry-rule-taken-out-is-put-back", drift))
            .policy("x/deny", DENY_X)
            .act("flush FORWARD", |stage| {
                drift_of(stage, "entry_rule", |stage, node| {
                    FAMILIES.iter().try_for_each(|program| {
                        hands::run(stage, node, &format!("{program} -w 5 -t mangle -F FORWARD"))
                            .map(drop)
                    })
                })
            })
            .expect(matrix(&[tcp(80)])),
        once(trap("an-entry-rule-pushed-down-is-brought-up", drift))
            .policy("x/deny", DENY_X)
            .act("accept everything before our entry", |stage| {
                drift_of(stage, "first_place", |stage, node| {
                    FAMILIES.iter().try_for_each(|program| {
                        hands::run(
                            stage,
                            node,
                            &format!("{program} -w 5 -t mangle -I FORWARD -j ACCEPT"),
                        )
                        .map(drop)
                    })
                })?;
                stage.spoil();
                Ok(())
            })
            .expect(matrix(&[tcp(80)])),
        once(trap(
            "an-address-changes-its-identity",
            "design.md, any moment",
        ))
        .act("z/c ends, another pod gets its address", reuse),
    ]
}

/// Lets a hand change something on every node and waits until that is repaired.
fn drift_of(stage: &mut Stage, what: &str, hand: fn(&Stage, &str) -> Result<()>) -> Result<()> {
    let series = format!("drift_total{{what=\"{what}\"}}");
    for node in stage.node_names() {
        let before = metric(stage, &node, &series)?;
        hand(stage, &node)?;
        grows(stage, &node, &series, before).with_context(|| node.clone())?;
    }
    // Counted when found; in the kernel a moment later.
    let pods = ["x/a", "x/b", "x/c"];
    eventually("it is repaired", || {
        pods.iter()
            .try_for_each(|pod| see(stage, "z/a", pod, tcp(80), Outcome::Rejected))
    })
}

fn dumps(stage: &mut Stage) -> Result<()> {
    // The look-again after the deny has to be over.
    let series = "sync_duration_seconds_count{phase=\"conntrack\"}";
    let settled = |stage: &Stage| -> Result<u64> {
        let (mut last, mut quiet) = (metric(stage, "node1", series)?, 0);
        for _ in 0..20 {
            std::thread::sleep(std::time::Duration::from_millis(300));
            let now = metric(stage, "node1", series)?;
            quiet = if now == last { quiet + 1 } else { 0 };
            // Longer than a second look can be put off by the pass before it.
            if quiet == 3 {
                return Ok(now);
            }
            last = now;
        }
        anyhow::bail!("the enforcer does not stop looking at flows")
    };
    // Without any flow that is cut: those would have to be looked at.
    hands::everywhere(stage, "conntrack -F")?;
    stage.delete("NetworkPolicy x/deny")?;
    stage.apply(&policy("x/deny", DENY_X), "x")?;
    let before = settled(stage)?;
    stage.apply(&policy("x/deny", FROM_Y), "x")?;
    stage.label("Namespace z", &[("ns", Some("y"))])?;
    let widened = metric(stage, "node1", series)?;
    ensure!(
        widened == before,
        "{} dumps for changes that only widen",
        widened - before
    );
    stage.label("Namespace z", &[("ns", Some("z"))])?;
    let narrowed = metric(stage, "node1", series)?;
    ensure!(narrowed > widened, "no dump for a change that narrows");
    Ok(())
}

/// The pod of that address is allowed before, another one afterwards is not.
fn reuse(stage: &mut Stage) -> Result<()> {
    stage.apply(
        &[
            policy("x/friends", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {friend: 'yes'}}}]}]}"),
            policy("y/friends", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {friend: 'no'}}}]}]}"),
        ]
        .join("---\n"),
        "x",
    )?;
    stage.label("Pod z/c", &[("friend", Some("yes"))])?;
    see(stage, "z/c", "x/a", tcp(80), Outcome::Allowed)?;
    see(stage, "z/c", "y/a", tcp(80), Outcome::Rejected)?;
    let mut heir = stage.object("Pod z/c")?;
    heir["metadata"]["name"] = "heir".into();
    heir["metadata"]["labels"]["friend"] = "no".into();
    stage.delete("Pod z/c")?;
    let watch = Watch::start(
        stage,
        &[
            ("z/c", "x/a", Always::Denied),
            ("z/a", "y/a", Always::Denied),
        ],
    )?;
    stage.replace(&heir)?;
    see(stage, "z/c", "x/a", tcp(80), Outcome::Rejected)?;
    see(stage, "z/c", "y/a", tcp(80), Outcome::Allowed)?;
    watch.finish().map(drop)
}
