//! Which sets an address belongs to, without trying every set.
//!
//! Sets of pods are grouped by the namespaces they draw from; in a group, a set
//! whose selector requires one of a few values of a label stands under these values.
//! A pod then looks at the groups of its namespace and, in them, at its own labels.

use super::claims::Claims;
use super::program::{Element, Id, PodSet, PodSetNamespaces, SetSpec};
use crate::model::{Labels, Name, Namespace, Operator, Pod, Protocol, Selector};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// An address in a set, or an address and port.
pub(super) type Membership = (Id, Element);

/// The sets that pods enter by themselves: `Pods` and `NamedPort`.
#[derive(Debug, Default)]
pub(super) struct SetIndex {
    named: BTreeMap<Name, Group>,
    labelled: BTreeMap<Selector, Group>,
    ports: BTreeMap<Name, Vec<Port>>,
}

/// The sets that draw from the same namespaces.
#[derive(Debug, Default)]
struct Group {
    by_label: BTreeMap<Name, BTreeMap<Name, Vec<Candidate>>>,
    /// Those whose selector requires no value.
    rest: Vec<Candidate>,
}

#[derive(Clone, Debug)]
struct Candidate {
    set: Id,
    selector: Selector,
}

#[derive(Debug)]
struct Port {
    set: Id,
    protocol: Protocol,
    local_only: bool,
}

impl SetIndex {
    /// Enters a set; one of another kind is none of this index's business.
    pub(super) fn insert(&mut self, set: Id, spec: &SetSpec) {
        match spec {
            SetSpec::Pods(PodSet { namespaces, pods }) => {
                let group = match namespaces {
                    PodSetNamespaces::Named(name) => {
                        self.named.entry(Name::clone(name)).or_default()
                    }
                    PodSetNamespaces::Labels(labels) => {
                        self.labelled.entry(labels.clone()).or_default()
                    }
                };
                group.insert(&Candidate {
                    set,
                    selector: pods.clone(),
                });
            }
            SetSpec::NamedPort {
                name,
                protocol,
                local_only,
            } => self.ports.entry(Name::clone(name)).or_default().push(Port {
                set,
                protocol: *protocol,
                local_only: *local_only,
            }),
            SetSpec::Cidrs(_)
            | SetSpec::LocalPods
            | SetSpec::IsolatedPods
            | SetSpec::IngressIsolatedPods
            | SetSpec::SelfPairs => {}
        }
    }

    /// Takes a set out.
    pub(super) fn remove(&mut self, set: Id, spec: &SetSpec) {
        match spec {
            SetSpec::Pods(PodSet { namespaces, pods }) => match namespaces {
                PodSetNamespaces::Named(name) => take_out(&mut self.named, name, set, pods),
                PodSetNamespaces::Labels(labels) => {
                    take_out(&mut self.labelled, labels, set, pods);
                }
            },
            SetSpec::NamedPort { name, .. } => {
                if let Some(ports) = self.ports.get_mut(name) {
                    ports.retain(|port| port.set != set);
                    if ports.is_empty() {
                        self.ports.remove(name);
                    }
                }
            }
            SetSpec::Cidrs(_)
            | SetSpec::LocalPods
            | SetSpec::IsolatedPods
            | SetSpec::IngressIsolatedPods
            | SetSpec::SelfPairs => {}
        }
    }
}

fn take_out<K: Ord>(groups: &mut BTreeMap<K, Group>, key: &K, set: Id, selector: &Selector) {
    if let Some(group) = groups.get_mut(key) {
        group.remove(set, selector);
        if group.by_label.is_empty() && group.rest.is_empty() {
            groups.remove(key);
        }
    }
}

/// The requirement to look a selector up by: the one with the fewest values.
fn narrowest(selector: &Selector) -> Option<(&Name, &[Name])> {
    selector
        .requirements()
        .iter()
        .filter_map(|requirement| match &requirement.operator {
            Operator::In(values) => Some((&requirement.key, values.as_slice())),
            Operator::NotIn(_) | Operator::Exists | Operator::DoesNotExist => None,
        })
        .min_by_key(|(_, values)| values.len())
}

