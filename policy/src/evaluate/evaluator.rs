//! Judging flows against a snapshot.

use super::verdict::{Exemption, Ground, Side, Verdict};
use crate::model::{
    Direction, Flow, L4, Labels, Name, NamespaceMatch, Node, ObjectKey, Peer, Pod, Policy,
    PortMatch, PortSpec, Protocol, Rule,
};
use crate::snapshot::{Settings, Snapshot};
use ipnet::IpNet;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::OnceLock;

/// Judges flows against one snapshot; indexes it once, so that a matrix of thousands
/// of pods squared is a matter of seconds.
#[derive(Debug)]
pub struct Evaluator<'a> {
    snapshot: &'a Snapshot,
    settings: Settings,
    pods: Vec<Known<'a>>,
    by_address: HashMap<IpAddr, Vec<usize>>,
    policies: HashMap<&'a str, Vec<&'a Policy>>,
    node_addresses: HashSet<IpAddr>,
}

/// A pod that policies see.
#[derive(Debug)]
struct Known<'a> {
    pod: &'a Pod,
    /// The labels of its namespace.
    namespace: Labels,
    /// The policies that select it, in key order; found when first asked for.
    selected_by: OnceLock<Vec<&'a Policy>>,
}

impl<'a> Evaluator<'a> {
    /// An evaluator that borrows `snapshot`.
    pub fn new(snapshot: &'a Snapshot, settings: Settings) -> Self {
        let pods: Vec<Known> = snapshot
            .pods
            .values()
            .filter(|pod| pod.is_target())
            .map(|pod| Known {
                pod,
                namespace: namespace_labels(snapshot, &pod.key.namespace),
                selected_by: OnceLock::new(),
            })
            .collect();
        let mut by_address: HashMap<IpAddr, Vec<usize>> = HashMap::new();
        for (i, known) in pods.iter().enumerate() {
            for ip in &known.pod.ips {
                let claimants = by_address.entry(*ip).or_default();
                if !claimants.contains(&i) {
                    claimants.push(i);
                }
            }
        }
        // A pod that is going away gives way to the one that has got its address.
        for claimants in by_address.values_mut() {
            if claimants.iter().any(|i| !pods[*i].pod.terminating) {
                claimants.retain(|i| !pods[*i].pod.terminating);
            }
        }
        let mut policies: HashMap<&str, Vec<&Policy>> = HashMap::new();
        for policy in snapshot.policies.values() {
            let own = policies.entry(&policy.key.namespace).or_default();
            own.push(policy);
        }
        let nodes = snapshot.nodes.values();
        Self {
            snapshot,
            settings,
            pods,
            by_address,
            policies,
            node_addresses: nodes.flat_map(|n| n.addresses.iter().copied()).collect(),
        }
    }

