//! One copy of every string, label map and port list that pods share.

use ringfence_policy::Snapshot;
use ringfence_policy::model::{Labels, Name, Pod, PodPort};
use ringfence_policy::snapshot::Object;
use std::collections::HashSet;
use std::sync::Arc;

/// Pools of shared values. What nobody uses any more goes when a pool has doubled since
/// it was last swept, so the cost is constant per insertion and the waste at most half.
#[derive(Debug, Default)]
pub(super) struct Interner {
    names: HashSet<Name>,
    labels: HashSet<Labels>,
    ports: HashSet<Arc<[PodPort]>>,
    sweep_at: usize,
}

/// Pools smaller than this are not worth a sweep.
const MIN_SWEEP: usize = 1024;

impl Interner {
    /// Replaces what the object shares with others by the shared copy. `snapshot` holds
    /// the objects that are in use.
    pub(super) fn share(&mut self, object: &mut Object, snapshot: &Snapshot) {
        match object {
            Object::Pod(pod) => self.share_pod(pod),
            Object::Policy(policy) => self.name(&mut policy.key.namespace),
            Object::Service(service) => self.name(&mut service.key.namespace),
            Object::Namespace(namespace) => self.name(&mut namespace.name),
            Object::Node(node) => self.name(&mut node.name),
        }
        if self.len() > self.sweep_at.max(MIN_SWEEP) {
            self.sweep(snapshot);
            self.sweep_at = self.len() * 2;
        }
    }

    fn share_pod(&mut self, pod: &mut Pod) {
        // The pod's own name is unique and stays as it is.
        self.name(&mut pod.key.namespace);
        self.name(&mut pod.node);
        pod.labels = self.label_map(&pod.labels);
        if let Some(known) = self.ports.get(&pod.ports) {
            pod.ports = Arc::clone(known);
        } else {
            self.ports.insert(Arc::clone(&pod.ports));
        }
    }

    fn name(&mut self, name: &mut Name) {
        if let Some(known) = self.names.get(&**name) {
            *name = Arc::clone(known);
        } else {
            self.names.insert(Arc::clone(name));
        }
    }

    fn label_map(&mut self, labels: &Labels) -> Labels {
        if let Some(known) = self.labels.get(labels) {
            return known.clone();
        }
        let shared = Labels::new(labels.iter().map(|(key, value)| {
            let (mut key, mut value) = (Arc::clone(key), Arc::clone(value));
            self.name(&mut key);
            self.name(&mut value);
            (key, value)
        }));
        self.labels.insert(shared.clone());
        shared
    }

    fn sweep(&mut self, snapshot: &Snapshot) {
        // Label maps hide their count, so the pool is made anew from the pods in use;
        // their strings can be counted once the unused maps are gone.
        let used = snapshot.pods.values().map(|pod| pod.labels.clone());
        self.labels = used.collect();
        self.ports.retain(|ports| Arc::strong_count(ports) > 1);
        self.names.retain(|name| Arc::strong_count(name) > 1);
    }

    fn len(&self) -> usize {
        self.names.len() + self.labels.len() + self.ports.len()
    }
}
