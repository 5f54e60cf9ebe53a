//! The semantics that Kubernetes' own suite checks (test/e2e/network/netpol), title by
//! title (`titles.txt`), and those beside them that it leaves out.

mod egress;
mod ingress;
mod protocols;

use crate::case::{Case, cells, matrix};
use crate::probe::{icmp, tcp, udp};

const SUITE: &str = "kubernetes test/e2e/network/netpol";

/// The cases.
pub fn cases() -> Vec<Case> {
    let here = [directions(), peers(), ports(), blocks(), updates()].concat();
    [here, ingress::cases(), egress::cases(), protocols::cases()].concat()
}

fn case(name: &'static str) -> Case {
    Case::new(name, SUITE).tags(&["upstream"])
}

fn directions() -> Vec<Case> {
    vec![
        case("default-deny-ingress")
            .shows(&[
                "should support a 'default-deny-ingress' policy",
                "UDP: should support a 'default-deny-ingress' policy",
            ])
            .policy("x/deny", "{podSelector: {}, policyTypes: [Ingress]}")
            .expect(own(matrix(&[tcp(80), udp(80), icmp()]).denied("*", "x/*"))),
        case("default-deny-egress")
            .shows(&[
                "should deny egress from all pods in a namespace",
            ])
            .policy("x/deny", "{podSelector: {}, policyTypes: [Egress]}")
            .expect(own(matrix(&[tcp(80), udp(80), icmp()]).denied("x/*", "*"))),
        case("default-deny-all")
            .shows(&[
                "should support a 'default-deny-all' policy",
            ])
            .policy("x/deny", "{podSelector: {}, policyTypes: [Ingress, Egress]}")
            .expect(own(matrix(&[tcp(80), udp(81)]).denied("*", "x/*").denied("x/*", "*"))),
        case("allow-all-beside-deny")
            .shows(&[
                "should support allow-all policy",
            ])
            .policy("x/deny", "{podSelector: {}, policyTypes: [Ingress, Egress]}")
            .policy("x/allow", "{podSelector: {}, ingress: [{}], egress: [{}], policyTypes: [Ingress, Egress]}")
            .expect(matrix(&[tcp(80), udp(80), icmp()]).allowed("*", "*")),
        case("directions-are-independent")
            .shows(&[
                "should enforce policies to check ingress and egress policies can be controlled independently based on PodSelector",
            ])
            .policy("x/in", "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {}}]}]}")
            .policy("x/out", "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}")
            .expect(own(
                matrix(&[tcp(80)])
                    .denied("*", "x/a")
                    .allowed("x/*", "x/a")
                    .denied("x/a", "*")
                    .allowed("x/a", "y/*"),
            )),
    ]
}

/// A pod always reaches itself.
fn own(mut expect: crate::case::Expect) -> crate::case::Expect {
    for pod in crate::case::NINE {
        expect = expect.allowed(pod, pod);
    }
    expect
}

