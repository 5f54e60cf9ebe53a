//! What [`crate::impact`] asks of an index.

use super::{FEW, Index, Workload, has_ended};
use crate::impact::Ground;
use ringfence_policy::model::{Labels, Name, NamespaceMatch, ObjectKey, Pod, Selector};
use std::sync::Arc;

impl Index {
    /// What [`crate::impact::compare`] asks of it; made when first asked for, which takes as
    /// long as the index itself.
    pub fn prepare(&self) {
        self.ground();
    }

    pub(crate) fn ground(&self) -> &Ground {
        self.ground.get_or_init(|| Arc::new(Ground::new(self)))
    }

    /// The pods, each with the place of its workload.
    pub(crate) fn placed(&self) -> impl Iterator<Item = (&Arc<Pod>, usize)> {
        let pods = self.snapshot.pods.values().filter(|pod| !has_ended(pod));
        pods.zip(self.places.iter().copied())
    }

    /// The pods of a namespace that have not ended.
    pub(crate) fn pods_of<'a>(&'a self, namespace: &'a Name) -> impl Iterator<Item = &'a Arc<Pod>> {
        let first = ObjectKey::new(Name::clone(namespace), "");
        let pods = self.snapshot.pods.range(first..);
        pods.map(|(_, pod)| pod)
            .take_while(move |pod| pod.key.namespace == *namespace)
            .filter(|pod| !has_ended(pod))
    }

    /// The workload at a place.
    pub(crate) fn workload(&self, place: usize) -> &Workload {
        &self.workloads[place]
    }

    /// How many steps [`Self::matching`] takes, at most.
    pub(crate) fn cost_of(&self, own: &str, namespaces: &NamespaceMatch, pods: &Selector) -> usize {
        let requirements = pods.requirements().iter();
        let few = requirements
            .filter_map(|r| self.labelled(r))
            .map(<[_]>::len)
            .min();
        match (few, namespaces) {
            (Some(few), _) if few <= FEW => 32 + 16 * few,
            (_, NamespaceMatch::Own) => 32 + 16 * self.workloads(own).len(),
            (_, NamespaceMatch::Labels(_)) => {
                let names = self.namespaces(own, namespaces);
                let workloads: usize = names.map(|name| self.workloads(name).len()).sum();
                8 * self.namespaces.len() + 16 * workloads
            }
        }
    }

    /// The same, also for a namespace that only its pods tell of.
    pub(crate) fn labels(&self, namespace: &str) -> Option<&Labels> {
        self.namespaces.get(namespace)
    }
}
