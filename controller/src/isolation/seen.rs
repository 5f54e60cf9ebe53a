//! What the watches have brought.

use super::owned::Owned;
use super::watch::is_missing;
use kube::Resource;
use kube::api::ObjectMeta;
use kube::runtime::watcher;
use ringfence_api::{IsolationConfig, IsolationRule, NamespaceIsolation, SINGLETON};
use ringfence_policy::model::{Name, ObjectKey};
use std::collections::{BTreeMap, BTreeSet};

/// The objects of one kind. While they are listed anew, the old ones count.
#[derive(Debug)]
pub struct Kept<T> {
    objects: BTreeMap<ObjectKey, T>,
    /// During a list: what it has brought so far.
    listed: Option<BTreeSet<ObjectKey>>,
    synced: bool,
    /// Why they cannot be read now.
    problem: Option<String>,
}

/// What of a namespace decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceNote {
    /// `kubesphere.io/network-isolate: enabled`
    pub wants_isolation: bool,
    /// It is being deleted.
    pub terminating: bool,
}

/// What it takes to be kept.
pub trait Decides {
    /// Whether two states of an object decide the same. What we write into status comes back
    /// by the watch, and is no reason to look again.
    fn same(&self, other: &Self) -> bool;
}

/// The latest of everything.
#[derive(Debug, Default)]
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

// === impl Kept ===

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            listed: None,
            synced: false,
            problem: None,
        }
    }
}

impl<T: Decides> Kept<T> {
    /// Takes one step of a watch; which objects changed so that it matters. `read` makes of
    /// an object what is kept, `None` for one that is of no use.
    ///
    /// # Errors
    /// Why the kind cannot be read, if it could before or for another reason.
    pub fn note<K: Resource>(
        &mut self,
        said: watcher::Result<watcher::Event<K>>,
        read: impl Fn(K) -> Option<T>,
    ) -> Result<Vec<ObjectKey>, String> {
        let event = match said {
            Ok(event) => event,
            Err(error) => return self.failed(&error),
        };
        self.problem = None;
        match event {
            watcher::Event::Apply(object) => {
                let key = key(&object);
                Ok(self.put(key, read(object)))
            }
            watcher::Event::Delete(object) => {
                let key = key(&object);
                self.objects.remove(&key);
                Ok(vec![key])
            }
            watcher::Event::Init => {
                self.listed = Some(BTreeSet::new());
                Ok(Vec::new())
            }
            watcher::Event::InitApply(object) => {
                let key = key(&object);
                if let Some(listed) = &mut self.listed {
                    listed.insert(key.clone());
                }
                Ok(self.put(key, read(object)))
            }
            watcher::Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                let gone = self.objects.keys().filter(|key| !listed.contains(key));
                let gone: Vec<ObjectKey> = gone.cloned().collect();
                for key in &gone {
                    self.objects.remove(key);
                }
                self.synced = true;
                Ok(gone)
            }
        }
    }

    fn failed(&mut self, error: &watcher::Error) -> Result<Vec<ObjectKey>, String> {
        let text = if is_missing(error) {
            "the API server does not have it; apply the CRDs (manifests/base/crds)".to_owned()
        } else {
            error.to_string()
        };
        if self.problem.as_ref() == Some(&text) {
            return Ok(Vec::new());
        }
        self.problem = Some(text.clone());
        Err(text)
    }

    fn put(&mut self, key: ObjectKey, object: Option<T>) -> Vec<ObjectKey> {
        let same = match (self.objects.get(&key), &object) {
            (Some(old), Some(new)) => old.same(new),
            (old, new) => old.is_none() && new.is_none(),
        };
        let changed = if same { Vec::new() } else { vec![key.clone()] };
        match object {
            Some(object) => drop(self.objects.insert(key, object)),
            None => drop(self.objects.remove(&key)),
        }
        changed
    }

    /// Puts what the API server answered to a write of ours.
    pub fn wrote(&mut self, key: &ObjectKey, object: T) {
        // A watch that has seen it deleted is right.
        if let Some(known) = self.objects.get_mut(key) {
            *known = object;
        }
    }

    /// The same for an object that may be new.
    pub fn created(&mut self, key: ObjectKey, object: T) {
        self.objects.insert(key, object);
    }

    /// After a deletion of ours.
    pub fn deleted(&mut self, key: &ObjectKey) {
        self.objects.remove(key);
    }

    /// One object.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&T> {
        self.objects.get(&ObjectKey::new(namespace, name))
    }

    /// The objects of a namespace, by name.
    pub fn of<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = (&'a Name, &'a T)> {
        let all = self.objects.range(ObjectKey::new(namespace, "")..);
        all.take_while(move |(key, _)| *key.namespace == *namespace)
            .map(|(key, object)| (&key.name, object))
    }

    /// All objects.
    pub fn all(&self) -> impl Iterator<Item = (&ObjectKey, &T)> {
        self.objects.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether they have been listed once. What was listed stays when the kind goes away.
    pub fn is_synced(&self) -> bool {
        self.synced
    }
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

/// Namespace and name.
pub fn key<K: Resource>(object: &K) -> ObjectKey {
    let metadata = object.meta();
    ObjectKey::new(
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::api::PartialObjectMeta;
    use kube::runtime::watcher::Event;

    type Pod = PartialObjectMeta<k8s_openapi::api::core::v1::Pod>;

    impl Decides for Pod {
        fn same(&self, _: &Self) -> bool {
            true
        }
    }

    fn named(name: &str) -> Pod {
        let mut object = Pod::default();
        object.metadata.name = Some(name.to_owned());
        object
    }

    fn note(kept: &mut Kept<Pod>, event: Event<Pod>) -> Vec<String> {
        let changed = kept.note(Ok(event), Some).unwrap();
        changed.into_iter().map(|k| k.name.to_string()).collect()
    }

    #[test]
    fn a_list_takes_away_what_it_does_not_bring_and_only_at_its_end() {
        let mut kept = Kept::default();
        note(&mut kept, Event::Init);
        note(&mut kept, Event::InitApply(named("a")));
        assert!(!kept.is_synced(), "half a list");
        assert_eq!(note(&mut kept, Event::InitDone), [""; 0]);
        assert!(kept.is_synced());
        note(&mut kept, Event::Init);
        assert_eq!(note(&mut kept, Event::InitApply(named("b"))), ["b"]);
        assert!(kept.get("", "a").is_some(), "not before the end");
        assert_eq!(note(&mut kept, Event::InitDone), ["a"]);
        assert!(kept.get("", "a").is_none() && kept.get("", "b").is_some());
    }

    #[test]
    fn a_failure_is_told_once_and_what_was_seen_stays() {
        let mut kept: Kept<Pod> = Kept::default();
        note(&mut kept, Event::Apply(named("a")));
        let failure = || Err(watcher::Error::NoResourceVersion);
        assert!(kept.note::<Pod>(failure(), Some).is_err());
        assert!(kept.note::<Pod>(failure(), Some).is_ok(), "the same again");
        assert!(kept.get("", "a").is_some());
    }
}