    /// What it judges by.
    pub fn snapshot(&self) -> &'a Snapshot {
        self.snapshot
    }

    /// The pods that have `address`, in key order: normally one. Pods that ended and
    /// hostNetwork pods have none; a terminating pod only while nobody else has it.
    pub fn claimants(&self, address: IpAddr) -> impl Iterator<Item = &'a Pod> {
        self.known(address).map(|known| known.pod)
    }

    /// Judges the first packet of a flow on its whole way through the cluster: the
    /// egress rules where the source pod lives, the ingress rules where the
    /// destination pod lives.
    pub fn judge(&self, flow: &Flow) -> Verdict {
        Verdict {
            egress: self.side(Direction::Egress, flow),
            ingress: self.side(Direction::Ingress, flow),
        }
    }

    fn side(&self, direction: Direction, flow: &Flow) -> Side {
        if is_neighbour_discovery(flow) {
            return Side::Exempt(Exemption::NeighbourDiscovery);
        }
        let (own, far) = ends(direction, flow);
        if !self.is_pod(own) {
            return match self.unknown_pod(own) {
                // The node's own packets never cross FORWARD: kubelet probes a pod
                // before anyone has heard of its address.
                Some(node) if node.addresses.contains(&far) => Side::Exempt(Exemption::NodeTraffic),
                Some(node) => Side::UnknownPod {
                    node: Name::clone(&node.name),
                },
                None => Side::NoPod,
            };
        }
        if own == far {
            return Side::Exempt(Exemption::OwnAddress);
        }
        let judged = direction == Direction::Egress && self.settings.enforce_node_traffic;
        if !judged && self.is_own_node(own, far) {
            return Side::Exempt(Exemption::NodeTraffic);
        }
        // Who shares an address cannot be told apart on the wire: all must allow.
        let mut first = None;
        for known in self.known(own) {
            let side = self.claimant(known, direction, flow);
            if !side.allowed() {
                return side;
            }
            first.get_or_insert(side);
        }
        first.unwrap_or(Side::NoPod)
    }

    fn claimant(&self, known: &Known<'a>, direction: Direction, flow: &Flow) -> Side {
        let pod = &known.pod.key;
        let mut isolated = self.isolating(known, direction).peekable();
        if isolated.peek().is_none() {
            return Side::Open(pod.clone());
        }
        match self.grounds_for(known, direction, flow).next() {
            Some(ground) => Side::Allowed(ground),
            None => Side::Denied {
                pod: pod.clone(),
                policies: isolated.map(|p| p.key.clone()).collect(),
            },
        }
    }

    /// Why a policy could not be understood.
    pub(super) fn fault(&self, policy: &ObjectKey) -> Option<&'a str> {
        self.snapshot.policies.get(policy)?.fault.as_deref()
    }

    /// How closely a policy says which pods it is about: the number of its requirements.
    pub(super) fn narrowness(&self, policy: &ObjectKey) -> usize {
        let policy = self.snapshot.policies.get(policy);
        policy.map_or(0, |p| p.pod_selector.requirements().len())
    }

    /// Every rule that allows the flow for the pods at its `direction` end, the
    /// deciding one first.
    pub(super) fn grounds(
        &self,
        direction: Direction,
        flow: &Flow,
    ) -> impl Iterator<Item = Ground> {
        let (own, _) = ends(direction, flow);
        self.known(own)
            .flat_map(move |known| self.grounds_for(known, direction, flow))
    }

    fn grounds_for(
        &self,
        known: &Known<'a>,
        direction: Direction,
        flow: &Flow,
    ) -> impl Iterator<Item = Ground> {
        let (_, far) = ends(direction, flow);
        self.isolating(known, direction).flat_map(move |policy| {
            let rules = policy.rules(direction).unwrap_or_default();
            rules.iter().enumerate().filter_map(move |(i, rule)| {
                let (peer, port) = self.rule_allows(policy, rule, far, flow)?;
                Some(Ground {
                    pod: known.pod.key.clone(),
                    policy: policy.key.clone(),
                    rule: i,
                    peer,
                    port,
                })
            })
        })
    }

    /// The policies that isolate a pod in a direction, in key order.
    fn isolating(
        &self,
        known: &Known<'a>,
        direction: Direction,
    ) -> impl Iterator<Item = &'a Policy> {
        let selected_by = known.selected_by.get_or_init(|| {
            let own = self.policies.get(&*known.pod.key.namespace);
            let own = own.map_or(&[][..], Vec::as_slice).iter().copied();
            own.filter(|p| p.pod_selector.matches(&known.pod.labels))
                .collect()
        });
        let says = move |p: &&Policy| p.rules(direction).is_some();
        // Those that only allow count where another one isolates.
        let isolated = selected_by.iter().any(|p| says(p) && !p.allow_only);
        let all = selected_by.iter().copied().filter(says);
        all.filter(move |_| isolated)
    }

    /// The peer and the port by which a rule allows; `None` in them where the
    /// list is empty, which means everyone and everything.
    fn rule_allows(
        &self,
        policy: &Policy,
        rule: &Rule,
        far: IpAddr,
        flow: &Flow,
    ) -> Option<(Option<usize>, Option<usize>)> {
        let mut peers = rule.peers.iter();
        let peer = peers.position(|peer| self.peer_matches(policy, peer, far));
        let mut ports = rule.ports.iter();
        let port = ports.position(|port| self.port_matches(port, flow));
        let allows =
            (peer.is_some() || rule.peers.is_empty()) && (port.is_some() || rule.ports.is_empty());
        allows.then_some((peer, port))
    }

    fn peer_matches(&self, policy: &Policy, peer: &Peer, far: IpAddr) -> bool {
        match peer {
            Peer::Block(block) => {
                block.cidr.contains(&far) && !block.except.iter().any(|e| e.contains(&far))
            }
            Peer::Pods { namespaces, pods } => self.all_claimants(far, |known| {
                let namespace = match namespaces {
                    NamespaceMatch::Own => known.pod.key.namespace == policy.key.namespace,
                    NamespaceMatch::Labels(selector) => selector.matches(&known.namespace),
                };
                namespace && pods.matches(&known.pod.labels)
            }),
        }
    }

    fn port_matches(&self, port: &PortMatch, flow: &Flow) -> bool {
        // A rule with ports speaks of these protocols only, never of ICMP.
        let L4::Ports { protocol, dst, .. } = flow.l4 else {
            return false;
        };
        port.protocol == protocol
            && match &port.port {
                PortSpec::Any => true,
                PortSpec::Range(first, last) => (*first..=*last).contains(&dst),
                PortSpec::Named(name) => self.names_port(flow.dst, name, protocol, dst),
            }
    }

    /// Whether a port's name stands for this number on the destination, which is the
    /// isolated pod itself on ingress and the peer on egress.
    fn names_port(&self, address: IpAddr, name: &str, protocol: Protocol, port: u16) -> bool {
        self.all_claimants(address, |known| {
            known.pod.named_port(name, protocol) == Some(port)
        })
    }

    /// Whether the address has claimants and `test` holds for all of them.
    fn all_claimants(&self, address: IpAddr, test: impl Fn(&Known<'a>) -> bool) -> bool {
        self.is_pod(address) && self.known(address).all(test)
    }

    fn known(&self, address: IpAddr) -> impl Iterator<Item = &Known<'a>> {
        let claimants = self.by_address.get(&address);
        let claimants = claimants.map_or(&[][..], Vec::as_slice);
        claimants.iter().map(|i| &self.pods[*i])
    }

    fn is_pod(&self, address: IpAddr) -> bool {
        self.by_address.contains_key(&address)
    }

    /// Whether `far` is the node of a pod at `own`, and no pod itself.
    fn is_own_node(&self, own: IpAddr, far: IpAddr) -> bool {
        !self.is_pod(far)
            && self.node_addresses.contains(&far)
            && self.known(own).any(|known| {
                let node = self.snapshot.nodes.get(&known.pod.node);
                node.is_some_and(|node| node.addresses.contains(&far))
            })
    }

    /// The node in whose pod range an address of nobody lies, where such are shut.
    fn unknown_pod(&self, address: IpAddr) -> Option<&'a Node> {
        if !self.settings.drop_unknown_pods || self.node_addresses.contains(&address) {
            return None;
        }
        let in_range = |node: &&std::sync::Arc<Node>| {
            let mut ranges = node.pod_cidrs.iter();
            ranges.any(|cidr| cidr.contains(&address) && !is_gateway(cidr, address))
        };
        self.snapshot
            .nodes
            .values()
            .find(in_range)
            .map(AsRef::as_ref)
    }
}

