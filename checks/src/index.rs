//! A snapshot made quick to ask: pods that no selector can tell apart are one workload.
//!
//! A cluster has ten thousand pods but a few hundred workloads, and the webhook may
//! spend a fraction of a millisecond on a request.

mod compared;

use crate::impact::Ground;
use crate::ranges::MadeRanges;
use foldhash::quality::RandomState;
use ipnet::IpNet;
use ringfence_policy::Snapshot;
use ringfence_policy::model::{
    Labels, Name, NamespaceMatch, ObjectKey, Operator, Peer, Phase, Pod, PodPort, Policy,
    Requirement, Selector, Service,
};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Pods of one namespace with the same labels, ports, network and way to the API server.
#[derive(Clone, Debug)]
pub struct Workload {
    /// One of them, for examples.
    pub pod: Arc<Pod>,
    /// How many there are.
    pub count: usize,
    /// Which of [`Index::all`] it is.
    pub(crate) place: usize,
}

/// The cluster as the checks ask about it. Pods that ended are left out.
#[derive(Clone, Debug, Default)]
pub struct Index {
    snapshot: Snapshot,
    /// The labels of all namespaces. Pods may be of one that is not (or no longer) known
    /// as an object: it has at least the label that the API server gives to all.
    namespaces: BTreeMap<Name, Labels>,
    /// The same, to ask for one.
    labels: Map<Name, Labels>,
    /// All workloads, those of a namespace beside each other.
    workloads: Vec<Workload>,
    /// Where those of a namespace are.
    of: Map<Name, Range<usize>>,
    /// Key, value, and the workloads that have the label.
    by_label: Map<Name, Map<Name, Vec<usize>>>,
    /// The workloads that share their node's network.
    on_host: Vec<usize>,
    addresses: Map<IpAddr, ObjectKey>,
    policies: ByNamespace<Policy>,
    services: ByNamespace<Service>,
    settled: HashSet<Name, RandomState>,
    ranges: MadeRanges,
    /// The places of the pods' workloads, in the order of the snapshot.
    places: Vec<usize>,
    ground: OnceLock<Arc<Ground>>,
}

/// Hashed with a secret, as the standard library's, but in a fraction of its time: a
/// request asks for some hundred names.
type Map<K, V> = HashMap<K, V, RandomState>;

/// Objects of each namespace, in order of name.
type ByNamespace<T> = Map<Name, Vec<Arc<T>>>;

/// The label that the API server gives to every namespace: its name.
const NAME: &str = "kubernetes.io/metadata.name";

/// With at most this many workloads a label is the quickest way to them; with more, their
/// namespace may be.
const FEW: usize = 64;

type Alike<'a> = (&'a Labels, &'a [PodPort], bool, bool);

impl Index {
    /// An index of `snapshot`, in which every namespace that has pods is settled.
    pub fn new(snapshot: Snapshot) -> Self {
        let mut index = Self::default();
        let mut alike: Map<Alike, usize> = Map::default();
        // In order of key, so that a namespace's pods come together.
        let pods = snapshot.pods.values();
        let mut namespace: Option<&Name> = None;
        for pod in pods.filter(|pod| !has_ended(pod)) {
            if !pod.host_network {
                let addresses = pod.ips.iter().map(|ip| (*ip, pod.key.clone()));
                index.addresses.extend(addresses);
            }
            let next = index.workloads.len();
            if namespace != Some(&pod.key.namespace) {
                namespace = Some(&pod.key.namespace);
                alike.clear();
                index.of.insert(Name::clone(&pod.key.namespace), next..next);
            }
            let key = (&pod.labels, &*pod.ports, pod.host_network, pod.api_client);
            match alike.entry(key) {
                Entry::Occupied(place) => {
                    index.places.push(*place.get());
                    index.workloads[*place.get()].count += 1;
                }
                Entry::Vacant(place) => {
                    place.insert(next);
                    index.places.push(next);
                    index.add(Arc::clone(pod));
                }
            }
        }
        let known = snapshot.namespaces.values();
        let known = known.map(|n| (Name::clone(&n.name), n.labels.clone()));
        let implied = |name: &Name| {
            let labels = Labels::new([(NAME, Name::clone(name))]);
            (Name::clone(name), labels)
        };
        index.namespaces = index.of.keys().map(implied).chain(known).collect();
        let namespaces = index.namespaces.iter();
        index.labels = namespaces
            .map(|(n, l)| (Name::clone(n), l.clone()))
            .collect();
        index.policies = by_namespace(&snapshot.policies);
        index.services = by_namespace(&snapshot.services);
        index.settled = index.of.keys().cloned().collect();
        index.snapshot = snapshot;
        index
    }

