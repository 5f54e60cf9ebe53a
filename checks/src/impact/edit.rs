//! What is about to change.

use crate::Index;
use ringfence_policy::model::{
    Direction, Labels, Name, NamespaceMatch, ObjectKey, Peer, Policy, Selector,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A change of a cluster: the objects that decide about packets as they will be. What is
/// not named stays.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    policies: BTreeMap<ObjectKey, Option<Arc<Policy>>>,
    namespaces: BTreeMap<Name, Labels>,
}

/// A policy before and after.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changed<'a> {
    /// As the cluster has it.
    pub before: Option<&'a Policy>,
    /// As it will be.
    pub after: Option<&'a Policy>,
    /// Its namespace peers match other namespaces than before.
    pub relabelled: bool,
}

// === impl Edit ===

impl Edit {
    /// Puts a policy in its place, new or not.
    #[must_use]
    pub fn put(mut self, policy: impl Into<Arc<Policy>>) -> Self {
        let policy = policy.into();
        self.policies.insert(policy.key.clone(), Some(policy));
        self
    }

    /// Takes a policy away.
    #[must_use]
    pub fn remove(mut self, policy: ObjectKey) -> Self {
        self.policies.insert(policy, None);
        self
    }

    /// Gives a namespace these labels.
    #[must_use]
    pub fn relabel(mut self, namespace: Name, labels: Labels) -> Self {
        self.namespaces.insert(namespace, labels);
        self
    }

    /// Whether any namespace gets labels.
    pub(super) fn relabels(&self) -> bool {
        !self.namespaces.is_empty()
    }

    /// Whether a namespace gets labels.
    pub(super) fn labels(&self, namespace: &str) -> Option<&Labels> {
        self.namespaces.get(namespace)
    }

    /// The namespaces that get labels and that a selector matches then.
    pub(super) fn labelled_so<'a>(
        &'a self,
        selector: &'a Selector,
    ) -> impl Iterator<Item = &'a Name> {
        let all = self.namespaces.iter();
        all.filter(|(_, labels)| selector.matches(labels))
            .map(|(name, _)| name)
    }

    /// The namespaces whose policies are edited.
    pub(super) fn touched(&self) -> BTreeSet<&Name> {
        self.policies.keys().map(|key| &key.namespace).collect()
    }

    /// The policies of a namespace as they will be.
    pub fn policies<'a>(
        &'a self,
        index: &'a Index,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Policy> {
        let old = index.policies(namespace).map(AsRef::as_ref);
        self.applied(old, namespace)
    }

    /// Some policies of a namespace as they will be, and those that come.
    pub(super) fn applied<'a>(
        &'a self,
        old: impl Iterator<Item = &'a Policy>,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Policy> {
        let kept = old.filter(|policy| !self.policies.contains_key(&policy.key));
        let here = self.policies.iter();
        let here = here.filter(move |(key, _)| *key.namespace == *namespace);
        kept.chain(here.filter_map(|(_, policy)| policy.as_deref()))
    }

    /// The policies that will not mean what they mean now.
    pub(super) fn changed<'a>(&'a self, index: &'a Index) -> Vec<Changed<'a>> {
        let rewritten = self.policies.iter().map(|(key, after)| Changed {
            before: index.policy(key).map(AsRef::as_ref),
            after: after.as_deref(),
            relabelled: false,
        });
        let mut changed: Vec<Changed> = rewritten.filter(|c| c.before != c.after).collect();
        if self.namespaces.is_empty() {
            return changed;
        }
        let moved: Vec<(&Labels, &Labels)> = self
            .namespaces
            .iter()
            .filter_map(|(name, after)| Some((index.labels(name)?, after)))
            .filter(|(before, after)| before != after)
            .collect();
        let feels = |policy: &Policy| {
            let rules = [&policy.ingress, &policy.egress].into_iter().flatten();
            let mut peers = rules.flatten().flat_map(|rule| &rule.peers);
            peers.any(|peer| match peer {
                Peer::Pods {
                    namespaces: NamespaceMatch::Labels(selector),
                    ..
                } => moved
                    .iter()
                    .any(|(before, after)| selector.matches(before) != selector.matches(after)),
                _ => false,
            })
        };
        for change in &mut changed {
            change.relabelled = change.after.is_some_and(feels);
        }
        let kept = index.snapshot().policies.values().map(AsRef::as_ref);
        let kept = kept.filter(|policy| !self.policies.contains_key(&policy.key));
        changed.extend(kept.filter(|policy| feels(policy)).map(|policy| Changed {
            before: Some(policy),
            after: Some(policy),
            relabelled: true,
        }));
        changed
    }
}

// === impl Changed ===

impl<'a> Changed<'a> {
    /// The versions that isolate a direction, where the change matters to it.
    pub fn versions(&self, direction: Direction) -> impl Iterator<Item = &'a Policy> {
        let isolates = |p: &&Policy| p.rules(direction).is_some();
        let (before, after) = (self.before.filter(isolates), self.after.filter(isolates));
        let same = match (before, after) {
            (Some(before), Some(after)) => {
                !self.relabelled
                    && before.pod_selector == after.pod_selector
                    && before.allow_only == after.allow_only
                    && before.rules(direction) == after.rules(direction)
            }
            (None, None) => true,
            _ => false,
        };
        [before, after].into_iter().flatten().filter(move |_| !same)
    }
}
