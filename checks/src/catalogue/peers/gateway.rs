//! Gateways and scrapers that share their node's network.

use crate::catalogue::words::short;
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use crate::index::Workload;
use ringfence_policy::model::{Direction, Name, Peer};
use ringfence_policy::snapshot::Kind;

/// An allowed gateway that no peer matches.
pub static GATEWAY_HOST_NETWORK: Check = Check {
    id: "gateway-host-network",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "the gateway that a policy lets in uses the node's network",
    text: "\
Ingress controllers often run with `hostNetwork: true`, to have ports 80 and 443 of the node. Their
traffic then arrives with a node's address, and a peer that names their namespace never matches it:
the site answers 504 although the policy lets the gateway in. The same holds for a monitoring
namespace whose pods all use the node's network.

Run the gateway with a network of its own behind a Service of type LoadBalancer. Where it has to
stay, allow the addresses of its nodes and name them in `ranges.hostNetworkPeers` of the
configuration: then `node-address-allowed` accepts them. The gateways and monitoring namespaces are
those of the configuration.",
    bad: "\
apiVersion: v1
kind: Namespace
metadata: {name: monitoring}
---
apiVersion: v1
kind: Pod
metadata: {name: prometheus-0, namespace: monitoring, labels: {app: prometheus}}
spec: {nodeName: node1, hostNetwork: true}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]
",
    good: "\
apiVersion: v1
kind: Namespace
metadata: {name: monitoring}
---
apiVersion: v1
kind: Pod
metadata: {name: prometheus-0, namespace: monitoring, labels: {app: prometheus}}
spec: {nodeName: node1}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]
",
    run: gateway_host_network,
};

fn gateway_host_network<'a>(ask: &Ask<'a>, answers: &mut Answers) {
    let config = ask.world.config;
    if config.gateways.is_empty() && config.monitoring.is_empty() {
        return;
    }
    for place in ask.subject.rules() {
        if place.direction != Direction::Ingress {
            continue;
        }
        for (at, peer) in place.rule.peers.iter().enumerate() {
            let Peer::Pods { namespaces, pods } = peer else {
                continue;
            };
            let Some(index) = ask.index(answers) else {
                return;
            };
            let own = ask.subject.namespace();
            let admitted = |namespace: &'a Name| -> Vec<&'a Workload> {
                if !index.is_peer(own, namespaces, namespace) {
                    return Vec::new();
                }
                index.selected(namespace, pods).collect()
            };
            let gateways = config.gateways.iter().filter(|gateway| {
                let pods = admitted(&gateway.namespace);
                let mut pods = pods.iter().filter(|w| gateway.pods.matches(&w.pod.labels));
                pods.any(|w| w.pod.host_network)
            });
            let gateways = gateways.map(|g| ("gateway", &g.namespace));
            // Node exporters are such pods, and scrape nobody.
            let monitoring = config.monitoring.iter().filter(|namespace| {
                let pods = admitted(namespace);
                !pods.is_empty() && pods.iter().all(|w| w.pod.host_network)
            });
            let monitoring = monitoring.map(|namespace| ("monitoring", namespace));
            for (what, namespace) in gateways.chain(monitoring) {
                let sentence = format!(
                    "{what} {} uses hostNetwork: it arrives as a node, which this peer does not \
                     let in",
                    short(namespace, 40)
                );
                answers.found(place.peer(at), sentence, format!("{what} {namespace}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, policy};
    use test_case::test_case;

    const CLUSTER: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: ingress-nginx, labels: {role: gateway}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: monitoring}}
---
{apiVersion: v1, kind: Pod, metadata: {name: nginx, namespace: ingress-nginx, labels: {app: nginx}}, spec: {nodeName: node1, hostNetwork: true}}
---
{apiVersion: v1, kind: Pod, metadata: {name: backend, namespace: ingress-nginx, labels: {app: backend}}, spec: {nodeName: node1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: prometheus, namespace: monitoring, labels: {app: prometheus}}, spec: {nodeName: node1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: exporter, namespace: monitoring, labels: {app: node-exporter}}, spec: {nodeName: node1, hostNetwork: true}}
";

    const ALL: &str = "gateways: [{namespace: ingress-nginx}]";
    const NGINX: &str = "gateways: [{namespace: ingress-nginx, matchLabels: {app: nginx}}]";
    const BACKEND: &str = "gateways: [{namespace: ingress-nginx, matchLabels: {app: backend}}]";
    const MONITORING: &str = "monitoring: {namespaces: [monitoring]}";
    const BY_ROLE: &str = "{namespaceSelector: {matchLabels: {role: gateway}}}";

    #[test_case(ALL, BY_ROLE, 1; "a gateway")]
    #[test_case(NGINX, BY_ROLE, 1; "a gateway by its label")]
    #[test_case(NGINX, "{namespaceSelector: {}}", 1; "as one of all namespaces")]
    #[test_case(BACKEND, BY_ROLE, 0; "near miss: another pod of that namespace")]
    #[test_case(ALL, "{namespaceSelector: {matchLabels: {role: gateway}}, podSelector: {matchLabels: {app: backend}}}", 0; "near miss: the peer is another pod")]
    #[test_case(ALL, "{podSelector: {}}", 0; "the own namespace")]
    #[test_case("{}", BY_ROLE, 0; "no gateway is configured")]
    #[test_case(MONITORING, "{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}", 0; "near miss: only the exporter")]
    #[test_case(MONITORING, "{namespaceSelector: {}, podSelector: {matchLabels: {app: node-exporter}}}", 1; "monitoring by its exporter")]
    fn peers(config: &str, peer: &str, expected: usize) {
        let object = policy(&format!(
            "{{podSelector: {{}}, ingress: [{{from: [{peer}]}}]}}"
        ));
        let case = Case::within(CLUSTER).config(config);
        assert_eq!(case.paths(GATEWAY_HOST_NETWORK.id, &object).len(), expected);
    }

    #[test]
    fn in_an_unknown_cluster() {
        let object = policy(&format!(
            "{{podSelector: {{}}, ingress: [{{from: [{BY_ROLE}]}}]}}"
        ));
        let unknown = Case {
            cluster: None,
            ..Case::default()
        };
        assert!(!unknown.is_unknown(GATEWAY_HOST_NETWORK.id, &object));
        assert!(
            unknown
                .config(ALL)
                .is_unknown(GATEWAY_HOST_NETWORK.id, &object)
        );
    }
}
