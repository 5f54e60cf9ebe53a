//! Input of every size that Kubernetes admits, and beyond.

use super::fault;
use crate::case::{Case, Stage, cells};
use crate::cases::hands::{self, metric, see};
use crate::probe::{Outcome, tcp, udp};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::net::Ipv4Addr;

/// Pods of other nodes that one selector matches.
const PODS: u32 = 5_000;

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        fault("names-of-253-characters").act("two policies that differ in the last character", |stage| {
            for (last, namespace) in [("a", "y"), ("b", "z")] {
                let name = format!("{}{last}", "n".repeat(252));
                let from = json!([{ "from": [{ "namespaceSelector": { "matchLabels": { "ns": namespace } } }] }]);
                stage.replace(&policy(&name, &json!({ "podSelector": { "matchLabels": { "pod": last } }, "ingress": from })))?;
            }
            see(stage, "y/a", "x/a", tcp(80), Outcome::Allowed)?;
            see(stage, "z/a", "x/a", tcp(80), Outcome::Rejected)?;
            see(stage, "y/a", "x/b", tcp(80), Outcome::Rejected)?;
            see(stage, "z/a", "x/b", tcp(80), Outcome::Allowed)
        }),
        fault("a-thousand-ports").act("every odd port, TCP and UDP", |stage| {
            let ports: Vec<Value> = (0..500)
                .flat_map(|n| ["TCP", "UDP"].map(|p| json!({ "port": 2 * n + 1, "protocol": p })))
                .collect();
            stage.replace(&policy("ports", &json!({ "podSelector": {}, "ingress": [{ "ports": ports }] })))?;
            for transport in [tcp(81), udp(81)] {
                see(stage, "y/a", "x/a", transport, Outcome::Allowed)?;
            }
            for transport in [tcp(80), udp(80)] {
                see(stage, "y/a", "x/a", transport, Outcome::Rejected)?;
            }
            Ok(())
        }),
        fault("ten-thousand-blocks").act("both families", |stage| {
            let v4 = (0..5_000_u32).map(|n| format!("{}/32", Ipv4Addr::from(0x6400_0000 + 2 * n)));
            let v6 = (0..5_000_u32).map(|n| format!("2001:db8:ffff::{:x}/128", 2 * n));
            let named = ["172.17.0.5/32".to_owned(), "2001:db8:2:3::4/128".to_owned()];
            let blocks: Vec<Value> = v4.chain(v6).chain(named).map(|cidr| json!({ "ipBlock": { "cidr": cidr } })).collect();
            stage.replace(&policy("blocks", &json!({ "podSelector": {}, "ingress": [{ "from": blocks }] })))
        })
        .expect(
            cells(&[tcp(80), udp(80)], &[("net172", "x/a"), ("net172-1", "x/a"), ("office6", "x/b"), ("stranger6", "x/b")])
                .denied("net172-1", "x/a")
                .denied("stranger6", "x/b"),
        ),
        fault("a-selector-of-many-pods").act("pods of other nodes in one file", many_pods),
    ]
}

fn policy(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "namespace": "x", "name": name },
        "spec": spec,
    })
}

fn many_pods(stage: &mut Stage) -> Result<()> {
    let items: Vec<Value> = (0..PODS)
        .map(|n| {
            json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": { "namespace": "y", "name": format!("many-{n}"), "labels": { "pod": "many" } },
                "spec": { "nodeName": "elsewhere" },
                "status": { "phase": "Running", "podIPs": [{ "ip": Ipv4Addr::from(0x0b00_0000 + n).to_string() }] },
            })
        })
        .collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
    let from_y = json!([{ "from": [{ "namespaceSelector": { "matchLabels": { "ns": "y" } } }] }]);
    stage.replace(&policy(
        "from-y",
        &json!({ "podSelector": {}, "ingress": from_y }),
    ))?;
    stage.file("many.json", Some(&list.to_string()))?;
    let members = metric(stage, &hands::node_of(stage, "x/a")?, "set_elements")?;
    ensure!(members >= u64::from(PODS), "only {members} members");
    see(stage, "y/a", "x/a", tcp(80), Outcome::Allowed)?;
    see(stage, "z/a", "x/a", tcp(80), Outcome::Rejected)?;
    stage.file("many.json", None)?;
    see(stage, "y/a", "x/a", tcp(80), Outcome::Allowed)
}
