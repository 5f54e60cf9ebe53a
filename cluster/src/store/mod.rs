//! The objects as they are now, fed by a source, read by the agent.

mod intern;
mod position;

use crate::{Event, Generation, Problem, Reason};
use intern::Interner;
pub use position::Position;
use ringfence_policy::model::ObjectKey;
use ringfence_policy::snapshot::{Kind, Object};
use ringfence_policy::{Change, Snapshot};
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// A [`Snapshot`], what is wrong with its objects, and whether it is complete.
///
/// Synchronous and without I/O. Nothing in it is to be reported or programmed before
/// [`Store::is_synced`].
#[derive(Debug, Default)]
pub struct Store {
    snapshot: Snapshot,
    interner: Interner,
    kinds: BTreeMap<Kind, KindState>,
    problems: BTreeMap<(Kind, ObjectKey), Vec<Problem>>,
    loose: Vec<Problem>,
    generation: Option<Generation>,
}

/// What is known about one kind.
#[derive(Debug, Default)]
struct KindState {
    synced: bool,
    resource_version: Option<Box<str>>,
    /// Why it cannot be read now.
    unavailable: Option<Reason>,
    /// During a list: what was there before and has not been listed yet.
    unlisted: Option<HashSet<ObjectKey>>,
}

/// A kind that is not synced, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The kind.
    pub kind: Kind,
    /// The last failure; `None` when the list is simply not through yet.
    pub reason: Option<Reason>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.kind.plural())?;
        match &self.reason {
            Some(reason) => reason.fmt(f),
            None => f.write_str("no complete list has arrived yet"),
        }
    }
}

/// Problems that belong to no object are kept up to this number, newest first to go.
const LOOSE_PROBLEMS: usize = 100;

// === impl Store ===

impl Store {
    /// An empty store that waits for these kinds.
    pub fn new(kinds: impl IntoIterator<Item = Kind>) -> Self {
        Self {
            kinds: kinds
                .into_iter()
                .map(|kind| (kind, KindState::default()))
                .collect(),
            ..Self::default()
        }
    }

    /// Takes one step of a source. Returns what changed, in the order in which it is to
    /// be carried out (what goes comes before what is new).
    pub fn handle(&mut self, event: Event) -> Vec<Change> {
        match event {
            Event::Apply(decoded) => self.apply_decoded(decoded).into_iter().collect(),
            Event::Delete(kind, key) => self.delete(kind, &key).into_iter().collect(),
            Event::ListStarted(kind) => {
                let all = self.snapshot.keys(kind).into_iter();
                let faulty = self.problems.keys().filter(|(k, _)| *k == kind);
                let unlisted = all.chain(faulty.map(|(_, key)| key.clone())).collect();
                self.kinds.entry(kind).or_default().unlisted = Some(unlisted);
                Vec::new()
            }
            Event::ListDone {
                kind,
                resource_version,
            } => {
                let state = self.kinds.entry(kind).or_default();
                let gone = state.unlisted.take().unwrap_or_default();
                state.synced = true;
                state.unavailable = None;
                state.resource_version = Some(resource_version);
                self.delete_all(kind, gone)
            }
            Event::Bookmark {
                kind,
                resource_version,
            } => {
                let state = self.kinds.entry(kind).or_default();
                state.unavailable = None;
                state.resource_version = Some(resource_version);
                Vec::new()
            }
            Event::Replace(replacement) => self.replace(*replacement),
            Event::Problem(problem) => {
                if self.loose.len() >= LOOSE_PROBLEMS {
                    self.loose.remove(0);
                }
                self.loose.push(problem);
                Vec::new()
            }
            Event::Unavailable { kind, reason } => {
                let state = self.kinds.entry(kind).or_default();
                // A list that broke off says nothing about what it did not reach.
                state.unlisted = None;
                state.unavailable = Some(reason);
                Vec::new()
            }
        }
    }

    /// Puts one object in place; its problems are settled. `None`: nothing that decides
    /// about packets changed.
    pub fn apply(&mut self, object: Object) -> Option<Change> {
        let id = identity(&object);
        self.problems.remove(&id);
        self.put(object)
    }

    /// Takes one object and its problems away.
    pub fn delete(&mut self, kind: Kind, key: &ObjectKey) -> Option<Change> {
        let id = (kind, key.clone());
        self.problems.remove(&id);
        if let Some(unlisted) = self.unlisted(kind) {
            unlisted.remove(key);
        }
        self.snapshot.remove(kind, key)
    }

    /// Everything of one kind at once. Only differences come out, deletions first.
    pub fn reset(&mut self, kind: Kind, objects: Vec<Object>) -> Vec<Change> {
        let kept: HashSet<ObjectKey> = objects.iter().map(|o| identity(o).1).collect();
        let mut gone = self.snapshot.keys(kind);
        gone.retain(|key| !kept.contains(key));
        let mut changes = self.delete_all(kind, gone);
        changes.extend(objects.into_iter().filter_map(|object| self.apply(object)));
        self.kinds.entry(kind).or_default().synced = true;
        changes
    }

    /// The objects as they are now.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Whether every kind has been listed once. Stays true while a source is away.
    pub fn is_synced(&self) -> bool {
        self.kinds.values().all(|state| state.synced)
    }

