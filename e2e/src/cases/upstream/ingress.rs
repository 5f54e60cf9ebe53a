//! Who may come in.

use super::{case, own};
use crate::case::{Case, matrix};
use crate::probe::{tcp, udp};

/// The cases.
pub fn cases() -> Vec<Case> {
    [peers(), ports(), unions()].concat()
}

fn peers() -> Vec<Case> {
    vec![
        case("ingress-from-a-pod-of-the-own-namespace")
            .shows(&["should enforce policy to allow traffic from pods within server namespace based on PodSelector"])
            .policy("x/in", "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}]}]}")
            .expect(own(matrix(&[tcp(80)]).denied("*", "x/a").allowed("x/b", "x/a"))),
        case("ingress-to-one-target-beside-a-deny")
            .shows(&["should enforce policy to allow ingress traffic for a target"])
            .policy("x/deny", "{podSelector: {}, policyTypes: [Ingress]}")
            .policy("x/target", "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}]}]}")
            .expect(own(matrix(&[tcp(80)]).denied("*", "x/*").allowed("x/b", "x/a"))),
        case("ingress-from-all-namespaces")
            .shows(&["should enforce policy to allow ingress traffic from pods in all namespaces"])
            .policy("x/deny", "{podSelector: {}, policyTypes: [Ingress]}")
            .policy("x/all", "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {}}]}]}")
            .expect(own(matrix(&[tcp(80)]).denied("*", "x/*").allowed("*", "x/a").and(&[("stranger", "x/a")]).denied("stranger", "x/a"))),
        case("ingress-by-an-expression-over-pods")
            .shows(&["should enforce policy based on PodSelector with MatchExpressions"])
            .policy("x/in", "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchExpressions: [{key: pod, operator: In, values: [b]}]}}]}]}")
            .expect(own(matrix(&[tcp(80)]).denied("*", "x/a").allowed("x/b", "x/a"))),
        case("ingress-by-an-expression-over-namespaces")
            .shows(&["should enforce policy based on NamespaceSelector with MatchExpressions"])
            .policy("x/in", "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: ns, operator: In, values: [y]}]}}]}]}")
            .expect(own(matrix(&[tcp(80)]).denied("*", "x/a").allowed("y/*", "x/a"))),
        case("ingress-by-an-expression-over-the-default-label")
            .shows(&["should enforce policy based on NamespaceSelector with MatchExpressions using default ns label"])
            .policy("x/in", "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, values: [x, z]}]}}]}]}")
            .expect(own(matrix(&[tcp(80)]).denied("*", "x/a").allowed("y/*", "x/a"))),
        case("ingress-from-any-of-two-pod-selectors")
            .shows(&["should enforce policy based on any PodSelectors"])
            .policy("x/in", "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}, {podSelector: {matchLabels: {pod: c}}}]}]}")
            .expect(own(matrix(&[tcp(80)]).denied("*", "x/a").allowed("x/*", "x/a"))),
        case("ingress-from-the-own-namespace-only")
            .shows(&["should deny ingress from pods on other namespaces"])
            .policy("x/in", "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}")
            .expect(matrix(&[tcp(80), udp(80)]).denied("*", "x/*").allowed("x/*", "x/*")),
    ]
}

fn ports() -> Vec<Case> {
    vec![
        case("ingress-from-a-namespace-on-a-port")
            .shows(&["should enforce policy based on Ports", "UDP: should enforce policy based on Ports"])
            .policy("x/in", "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}], ports: [{port: 81}, {port: 81, protocol: UDP}]}]}")
            .expect(own(matrix(&[tcp(81), udp(81)]).denied("*", "x/a").allowed("y/*", "x/a")))
            .expect(own(matrix(&[tcp(80), udp(80)]).denied("*", "x/a"))),
        case("ingress-from-a-namespace-on-a-named-port")
            .shows(&["should allow ingress access from namespace on one named port"])
            .policy("x/in", "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}], ports: [{port: serve-81-tcp}]}]}")
            .expect(own(matrix(&[tcp(81)]).denied("*", "x/a").allowed("y/*", "x/a")))
            .expect(own(matrix(&[tcp(80)]).denied("*", "x/a"))),
    ]
}

fn unions() -> Vec<Case> {
    const PORT_81: &str = "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}], ports: [{port: 81}]}]}";
    const PORT_80: &str = "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}], ports: [{port: 80}]}]}";
    vec![
        case("stacked-policies-over-one-pod")
            .shows(&["should enforce multiple, stacked policies with overlapping podSelectors"])
            .policy("x/on-81", PORT_81)
            .expect(own(matrix(&[tcp(81)]).denied("*", "x/a").allowed("y/*", "x/a")))
            .expect(own(matrix(&[tcp(80)]).denied("*", "x/a")))
            .policy("x/on-80", PORT_80)
            .expect(own(matrix(&[tcp(80), tcp(81)]).denied("*", "x/a").allowed("y/*", "x/a"))),
        case("ingress-of-everything-wins-over-ingress-of-some")
            .shows(&["should enforce multiple ingress policies with ingress allow-all policy taking precedence"])
            .policy("x/on-80", PORT_80)
            .expect(own(matrix(&[tcp(80)]).denied("*", "x/a").allowed("y/*", "x/a")))
            .expect(own(matrix(&[tcp(81)]).denied("*", "x/a")))
            .policy("x/all", "{podSelector: {}, ingress: [{}]}")
            .expect(matrix(&[tcp(80), tcp(81)]).allowed("*", "*")),
    ]
}
