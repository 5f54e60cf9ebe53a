//! Blocks inside the networks of pods and of Services.

use super::{blocks, blocks_of};
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use crate::ranges::{Meaning, Ranges};
use crate::{Index, World};
use ipnet::IpNet;
use ringfence_policy::model::{Direction, PortMatch, PortSpec};
use ringfence_policy::snapshot::Kind;
use std::net::IpAddr;

/// A block of pod addresses.
pub static PODS: Check = Check {
    id: "cidr-in-pods",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "an ipBlock inside the pod network names whatever pod has the address",
    text: "\
Pods get another address whenever they are made anew, and the old one goes to another pod,
of another namespace as well. A block of pod addresses therefore allows today's pod and
tomorrow's stranger. Network plugins also differ about whether such a block matches pods at
all.

Name pods by `podSelector` and `namespaceSelector`.",
    bad: "\
apiVersion: v1
kind: Node
metadata: {name: node-1}
spec: {podCIDRs: [10.16.1.0/24]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
  - from: [{ipBlock: {cidr: 10.16.1.17/32}}]
",
    good: "\
apiVersion: v1
kind: Node
metadata: {name: node-1}
spec: {podCIDRs: [10.16.1.0/24]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: api}}}]
",
    run: pods,
};

/// A block of Service addresses.
pub static SERVICES: Check = Check {
    id: "cidr-in-services",
    baseline: Level::Deny,
    strict: Level::Deny,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "an ipBlock inside the Service network never matches",
    text: "\
A Service's address is not the address of anything that answers. The node replaces it by
the address of one of the Service's pods (DNAT) *before* policies are judged, so an egress
rule for a Service address matches no packet, and the connection is refused although a rule
seems to allow it.

Allow the pods behind the Service by `podSelector` and `namespaceSelector`, on the port
that they listen on (`targetPort`). For the API server, allow the addresses of its
endpoints. The address of the cluster's DNS is excepted: a node-local cache answers there
itself.",
    bad: "\
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop}
spec: {clusterIP: 10.96.12.7, selector: {app: api}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Egress]
  egress:
  - to: [{ipBlock: {cidr: 10.96.12.7/32}}]
    ports: [{port: 80}]
",
    good: "\
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop}
spec: {clusterIP: 10.96.12.7, selector: {app: api}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Egress]
  egress:
  - to: [{podSelector: {matchLabels: {app: api}}}]
    ports: [{port: 8080}]
",
    run: services,
};

fn pods(ask: &Ask, answers: &mut Answers) {
    let mut blocks = blocks(ask.subject).peekable();
    if blocks.peek().is_none() {
        return;
    }
    let Some(index) = ask.index(answers) else {
        return;
    };
    let ranges = Ranges::of(ask.world, index);
    for block in blocks {
        let cidr = block.range.cidr;
        // At the source a tunnel address is node-address-allowed's; a tunnel device
        // listens to nothing that a pod would want.
        let is_pods = ranges.meaning(&cidr) == Meaning::Pod;
        let pod = only(&cidr).and_then(|address| index.pod_at(address));
        if !is_pods && pod.is_none() {
            continue;
        }
        let sentence = match pod {
            Some(pod) => format!(
                "{} is pod {pod} only until it restarts; use selectors",
                cidr.addr()
            ),
            None => format!(
                "{cidr} is of the pod network: whichever pod has an address there; use selectors"
            ),
        };
        answers.found(block.path(), sentence, block.evidence());
    }
}

fn services(ask: &Ask, answers: &mut Answers) {
    let mut blocks = blocks_of(ask.subject, Direction::Egress).peekable();
    if blocks.peek().is_none() {
        return;
    }
    let Some(index) = ask.index(answers) else {
        return;
    };
    let ranges = Ranges::of(ask.world, index);
    let Some(range) = &ranges.services else {
        return answers.unknown("the Service network is not known; add ranges.services");
    };
    for block in blocks {
        let cidr = block.range.cidr;
        if !range.covers(&cidr) || is_dns(&cidr, &block.rule.rule.ports, ask.world, index) {
            continue;
        }
        let at = only(&cidr).and_then(|address| service_at(index, address));
        let sentence = match at {
            Some(name) => format!(
                "{} is Service {name}: it is replaced by a pod's address first, so this never matches",
                cidr.addr()
            ),
            None => format!(
                "{cidr} is of Services: replaced by pod addresses before policy, so it never matches"
            ),
        };
        answers.found(block.path(), sentence, block.evidence());
    }
}

/// The address of a network that has only one.
fn only(network: &IpNet) -> Option<IpAddr> {
    (network.prefix_len() == network.max_prefix_len()).then(|| network.addr())
}

fn service_at(index: &Index, address: IpAddr) -> Option<String> {
    let services = index.snapshot().services.values();
    let mut services = services.filter(|s| s.cluster_ips.contains(&address));
    services.next().map(|s| s.key.to_string())
}