    fn add(&mut self, pod: Arc<Pod>) {
        let place = self.workloads.len();
        if let Some(range) = self.of.get_mut(&pod.key.namespace) {
            range.end = place + 1;
        }
        for (key, value) in pod.labels.iter() {
            let values = match self.by_label.get_mut(key) {
                Some(values) => values,
                None => self.by_label.entry(Name::clone(key)).or_default(),
            };
            match values.get_mut(value) {
                Some(places) => places.push(place),
                None => drop(values.insert(Name::clone(value), vec![place])),
            }
        }
        if pod.host_network {
            self.on_host.push(place);
        }
        self.workloads.push(Workload {
            pod,
            count: 1,
            place,
        });
    }

    /// The same, in which only `settled` namespaces have had pods for minutes. Charts
    /// install policies before pods; what matches nothing there is no finding yet.
    #[must_use]
    pub fn with_settled(mut self, settled: BTreeSet<Name>) -> Self {
        self.settled = settled.into_iter().collect();
        self
    }

    /// Where [`crate::ranges::Ranges::of`] keeps what it made.
    pub(crate) fn made_ranges(&self) -> &MadeRanges {
        &self.ranges
    }

    /// The objects themselves.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The labels of a namespace; `None` when there is no such namespace.
    pub fn namespace(&self, name: &str) -> Option<&Labels> {
        self.snapshot.namespaces.get(name).map(|n| &n.labels)
    }

    /// Whether the namespace has had pods long enough to draw conclusions.
    pub fn is_settled(&self, namespace: &str) -> bool {
        self.settled.contains(namespace)
    }

    /// The workloads of a namespace.
    pub fn workloads(&self, namespace: &str) -> &[Workload] {
        let range = self.of.get(namespace).cloned();
        range.map_or(&[], |range| &self.workloads[range])
    }

    /// All workloads, by namespace.
    pub fn all(&self) -> impl Iterator<Item = &Workload> {
        self.workloads.iter()
    }

