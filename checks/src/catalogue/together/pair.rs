//! The two ends of what a rule allows, and what the policies of the far one say to it.

use crate::catalogue::budget::Budget;
use crate::index::{Index, Workload};
use crate::subject::Place;
use ringfence_policy::model::{Direction, Peer, Pod, Policy, PortMatch, PortSpec, Rule};

/// A pod that a policy selects and one that a peer of its rule names.
pub(super) struct Pair<'a> {
    pub index: &'a Index,
    /// The policy that is judged, and a rule of it.
    pub policy: &'a Policy,
    pub place: Place<'a>,
    pub near: &'a Pod,
    pub far: &'a Workload,
}

impl Pair<'_> {
    /// Whether the policies of the far end deny all that the rule allows. `false` when
    /// looking at them takes too long.
    pub fn is_closed(&self, budget: &mut Budget) -> bool {
        let facing = match self.place.direction {
            Direction::Ingress => Direction::Egress,
            Direction::Egress => Direction::Ingress,
        };
        // The policy that is judged stands for the one of its name in the cluster.
        let own = Some(self.policy).filter(|_| self.is_within());
        let others = self.policies(facing);
        let others = others.filter(|p| own.is_none_or(|own| p.key.name != own.key.name));
        let mut isolated = false;
        for policy in others.chain(own) {
            if !budget.spend(1) {
                return false;
            }
            let Some(rules) = policy.rules(facing) else {
                continue;
            };
            if !policy.pod_selector.matches(&self.far.pod.labels) {
                continue;
            }
            // A companion only adds to what its author's policy allows.
            isolated |= !policy.allow_only;
            for rule in rules {
                if !budget.spend(rule.peers.len() + rule.ports.len()) || self.opens(policy, rule) {
                    return false;
                }
            }
        }
        isolated
    }

    /// Whether the far end is in the namespace of the policy.
    fn is_within(&self) -> bool {
        self.far.pod.key.namespace == self.policy.key.namespace
    }

    /// The policies that the cluster has for the far end.
    fn policies(&self, facing: Direction) -> impl Iterator<Item = &Policy> {
        let isolating = self.index.ground().policies(self.far.place, facing);
        let (isolating, all) = match isolating {
            // Those that only allow are not among them where none isolates, and this one may.
            Some(policies) if !(policies.is_empty() && self.is_within()) => (policies, None),
            _ => (&[][..], Some(&*self.far.pod.key.namespace)),
        };
        let all = all.into_iter().flat_map(|name| self.index.policies(name));
        isolating.iter().chain(all).map(AsRef::as_ref)
    }

    /// Whether a rule of a policy at the far end allows any of the traffic.
    fn opens(&self, policy: &Policy, rule: &Rule) -> bool {
        let Pod {
            labels, key, ips, ..
        } = self.near;
        let near = rule.peers.is_empty()
            || rule.peers.iter().any(|peer| match peer {
                Peer::Block(block) => ips.iter().any(|ip| {
                    block.cidr.contains(ip) && !block.except.iter().any(|e| e.contains(ip))
                }),
                Peer::Pods { namespaces, pods } => {
                    pods.matches(labels)
                        && self
                            .index
                            .is_peer(&policy.key.namespace, namespaces, &key.namespace)
                }
            });
        let receiver = match self.place.direction {
            Direction::Ingress => self.near,
            Direction::Egress => &self.far.pod,
        };
        near && overlap(&self.place.rule.ports, &rule.ports, receiver)
    }
}

/// Whether two lists of ports have any in common on a pod.
fn overlap(ours: &[PortMatch], theirs: &[PortMatch], pod: &Pod) -> bool {
    if ours.is_empty() || theirs.is_empty() {
        return true;
    }
    let numbers = |port: &PortMatch| match &port.port {
        PortSpec::Any => Some((0, u16::MAX)),
        PortSpec::Range(first, last) => Some((*first, *last)),
        PortSpec::Named(name) => pod.named_port(name, port.protocol).map(|n| (n, n)),
    };
    ours.iter().any(|a| {
        theirs.iter().any(|b| {
            let ranges = numbers(a).zip(numbers(b));
            let meet = ranges.is_some_and(|((a, b), (c, d))| a <= d && c <= b);
            a.protocol == b.protocol && meet
        })
    })
}
