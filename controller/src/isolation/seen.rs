//! What the watches have brought.

use super::kept::{Decides, Kept};
use super::owned::Owned;
use kube::api::ObjectMeta;
use ringfence_api::{IsolationConfig, IsolationRule, NamespaceIsolation, SINGLETON};

/// What of a namespace decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceNote {
    /// `kubesphere.io/network-isolate: enabled`
    pub wants_isolation: bool,
    /// It is being deleted.
    pub terminating: bool,
}

/// The latest of everything.
#[derive(Debug)]
pub struct Seen {
    /// At most one, called `default`.
    pub configs: Kept<IsolationConfig>,
    /// One for each isolated namespace.
    pub isolations: Kept<NamespaceIsolation>,
    /// Of all namespaces.
    pub rules: Kept<IsolationRule>,
    /// Policies called as ours.
    pub policies: Kept<Owned>,
    /// All namespaces.
    pub namespaces: Kept<NamespaceNote>,
}

// === impl Decides ===

impl Decides for IsolationConfig {
    fn same(&self, other: &Self) -> bool {
        self.spec == other.spec
    }
}

impl Decides for NamespaceIsolation {
    fn same(&self, other: &Self) -> bool {
        self.spec == other.spec && is_same(&self.metadata, &other.metadata)
    }
}

impl Decides for IsolationRule {
    fn same(&self, other: &Self) -> bool {
        self.spec == other.spec && is_same(&self.metadata, &other.metadata)
    }
}

impl Decides for Owned {
    fn same(&self, other: &Self) -> bool {
        self == other
    }
}

impl Decides for NamespaceNote {
    fn same(&self, other: &Self) -> bool {
        self == other
    }
}

fn is_same(one: &ObjectMeta, other: &ObjectMeta) -> bool {
    one.uid == other.uid
        && one.annotations == other.annotations
        && one.deletion_timestamp == other.deletion_timestamp
}

// === impl Seen ===

impl Default for Seen {
    fn default() -> Self {
        Self {
            configs: Kept::lingering(),
            isolations: Kept::default(),
            rules: Kept::lingering(),
            policies: Kept::default(),
            namespaces: Kept::default(),
        }
    }
}

impl Seen {
    /// Whether everything was listed.
    pub fn is_synced(&self) -> bool {
        self.configs.is_synced()
            && self.isolations.is_synced()
            && self.rules.is_synced()
            && self.policies.is_synced()
            && self.namespaces.is_synced()
    }

    /// The `NamespaceIsolation` of a namespace.
    pub fn isolation(&self, namespace: &str) -> Option<&NamespaceIsolation> {
        self.isolations.get(namespace, SINGLETON)
    }

    /// The policy of a namespace that is called as ours.
    pub fn policy(&self, namespace: &str) -> Option<&Owned> {
        self.policies.get(namespace, ringfence_isolation::POLICY)
    }

    /// Whether a namespace is there and stays. In one that goes everything goes anyway,
    /// and the API server takes nothing new.
    pub fn is_there(&self, namespace: &str) -> bool {
        let note = self.namespaces.get("", namespace);
        note.is_some_and(|note| !note.terminating)
    }
}
