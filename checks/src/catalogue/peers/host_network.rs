//! Pods that share their node's network.

use super::used::{Over, selectors};
use crate::catalogue::words::{selector, short};
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use crate::index::Workload;
use ringfence_policy::model::{Direction, NamespaceMatch};
use ringfence_policy::snapshot::Kind;

/// A policy that selects a hostNetwork pod.
pub static SELECTED: Check = Check {
    id: "host-network-selected",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "a policy does nothing for a pod that uses the node's network",
    text: "\
A pod with `hostNetwork: true` has no address of its own: it sends and receives as its node. Policies
are about pods' addresses, so a policy that selects such a pod neither limits who reaches it nor
whom it reaches.

Take `hostNetwork` away (a `hostPort` is often enough), or guard the port on the node with its
firewall.",
    bad: "\
apiVersion: v1
kind: Pod
metadata: {name: proxy-0, namespace: shop, labels: {app: proxy}}
spec: {nodeName: node1, hostNetwork: true}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: proxy, namespace: shop}
spec:
  podSelector: {matchLabels: {app: proxy}}
  policyTypes: [Ingress]
",
    good: "\
apiVersion: v1
kind: Pod
metadata: {name: proxy-0, namespace: shop, labels: {app: proxy}}
spec: {nodeName: node1}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: proxy, namespace: shop}
spec:
  podSelector: {matchLabels: {app: proxy}}
  policyTypes: [Ingress]
",
    run: selected,
};

/// A peer that is a hostNetwork pod.
pub static PEER: Check = Check {
    id: "host-network-peer",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "a peer uses the node's network, and no selector matches it",
    text: "\
A pod with `hostNetwork: true` sends with its node's address. A peer that names it by labels never
matches its traffic: the pod is shut out although the policy seems to let it in. (A policy that
allowed the node's address instead would let in everything that is translated to that address,
other pods too.)

Take `hostNetwork` away from the peer. On the pod's own node, traffic of the node reaches the pod
in any case. Peers that name a whole namespace are reported only when all its pods are such.",
    bad: "\
apiVersion: v1
kind: Pod
metadata: {name: agent-x, namespace: shop, labels: {app: agent}}
spec: {nodeName: node1, hostNetwork: true}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: agent}}}]
",
    good: "\
apiVersion: v1
kind: Pod
metadata: {name: agent-x, namespace: shop, labels: {app: agent}}
spec: {nodeName: node1}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: agent}}}]
",
    run: peer,
};

fn selected(ask: &Ask, answers: &mut Answers) {
    let Some(policy) = ask.subject.policy() else {
        return;
    };
    let Some(index) = ask.index(answers) else {
        return;
    };
    let (own, pods) = (&policy.key.namespace, &policy.pod_selector);
    let on_host: Vec<&Workload> = index.on_host(own, &NamespaceMatch::Own, pods).collect();
    let Some(example) = on_host.first() else {
        return;
    };
    let count: usize = on_host.iter().map(|w| w.count).sum();
    let sentence = format!(
        "does nothing for {count} selected pod(s) that use hostNetwork, such as {}",
        short(&example.pod.key.name, 48)
    );
    answers.found("spec.podSelector", sentence, "hostNetwork");
}

fn peer(ask: &Ask, answers: &mut Answers) {
    let config = ask.world.config;
    // Those of gateways and monitoring are `gateway-host-network`'s.
    let elsewhere = |w: &Workload| {
        let namespace = &w.pod.key.namespace;
        config.monitoring.contains(namespace)
            || config.gateways.iter().any(|g| g.namespace == *namespace)
    };
    for used in selectors(ask) {
        let (Some((place, at)), Over::Pods(namespaces)) = (used.peer, used.over) else {
            continue;
        };
        let Some(index) = ask.index(answers) else {
            return;
        };
        let own = ask.subject.namespace();
        let mut on_host = index.on_host(own, namespaces, used.selector);
        let Some(workload) = on_host.find(|w| !elsewhere(w)) else {
            continue;
        };
        let mut all = index.matching(own, namespaces, used.selector);
        if used.selector.is_everything() && all.any(|w| !w.pod.host_network) {
            continue;
        }
        let name = short(&workload.pod.key.to_string(), 36);
        let sentence = match place.direction {
            Direction::Ingress => format!(
                "{name} uses hostNetwork: it arrives as its node and is not let in by this peer"
            ),
            Direction::Egress => {
                format!("{name} uses hostNetwork: it has its node's address and is not reached")
            }
        };
        let evidence = format!("{} {}", place.direction, selector(used.selector));
        answers.found(place.peer(at), sentence, evidence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, policy};
    use test_case::test_case;

    const CLUSTER: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: default}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: kube-system}}
---
{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {app: web}}, spec: {nodeName: node1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: agent, labels: {app: agent}}, spec: {nodeName: node1, hostNetwork: true}}
---
{apiVersion: v1, kind: Pod, metadata: {name: kube-proxy, namespace: kube-system, labels: {app: kube-proxy}}, spec: {nodeName: node1, hostNetwork: true}}
---
{apiVersion: v1, kind: Pod, metadata: {name: coredns, namespace: kube-system, labels: {app: dns}}, spec: {nodeName: node1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: node-exporter, namespace: agents, labels: {app: node-exporter}}, spec: {nodeName: node1, hostNetwork: true}}
";

    #[test_case("{matchLabels: {app: agent}}", 1; "only such a pod")]
    #[test_case("{}", 1; "among others")]
    #[test_case("{matchLabels: {app: web}}", 0; "near miss: another pod")]
    #[test_case("{matchLabels: {app: kube-proxy}}", 0; "near miss: in another namespace")]
    fn policies(selector: &str, expected: usize) {
        let object = policy(&format!("{{podSelector: {selector}}}"));
        assert_eq!(
            Case::within(CLUSTER).paths(SELECTED.id, &object).len(),
            expected
        );
    }

    #[test_case("{podSelector: {matchLabels: {app: agent}}}", 1; "by label")]
    #[test_case("{namespaceSelector: {}, podSelector: {matchLabels: {app: kube-proxy}}}", 1; "of another namespace")]
    #[test_case("{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: agents}}}", 1; "a namespace of such pods only")]
    #[test_case("{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}}", 0; "near miss: a namespace of both")]
    #[test_case("{podSelector: {matchLabels: {app: web}}}", 0; "an ordinary pod")]
    #[test_case("{ipBlock: {cidr: 192.0.2.0/24}}", 0; "a block")]
    fn peers(peer: &str, expected: usize) {
        for (section, far) in [("ingress", "from"), ("egress", "to")] {
            let spec = format!("{{podSelector: {{}}, {section}: [{{{far}: [{peer}]}}]}}");
            let found = Case::within(CLUSTER).paths(PEER.id, &policy(&spec));
            assert_eq!(found.len(), expected, "{section}");
        }
    }

    #[test]
    fn monitoring_is_left_to_the_other_check() {
        let peer = "{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: agents}}}";
        let object = policy(&format!(
            "{{podSelector: {{}}, ingress: [{{from: [{peer}]}}]}}"
        ));
        let case = Case::within(CLUSTER).config("monitoring: {namespaces: [agents]}");
        assert!(case.paths(PEER.id, &object).is_empty());
    }
}
