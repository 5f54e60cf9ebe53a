//! What a node sends to its own pods, and they to it: kubelet's probes must pass whatever
//! the policies say.

use crate::case::{Case, Expect, cells};
use crate::fabric::Placement;
use crate::probe::{tcp, udp};

const SOURCE: &str = "kubernetes.io, Network Policies: the node's own traffic";
const DENY_ALL: &str = "{podSelector: {}, policyTypes: [Ingress, Egress]}";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        spread("a-node-reaches-its-own-pods-and-they-it")
            .policy("x/deny", DENY_ALL)
            .expect(between_nodes_and_pods()),
        spread("a-pods-traffic-to-its-node-is-judged-when-asked-for")
            .flags(&["--node-traffic=enforce"])
            .policy("x/deny", DENY_ALL)
            .expect(
                between_nodes_and_pods()
                    .denied("x/a", "node1")
                    .denied("x/b", "node2"),
            ),
    ]
}

/// `x/a` is on `node1`, `x/b` on `node2`.
fn spread(name: &'static str) -> Case {
    let case = Case::new(name, SOURCE).tags(&["trap"]);
    case.placements(&[Placement::Spread])
}

/// Another node is like anybody outside.
fn between_nodes_and_pods() -> Expect {
    let pairs = [
        ("node1", "x/a"),
        ("node2", "x/b"),
        ("node2", "x/a"),
        ("node1", "x/b"),
        ("x/a", "node1"),
        ("x/b", "node2"),
        ("x/a", "node2"),
        ("x/b", "node1"),
    ];
    let crossing = [
        ("node2", "x/a"),
        ("node1", "x/b"),
        ("x/a", "node2"),
        ("x/b", "node1"),
    ];
    let asked = cells(&[tcp(80), udp(80)], &pairs);
    crossing
        .into_iter()
        .fold(asked, |asked, (from, to)| asked.denied(from, to))
}