    /// The same of these kinds alone.
    pub fn knows(&self, kinds: &[Kind]) -> bool {
        let known = |kind| self.kinds.get(kind).is_some_and(|state| state.synced);
        kinds.iter().all(known)
    }

    /// False while a list is under way: the objects are then partly old and partly new,
    /// and deletions come last. A consumer that holds its changes back until this is
    /// true again never programs such a mixture.
    pub fn is_settled(&self) -> bool {
        self.kinds.values().all(|state| state.unlisted.is_none())
    }

    /// The kinds that are not synced, and why: the text of a `--cache-sync-timeout`.
    pub fn missing(&self) -> Vec<Missing> {
        self.kinds
            .iter()
            .filter(|(_, state)| !state.synced)
            .map(|(kind, state)| Missing {
                kind: *kind,
                reason: state.unavailable.clone(),
            })
            .collect()
    }

    /// The kinds that cannot be read now, synced before or not.
    pub fn unavailable(&self) -> impl Iterator<Item = (Kind, &Reason)> {
        self.kinds
            .iter()
            .filter_map(|(kind, state)| state.unavailable.as_ref().map(|reason| (*kind, reason)))
    }

    /// The last version seen of one kind.
    pub fn resource_version(&self, kind: Kind) -> Option<&str> {
        self.kinds.get(&kind)?.resource_version.as_deref()
    }

    /// The objects and what is wrong with them, for whoever reads them once.
    pub fn into_parts(self) -> (Snapshot, Vec<Problem>) {
        let mut problems = self.loose;
        problems.extend(self.problems.into_values().flatten());
        problems.sort_by(|a, b| a.place.cmp(&b.place));
        (self.snapshot, problems)
    }

    /// What is wrong now: with objects (until they are mended or gone), then the rest.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.values().flatten().chain(&self.loose)
    }

    /// The content of the folder that was read last; `None` with Kubernetes.
    pub fn generation(&self) -> Option<&Generation> {
        self.generation.as_ref()
    }

    fn apply_decoded(&mut self, decoded: crate::Decoded) -> Option<Change> {
        let state = self.kinds.entry(decoded.kind).or_default();
        if let Some(unlisted) = &mut state.unlisted {
            unlisted.remove(&decoded.key);
        } else {
            state.unavailable = None;
        }
        if decoded.resource_version.is_some() {
            state.resource_version = decoded.resource_version;
        }
        let id = (decoded.kind, decoded.key);
        if decoded.problems.is_empty() {
            self.problems.remove(&id);
        } else {
            self.problems.insert(id, decoded.problems);
        }
        decoded.object.and_then(|object| self.put(object))
    }

    fn replace(&mut self, replacement: crate::Replacement) -> Vec<Change> {
        let listed: HashSet<(Kind, &ObjectKey)> = replacement
            .objects
            .iter()
            .map(|decoded| (decoded.kind, &decoded.key))
            .collect();
        let gone: Vec<(Kind, ObjectKey)> = Kind::ALL
            .into_iter()
            .flat_map(|kind| {
                self.snapshot
                    .keys(kind)
                    .into_iter()
                    .map(move |key| (kind, key))
            })
            .filter(|(kind, key)| !listed.contains(&(*kind, key)))
            .collect();
        drop(listed);
        self.problems.clear();
        let mut changes: Vec<Change> = gone
            .iter()
            .filter_map(|(kind, key)| self.snapshot.remove(*kind, key))
            .collect();
        for decoded in replacement.objects {
            changes.extend(self.apply_decoded(decoded));
        }
        for state in self.kinds.values_mut() {
            *state = KindState {
                synced: true,
                ..KindState::default()
            };
        }
        self.loose = replacement.problems;
        self.generation = Some(replacement.generation);
        changes
    }

    fn put(&mut self, mut object: Object) -> Option<Change> {
        self.interner.share(&mut object, &self.snapshot);
        self.snapshot.apply(object)
    }

    fn delete_all(&mut self, kind: Kind, keys: impl IntoIterator<Item = ObjectKey>) -> Vec<Change> {
        let mut keys: Vec<ObjectKey> = keys.into_iter().collect();
        keys.sort();
        keys.iter()
            .filter_map(|key| self.delete(kind, key))
            .collect()
    }

    fn unlisted(&mut self, kind: Kind) -> Option<&mut HashSet<ObjectKey>> {
        self.kinds.get_mut(&kind)?.unlisted.as_mut()
    }
}

/// Kind and name of an object.
pub(crate) fn identity(object: &Object) -> (Kind, ObjectKey) {
    let cluster = |name: &ringfence_policy::model::Name| ObjectKey::new("", name.clone());
    match object {
        Object::Pod(pod) => (Kind::Pod, pod.key.clone()),
        Object::Namespace(namespace) => (Kind::Namespace, cluster(&namespace.name)),
        Object::Policy(policy) => (Kind::NetworkPolicy, policy.key.clone()),
        Object::Node(node) => (Kind::Node, cluster(&node.name)),
        Object::Service(service) => (Kind::Service, service.key.clone()),
    }
}
