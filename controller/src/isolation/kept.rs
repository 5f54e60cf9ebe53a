//! The objects of one kind, as a watch brings them.

use super::watch::is_missing;
use kube::Resource;
use kube::runtime::watcher;
use ringfence_policy::model::{Name, ObjectKey};
use std::collections::{BTreeMap, BTreeSet};

/// The objects of one kind. While they are listed anew, the old ones count.
#[derive(Debug)]
pub struct Kept<T> {
    objects: BTreeMap<ObjectKey, T>,
    /// Where objects that have vanished count until they are released: before which look
    /// they did. `None`: they are gone at once.
    lingering: Option<BTreeMap<ObjectKey, u64>>,
    /// Looks that have begun.
    looks: u64,
    /// During a list: what it has brought so far.
    listed: Option<BTreeSet<ObjectKey>>,
    /// How often they have been listed.
    lists: u64,
    /// The latest version that the watch has brought.
    reached: Option<u128>,
    /// Why they cannot be read now.
    problem: Option<String>,
}

/// What it takes to be kept.
pub trait Decides {
    /// Whether two states of an object decide the same. What we write into status comes back
    /// by the watch, and is no reason to look again.
    fn same(&self, other: &Self) -> bool;
}

// === impl Kept ===

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            lingering: None,
            looks: 0,
            listed: None,
            lists: 0,
            reached: None,
            problem: None,
        }
    }
}

impl<T: Decides> Kept<T> {
    /// What vanishes counts until it is released.
    pub fn lingering() -> Self {
        Self {
            lingering: Some(BTreeMap::new()),
            ..Self::default()
        }
    }

    fn vanished(&mut self, key: &ObjectKey) {
        match &mut self.lingering {
            Some(lingering) if self.objects.contains_key(key) => {
                lingering.entry(key.clone()).or_insert(self.looks);
            }
            _ => drop(self.objects.remove(key)),
        }
    }

    /// Whether objects have vanished that are not released.
    pub fn lingers(&self) -> bool {
        let lingering = self.lingering.as_ref();
        lingering.is_some_and(|lingering| !lingering.is_empty())
    }

    /// A look begins that will tell what became of those that have vanished before it.
    pub fn look_begins(&mut self) {
        self.looks += 1;
    }

