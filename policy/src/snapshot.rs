//! The state of the cluster at one moment, and how it changes.

use crate::model::{Name, Namespace, Node, ObjectKey, Pod, Policy, Service};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Choices of the owner that change what a verdict is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `--node-traffic=enforce`: egress from a pod to its own node obeys policy.
    /// Traffic from a node to its own pods is allowed in any case.
    pub enforce_node_traffic: bool,
    /// `--unknown-pods=drop`: an address of the node's pod range that belongs to no
    /// known pod neither sends nor receives.
    pub drop_unknown_pods: bool,
}

/// Everything that decides about packets. Cloning shares the objects.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Pods by namespace and name, of all nodes and phases.
    pub pods: BTreeMap<ObjectKey, Arc<Pod>>,
    /// Namespaces by name. A pod of a namespace that is not (or no longer) here is
    /// judged as if its namespace had only the label `kubernetes.io/metadata.name`.
    pub namespaces: BTreeMap<Name, Arc<Namespace>>,
    /// NetworkPolicies, faulty ones included.
    pub policies: BTreeMap<ObjectKey, Arc<Policy>>,
    /// Nodes by name.
    pub nodes: BTreeMap<Name, Arc<Node>>,
    /// Services (for explanations; a policy never looks at them).
    pub services: BTreeMap<ObjectKey, Arc<Service>>,
}

/// One object before and after. `None` before: created; `None` after: deleted.
#[derive(Clone, Debug)]
pub enum Change {
    /// A pod.
    Pod(Option<Arc<Pod>>, Option<Arc<Pod>>),
    /// A namespace.
    Namespace(Option<Arc<Namespace>>, Option<Arc<Namespace>>),
    /// A NetworkPolicy.
    Policy(Option<Arc<Policy>>, Option<Arc<Policy>>),
    /// A node.
    Node(Option<Arc<Node>>, Option<Arc<Node>>),
    /// A Service.
    Service(Option<Arc<Service>>, Option<Arc<Service>>),
}

/// An object to put into a snapshot.
#[derive(Clone, Debug)]
pub enum Object {
    /// A pod.
    Pod(Pod),
    /// A namespace.
    Namespace(Namespace),
    /// A NetworkPolicy.
    Policy(Policy),
    /// A node.
    Node(Node),
    /// A Service.
    Service(Service),
}

/// The kinds of object a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `v1 Pod`
    Pod,
    /// `v1 Namespace`
    Namespace,
    /// `networking.k8s.io/v1 NetworkPolicy`
    NetworkPolicy,
    /// `v1 Node`
    Node,
    /// `v1 Service`
    Service,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Pod,
        Self::Namespace,
        Self::NetworkPolicy,
        Self::Node,
        Self::Service,
    ];

    /// The `kind` as written in objects.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::Namespace => "Namespace",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::Node => "Node",
            Self::Service => "Service",
        }
    }

    /// The plural that RBAC rules name.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Pod => "pods",
            Self::Namespace => "namespaces",
            Self::NetworkPolicy => "networkpolicies",
            Self::Node => "nodes",
            Self::Service => "services",
        }
    }
}

/// An object before and after.
type Pair<V> = (Option<Arc<V>>, Option<Arc<V>>);

fn put<K: Ord + Clone, V: PartialEq>(
    map: &mut BTreeMap<K, Arc<V>>,
    key: &K,
    new: Option<V>,
) -> Option<Pair<V>> {
    let Some(new) = new else {
        return map.remove(key).map(|old| (Some(old), None));
    };
    if map.get(key).is_some_and(|old| **old == new) {
        return None;
    }
    let new = Arc::new(new);
    let old = map.insert(key.clone(), Arc::clone(&new));
    Some((old, Some(new)))
}

impl Snapshot {
    /// Puts an object in its place. `None` when nothing that decides has changed.
    pub fn apply(&mut self, object: Object) -> Option<Change> {
        match object {
            Object::Pod(pod) => {
                let key = pod.key.clone();
                put(&mut self.pods, &key, Some(pod)).map(|(a, b)| Change::Pod(a, b))
            }
            Object::Namespace(namespace) => {
                let key = namespace.name.clone();
                put(&mut self.namespaces, &key, Some(namespace))
                    .map(|(a, b)| Change::Namespace(a, b))
            }
            Object::Policy(policy) => {
                let key = policy.key.clone();
                put(&mut self.policies, &key, Some(policy)).map(|(a, b)| Change::Policy(a, b))
            }
            Object::Node(node) => {
                let key = node.name.clone();
                put(&mut self.nodes, &key, Some(node)).map(|(a, b)| Change::Node(a, b))
            }
            Object::Service(service) => {
                let key = service.key.clone();
                put(&mut self.services, &key, Some(service)).map(|(a, b)| Change::Service(a, b))
            }
        }
    }

    /// Takes an object away. Cluster-scoped kinds ignore the key's namespace.
    pub fn remove(&mut self, kind: Kind, key: &ObjectKey) -> Option<Change> {
        match kind {
            Kind::Pod => put(&mut self.pods, key, None).map(|(a, b)| Change::Pod(a, b)),
            Kind::Namespace => {
                put(&mut self.namespaces, &key.name, None).map(|(a, b)| Change::Namespace(a, b))
            }
            Kind::NetworkPolicy => {
                put(&mut self.policies, key, None).map(|(a, b)| Change::Policy(a, b))
            }
            Kind::Node => put(&mut self.nodes, &key.name, None).map(|(a, b)| Change::Node(a, b)),
            Kind::Service => put(&mut self.services, key, None).map(|(a, b)| Change::Service(a, b)),
        }
    }

    /// The keys of all objects of one kind (cluster-scoped: with an empty namespace).
    pub fn keys(&self, kind: Kind) -> Vec<ObjectKey> {
        let cluster = |name: &Name| ObjectKey::new("", Arc::clone(name));
        match kind {
            Kind::Pod => self.pods.keys().cloned().collect(),
            Kind::Namespace => self.namespaces.keys().map(cluster).collect(),
            Kind::NetworkPolicy => self.policies.keys().cloned().collect(),
            Kind::Node => self.nodes.keys().map(cluster).collect(),
            Kind::Service => self.services.keys().cloned().collect(),
        }
    }
}
