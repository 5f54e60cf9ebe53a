//! Pods of two address families, rules of one.

use super::blocks;
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use ringfence_policy::model::{Direction, Pod};
use ringfence_policy::snapshot::Kind;
use std::net::IpAddr;

/// IPv4 blocks for dual-stack pods.
pub static V4_ONLY: Check = Check {
    id: "v4-only-dual",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "only IPv4 blocks for pods that have IPv6 addresses as well",
    text: "\
The selected pods have an IPv4 and an IPv6 address, and the rules of this direction name
IPv4 ranges only. An isolated pod is isolated in both families, so what these blocks allow
over IPv4 is refused over IPv6. Programs try IPv6 first: connections become slow, or fail
where the program does not try again.

Add the same ranges in IPv6.",
    bad: "\
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web}}
spec: {nodeName: node-1}
status: {podIPs: [{ip: 10.16.1.5}, {ip: 'fd00:16:1::5'}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from: [{ipBlock: {cidr: 192.0.2.0/24}}]
",
    good: "\
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web}}
spec: {nodeName: node-1}
status: {podIPs: [{ip: 10.16.1.5}, {ip: 'fd00:16:1::5'}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from: [{ipBlock: {cidr: 192.0.2.0/24}}, {ipBlock: {cidr: '2001:db8::/48'}}]
",
    run: v4_only,
};

fn v4_only(ask: &Ask, answers: &mut Answers) {
    let Some(policy) = ask.subject.policy() else {
        return;
    };
    for direction in [Direction::Ingress, Direction::Egress] {
        let mut of_direction = blocks(ask.subject).filter(|b| b.rule.direction == direction);
        let Some(first) = of_direction.next() else {
            continue;
        };
        let v4 = |b: &super::Block| b.range.cidr.addr().is_ipv4();
        if !v4(&first) || !of_direction.all(|b| v4(&b)) {
            continue;
        }
        let Some(index) = ask.index(answers) else {
            return;
        };
        let mut selected = index.selected(&policy.key.namespace, &policy.pod_selector);
        let Some(dual) = selected.find(|w| is_dual(&w.pod)) else {
            return;
        };
        let sentence = format!(
            "{direction} blocks are IPv4 only, and pods such as {} have IPv6 too: refused there",
            dual.pod.key.name
        );
        answers.found(first.path(), sentence, direction.to_string());
    }
}

fn is_dual(pod: &Pod) -> bool {
    !pod.host_network && pod.ips.iter().any(IpAddr::is_ipv4) && pod.ips.iter().any(IpAddr::is_ipv6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Case;
    use test_case::test_case;

    const PODS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: dual, labels: {app: dual}}
spec: {nodeName: a}
status: {podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: single, labels: {app: single}}
spec: {nodeName: a}
status: {podIPs: [{ip: 10.0.0.2}]}
";

    #[test_case("dual", "ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24}}]}]", 1; "IPv4 only")]
    #[test_case("dual", "egress: [{to: [{ipBlock: {cidr: 192.0.2.0/24}}]}], ingress: [{from: [{ipBlock: {cidr: 'fd00::/64'}}]}]", 1; "each direction by itself")]
    #[test_case("dual", "ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24}}]}, {from: [{ipBlock: {cidr: 'fd00::/64'}}]}]", 0; "near miss: both")]
    #[test_case("single", "ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24}}]}]", 0; "near miss: single-stack pods")]
    #[test_case("dual", "ingress: [{from: [{podSelector: {}}]}]", 0; "no block")]
    fn families(app: &str, rules: &str, expected: usize) {
        let object = format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
             metadata: {{name: p, namespace: default}}\n\
             spec: {{podSelector: {{matchLabels: {{app: {app}}}}}, {rules}}}"
        );
        assert_eq!(
            Case::within(PODS).found(V4_ONLY.id, &object).len(),
            expected
        );
        let unsynced = Case {
            cluster: None,
            ..Case::default()
        };
        assert_eq!(
            unsynced.is_unknown(V4_ONLY.id, &object),
            rules.contains("192") && !rules.contains("}, {from")
        );
    }
}