    /// They are gone.
    pub fn release(&mut self) -> Vec<ObjectKey> {
        let Some(lingering) = &mut self.lingering else {
            return Vec::new();
        };
        let looks = self.looks;
        let gone = lingering.extract_if(.., |_, before| *before < looks);
        let gone: Vec<ObjectKey> = gone.map(|(key, _)| key).collect();
        for key in &gone {
            self.objects.remove(key);
        }
        gone
    }

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
        self.reach(&event);
        match event {
            watcher::Event::Apply(object) => {
                let key = key(&object);
                Ok(self.put(key, read(object)))
            }
            watcher::Event::Delete(object) => {
                let key = key(&object);
                self.vanished(&key);
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
                    self.vanished(key);
                }
                self.lists += 1;
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
        if let Some(lingering) = &mut self.lingering {
            lingering.remove(&key);
        }
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

    fn reach<K: Resource>(&mut self, event: &watcher::Event<K>) {
        match event {
            // A restored cluster counts from further back.
            watcher::Event::Init => self.reached = None,
            watcher::Event::Apply(object)
            | watcher::Event::Delete(object)
            | watcher::Event::InitApply(object) => {
                let version = object.meta().resource_version.as_deref();
                self.reached = self.reached.max(version.and_then(number));
            }
            watcher::Event::InitDone => {}
        }
    }

    /// Whether the watch has come as far as this version. Whatever it has brought of any
    /// object is then as late as an answer of this version, or later.
    fn has_reached(&self, version: &str) -> bool {
        number(version).is_some_and(|version| Some(version) <= self.reached)
    }

    /// Puts what the API server answered to a write of ours, in this version. Where the watch
    /// was faster it is right: it may have brought what somebody has done since.
    ///
    /// Whether that decides otherwise than what was known: somebody has changed the rest of
    /// the object meanwhile, and the watch will bring nothing new.
    pub fn wrote(&mut self, key: &ObjectKey, version: &str, object: T) -> bool {
        let known = self.objects.get(key);
        let changed = known.is_some_and(|known| !known.same(&object));
        if known.is_some() && self.created(key, version, object) {
            return changed;
        }
        false
    }

    /// The same for an object that may be new; whether it was put.
    pub fn created(&mut self, key: &ObjectKey, version: &str, object: T) -> bool {
        let news = !self.has_reached(version);
        if news {
            self.objects.insert(key.clone(), object);
        }
        news
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
        self.lists > 0
    }

    /// How often they have been listed whole.
    pub fn lists(&self) -> u64 {
        self.lists
    }
}

/// Versions of one kind are numbers that grow: so the API promises since Kubernetes 1.35, and
/// so etcd has always counted.
fn number(version: &str) -> Option<u128> {
    version.parse().ok()
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
    use test_case::test_case;

    type Pod = PartialObjectMeta<k8s_openapi::api::core::v1::Pod>;

    impl Decides for Pod {
        fn same(&self, other: &Self) -> bool {
            self.metadata.labels == other.metadata.labels
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
    fn what_lingers_counts_until_a_look_that_began_later() {
        let mut kept = Kept::lingering();
        for name in ["a", "b", "c"] {
            note(&mut kept, Event::Apply(named(name)));
        }
        assert_eq!(note(&mut kept, Event::Delete(named("a"))), ["a"]);
        note(&mut kept, Event::Delete(named("c")));
        kept.look_begins();
        note(&mut kept, Event::Delete(named("b")));
        note(&mut kept, Event::Apply(named("c")));
        assert!(kept.lingers() && kept.len() == 3);
        assert_eq!(
            kept.release(),
            [ObjectKey::new("", "a")],
            "b: later; c: back"
        );
        assert!(kept.get("", "a").is_none() && kept.get("", "b").is_some());
        kept.look_begins();
        assert_eq!(kept.release(), [ObjectKey::new("", "b")]);
        assert!(!kept.lingers() && kept.get("", "c").is_some());
    }

    fn at(name: &str, version: &str) -> Pod {
        let mut object = named(name);
        object.metadata.resource_version = Some(version.to_owned());
        object
    }

    fn version(kept: &Kept<Pod>) -> Option<&str> {
        kept.get("", "a")?.metadata.resource_version.as_deref()
    }

    #[test_case("9", "10", "10"; "it is the first to say")]
    #[test_case("10", "10", "10"; "the watch has said so")]
    #[test_case("11", "10", "11"; "somebody has changed it since")]
    #[test_case("11", "x", "x"; "nobody knows")]
    fn an_answer_counts_where_the_watch_is_behind(watched: &str, answer: &str, expected: &str) {
        let key = ObjectKey::new("", "a");
        for put in [Kept::wrote, Kept::created] {
            let mut kept = Kept::default();
            note(&mut kept, Event::Apply(at("a", watched)));
            put(&mut kept, &key, answer, at("a", answer));
            assert_eq!(version(&kept), Some(expected));
        }
    }

    #[test]
    fn what_somebody_changed_meanwhile_comes_with_an_answer() {
        let (mut kept, key) = (Kept::default(), ObjectKey::new("", "a"));
        note(&mut kept, Event::Apply(at("a", "1")));
        assert!(!kept.wrote(&key, "2", at("a", "2")));
        let edited = |version: &str| {
            let mut object = at("a", version);
            object.metadata.labels = Some([("edited".to_owned(), String::new())].into());
            object
        };
        assert!(
            kept.wrote(&key, "4", edited("4")),
            "an edit, and our status"
        );
        assert_eq!(note(&mut kept, Event::Apply(edited("3"))), [""; 0]);
        assert!(!kept.wrote(&key, "2", at("a", "2")), "not put");
    }

    #[test]
    fn an_answer_brings_nothing_back() {
        let (mut kept, key) = (Kept::default(), ObjectKey::new("", "a"));
        kept.wrote(&key, "10", at("a", "10"));
        assert_eq!(version(&kept), None, "a status of nothing");
        kept.created(&key, "10", at("a", "10"));
        assert_eq!(version(&kept), Some("10"), "it is new");
        note(&mut kept, Event::Delete(at("a", "12")));
        kept.created(&key, "11", at("a", "11"));
        assert_eq!(version(&kept), None, "somebody has deleted it since");
        note(&mut kept, Event::Init);
        kept.created(&key, "5", at("a", "5"));
        assert_eq!(version(&kept), Some("5"), "a restored cluster");
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