    /// The workloads of a namespace that a selector matches, hostNetwork ones too.
    pub fn selected<'a>(
        &'a self,
        namespace: &'a str,
        selector: &'a Selector,
    ) -> impl Iterator<Item = &'a Workload> {
        self.matching(namespace, &NamespaceMatch::Own, selector)
    }

    /// The keys of the labels that pods have.
    pub fn label_keys(&self) -> impl Iterator<Item = &Name> {
        self.by_label.keys()
    }

    /// The values that a label has on pods.
    pub fn label_values(&self, key: &str) -> impl Iterator<Item = &Name> {
        let values = self.by_label.get(key);
        values.into_iter().flat_map(HashMap::keys)
    }

    /// All namespaces, with their labels.
    pub fn all_namespaces(&self) -> impl Iterator<Item = (&Name, &Labels)> {
        self.namespaces.iter()
    }

    /// Whether a namespace is among those of a pod peer of a policy in `own`.
    pub fn is_peer(&self, own: &str, peer: &NamespaceMatch, namespace: &str) -> bool {
        match peer {
            NamespaceMatch::Own => namespace == own,
            NamespaceMatch::Labels(selector) => {
                let labels = self.labels.get(namespace);
                labels.is_some_and(|labels| selector.matches(labels))
            }
        }
    }

    /// The namespaces of a pod peer of a policy in `own`.
    pub fn namespaces<'a>(
        &'a self,
        own: &'a str,
        peer: &'a NamespaceMatch,
    ) -> Box<dyn Iterator<Item = &'a Name> + 'a> {
        match peer {
            NamespaceMatch::Own => {
                let own = self.labels.get_key_value(own);
                Box::new(own.into_iter().map(|(name, _)| name))
            }
            NamespaceMatch::Labels(selector) => self.labelled_so(selector),
        }
    }

    /// The namespaces that a selector matches.
    pub fn labelled_so<'a>(
        &'a self,
        selector: &'a Selector,
    ) -> Box<dyn Iterator<Item = &'a Name> + 'a> {
        let matching = |(_, labels): &(&Name, &Labels)| selector.matches(labels);
        let by_name = selector
            .requirements()
            .iter()
            .find_map(|r| match &r.operator {
                Operator::In(names) if *r.key == *NAME => Some(names),
                _ => None,
            });
        let Some(wanted) = by_name else {
            let all = self.namespaces.iter().filter(matching);
            return Box::new(all.map(|(name, _)| name));
        };
        let known = wanted.iter().filter_map(|n| self.labels.get_key_value(n));
        Box::new(known.filter(matching).map(|(name, _)| name))
    }

    /// The workloads of these namespaces, seen from a policy in `own`, that `pods` matches,
    /// hostNetwork ones too (which no selector matches in the end).
    pub fn matching<'a>(
        &'a self,
        own: &'a str,
        namespaces: &'a NamespaceMatch,
        pods: &'a Selector,
    ) -> Box<dyn Iterator<Item = &'a Workload> + 'a> {
        let candidates = self.candidates(own, namespaces, pods);
        self.among(candidates, own, namespaces, pods)
    }

    /// The workloads of which one value of a label is required; `None` where that does
    /// not say which.
    fn labelled(&self, requirement: &Requirement) -> Option<&[usize]> {
        let values = self.by_label.get(&requirement.key);
        match &requirement.operator {
            Operator::In(wanted) if wanted.len() == 1 => {
                let places = values.and_then(|values| values.get(&wanted[0]));
                Some(places.map_or(&[], Vec::as_slice))
            }
            Operator::In(_) | Operator::Exists if values.is_none() => Some(&[]),
            _ => None,
        }
    }

    /// The workloads that a peer of a policy in `own` names, as [`Self::matching`]. None
    /// for a block.
    pub fn peers<'a>(
        &'a self,
        own: &'a str,
        peer: &'a Peer,
    ) -> Box<dyn Iterator<Item = &'a Workload> + 'a> {
        match peer {
            Peer::Block(_) => Box::new(std::iter::empty()),
            Peer::Pods { namespaces, pods } => self.matching(own, namespaces, pods),
        }
    }

    /// The hostNetwork workloads among [`Self::matching`].
    pub fn on_host<'a>(
        &'a self,
        own: &'a str,
        namespaces: &'a NamespaceMatch,
        pods: &'a Selector,
    ) -> impl Iterator<Item = &'a Workload> {
        let all = self.on_host.iter().map(|place| &self.workloads[*place]);
        all.filter(|w| pods.matches(&w.pod.labels))
            .filter(|w| self.is_peer(own, namespaces, &w.pod.key.namespace))
    }

    /// The pod that has an address.
    pub fn pod_at(&self, address: IpAddr) -> Option<&ObjectKey> {
        self.addresses.get(&address)
    }

    /// The policies of a namespace, in order of name.
    pub fn policies(&self, namespace: &str) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.get(namespace).into_iter().flatten()
    }

    /// A policy by its name.
    pub fn policy(&self, key: &ObjectKey) -> Option<&Arc<Policy>> {
        let policies = self.policies.get(&key.namespace)?;
        let at = policies.binary_search_by(|policy| policy.key.name.cmp(&key.name));
        at.ok().map(|at| &policies[at])
    }

    /// The Services of a namespace, in order of name.
    pub fn services(&self, namespace: &str) -> impl Iterator<Item = &Arc<Service>> {
        self.services.get(namespace).into_iter().flatten()
    }

    /// The Services whose selector matches a pod.
    pub fn services_of<'a>(&'a self, pod: &'a Pod) -> impl Iterator<Item = &'a Arc<Service>> {
        self.services(&pod.key.namespace).filter(|service| {
            let selector = service.selector.as_ref();
            selector.is_some_and(|s| s.iter().all(|(key, v)| pod.labels.get(key) == Some(v)))
        })
    }

    /// A Service by its name.
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Arc<Service>> {
        let services = self.services.get(namespace)?;
        let at = services.binary_search_by(|service| (*service.key.name).cmp(name));
        at.ok().map(|at| &services[at])
    }

    /// `spec.podCIDRs` of all nodes.
    pub fn pod_ranges(&self) -> impl Iterator<Item = IpNet> {
        let nodes = self.snapshot.nodes.values();
        nodes.flat_map(|n| n.pod_cidrs.iter().copied())
    }

    /// Every address of every node, tunnel addresses that annotations tell included.
    pub fn node_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let nodes = self.snapshot.nodes.values();
        nodes.flat_map(|n| n.addresses.iter().copied())
    }
}

fn has_ended(pod: &Pod) -> bool {
    matches!(pod.phase, Phase::Succeeded | Phase::Failed)
}

fn by_namespace<T>(objects: &BTreeMap<ObjectKey, Arc<T>>) -> ByNamespace<T> {
    let mut all = ByNamespace::default();
    for (key, object) in objects {
        match all.get_mut(&key.namespace) {
            None => drop(all.insert(Name::clone(&key.namespace), vec![Arc::clone(object)])),
            Some(own) => own.push(Arc::clone(object)),
        }
    }
    all
}

#[cfg(test)]
mod tests;
