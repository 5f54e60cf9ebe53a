//! One protocol is not another.

use super::{case, own};
use crate::case::{Case, matrix};
use crate::probe::{icmp, sctp, tcp, udp};

/// The cases.
pub fn cases() -> Vec<Case> {
    [policies(), packets()].concat()
}

fn policies() -> Vec<Case> {
    vec![
        case("ingress-of-a-protocol-on-any-port")
            .shows(&["should enforce ingress policy allowing any port traffic to a server on a specific protocol"])
            .policy("x/in", "{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{protocol: TCP}]}]}")
            .expect(matrix(&[tcp(80), tcp(81)]).allowed("*", "*"))
            .expect(own(matrix(&[udp(80), icmp()]).denied("*", "x/a"))),
        case("a-rule-of-sctp-is-no-rule-of-tcp")
            .shows(&["should not mistakenly treat 'protocol: SCTP' as 'protocol: TCP', even if the plugin doesn't support SCTP"])
            .policy("x/in", "{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: 81, protocol: SCTP}]}]}")
            .expect(own(matrix(&[tcp(80), tcp(81), udp(81)]).denied("*", "x/a")))
            .policy("x/tcp", "{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: 80}]}]}")
            .expect(matrix(&[tcp(80)]).allowed("*", "*"))
            .expect(own(matrix(&[tcp(81)]).denied("*", "x/a"))),
        case("a-rule-of-sctp-isolates-the-pod")
            .shows(&["should properly isolate pods that are selected by a policy allowing SCTP, even if the plugin doesn't support SCTP"])
            .policy("x/in", "{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: 80, protocol: SCTP}]}]}")
            .expect(own(matrix(&[tcp(80), tcp(81)]).denied("*", "x/a"))),
        case("a-rule-of-udp-is-no-rule-of-tcp")
            .shows(&["should not allow access by TCP when a policy specifies only UDP"])
            .policy("x/in", "{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: 81, protocol: UDP}]}]}")
            .expect(own(matrix(&[tcp(81), udp(80)]).denied("*", "x/a")))
            .expect(matrix(&[udp(81)]).allowed("*", "*")),
    ]
}

/// Not run where the kernel has no SCTP sockets.
fn packets() -> Vec<Case> {
    let case = |name| case(name).tags(&["sctp"]);
    vec![
        case("sctp-default-deny-ingress")
            .shows(&["SCTP: should support a 'default-deny-ingress' policy"])
            .policy("x/deny", "{podSelector: {}, policyTypes: [Ingress]}")
            .expect(own(matrix(&[sctp(80)]).denied("*", "x/*"))),
        case("sctp-ports")
            .shows(&["SCTP: should enforce policy based on Ports"])
            .policy("x/in", "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}], ports: [{port: 81, protocol: SCTP}]}]}")
            .expect(own(matrix(&[sctp(81)]).denied("*", "x/a").allowed("y/*", "x/a")))
            .expect(own(matrix(&[sctp(80), tcp(81)]).denied("*", "x/a"))),
        case("sctp-from-a-pod-of-another-namespace")
            .shows(&["SCTP: should enforce policy to allow traffic only from a pod in a different namespace based on PodSelector and NamespaceSelector"])
            .policy("x/in", "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}, podSelector: {matchLabels: {pod: a}}}]}]}")
            .expect(own(matrix(&[sctp(80)]).denied("*", "x/a").allowed("y/a", "x/a"))),
    ]
}
