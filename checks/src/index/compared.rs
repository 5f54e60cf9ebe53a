//! What [`crate::impact`] asks of an index.

use super::{FEW, Index, NAME, Workload, has_ended};
use crate::impact::Ground;
use ringfence_policy::model::{Labels, Name, NamespaceMatch, ObjectKey, Operator, Pod, Selector};
use std::sync::Arc;

/// Workloads among which those are that a peer names.
pub(crate) enum Candidates<'a> {
    /// All of one namespace.
    Here(&'a [Workload]),
    /// Those with a label, wherever they are.
    Labelled(&'a [usize]),
    /// All of these namespaces.
    In(Box<dyn Iterator<Item = &'a Name> + 'a>),
}

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

    /// The shortest way to the workloads of [`Self::matching`].
    pub(crate) fn candidates<'a>(
        &'a self,
        own: &'a str,
        namespaces: &'a NamespaceMatch,
        pods: &'a Selector,
    ) -> Candidates<'a> {
        let one = match namespaces {
            NamespaceMatch::Own => Some(self.workloads(own)),
            NamespaceMatch::Labels(selector) => self.of_one(selector),
        };
        match one {
            Some(here) if here.len() <= FEW => return Candidates::Here(here),
            _ => {}
        }
        let requirements = pods.requirements().iter();
        let labelled = requirements.filter_map(|r| self.labelled(r));
        match (labelled.min_by_key(|places| places.len()), one) {
            (Some(places), _) if places.len() <= FEW => Candidates::Labelled(places),
            (_, Some(here)) => Candidates::Here(here),
            _ => Candidates::In(self.namespaces(own, namespaces)),
        }
    }

    /// The workloads of the namespace that a selector names; `None`: it names not just one.
    fn of_one(&self, selector: &Selector) -> Option<&[Workload]> {
        let mut requirements = selector.requirements().iter();
        let name = requirements.find_map(|r| match &r.operator {
            Operator::In(names) if *r.key == *NAME && names.len() == 1 => names.first(),
            _ => None,
        })?;
        let labels = self.labels.get(name);
        let matches = labels.is_some_and(|labels| selector.matches(labels));
        Some(if matches { self.workloads(name) } else { &[] })
    }

    /// Those of [`Self::candidates`] that a peer names.
    pub(crate) fn among<'a>(
        &'a self,
        candidates: Candidates<'a>,
        own: &'a str,
        namespaces: &'a NamespaceMatch,
        pods: &'a Selector,
    ) -> Box<dyn Iterator<Item = &'a Workload> + 'a> {
        let matches = |w: &&Workload| pods.matches(&w.pod.labels);
        match candidates {
            Candidates::Here(workloads) => Box::new(workloads.iter().filter(matches)),
            Candidates::Labelled(places) => {
                let there = |w: &&Workload| self.is_peer(own, namespaces, &w.pod.key.namespace);
                let few = places.iter().map(|place| &self.workloads[*place]);
                Box::new(few.filter(matches).filter(there))
            }
            Candidates::In(names) => {
                Box::new(names.flat_map(|name| self.workloads(name)).filter(matches))
            }
        }
    }

    /// How many steps [`Self::among`] takes, at most.
    pub(crate) fn cost_of(
        &self,
        candidates: &Candidates,
        own: &str,
        namespaces: &NamespaceMatch,
    ) -> usize {
        match candidates {
            Candidates::Here(workloads) => 32 + 16 * workloads.len(),
            Candidates::Labelled(places) => 32 + 16 * places.len(),
            Candidates::In(_) => {
                let names = self.namespaces(own, namespaces);
                let workloads: usize = names.map(|name| self.workloads(name).len()).sum();
                8 * self.namespaces.len() + 16 * workloads
            }
        }
    }

    /// The same, also for a namespace that only its pods tell of.
    pub(crate) fn labels(&self, namespace: &str) -> Option<&Labels> {
        self.labels.get(namespace)
    }
}
