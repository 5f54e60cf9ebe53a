//! What of a cluster stays as it is whatever the change: made once for an [`Index`].

use super::bits::Bits;
use super::rules::Set;
use super::{End, Port};
use crate::Index;
use ipnet::IpNet;
use ringfence_policy::model::{Direction, IpBlock, Name, Pod, Policy, Protocol, TargetPort};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

/// The pods that exist and that policies see, in the order of their workloads: those of a
/// workload are a range. Terminating pods are left out: they go in any case.
#[derive(Debug)]
pub(crate) struct Ground {
    /// By place of the workload in the index.
    groups: Vec<Group>,
    /// Of each pod.
    group_of: Vec<usize>,
    /// First addresses, sorted, and whose they are.
    addresses: Vec<(IpAddr, usize)>,
    /// The pods that have none (yet, or because a manifest does not say).
    unaddressed: Bits,
    /// The ports on which pods are reached, and who is reached there.
    pub(super) ports: BTreeMap<Port, Bits>,
    /// The pods that no policy isolates, for ingress and for egress.
    open: [Bits; 2],
    /// Policies that isolate the same workloads, and which ones each workload has, for
    /// ingress and for egress.
    sets: Vec<Set<Arc<Policy>>>,
    set_of: Vec<[usize; 2]>,
}

/// The pods of a workload.
#[derive(Debug)]
pub(crate) struct Group {
    /// Which they are.
    pub range: Range<usize>,
    /// On which ports they are reached.
    pub ports: Vec<Port>,
}

// === impl Ground ===

impl Ground {
    pub(crate) fn new(index: &Index) -> Self {
        let mut members: Vec<Vec<&Arc<Pod>>> = index.all().map(|_| Vec::new()).collect();
        for (pod, place) in index.placed() {
            if !pod.host_network && !pod.terminating {
                members[place].push(pod);
            }
        }
        let length = members.iter().map(Vec::len).sum();
        let mut ground = Self {
            groups: Vec::with_capacity(members.len()),
            group_of: Vec::with_capacity(length),
            addresses: Vec::with_capacity(length),
            unaddressed: Bits::none(length),
            ports: BTreeMap::new(),
            open: [Bits::all(length), Bits::all(length)],
            sets: Vec::new(),
            set_of: Vec::with_capacity(members.len()),
        };
        let mut known = HashMap::new();
        for (place, (workload, pods)) in index.all().zip(members).enumerate() {
            let first = ground.group_of.len();
            for (number, pod) in (first..).zip(&pods) {
                ground.group_of.push(place);
                match pod.ips.first() {
                    Some(address) => ground.addresses.push((*address, number)),
                    None => ground.unaddressed.insert(number..number + 1),
                }
            }
            let range = first..ground.group_of.len();
            let ports = ports(index, &workload.pod);
            let mut sets = [usize::MAX; 2];
            if !range.is_empty() {
                for port in &ports {
                    let reached = ground.ports.entry(*port);
                    let reached = reached.or_insert_with(|| Bits::none(length));
                    reached.insert(range.clone());
                }
                for direction in [Direction::Ingress, Direction::Egress] {
                    let policies = index.policies(&workload.pod.key.namespace).map(Arc::clone);
                    let set = Set::of(&workload.pod, direction, policies);
                    if !set.policies.is_empty() {
                        ground.open[direction as usize].remove(range.clone());
                    }
                    let next = ground.sets.len();
                    let number = *known.entry(set.identity()).or_insert(next);
                    if number == next {
                        ground.sets.push(set);
                    }
                    sets[direction as usize] = number;
                }
            }
            ground.set_of.push(sets);
            ground.groups.push(Group { range, ports });
        }
        ground.addresses.sort_unstable();
        ground
    }

    /// How many pods there are.
    pub fn len(&self) -> usize {
        self.group_of.len()
    }

    /// A workload's pods.
    pub fn group(&self, place: usize) -> &Group {
        &self.groups[place]
    }

    /// The place of a pod's workload.
    pub fn group_of(&self, pod: usize) -> usize {
        self.group_of[pod]
    }

    /// The pods that no policy isolates.
    pub fn open(&self, direction: Direction) -> &Bits {
        &self.open[direction as usize]
    }

    /// The sets of policies, by their number.
    pub fn sets(&self) -> &[Set<Arc<Policy>>] {
        &self.sets
    }

    /// The policies that isolate a workload: none where all only allow. `None`: it has no
    /// pods that stay, and nobody has looked.
    pub fn policies(&self, place: usize, direction: Direction) -> Option<&[Arc<Policy>]> {
        let set = self.sets.get(self.set_of(place, direction))?;
        Some(&set.policies)
    }

