//! DNS caches on the nodes.

use super::{rules, wanting};
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use crate::inject::dns::{self, PROTOCOLS, single, standard};
use crate::inject::{Part, appended};
use crate::{Config, Index};
use ringfence_policy::model::{Direction, Peer, PortSpec, Protocol, Rule};
use ringfence_policy::snapshot::Kind;
use std::net::{IpAddr, Ipv4Addr};

/// Where a node-local DNS cache listens unless somebody has changed it.
const USUAL: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 20, 10));

/// The node-local DNS address is not allowed.
pub static NODE_LOCAL: Check = Check {
    id: "dns-nodelocal",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Patch,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "DNS is allowed, the node-local DNS cache is not",
    text: "\
With NodeLocal DNSCache, pods do not ask the DNS pods: they ask an address on their own
node, usually 169.254.20.10. No selector matches that address, because the cache has no pod
network of its own. A policy that allows the DNS pods only lets no name resolve there.

Add the address as an `ipBlock`, next to the DNS pods (a cache that is being restarted lets
pods fall back to them). List the addresses under `dns.nodeLocal` in the configuration, and
the rules that the webhook adds have them.",
    bad: "\
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIP: 10.96.0.10
  selector: {k8s-app: kube-dns}
  ports: [{name: dns, protocol: UDP, port: 53}, {name: dns-tcp, protocol: TCP, port: 53}]
---
apiVersion: v1
kind: Pod
metadata: {name: node-local-dns, namespace: kube-system, labels: {k8s-app: node-local-dns}}
spec: {nodeName: node-1, hostNetwork: true, containers: [{name: cache}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: api, namespace: shop}
spec:
  podSelector: {matchLabels: {app: api}}
  policyTypes: [Egress]
  egress:
  - to:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
      podSelector: {matchLabels: {k8s-app: kube-dns}}
    ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
",
    good: "\
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIP: 10.96.0.10
  selector: {k8s-app: kube-dns}
  ports: [{name: dns, protocol: UDP, port: 53}, {name: dns-tcp, protocol: TCP, port: 53}]
---
apiVersion: v1
kind: Pod
metadata: {name: node-local-dns, namespace: kube-system, labels: {k8s-app: node-local-dns}}
spec: {nodeName: node-1, hostNetwork: true, containers: [{name: cache}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: api, namespace: shop}
spec:
  podSelector: {matchLabels: {app: api}}
  policyTypes: [Egress]
  egress:
  - to:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
      podSelector: {matchLabels: {k8s-app: kube-dns}}
    - ipBlock: {cidr: 169.254.20.10/32}
    ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
",
    run: node_local,
};

fn node_local(ask: &Ask, answers: &mut Answers) {
    let Some(policy) = wanting(ask, Part::Dns) else {
        return;
    };
    let Some(index) = ask.index(answers) else {
        return;
    };
    let own = ask.subject.namespace();
    let rules = rules(ask, policy, Direction::Egress);
    // Who cannot ask the DNS pods either hears about that.
    let Ok(target) = ask.dns(index) else {
        return;
    };
    if !target.is_reached(own, &rules, Protocol::Udp) {
        return;
    }
    for address in caches(index, ask.world.config) {
        if PROTOCOLS.into_iter().all(|p| is_open(&rules, address, p)) {
            continue;
        }
        let sentence = format!(
            "names do not resolve on nodes with a DNS cache: no rule allows {address} port 53"
        );
        let rule = Rule {
            peers: vec![Peer::Block(single(address))],
            ports: PROTOCOLS.map(standard).to_vec(),
        };
        let patch = appended(ask.subject.raw, Direction::Egress, &[rule]);
        let draft = answers.found("spec.egress", sentence, address.to_string());
        draft.mend(patch.into());
    }
}

/// The configured addresses; without any, the usual one where such caches run.
fn caches(index: &Index, config: &Config) -> Vec<IpAddr> {
    if !config.dns.node_local.is_empty() {
        return config.dns.node_local.clone();
    }
    let pods = index.workloads(&config.dns.service.namespace).iter();
    let mut labels = pods.filter(|w| w.pod.host_network).map(|w| &w.pod.labels);
    let runs = labels.any(|l| l.get("k8s-app").is_some_and(|v| **v == *"node-local-dns"));
    runs.then_some(USUAL).into_iter().collect()
}

fn is_open(rules: &[&Rule], address: IpAddr, protocol: Protocol) -> bool {
    rules.iter().any(|rule| {
        let mut ports = rule.ports.iter();
        let port = rule.ports.is_empty()
            || ports.any(|p| {
                p.protocol == protocol
                    && match p.port {
                        PortSpec::Any => true,
                        PortSpec::Range(first, last) => (first..=last).contains(&dns::PORT),
                        // Names are those of pods, and no pod has this address.
                        PortSpec::Named(_) => false,
                    }
            });
        let mut peers = rule.peers.iter();
        let peer = rule.peers.is_empty()
            || peers.any(|peer| match peer {
                Peer::Block(block) => {
                    block.cidr.contains(&address)
                        && !block.except.iter().any(|e| e.contains(&address))
                }
                Peer::Pods { .. } => false,
            });
        port && peer
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Case;
    use test_case::test_case;

    const SERVICE: &str = "{apiVersion: v1, kind: Service, metadata: {name: kube-dns, namespace: kube-system}, spec: {clusterIP: 10.96.0.10, selector: {k8s-app: kube-dns}, ports: [{protocol: UDP, port: 53}]}}";
    const CONFIG: &str = "dns: {nodeLocal: [169.254.20.10]}";
    const BOTH: &str = "ports: [{protocol: UDP, port: 53}, {port: 53}]";

    #[test_case("{to: [{namespaceSelector: {}}], BOTH}", 1; "the DNS pods only")]
    #[test_case("{to: [{namespaceSelector: {}}], BOTH}, {to: [{ipBlock: {cidr: 169.254.20.10/32}}], ports: [{protocol: UDP, port: 53}]}", 1; "near miss: UDP only")]
    #[test_case("{to: [{namespaceSelector: {}}], BOTH}, {to: [{ipBlock: {cidr: 169.254.0.0/16, except: [169.254.20.0/24]}}], BOTH}", 1; "taken out")]
    #[test_case("{to: [{namespaceSelector: {}}, {ipBlock: {cidr: 169.254.20.10/32}}], BOTH}", 0; "both")]
    #[test_case("{BOTH}", 0; "everyone")]
    #[test_case("{to: [{podSelector: {}}]}", 0; "no DNS at all")]
    fn allowed(egress: &str, expected: usize) {
        let egress = egress.replace("BOTH", BOTH);
        let object = format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
             metadata: {{name: p, namespace: default}}\n\
             spec: {{podSelector: {{}}, policyTypes: [Egress], egress: [{egress}]}}"
        );
        let case = Case::within(SERVICE);
        let configured = case.clone().config(CONFIG);
        assert_eq!(configured.paths(NODE_LOCAL.id, &object).len(), expected);
        assert_eq!(case.paths(NODE_LOCAL.id, &object), [""; 0], "no cache");
    }
}