fn peers() -> Vec<Case> {
    vec![
        case("allow-namespace")
            .shows(&[
                "should enforce policy to allow traffic only from a different namespace, based on NamespaceSelector",
            ])
            .policy("x/from-y", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}")
            .expect(own(matrix(&[tcp(80), udp(80)]).denied("*", "x/*").allowed("y/*", "x/*"))),
        case("allow-default-namespace-label")
            .shows(&[
                "should enforce policy to allow traffic based on NamespaceSelector with MatchLabels using default ns label",
            ])
            .policy("x/from-z", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: z}}}]}]}")
            .expect(own(matrix(&[tcp(80)]).denied("*", "x/*").allowed("z/*", "x/*"))),
        case("selectors-and")
            .shows(&[
                "should enforce policy based on PodSelector and NamespaceSelector",
                "should enforce policy to allow traffic only from a pod in a different namespace based on PodSelector and NamespaceSelector",
                "UDP: should enforce policy to allow traffic only from a pod in a different namespace based on PodSelector and NamespaceSelector",
            ])
            .tags(&["seed-001"])
            .policy("x/and", "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}, podSelector: {matchLabels: {pod: b}}}]}]}")
            .expect(own(matrix(&[tcp(80), udp(80)]).denied("*", "x/a").allowed("y/b", "x/a"))),
        case("selectors-or")
            .shows(&[
                "should enforce policy based on PodSelector or NamespaceSelector",
            ])
            .tags(&["seed-001"])
            .policy("x/or", "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}, {podSelector: {matchLabels: {pod: b}}}]}]}")
            .expect(own(matrix(&[tcp(80)]).denied("*", "x/a").allowed("y/*", "x/a").allowed("x/b", "x/a"))),
        case("selector-expressions")
            .shows(&[
                "should enforce policy based on Multiple PodSelectors and NamespaceSelectors",
            ])
            .policy("x/not", "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: ns, operator: NotIn, values: [x, z]}]}, podSelector: {matchExpressions: [{key: pod, operator: In, values: [a, c]}]}}]}]}")
            .expect(own(matrix(&[tcp(80)]).denied("*", "x/a").allowed("y/a", "x/a").allowed("y/c", "x/a"))),
        case("policies-add-up")
            .tags(&["seed-004"])
            .policy("x/one", "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}]}]}")
            .policy("x/two", "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {pod: c}}}]}]}")
            .expect(own(
                matrix(&[tcp(80)])
                    .denied("*", "x/*")
                    .allowed("x/b", "x/a")
                    .allowed("x/c", "x/*"),
            )),
        // More rules than one signature chain takes in (enforcer/src/dataplane/policies.rs).
        case("a-policy-of-many-rules-beside-a-short-one")
            .policy("x/long", &many_rules())
            .policy("x/short", "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {pod: c}}}]}]}")
            .policy("y/shut", "{podSelector: {matchLabels: {pod: b}}, policyTypes: [Egress]}")
            .expect(own(
                matrix(&[udp(80)])
                    .denied("*", "x/*")
                    .allowed("x/c", "x/*")
                    .denied("y/b", "*"),
            ))
            .expect(own(
                matrix(&[tcp(80)])
                    .denied("*", "x/*")
                    .allowed("y/*", "x/a")
                    .allowed("x/c", "x/*")
                    .denied("y/b", "*"),
            )),
        case("both-ends-must-agree")
            .policy("x/out", "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}]}]}")
            .policy("y/in", "{podSelector: {}, policyTypes: [Ingress]}")
            .expect(own(matrix(&[tcp(80), udp(80)]).denied("*", "y/*"))),
    ]
}

/// Nine rules with a port each, and one that lets `y` in.
fn many_rules() -> String {
    let ports: Vec<String> = (0..9)
        .map(|n| format!("{{from: [{{namespaceSelector: {{matchLabels: {{ns: z}}}}}}], ports: [{{port: {}}}]}}", 1_000 + n))
        .collect();
    format!(
        "{{podSelector: {{matchLabels: {{pod: a}}}}, ingress: [{}, {{from: [{{namespaceSelector: {{matchLabels: {{ns: y}}}}}}], ports: [{{port: 80}}]}}]}}",
        ports.join(", ")
    )
}

fn ports() -> Vec<Case> {
    vec![
        case("port-by-number")
            .policy("x/p80", "{podSelector: {}, ingress: [{ports: [{port: 80}]}]}")
            .expect(matrix(&[tcp(80)]).allowed("*", "*"))
            .expect(own(matrix(&[tcp(81), udp(80), icmp()]).denied("*", "x/*"))),
        case("port-by-name")
            .shows(&[
                "should allow ingress access on one named port",
            ])
            .policy("x/named", "{podSelector: {}, ingress: [{ports: [{port: serve-81-tcp}, {port: serve-80-udp, protocol: UDP}]}]}")
            .expect(matrix(&[tcp(81), udp(80)]).allowed("*", "*"))
            .expect(own(matrix(&[tcp(80), udp(81)]).denied("*", "x/*"))),
        case("egress-port-by-name")
            .shows(&[
                "should allow egress access on one named port",
            ])
            .policy("x/named", "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: serve-81-tcp}]}]}")
            .expect(matrix(&[tcp(81)]).allowed("*", "*"))
            .expect(own(matrix(&[tcp(80), udp(81)]).denied("x/*", "*"))),
        case("port-range")
            .policy("x/range", "{podSelector: {}, ingress: [{ports: [{port: 81, endPort: 90}]}]}")
            .expect(matrix(&[tcp(81)]).allowed("*", "*"))
            .expect(own(matrix(&[tcp(80), udp(81)]).denied("*", "x/*"))),
        case("closed-port-is-no-deny")
            .expect(cells(&[tcp(82), udp(82)], &[("x/a", "x/b"), ("x/a", "y/a")])),
    ]
}