    /// The number of a workload's set. Only one with pods has any.
    pub fn set_of(&self, place: usize, direction: Direction) -> usize {
        self.set_of[place][direction as usize]
    }

    /// Adds the pods of a range whose first address a block matches to `found`, counted
    /// from its beginning. Without an address, those that any would do for.
    pub fn within(&self, block: &IpBlock, range: &Range<usize>, found: &mut Bits) {
        let all = self.addressed(&block.cidr);
        let mut holes: Vec<_> = block.except.iter().map(|e| self.addressed(e)).collect();
        holes.sort_unstable_by_key(|hole| hole.start);
        holes.push(all.end..all.end);
        let mut from = all.start;
        for hole in holes {
            for (_, pod) in &self.addresses[from..hole.start.min(all.end).max(from)] {
                if range.contains(pod) {
                    let place = pod - range.start;
                    found.insert(place..place + 1);
                }
            }
            from = hole.end.max(from);
        }
        if block.cidr.prefix_len() == 0 && block.except.is_empty() {
            found.or(&self.unaddressed.part(range.clone()));
        }
    }

    /// Where the addresses of a network stand.
    fn addressed(&self, net: &IpNet) -> Range<usize> {
        let (first, last) = (net.network(), net.broadcast());
        // What is written as a block is mostly outside of the cluster.
        if self.addresses.last().is_none_or(|(ip, _)| *ip < first) {
            return self.addresses.len()..self.addresses.len();
        }
        let from = self.addresses.partition_point(|(ip, _)| *ip < first);
        let rest = &self.addresses[from..];
        // Mostly there is none.
        if rest.first().is_none_or(|(ip, _)| *ip > last) {
            return from..from;
        }
        from..from + rest.partition_point(|(ip, _)| *ip <= last)
    }

    /// How many steps [`Self::within`] takes, at most.
    pub fn cost_of(&self, block: &IpBlock) -> usize {
        self.len() / 32 + 8 * (1 + block.except.len())
    }
}

/// The ports on which a pod is reached, as far as anything tells: those it declares by name
/// and those its Services send to. Where nothing tells, "any".
fn ports(index: &Index, pod: &Pod) -> Vec<Port> {
    let declared = pod.ports.iter().map(|p| (p.protocol, p.port));
    let services = index.services_of(pod).flat_map(|service| &service.ports);
    let served = services.filter_map(|port| {
        let number = match &port.target {
            TargetPort::Number(number) => Some(*number),
            TargetPort::Named(name) => pod.named_port(name, port.protocol),
        };
        number.map(|number| (port.protocol, number))
    });
    let mut ports: Vec<Port> = declared.chain(served).map(Some).collect();
    ports.sort_unstable();
    ports.dedup();
    if ports.is_empty() {
        ports.push(None);
    }
    ports
}

/// What a workload is called, by the labels that people give.
pub(super) fn end(pod: &Pod) -> End {
    const NAMES: [&str; 3] = ["app.kubernetes.io/name", "app", "k8s-app"];
    let label = NAMES.iter().find_map(|key| pod.labels.get(key));
    let named = label.filter(|value| !value.is_empty());
    End {
        namespace: Name::clone(&pod.key.namespace),
        name: Name::clone(named.unwrap_or(&pod.key.name)),
    }
}

/// Whether `port` of `pod` has this name.
pub(super) fn is_named(pod: &Pod, name: &str, protocol: Protocol, number: u16) -> bool {
    pod.named_port(name, protocol) == Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::cluster;
    use test_case::test_case;

    #[test_case("10.0.1.1/32" => 1; "the last address")]
    #[test_case("10.0.0.1/32" => 1; "the first")]
    #[test_case("10.0.0.0/15" => 2; "both")]
    #[test_case("10.0.1.2/32" => 0; "above all")]
    #[test_case("10.0.0.0/32" => 0; "below all")]
    #[test_case("10.0.0.128/25" => 0; "between them")]
    #[test_case("fd00::/8" => 0; "of another family")]
    fn pods_in_a_block(cidr: &str) -> usize {
        let pods = "
{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {nodeName: node1}, status: {podIPs: [{ip: 10.0.0.1}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, labels: {app: db}}, spec: {nodeName: node1}, status: {podIPs: [{ip: 10.0.1.1}]}}
";
        let index = Index::new(cluster(pods));
        let ground = index.ground();
        let mut found = Bits::none(ground.len());
        let block = IpBlock {
            cidr: cidr.parse().unwrap(),
            except: Vec::new(),
        };
        ground.within(&block, &(0..ground.len()), &mut found);
        found.count()
    }
}
