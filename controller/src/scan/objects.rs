//! The objects that are judged, as the API server keeps them: checks read annotations and
//! fields that decide nothing about packets.

use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll, select_all};
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Config, watcher};
use ringfence_policy::model::ObjectKey;
use ringfence_policy::snapshot::Kind;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// An object: its kind and name. Namespaces have no namespace.
pub type Id = (Kind, ObjectKey);

/// What a watch has to say about objects of a kind.
pub type Event = (Kind, watcher::Result<watcher::Event<DynamicObject>>);

/// All watches together. They never end: who failed begins again, ever more slowly.
pub type Events = SelectAll<BoxStream<'static, Event>>;

/// The kinds that are judged.
const KINDS: [Kind; 3] = [Kind::NetworkPolicy, Kind::Service, Kind::Namespace];

/// The latest of all, as JSON: read as a tree each takes five times as much memory, and is
/// looked at once in ten minutes.
#[derive(Debug, Default)]
pub struct Objects {
    known: BTreeMap<Id, Box<str>>,
    listed: BTreeSet<Kind>,
    /// During a list: what was there before and has not come again yet.
    unlisted: BTreeMap<Kind, BTreeSet<Id>>,
}

/// Starts the watches.
pub fn watch(client: &Client) -> Events {
    select_all(KINDS.map(|kind| {
        let resource = match kind {
            Kind::Service => ApiResource::erase::<Service>(&()),
            Kind::Namespace => ApiResource::erase::<Namespace>(&()),
            _ => ApiResource::erase::<NetworkPolicy>(&()),
        };
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let objects = watcher(api, Config::default()).default_backoff();
        objects.map(move |event| (kind, event)).boxed()
    }))
}

/// The next event.
pub async fn next(events: &mut Events) -> Event {
    match events.next().await {
        Some(event) => event,
        // Watches do not end.
        None => std::future::pending().await,
    }
}

// === impl Objects ===

impl Objects {
    /// Takes one event. Returns what is to be judged again.
    ///
    /// # Errors
    /// The watch failed: what was seen before still counts.
    pub fn note(&mut self, (kind, event): Event) -> Result<Vec<Id>, String> {
        match event.map_err(|error| format!("{}: {error}", kind.plural()))? {
            watcher::Event::Init => {
                let known = self.known.keys().filter(|(k, _)| *k == kind);
                let unlisted = known.cloned().collect();
                self.unlisted.insert(kind, unlisted);
                Ok(Vec::new())
            }
            watcher::Event::InitApply(object) | watcher::Event::Apply(object) => {
                Ok(self.put(kind, object).into_iter().collect())
            }
            watcher::Event::Delete(object) => {
                let id = id(kind, &object);
                self.known.remove(&id);
                Ok(vec![id])
            }
            watcher::Event::InitDone => {
                self.listed.insert(kind);
                let gone = self.unlisted.remove(&kind).unwrap_or_default();
                for id in &gone {
                    self.known.remove(id);
                }
                Ok(gone.into_iter().collect())
            }
        }
    }

    fn put(&mut self, kind: Kind, object: DynamicObject) -> Option<Id> {
        let id = id(kind, &object);
        if let Some(unlisted) = self.unlisted.get_mut(&kind) {
            unlisted.remove(&id);
        }
        let text = value(kind, object).to_string();
        if self.known.get(&id).is_some_and(|known| **known == *text) {
            return None;
        }
        self.known.insert(id.clone(), text.into());
        Some(id)
    }

    /// Whether every kind has been listed once.
    pub fn is_complete(&self) -> bool {
        self.listed.len() == KINDS.len()
    }

    /// An object.
    pub fn get(&self, id: &Id) -> Option<Value> {
        // It was JSON when it was kept.
        serde_json::from_str(self.known.get(id)?).ok()
    }

    /// All of them.
    pub fn ids(&self) -> impl Iterator<Item = &Id> {
        self.known.keys()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }
}

fn id(kind: Kind, object: &DynamicObject) -> Id {
    let text = |name: &Option<String>| name.as_deref().unwrap_or_default().to_owned();
    let metadata = &object.metadata;
    let key = ObjectKey::new(text(&metadata.namespace), text(&metadata.name));
    (kind, key)
}

/// The object without what changes at every write and no check reads.
fn value(kind: Kind, mut object: DynamicObject) -> Value {
    object.metadata.resource_version = None;
    object.metadata.generation = None;
    // Of policies they tell whether `egress: []` was written.
    if kind != Kind::NetworkPolicy {
        object.metadata.managed_fields = None;
    }
    let version = match kind {
        Kind::NetworkPolicy => "networking.k8s.io/v1",
        _ => "v1",
    };
    let mut value = object.data;
    value["apiVersion"] = version.into();
    value["kind"] = kind.as_str().into();
    // Metadata that was read from JSON becomes JSON.
    value["metadata"] = serde_json::to_value(object.metadata).unwrap_or_default();
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::runtime::watcher::Event as Said;
    use serde_json::json;

    fn object(name: &str, version: &str, label: &str) -> DynamicObject {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "shop", "resourceVersion": version,
                "labels": {"a": label}},
            "spec": {}
        }))
        .unwrap()
    }

    fn note(objects: &mut Objects, event: Said<DynamicObject>) -> Vec<String> {
        let ids = objects.note((Kind::Service, Ok(event))).unwrap();
        ids.iter().map(|(_, key)| key.to_string()).collect()
    }

    #[test]
    fn a_list_and_what_comes_after_it() {
        let mut objects = Objects::default();
        note(&mut objects, Said::Init);
        let new = note(&mut objects, Said::InitApply(object("a", "1", "x")));
        assert_eq!(new, ["shop/a"]);
        assert_eq!(
            note(&mut objects, Said::InitApply(object("b", "1", "x"))),
            ["shop/b"]
        );
        note(&mut objects, Said::InitDone);
        assert!(!objects.is_complete(), "two kinds are missing");
        // Nothing but its version.
        assert_eq!(
            note(&mut objects, Said::Apply(object("a", "2", "x"))),
            [""; 0]
        );
        assert_eq!(
            note(&mut objects, Said::Apply(object("a", "3", "y"))),
            ["shop/a"]
        );
        // Listed again, without b.
        note(&mut objects, Said::Init);
        assert_eq!(
            note(&mut objects, Said::InitApply(object("a", "4", "y"))),
            [""; 0]
        );
        assert_eq!(note(&mut objects, Said::InitDone), ["shop/b"]);
        assert_eq!(
            note(&mut objects, Said::Delete(object("a", "5", "y"))),
            ["shop/a"]
        );
        assert_eq!(objects.len(), 0);
    }
}
