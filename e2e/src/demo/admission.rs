//! What the webhook says before a policy lands: one refused, one repaired.

use super::{done, title};
use crate::admission::direct::{Answer, Direct};
use crate::case::{Stage, policy};
use crate::objects::documents;
use crate::truth::Cell;
use anyhow::{Context, Result, ensure};
use owo_colors::{OwoColorize, Stream::Stdout};
use serde_json::Value;
use std::time::Instant;

/// Where DNS is in the shop.
const CONFIG: &str = "dns: {service: kube-system/dns}\n";

/// Somebody who found that clients arrive with a node's address, and let that in.
const REFUSED: (&str, &str) = (
    "shop/let-the-node-in",
    "podSelector: {matchLabels: {app: database}}\n\
     ingress: [{from: [{ipBlock: {cidr: 10.102.123.11/32}}]}]",
);
/// Somebody who thought of where the pod has to go, and not of names.
const REPAIRED: (&str, &str) = (
    "tenant/only-the-shop",
    "podSelector: {}\npolicyTypes: [Egress]\n\
     egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}}]}]",
);

/// Shows both, with packets. Returns how many probes were right, and how many there were.
pub(super) fn show(stage: &mut Stage) -> Result<(usize, usize)> {
    title("Before a policy lands: the webhook reads it");
    let began = Instant::now();
    let objects = stage.objects_folder().context("the demo's objects")?;
    let mut webhook = Direct::start(stage.world()?.control(), &objects, CONFIG)?;
    done(
        began,
        "the webhook is asked over TLS, as an API server asks it",
    );

    let (key, spec) = REFUSED;
    println!("\n  {key} whitelists the address of node-1:");
    let answer = webhook.create(&object(key, spec)?)?;
    let reason = answer.refusal.clone();
    let reason = reason.with_context(|| format!("it was not refused: {:?}", answer.warnings))?;
    println!("  {}", "refused".if_supports_color(Stdout, |t| t.red()));
    print_wrapped(&reason);

    let (key, spec) = REPAIRED;
    println!("\n  {key} lets the tenant's pods go to the shop only, and forgets DNS:");
    let answer = webhook.create(&object(key, spec)?)?;
    ensure!(answer.refusal.is_none(), "{:?} was refused", answer.refusal);
    let added = added(&answer)?;
    println!(
        "  {}, and this rule was added:",
        "accepted".if_supports_color(Stdout, |t| t.green())
    );
    println!("    {added}");

    let mut right = 0;
    let door = |port| super::shop::transport(port);
    let cells = [
        ("tenant/web", "kube-system/dns", 53, true, "names resolve"),
        (
            "tenant/web",
            "shop/frontend",
            80,
            true,
            "the shop is reached",
        ),
        (
            "tenant/web",
            "shop/backend",
            9090,
            false,
            "and what the shop denies stays denied",
        ),
    ];
    stage.apply(&serde_json::to_string(&answer.object)?, "tenant")?;
    for (from, to, port, expected, what) in cells {
        let cell = Cell {
            from: from.into(),
            to: to.into(),
            v4: true,
            transport: door(port),
        };
        let seen = super::probe_one(stage, &cell)?;
        let passed = seen.is_right()
            && (seen.observed.outcome == crate::probe::Outcome::Allowed) == expected;
        right += usize::from(passed);
        println!(
            "  {from} -> {to}:{port}  {:<9} {what}",
            seen.observed.outcome.to_string()
        );
    }
    // The twin: what the author wrote, as it would have landed.
    stage.apply(&policy(key, spec), "tenant")?;
    let cell = Cell {
        from: "tenant/web".into(),
        to: "kube-system/dns".into(),
        v4: true,
        transport: door(53),
    };
    let seen = super::probe_one(stage, &cell)?;
    let cut = seen.is_right() && seen.observed.outcome != crate::probe::Outcome::Allowed;
    right += usize::from(cut);
    println!(
        "  without that rule: tenant/web -> kube-system/dns:53  {}",
        seen.observed.outcome
    );
    Ok((right, cells.len() + 1))
}

fn object(key: &str, spec: &str) -> Result<Value> {
    let mut all = documents(&policy(key, spec), "default")?;
    all.pop().context("no policy")
}

/// The rule that the answer has and the question had not.
fn added(answer: &Answer) -> Result<String> {
    let rules = answer.object["spec"]["egress"].as_array();
    let last = rules
        .filter(|rules| rules.len() == 2)
        .and_then(|r| r.last());
    Ok(last.context("no rule was added")?.to_string())
}

fn print_wrapped(text: &str) {
    for line in text.lines() {
        let mut width = 0;
        print!("   ");
        for word in line.split_whitespace() {
            if width + word.len() > 96 {
                print!("\n   ");
                width = 0;
            }
            print!(" {word}");
            width += word.len() + 1;
        }
        println!();
    }
}
