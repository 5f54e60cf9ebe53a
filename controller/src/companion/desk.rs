//! Which authors are due, and what is to be written for them. Synchronous.

use super::KINDS;
use super::author::Author;
use crate::health::Health;
use crate::isolation::MANAGER;
use crate::isolation::kept::{Decides, Kept};
use crate::metrics::Trouble;
use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::runtime::watcher;
use ringfence_checks::{Config, Index};
use ringfence_cluster::{Mirror, News};
use ringfence_policy::model::{Name, ObjectKey, Policy};
use ringfence_policy::parse;
use ringfence_policy::{Change, Snapshot};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// From one of the watches.
#[derive(Debug)]
pub enum Event {
    /// An author's policy.
    Author(watcher::Result<watcher::Event<DynamicObject>>),
    /// A companion.
    Companion(watcher::Result<watcher::Event<DynamicObject>>),
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Creates or repairs a companion.
    Apply(ObjectKey, Value),
    /// Deletes one: its uid and version.
    Delete(ObjectKey, String, String),
}

/// A companion that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Companion {
    uid: String,
    version: String,
    /// Whether we wrote it.
    ours: bool,
    /// Its author's policy.
    of: Name,
    owner: String,
    policy: Policy,
}

/// Everything that is known, and who is due.
#[derive(Debug)]
pub struct Desk {
    config: Config,
    authors: Kept<Author>,
    companions: Kept<Companion>,
    cluster: Mirror,
    /// Made anew when something of the cluster has changed.
    index: Option<Index>,
    /// Whether authors are watched.
    wanted: bool,
    begun: bool,
    due: BTreeSet<ObjectKey>,
    failed: BTreeSet<ObjectKey>,
}

// === impl Desk ===

impl Desk {
    /// An empty one.
    pub fn new(config: Config, wanted: bool, cluster: Mirror) -> Self {
        Self {
            config,
            authors: Kept::default(),
            companions: Kept::default(),
            cluster,
            index: None,
            wanted,
            begun: false,
            due: BTreeSet::new(),
            failed: BTreeSet::new(),
        }
    }

    /// Takes what a watch says.
    pub fn note(&mut self, event: Event, health: &Health) {
        let changed = match event {
            Event::Author(said) => self.authors.note(said, |object| Author::read(&object)),
            Event::Companion(said) => {
                // By the author's name, also of one that is gone.
                let before: Vec<ObjectKey> = self
                    .companions
                    .all()
                    .map(|(k, c)| author_of(k, c))
                    .collect();
                let changed = self
                    .companions
                    .note(said, |object| Companion::read(&object));
                changed.map(|keys| {
                    if keys.is_empty() {
                        keys
                    } else {
                        self.authors_of(before)
                    }
                })
            }
        };
        match changed {
            Ok(keys) => self.due.extend(keys),
            Err(why) => {
                health.metrics.failed(Trouble::Watch);
                tracing::warn!(why, "companions: policies cannot be watched");
            }
        }
    }

    fn authors_of(&self, before: Vec<ObjectKey>) -> Vec<ObjectKey> {
        let now = self
            .companions
            .all()
            .map(|(key, companion)| author_of(key, companion));
        before.into_iter().chain(now).collect()
    }

    /// Takes what has changed in the cluster.
    pub fn cluster(&mut self, news: &News) {
        if matters(news) {
            self.index = None;
            self.everybody();
        }
    }

    fn everybody(&mut self) {
        let authors = self.authors.all().map(|(key, _)| key.clone());
        let companions = self
            .companions
            .all()
            .map(|(key, companion)| author_of(key, companion));
        self.due.extend(authors.chain(companions));
    }

    /// What failed is due again.
    pub fn try_again(&mut self) {
        self.due.append(&mut self.failed);
    }

    /// A write for this author failed.
    pub fn failed(&mut self, author: ObjectKey) {
        self.failed.insert(author);
    }

    /// The next author for whom there is something to write.
    pub fn next(&mut self) -> Option<(ObjectKey, Vec<Write>)> {
        let known = self.companions.is_synced()
            && (!self.wanted || (self.authors.is_synced() && self.cluster.store().knows(&KINDS)));
        if !known {
            return None;
        }
        if !self.begun {
            self.begun = true;
            self.everybody();
        }
        while let Some(key) = self.due.pop_first() {
            let writes = self.writes(&key);
            if !writes.is_empty() {
                return Some((key, writes));
            }
        }
        None
    }

    fn writes(&mut self, key: &ObjectKey) -> Vec<Write> {
        let cluster = &self.cluster;
        let index = self.index.get_or_insert_with(|| {
            let store = cluster.store();
            Index::new(known(store.snapshot()))
        });
        let author = self.authors.get(&key.namespace, &key.name);
        let wanted = author.and_then(|author| author.companion(index, &self.config));
        let mut writes = Vec::new();
        let mut is_there = false;
        for (name, companion) in self.companions.of(&key.namespace) {
            if companion.of != key.name {
                continue;
            }
            match &wanted {
                Some((wanted, object)) if wanted.name == *name => {
                    is_there = companion.is(object);
                }
                // Somebody else's label is nobody's order to delete.
                _ if companion.ours => {
                    let key = ObjectKey::new(Name::clone(&key.namespace), Name::clone(name));
                    let (uid, version) = (companion.uid.clone(), companion.version.clone());
                    writes.push(Write::Delete(key, uid, version));
                }
                _ => {}
            }
        }
        if let Some((key, object)) = wanted.filter(|_| !is_there) {
            writes.push(Write::Apply(key, object));
        }
        writes
    }
}

// === impl Companion ===

impl Companion {
    fn read(object: &DynamicObject) -> Option<Self> {
        let metadata = &object.metadata;
        let value = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"namespace": metadata.namespace, "name": metadata.name},
            "spec": object.data["spec"],
        });
        let mut owners = metadata.owner_references.iter().flatten();
        let owner = owners.find(|owner| owner.kind == "NetworkPolicy")?;
        let mut managers = metadata.managed_fields.iter().flatten();
        Some(Self {
            uid: object.uid()?,
            version: object.resource_version().unwrap_or_default(),
            ours: managers.any(|m| m.manager.as_deref() == Some(MANAGER)),
            of: owner.name.as_str().into(),
            owner: owner.uid.clone(),
            policy: parse::policy(&value).ok()?.policy,
        })
    }

    /// Whether it is as it should be.
    fn is(&self, wanted: &Value) -> bool {
        let policy = parse::policy(wanted).map(|parsed| parsed.policy);
        policy.is_ok_and(|policy| policy == self.policy)
            && wanted["metadata"]["ownerReferences"][0]["uid"] == self.owner.as_str()
    }
}

impl Decides for Author {
    fn same(&self, other: &Self) -> bool {
        self == other
    }
}

impl Decides for Companion {
    fn same(&self, other: &Self) -> bool {
        self == other
    }
}

/// Whether it decides about DNS or about modes.
fn matters(news: &News) -> bool {
    match news {
        News::Changed(change) => matches!(
            change,
            Change::Namespace(..) | Change::Service(..) | Change::Node(..)
        ),
        News::Listed => false,
        News::Missed => true,
    }
}

/// What of the cluster decides.
fn known(snapshot: &Snapshot) -> Snapshot {
    Snapshot {
        namespaces: snapshot.namespaces.clone(),
        services: snapshot.services.clone(),
        nodes: snapshot.nodes.clone(),
        ..Snapshot::default()
    }
}

fn author_of(key: &ObjectKey, companion: &Companion) -> ObjectKey {
    ObjectKey::new(Name::clone(&key.namespace), Name::clone(&companion.of))
}