/// The judged end and the far end.
fn ends(direction: Direction, flow: &Flow) -> (IpAddr, IpAddr) {
    match direction {
        Direction::Ingress => (flow.dst, flow.src),
        Direction::Egress => (flow.src, flow.dst),
    }
}

/// Neighbour and router discovery, multicast listener discovery (RFC 4861, 2710, 3810).
fn is_neighbour_discovery(flow: &Flow) -> bool {
    let L4::Icmp { kind } = flow.l4 else {
        return false;
    };
    flow.dst.is_ipv6() && matches!(kind, 130..=137 | 143)
}

/// The network address, which tunnel devices have, or the next, which bridges have.
fn is_gateway(cidr: &IpNet, address: IpAddr) -> bool {
    match (cidr.network(), address) {
        (IpAddr::V4(first), IpAddr::V4(a)) => a.to_bits().wrapping_sub(first.to_bits()) <= 1,
        (IpAddr::V6(first), IpAddr::V6(a)) => a.to_bits().wrapping_sub(first.to_bits()) <= 1,
        _ => false,
    }
}

/// A namespace that is not here (deleted before its pods, or not yet seen) has at
/// least the label that the API server gives to all.
fn namespace_labels(snapshot: &Snapshot, name: &Name) -> Labels {
    match snapshot.namespaces.get(name) {
        Some(namespace) => namespace.labels.clone(),
        None => Labels::new([("kubernetes.io/metadata.name", Name::clone(name))]),
    }
}