fn blocks() -> Vec<Case> {
    vec![
        case("ingress-block-with-except")
            .tags(&["seed-001"])
            .policy("x/block", "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{ipBlock: {cidr: 172.17.0.0/16, except: [172.17.1.0/24]}}]}]}")
            .expect(
                cells(&[tcp(80), udp(80)], &[("net172", "x/a"), ("net172-1", "x/a"), ("office", "x/a"), ("office6", "x/a"), ("y/a", "x/a"), ("net172-1", "x/b")])
                    .denied("*", "x/a")
                    .allowed("net172", "x/a"),
            ),
        case("sibling-block-allows-what-another-excepts")
            .tags(&["kube-router"])
            .policy("x/block", "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{ipBlock: {cidr: 172.17.0.0/16, except: [172.17.1.0/24]}}, {ipBlock: {cidr: 172.17.1.5/32}}]}]}")
            .expect(
                cells(&[tcp(80), udp(80)], &[("net172", "x/a"), ("net172-1", "x/a"), ("office", "x/a")])
                    .denied("*", "x/a")
                    .allowed("net172", "x/a")
                    .allowed("net172-1", "x/a"),
            ),
        case("egress-to-block")
            .shows(&[
                "should allow egress access to server in CIDR block",
            ])
            .tags(&["seed-003", "seed-004"])
            .policy("x/block", "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 14.215.0.0/16}}]}]}")
            .expect(
                cells(&[tcp(80), udp(80), icmp()], &[("x/a", "net14"), ("x/b", "net14"), ("x/a", "dns8"), ("x/b", "stranger6"), ("x/a", "y/a"), ("y/a", "dns8")])
                    .denied("x/*", "*")
                    .allowed("x/*", "net14"),
            ),
        case("any-block-is-one-family")
            .tags(&["seed-004"])
            .policy("x/any", "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}")
            .expect(
                cells(&[tcp(80)], &[("x/a", "dns8"), ("x/a", "stranger6"), ("x/b", "office6")])
                    .denied("x/*", "stranger6")
                    .denied("x/*", "office6"),
            ),
    ]
}

fn updates() -> Vec<Case> {
    vec![
        case("update-policy")
            .shows(&[
                "should enforce updated policy",
            ])
            .policy("x/in", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}")
            .expect(own(matrix(&[tcp(80)]).denied("*", "x/*").allowed("y/*", "x/*")))
            .policy("x/in", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: z}}}]}]}")
            .expect(own(matrix(&[tcp(80)]).denied("*", "x/*").allowed("z/*", "x/*"))),
        case("update-pod-labels")
            .shows(&[
                "should allow ingress access from updated pod",
            ])
            .policy("x/in", "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {role: friend}}}]}]}")
            .expect(own(matrix(&[tcp(80)]).denied("*", "x/a")))
            .label("Pod x/b", &[("role", "friend")])
            .expect(own(matrix(&[tcp(80)]).denied("*", "x/a").allowed("x/b", "x/a")))
            .unlabel("Pod x/b", "role")
            .expect(own(matrix(&[tcp(80)]).denied("*", "x/a"))),
        case("update-namespace-labels")
            .shows(&[
                "should allow ingress access from updated namespace",
            ])
            .policy("x/in", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: red}}}]}]}")
            .expect(own(matrix(&[tcp(80)]).denied("*", "x/*")))
            .label("Namespace y", &[("team", "red")])
            .expect(own(matrix(&[tcp(80)]).denied("*", "x/*").allowed("y/*", "x/*"))),
        case("relabelled-pod-is-selected")
            .shows(&[
                "should deny ingress access to updated pod",
            ])
            .policy("x/deny", "{podSelector: {matchLabels: {shut: 'yes'}}, policyTypes: [Ingress]}")
            .expect(matrix(&[tcp(80)]).allowed("*", "*"))
            .label("Pod x/c", &[("shut", "yes")])
            .expect(own(matrix(&[tcp(80)]).denied("*", "x/c"))),
        case("delete-policy")
            .shows(&[
                "should stop enforcing policies after they are deleted",
            ])
            .policy("x/deny", "{podSelector: {}, policyTypes: [Ingress, Egress]}")
            .expect(own(matrix(&[tcp(80)]).denied("*", "x/*").denied("x/*", "*")))
            .delete("NetworkPolicy x/deny")
            .expect(matrix(&[tcp(80), udp(80)]).allowed("*", "*")),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn every_title_of_the_suite_is_shown_and_no_other() {
        let titles: BTreeSet<&str> = include_str!("titles.txt").lines().collect();
        assert_eq!(titles.len(), 48);
        let cases = super::cases();
        let shown: BTreeSet<&str> = cases.iter().flat_map(|c| c.shows.clone()).collect();
        assert_eq!(titles, shown);
    }
}
