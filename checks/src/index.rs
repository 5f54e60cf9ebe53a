//! A snapshot made quick to ask: pods that no selector can tell apart are one workload.
//!
//! A cluster has ten thousand pods but a few hundred workloads, and the webhook may
//! spend a fraction of a millisecond on a request.

use ipnet::IpNet;
use ringfence_policy::Snapshot;
use ringfence_policy::model::{
    Labels, Name, NamespaceMatch, ObjectKey, Peer, Pod, PodPort, Policy, Selector, Service,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// Pods of one namespace with the same labels, ports and network.
#[derive(Clone, Debug)]
pub struct Workload {
    /// One of them, for examples.
    pub pod: Arc<Pod>,
    /// How many there are.
    pub count: usize,
}

/// The cluster as the checks ask about it. Pods that ended are left out.
#[derive(Clone, Debug, Default)]
pub struct Index {
    snapshot: Snapshot,
    workloads: BTreeMap<Name, Vec<Workload>>,
    addresses: HashMap<IpAddr, ObjectKey>,
    settled: BTreeSet<Name>,
}

type Alike<'a> = (&'a Labels, &'a [PodPort], bool);

impl Index {
    /// An index of `snapshot`, in which every namespace that has pods is settled.
    pub fn new(snapshot: Snapshot) -> Self {
        let mut addresses = HashMap::new();
        let mut workloads: BTreeMap<Name, Vec<Workload>> = BTreeMap::new();
        let mut places: HashMap<(&str, Alike), usize> = HashMap::new();
        for (key, pod) in &snapshot.pods {
            if !pod.host_network && !pod.is_target() {
                continue;
            }
            if !pod.host_network {
                for ip in &pod.ips {
                    addresses.insert(*ip, key.clone());
                }
            }
            let alike = (&pod.labels, &*pod.ports, pod.host_network);
            let of_namespace = workloads.entry(Name::clone(&key.namespace)).or_default();
            match places.get(&(&*key.namespace, alike)) {
                Some(place) => of_namespace[*place].count += 1,
                None => {
                    places.insert((&*key.namespace, alike), of_namespace.len());
                    of_namespace.push(Workload {
                        pod: Arc::clone(pod),
                        count: 1,
                    });
                }
            }
        }
        drop(places);
        let settled = workloads.keys().cloned().collect();
        Self {
            snapshot,
            workloads,
            addresses,
            settled,
        }
    }

    /// The same, in which only `settled` namespaces have had pods for minutes. Charts
    /// install policies before pods; what matches nothing there is no finding yet.
    #[must_use]
    pub fn with_settled(mut self, settled: BTreeSet<Name>) -> Self {
        self.settled = settled;
        self
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
        self.workloads.get(namespace).map_or(&[], Vec::as_slice)
    }

    /// All workloads, by namespace.
    pub fn all(&self) -> impl Iterator<Item = &Workload> {
        self.workloads.values().flatten()
    }

    /// The workloads of a namespace that a selector matches, hostNetwork ones too.
    pub fn selected<'a>(
        &'a self,
        namespace: &str,
        selector: &'a Selector,
    ) -> impl Iterator<Item = &'a Workload> {
        let all = self.workloads(namespace).iter();
        all.filter(|w| selector.matches(&w.pod.labels))
    }

    /// The namespaces of a pod peer of a policy in `own`.
    pub fn namespaces<'a>(
        &'a self,
        own: &'a str,
        peer: &'a NamespaceMatch,
    ) -> impl Iterator<Item = &'a Name> {
        let names = self.snapshot.namespaces.iter();
        names
            .filter(move |(name, namespace)| match peer {
                NamespaceMatch::Own => ***name == *own,
                NamespaceMatch::Labels(selector) => selector.matches(&namespace.labels),
            })
            .map(|(name, _)| name)
    }

    /// The workloads that a peer of a policy in `own` names, hostNetwork ones too
    /// (which no selector matches in the end). None for a block.
    pub fn peers<'a>(
        &'a self,
        own: &'a str,
        peer: &'a Peer,
    ) -> Box<dyn Iterator<Item = &'a Workload> + 'a> {
        match peer {
            Peer::Block(_) => Box::new(std::iter::empty()),
            Peer::Pods { namespaces, pods } => Box::new(
                self.namespaces(own, namespaces)
                    .flat_map(move |name| self.selected(name, pods)),
            ),
        }
    }

    /// The pod that has an address.
    pub fn pod_at(&self, address: IpAddr) -> Option<&ObjectKey> {
        self.addresses.get(&address)
    }

    /// The policies of a namespace, in order of name.
    pub fn policies(&self, namespace: &str) -> impl Iterator<Item = &Arc<Policy>> {
        in_namespace(&self.snapshot.policies, namespace)
    }

    /// The Services of a namespace, in order of name.
    pub fn services(&self, namespace: &str) -> impl Iterator<Item = &Arc<Service>> {
        in_namespace(&self.snapshot.services, namespace)
    }

    /// A Service by its name.
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Arc<Service>> {
        self.snapshot.services.get(&ObjectKey::new(namespace, name))
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

fn in_namespace<'a, V>(
    map: &'a BTreeMap<ObjectKey, V>,
    namespace: &str,
) -> impl Iterator<Item = &'a V> {
    let from = ObjectKey::new(namespace, "");
    let namespace = Name::clone(&from.namespace);
    map.range(from..)
        .take_while(move |(key, _)| key.namespace == namespace)
        .map(|(_, value)| value)
}
