//! Flows that exist when a policy changes (dataplane.md, traps 1 to 4).

use crate::case::Case;
use crate::probe::{tcp, udp};

/// The cases.
pub fn cases() -> Vec<Case> {
    let case = |name| Case::new(name, "dataplane.md, traps 1-4").tags(&["established", "trap"]);
    let opened = |name| {
        case(name)
            .open("tcp", "x/a", "x/b", tcp(80))
            .open("udp", "x/a", "x/b", udp(80))
            .open6("tcp6", "x/a", "x/b", tcp(80))
            .open("far", "y/a", "x/b", tcp(81))
            .open("far-udp", "y/a", "x/b", udp(81))
            .open("other", "y/b", "z/c", tcp(80))
    };
    vec![
        opened("flows-are-cut-by-ingress")
            .policy("x/deny", "{podSelector: {matchLabels: {pod: b}}, policyTypes: [Ingress], ingress: [{from: [{namespaceSelector: {matchLabels: {ns: z}}}]}]}")
            .cut(&["tcp", "udp", "tcp6", "far", "far-udp"])
            .kept(&["other"]),
        opened("flows-are-cut-by-egress")
            .policy("x/deny", "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress]}")
            .cut(&["tcp", "udp", "tcp6"])
            .kept(&["far", "far-udp", "other"]),
        opened("flows-that-stay-allowed-stay")
            .policy("x/allow", "{podSelector: {}, ingress: [{from: [{podSelector: {}}, {namespaceSelector: {matchLabels: {ns: y}}}]}]}")
            .kept(&["tcp", "udp", "tcp6", "far", "far-udp", "other"]),
        opened("flows-are-cut-by-relabelling")
            .policy("x/allow", "{podSelector: {matchLabels: {pod: b}}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {pod: a}}}]}]}")
            .kept(&["tcp", "udp", "tcp6", "far", "far-udp"])
            .label("Pod x/a", &[("pod", "stranger")])
            .cut(&["tcp", "udp", "tcp6"])
            .kept(&["far", "far-udp", "other"]),
    ]
}
