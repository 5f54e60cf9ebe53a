//! Who may go where.

use super::{case, own};
use crate::case::{Case, cells, matrix};
use crate::probe::{tcp, udp};

/// The cases.
pub fn cases() -> Vec<Case> {
    [peers(), blocks()].concat()
}

fn peers() -> Vec<Case> {
    vec![
        case("egress-of-one-pod-denied")
            .shows(&["should deny egress from pods based on PodSelector"])
            .policy("x/out", "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress]}")
            .expect(own(matrix(&[tcp(80), udp(80)]).denied("x/a", "*"))),
        case("both-directions-in-one-policy")
            .shows(&["should work with Ingress, Egress specified together"])
            .policy("x/both", "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Ingress, Egress], ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}]}], egress: [{ports: [{port: 80}]}]}")
            .expect(own(matrix(&[tcp(80)]).denied("*", "x/a").allowed("x/b", "x/a")))
            .expect(own(matrix(&[tcp(81), udp(80)]).denied("*", "x/a").allowed("x/b", "x/a").denied("x/a", "*"))),
        case("the-clients-side-denies-what-the-servers-allows")
            .shows(&["should support denying of egress traffic on the client side (even if the server explicitly allows this traffic)"])
            .policy("x/out", "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {ns: y}}, podSelector: {matchLabels: {pod: a}}}]}]}")
            .policy("y/in-a", "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: x}}, podSelector: {matchLabels: {pod: a}}}]}]}")
            .policy("y/in-b", "{podSelector: {matchLabels: {pod: b}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: x}}, podSelector: {matchLabels: {pod: a}}}]}]}")
            .expect(own(
                matrix(&[tcp(80)])
                    .denied("x/a", "*")
                    .denied("*", "y/a")
                    .denied("*", "y/b")
                    .allowed("x/a", "y/a"),
            )),
        case("egress-to-a-pod-of-another-namespace")
            .shows(&["should enforce egress policy allowing traffic to a server in a different namespace based on PodSelector and NamespaceSelector"])
            .policy("x/out", "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {ns: y}}, podSelector: {matchLabels: {pod: b}}}]}]}")
            .expect(own(matrix(&[tcp(80), udp(80)]).denied("x/a", "*").allowed("x/a", "y/b"))),
        case("egress-of-everything-wins-over-egress-of-some")
            .shows(&["should enforce multiple egress policies with egress allow-all policy taking precedence"])
            .policy("x/on-80", "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{ports: [{port: 80}]}]}")
            .expect(own(matrix(&[tcp(81)]).denied("x/a", "*")))
            .policy("x/all", "{podSelector: {}, policyTypes: [Egress], egress: [{}]}")
            .expect(matrix(&[tcp(80), tcp(81)]).allowed("*", "*")),
    ]
}

/// `net172` and `net172-1` lie in 172.17.0.0/16, the second in its 172.17.1.0/24 too.
fn blocks() -> Vec<Case> {
    const PAIRS: [(&str, &str); 4] = [
        ("x/a", "net172"),
        ("x/a", "net172-1"),
        ("x/a", "net14"),
        ("x/b", "net172-1"),
    ];
    vec![
        case("egress-to-block-with-except")
            .shows(&["should enforce except clause while egress access to server in CIDR block"])
            .policy("x/out", "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 172.17.0.0/16, except: [172.17.1.0/24]}}]}]}")
            .expect(cells(&[tcp(80), udp(80)], &PAIRS).denied("x/a", "*").allowed("x/a", "net172")),
        case("what-one-policy-excepts-another-allows")
            .shows(&["should ensure an IP overlapping both IPBlock.CIDR and IPBlock.Except is allowed"])
            .policy("x/out", "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 172.17.0.0/16, except: [172.17.1.0/24]}}]}]}")
            .expect(cells(&[tcp(80)], &PAIRS).denied("x/a", "*").allowed("x/a", "net172"))
            .policy("x/more", "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 172.17.1.5/32}}]}]}")
            .expect(cells(&[tcp(80)], &PAIRS).denied("x/a", "net14")),
    ]
}