impl Group {
    fn insert(&mut self, candidate: &Candidate) {
        let Some((key, values)) = narrowest(&candidate.selector) else {
            self.rest.push(candidate.clone());
            return;
        };
        let by_value = self.by_label.entry(Name::clone(key)).or_default();
        for value in values {
            by_value
                .entry(Name::clone(value))
                .or_default()
                .push(candidate.clone());
        }
    }

    fn remove(&mut self, set: Id, selector: &Selector) {
        let Some((key, values)) = narrowest(selector) else {
            self.rest.retain(|candidate| candidate.set != set);
            return;
        };
        let Some(by_value) = self.by_label.get_mut(key) else {
            return;
        };
        for value in values {
            if let Some(candidates) = by_value.get_mut(value) {
                candidates.retain(|candidate| candidate.set != set);
                if candidates.is_empty() {
                    by_value.remove(value);
                }
            }
        }
        if by_value.is_empty() {
            self.by_label.remove(key);
        }
    }

    fn matching<'a>(&'a self, labels: &'a Labels) -> impl Iterator<Item = Id> {
        let by_label = labels
            .iter()
            .filter_map(|(key, value)| self.by_label.get(key)?.get(value))
            .flatten();
        by_label
            .chain(&self.rest)
            .filter(|candidate| candidate.selector.matches(labels))
            .map(|candidate| candidate.set)
    }
}

/// The labels of a namespace; one that is not there has only its name.
pub(super) fn namespace_labels(namespaces: &BTreeMap<Name, Arc<Namespace>>, name: &Name) -> Labels {
    namespaces.get(name).map_or_else(
        || Labels::new([("kubernetes.io/metadata.name", Name::clone(name))]),
        |namespace| namespace.labels.clone(),
    )
}

/// Asks an index about addresses, and remembers which groups a namespace has.
pub(super) struct Lookup<'a> {
    index: &'a SetIndex,
    claims: &'a Claims,
    namespaces: &'a BTreeMap<Name, Arc<Namespace>>,
    groups: HashMap<Name, Vec<&'a Group>>,
}

impl<'a> Lookup<'a> {
    pub(super) fn new(
        index: &'a SetIndex,
        claims: &'a Claims,
        namespaces: &'a BTreeMap<Name, Arc<Namespace>>,
    ) -> Self {
        Self {
            index,
            claims,
            namespaces,
            groups: HashMap::new(),
        }
    }

    /// What the address is a member of, sorted: the sets in which **all** claimants
    /// of the address belong. `local`: the address is an endpoint of this node.
    pub(super) fn memberships(&mut self, ip: IpAddr, local: bool) -> Vec<Membership> {
        let mut all: Option<Vec<Membership>> = None;
        for pod in self.claims.of(ip) {
            let own = self.of_pod(pod, ip, local);
            match &mut all {
                None => all = Some(own),
                Some(all) => all.retain(|membership| own.binary_search(membership).is_ok()),
            }
        }
        all.unwrap_or_default()
    }

    /// Whether pods of this namespace can be members of anything, wherever they run.
    pub(super) fn concerns(&mut self, namespace: &Name) -> bool {
        let mut ports = self.index.ports.values().flatten();
        ports.any(|port| !port.local_only) || !self.groups(namespace).is_empty()
    }

    fn groups(&mut self, namespace: &Name) -> &[&'a Group] {
        if !self.groups.contains_key(namespace) {
            let labels = namespace_labels(self.namespaces, namespace);
            let labelled = self.index.labelled.iter();
            let groups = labelled
                .filter(|(selector, _)| selector.matches(&labels))
                .map(|(_, group)| group)
                .chain(self.index.named.get(namespace))
                .collect();
            self.groups.insert(Name::clone(namespace), groups);
        }
        &self.groups[namespace]
    }

    fn of_pod(&mut self, pod: &Pod, ip: IpAddr, local: bool) -> Vec<Membership> {
        let mut found: Vec<Membership> = self
            .groups(&pod.key.namespace)
            .iter()
            .flat_map(|group| group.matching(&pod.labels))
            .map(|set| (set, Element::Address(ip)))
            .collect();
        for named in pod.ports.iter() {
            let ports = self.index.ports.get(&named.name).into_iter().flatten();
            for port in ports.filter(|port| local || !port.local_only) {
                // By name and not `named` itself: should a name repeat, the first counts.
                if let Some(number) = pod.named_port(&named.name, port.protocol) {
                    found.push((port.set, Element::Port(ip, port.protocol, number)));
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}
