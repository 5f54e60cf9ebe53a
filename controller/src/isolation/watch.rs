//! The watches of the objects of isolation. They never end: who failed begins again.

use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll, select_all};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, ApiResource, DynamicObject, PartialObjectMeta};
use kube::runtime::watcher::{self, Config, watcher};
use kube::runtime::{WatchStreamExt, utils::Backoff};
use kube::{Client, Resource};
use ringfence_api::{IsolationConfig, IsolationRule, NamespaceIsolation};
use ringfence_isolation::POLICY;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;

/// One thing that a watch has to say.
type Said<K> = watcher::Result<watcher::Event<K>>;

/// From one of the watches.
#[derive(Debug)]
pub enum Event {
    /// The cluster's settings.
    Config(Said<IsolationConfig>),
    /// Which namespaces are isolated.
    Isolation(Said<NamespaceIsolation>),
    /// Their rules.
    Rule(Said<IsolationRule>),
    /// Policies that are called as ours are.
    Policy(Said<DynamicObject>),
    /// Namespaces, for their annotations.
    Namespace(Said<PartialObjectMeta<Namespace>>),
}

/// All watches together.
pub type Events = SelectAll<BoxStream<'static, Event>>;

/// From the first failure to the last pause: CRDs may appear at any time.
const PAUSES: [u64; 4] = [1, 2, 4, 5];

/// Waiting times between failed attempts, in seconds.
#[derive(Debug, Default)]
pub struct Pauses(usize);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let seconds = PAUSES[self.0.min(PAUSES.len() - 1)];
        self.0 += 1;
        // Two replicas that lost the same server should not come back as one.
        Some(Duration::from_secs(seconds).mul_f64(0.9 + fastrand::f64() / 5.0))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0 = 0;
    }
}

/// Starts the watches.
pub fn start(client: &Client) -> Events {
    let kind = ApiResource::erase::<NetworkPolicy>(&());
    let policies: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
    let name = format!("metadata.name={POLICY}");
    let policies = watcher(policies, Config::default().fields(&name)).backoff(Pauses::default());
    let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    let namespaces = watcher(namespaces, Config::default()).backoff(Pauses::default());
    select_all([
        all::<IsolationConfig>(client).map(Event::Config).boxed(),
        all::<NamespaceIsolation>(client)
            .map(Event::Isolation)
            .boxed(),
        all::<IsolationRule>(client).map(Event::Rule).boxed(),
        policies.map(Event::Policy).boxed(),
        namespaces.modify(trim).map(Event::Namespace).boxed(),
    ])
}

/// The next event.
pub async fn next(events: &mut Events) -> Event {
    match events.next().await {
        Some(event) => event,
        // Watches do not end.
        None => std::future::pending().await,
    }
}

fn all<K>(client: &Client) -> impl futures::Stream<Item = Said<K>> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let watched = watcher(Api::<K>::all(client.clone()), Config::default());
    watched.backoff(Pauses::default()).modify(trim)
}

/// Drops what nobody here reads and what is most of a small object.
pub fn trim<K: Resource>(object: &mut K) {
    let metadata = object.meta_mut();
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

/// Whether the server does not have the kind: its CRD is not installed.
pub fn is_missing(error: &watcher::Error) -> bool {
    let error = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => error,
        watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => return false,
    };
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
