//! Addresses of nodes and tunnels as sources.

use super::behind::{among, services};
use super::blocks_of;
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use crate::ranges::{Meaning, Ranges};
use crate::space::Space;
use crate::{Index, World};
use ipnet::IpNet;
use ringfence_policy::model::{Direction, Name, Policy};
use ringfence_policy::snapshot::Kind;

/// A node's or tunnel's address is let in.
pub static ALLOWED: Check = Check {
    id: "node-address-allowed",
    baseline: Level::Deny,
    strict: Level::Deny,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "a node's or tunnel's address as source admits everybody who comes through it",
    text: "\
Traffic that enters through a NodePort or LoadBalancer on another node than the pod's gets
the address of that node as its source (SNAT), or that of the node's tunnel device, through
which many network plugins send what goes from node to node. Allowing this address seems to
mend \"my clients are refused\", and it admits whoever else comes that way: every client on
the internet, and every pod of the cluster, in the namespaces that the policy shuts out too,
by one connection to a NodePort.

Set `externalTrafficPolicy: Local` on the Service, so that clients keep their address, and
allow the clients' addresses. Where a node address is truly meant, because a gateway or
Prometheus runs there with `hostNetwork`, tell the configuration (`gateways`,
`monitoring.namespaces` or `ranges.hostNetworkPeers`). The API server reaches webhook pods
from a node's address: for pods behind a webhook's Service this is a warning only.",
    bad: "\
apiVersion: v1
kind: Node
metadata: {name: node-1}
spec: {podCIDRs: [10.233.96.0/24]}
status: {addresses: [{type: InternalIP, address: 10.102.123.104}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: dashboard, namespace: tools}
spec:
  podSelector: {matchLabels: {app: dashboard}}
  policyTypes: [Ingress]
  ingress:
  - from:
    - ipBlock: {cidr: 10.2.3.4/32}
    - ipBlock: {cidr: 10.233.96.0/32}
",
    good: "\
apiVersion: v1
kind: Node
metadata: {name: node-1}
spec: {podCIDRs: [10.233.96.0/24]}
status: {addresses: [{type: InternalIP, address: 10.102.123.104}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: dashboard, namespace: tools}
spec:
  podSelector: {matchLabels: {app: dashboard}}
  policyTypes: [Ingress]
  ingress:
  - from:
    - ipBlock: {cidr: 10.2.3.4/32}
",
    run: allowed,
};

fn allowed(ask: &Ask, answers: &mut Answers) {
    let Some(policy) = ask.subject.policy() else {
        return;
    };
    let mut blocks = blocks_of(ask.subject, Direction::Ingress).peekable();
    if blocks.peek().is_none() {
        return;
    }
    let Some(index) = ask.index(answers) else {
        return;
    };
    let ranges = Ranges::of(ask.world, index);
    if ranges.nodes.is_empty() && ranges.tunnels.is_empty() {
        return answers.unknown("no Node is known; add ranges.nodes and ranges.tunnels");
    }
    let mut context = None;
    for block in blocks {
        let cidr = block.range.cidr;
        let what = match ranges.meaning(&cidr) {
            Meaning::Node => "node",
            Meaning::Tunnel => "tunnel",
            _ => continue,
        };
        let (peers, worst) = context.get_or_insert_with(|| {
            (
                host_network_peers(ask.world, index),
                worst(ask.world, index, policy),
            )
        });
        if peers.covers(&cidr) {
            continue;
        }
        let sentence = format!(
            "{cidr} is a {what} address: admits every pod and client that is SNATed there (NodePort)"
        );
        answers
            .found(block.path(), sentence, block.evidence())
            .at_most(*worst);
    }
}

/// Where something that policies may allow lives on nodes: as configured, and the pods
/// with the nodes' network of configured gateways and monitoring namespaces.
fn host_network_peers(world: &World, index: &Index) -> Space {
    let config = world.config;
    let on_host = |namespace: &Name| {
        let namespace = Name::clone(namespace);
        let pods = index.snapshot().pods.iter();
        pods.filter(move |(key, pod)| key.namespace == namespace && pod.host_network)
            .map(|(_, pod)| pod)
    };
    let gateways = config.gateways.iter().flat_map(|gateway| {
        on_host(&gateway.namespace).filter(|pod| gateway.pods.matches(&pod.labels))
    });
    let scrapers = config.monitoring.iter().flat_map(on_host);
    let addresses = gateways.chain(scrapers).flat_map(|pod| pod.ips.iter());
    let addresses = addresses.map(|ip| IpNet::from(*ip));
    Space::of(addresses.chain(config.ranges.host_network_peers.iter().copied()))
}

/// The API server calls a webhook's pods from a node's or tunnel's address. While it is
/// not known which Services are called, any Service may be one.
fn worst(world: &World, index: &Index, policy: &Policy) -> Level {
    let may_be_called = match &world.facts.webhook_services {
        Some(named) => among(index, policy, named).is_some(),
        None => services(index, policy, |_| true).next().is_some(),
    };
    if may_be_called {
        Level::Warn
    } else {
        Level::Deny
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Case;
    use ringfence_policy::model::ObjectKey;
    use test_case::test_case;

    const CLUSTER: &str = "
apiVersion: v1
kind: Node
metadata: {name: node1}
spec: {podCIDRs: [10.233.90.0/24]}
status: {addresses: [{type: InternalIP, address: 10.102.123.117}]}
---
apiVersion: v1
kind: Node
metadata: {name: node2}
spec: {podCIDRs: [10.233.96.0/24]}
status: {addresses: [{type: InternalIP, address: 10.102.123.104}]}
---
apiVersion: v1
kind: Pod
metadata: {name: prometheus, namespace: monitoring}
spec: {nodeName: node1, hostNetwork: true}
status: {podIPs: [{ip: 10.102.123.117}]}
---
apiVersion: v1
kind: Service
metadata: {name: hook}
spec: {selector: {app: hook}, ports: [{port: 443}]}
";

    fn policy(direction: &str, block: &str) -> String {
        let (rules, end) = if direction == "Egress" {
            ("egress", "to")
        } else {
            ("ingress", "from")
        };
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
             metadata: {{name: p, namespace: default}}\n\
             spec:\n  podSelector: {{matchLabels: {{app: hook}}}}\n  \
             policyTypes: [{direction}]\n  {rules}: [{{{end}: [{{ipBlock: {{cidr: {block}}}}}]}}]\n"
        )
    }

    fn known() -> Case {
        let mut case = Case::within(CLUSTER);
        case.facts.webhook_services = Some([].into());
        case
    }

    #[test_case("10.102.123.104/32", 1; "a node's address")]
    #[test_case("10.233.96.0/32", 1; "the address of a tunnel")]
    #[test_case("10.233.96.1/32", 1; "the address of a bridge")]
    #[test_case("10.102.123.0/24", 0; "near miss: more than nodes")]
    #[test_case("10.233.96.7/32", 0; "near miss: a pod's address")]
    #[test_case("10.2.3.4/32", 0; "a client's")]
    fn sources(block: &str, expected: usize) {
        let found = known().found(ALLOWED.id, &policy("Ingress", block));
        assert_eq!(found.len(), expected, "{found:?}");
        assert!(found.iter().all(|f| f.starts_with("deny ")), "{found:?}");
    }

    #[test]
    fn egress_to_a_node_is_right_for_the_api_server() {
        let egress = policy("Egress", "10.102.123.104/32");
        assert_eq!(known().found(ALLOWED.id, &egress), [""; 0]);
    }

    #[test_case("{}", 1; "nothing said")]
    #[test_case("ranges: {hostNetworkPeers: [10.102.123.117]}", 0; "a configured address")]
    #[test_case("monitoring: {namespaces: [monitoring]}", 0; "Prometheus lives there")]
    #[test_case("gateways: [{namespace: monitoring}]", 0; "a gateway lives there")]
    #[test_case("gateways: [{namespace: monitoring, matchLabels: {app: other}}]", 1; "near miss: another pod")]
    fn peers_on_the_host_network(config: &str, expected: usize) {
        let case = known().config(config);
        let found = case.found(ALLOWED.id, &policy("Ingress", "10.102.123.117/32"));
        assert_eq!(found.len(), expected, "{found:?}");
    }

    #[test_case(Some([ObjectKey::new("default", "hook")].into()), "warn"; "behind a webhook's Service")]
    #[test_case(Some([ObjectKey::new("default", "other")].into()), "deny"; "behind another Service")]
    #[test_case(None, "warn"; "not known which Services are called")]
    fn webhooks(named: Option<std::collections::BTreeSet<ObjectKey>>, level: &str) {
        let mut case = Case::within(CLUSTER);
        case.facts.webhook_services = named;
        let found = case.found(ALLOWED.id, &policy("Ingress", "10.102.123.104/32"));
        assert!(found[0].starts_with(level), "{found:?}");
    }

    #[test]
    fn without_nodes_it_is_not_known() {
        let ingress = policy("Ingress", "10.102.123.104/32");
        assert!(Case::default().is_unknown(ALLOWED.id, &ingress));
        let configured =
            Case::default().config("ranges: {tunnels: [10.233.90.0/32], nodes: [10.102.123.0/24]}");
        assert_eq!(configured.found(ALLOWED.id, &ingress).len(), 1);
        let unsynced = Case {
            cluster: None,
            ..Case::default()
        };
        assert!(unsynced.is_unknown(ALLOWED.id, &ingress));
        let none = policy("Egress", "10.102.123.104/32");
        assert!(!unsynced.is_unknown(ALLOWED.id, &none));
    }

    /// Seed 002's second policy: the reason that this check exists.
    #[test]
    fn the_document_s_policy_is_refused_once_for_each_tunnel() {
        let v2 = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: test-network-policy, namespace: foo}
spec:
  podSelector: {matchLabels: {}}
  policyTypes: [Ingress]
  ingress:
  - from:
    - ipBlock: {cidr: 10.2.3.4/32}
    - ipBlock: {cidr: 10.233.90.0/32}
    - ipBlock: {cidr: 10.233.96.0/32}
    - namespaceSelector: {matchExpressions: [{key: region, operator: NotIn, values: [bar]}]}
";
        let found = known().found(ALLOWED.id, v2);
        assert_eq!(
            found,
            [
                "deny spec.ingress[0].from[1].ipBlock.cidr: 10.233.90.0/32 is a tunnel address: \
                 admits every pod and client that is SNATed there (NodePort)",
                "deny spec.ingress[0].from[2].ipBlock.cidr: 10.233.96.0/32 is a tunnel address: \
                 admits every pod and client that is SNATed there (NodePort)",
            ]
        );
        assert_eq!(known().found("cidr-in-pods", v2), [""; 0]);
    }
}