/// The address of DNS, at which a node-local cache may answer itself. While the Service
/// is not known, an address for port 53 alone gets the benefit of the doubt.
fn is_dns(network: &IpNet, ports: &[PortMatch], world: &World, index: &Index) -> bool {
    let Some(address) = only(network) else {
        return false;
    };
    let dns = &world.config.dns;
    if dns.node_local.contains(&address) {
        return true;
    }
    match index.service(&dns.service.namespace, &dns.service.name) {
        Some(service) => service.cluster_ips.contains(&address),
        None => !ports.is_empty() && ports.iter().all(|p| p.port == PortSpec::Range(53, 53)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Facts;
    use crate::testing::Case;
    use test_case::test_case;

    const CLUSTER: &str = "
apiVersion: v1
kind: Node
metadata: {name: a}
spec: {podCIDRs: [10.16.1.0/24]}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: elsewhere}
spec: {nodeName: a}
status: {podIPs: [{ip: 10.99.0.5}]}
---
apiVersion: v1
kind: Service
metadata: {name: api}
spec: {clusterIP: 10.96.12.7, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec: {clusterIP: 10.96.0.10, ports: [{port: 53}]}
";

    fn policy(rules: &str) -> String {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
             metadata: {{name: p, namespace: default}}\nspec: {{podSelector: {{}}, {rules}}}"
        )
    }

    #[test_case("ingress: [{from: [{ipBlock: {cidr: 10.16.1.17/32}}]}]", 1; "an address of the podCIDR")]
    #[test_case("egress: [{to: [{ipBlock: {cidr: 10.16.1.0/24}}]}]", 1; "the whole podCIDR")]
    #[test_case("egress: [{to: [{ipBlock: {cidr: 10.99.0.5/32}}]}]", 1; "a pod's address outside of podCIDRs")]
    #[test_case("ingress: [{from: [{ipBlock: {cidr: 10.16.1.0/32}}]}]", 0; "near miss: the tunnel's address")]
    #[test_case("ingress: [{from: [{ipBlock: {cidr: 10.16.0.0/16}}]}]", 0; "more than pods")]
    #[test_case("ingress: [{from: [{podSelector: {}}]}]", 0; "no block")]
    fn of_pods(rules: &str, expected: usize) {
        let found = Case::within(CLUSTER).found(PODS.id, &policy(rules));
        assert_eq!(found.len(), expected, "{found:?}");
    }

    #[test_case("egress: [{to: [{ipBlock: {cidr: 10.96.12.7/32}}]}]", 1; "a Service")]
    #[test_case("egress: [{to: [{ipBlock: {cidr: 10.96.0.0/16}}]}]", 1; "a range, DNS in it")]
    #[test_case("egress: [{to: [{ipBlock: {cidr: 10.96.0.10/32}}], ports: [{port: 53, protocol: UDP}]}]", 0; "near miss: DNS")]
    #[test_case("egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}}]}]", 0; "more than Services")]
    #[test_case("ingress: [{from: [{ipBlock: {cidr: 10.96.12.7/32}}]}]", 0; "ingress")]
    fn of_services(rules: &str, expected: usize) {
        let mut case = Case::within(CLUSTER);
        case.facts.service_ranges = Some(vec!["10.96.0.0/12".parse().unwrap()]);
        let found = case.found(SERVICES.id, &policy(rules));
        assert_eq!(found.len(), expected, "{found:?}");
        assert!(found.iter().all(|f| f.starts_with("deny ")), "{found:?}");
    }

    #[test]
    fn the_service_network_may_not_be_known() {
        let egress = policy("egress: [{to: [{ipBlock: {cidr: 10.96.12.7/32}}]}]");
        assert!(Case::default().is_unknown(SERVICES.id, &egress));
        let configured = Case::default().config("ranges: {services: [10.96.0.0/12]}");
        assert_eq!(configured.found(SERVICES.id, &egress).len(), 1);
        let allocated = Case {
            facts: Facts::default(),
            ..Case::within(CLUSTER)
        };
        assert_eq!(allocated.found(SERVICES.id, &egress).len(), 1);
        let unsynced = Case {
            cluster: None,
            ..Case::default()
        };
        assert!(unsynced.is_unknown(SERVICES.id, &egress));
        assert!(unsynced.is_unknown(PODS.id, &egress));
        let none = policy("egress: [{to: [{podSelector: {}}]}]");
        assert!(!unsynced.is_unknown(SERVICES.id, &none));
    }

    #[test]
    fn without_its_service_dns_is_told_by_its_port() {
        let case = Case::default().config("ranges: {services: [10.96.0.0/12]}");
        let dns = |port| {
            policy(&format!(
                "egress: [{{to: [{{ipBlock: {{cidr: 10.96.0.10/32}}}}], ports: [{{port: {port}, protocol: UDP}}]}}]"
            ))
        };
        assert_eq!(case.found(SERVICES.id, &dns(53)).len(), 0);
        assert_eq!(case.found(SERVICES.id, &dns(80)).len(), 1);
    }
}
