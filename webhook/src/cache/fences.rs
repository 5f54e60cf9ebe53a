//! Which namespaces are isolated: watched, because a rule is often written in the same
//! moment as the isolation that it is for.

use futures::{Stream, StreamExt, stream};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use ringfence_api::{
    IsolationConfig, IsolationConfigSpec, NamespaceIsolation, NamespaceIsolationSpec, SINGLETON,
};
use ringfence_isolation::judge::Fences;
use ringfence_policy::model::Name;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::watch;

/// One kind as it is known: the objects called `default`, by namespace.
struct Kind<T> {
    name: &'static str,
    objects: BTreeMap<Name, T>,
    /// A list under way.
    list: BTreeMap<Name, T>,
    known: bool,
    /// The last failure, so that it is told once.
    told: Option<String>,
}

/// What one of the watches says.
enum News {
    Config(watcher::Result<Event<IsolationConfig>>),
    Isolation(watcher::Result<Event<NamespaceIsolation>>),
}

/// Keeps `fences` up to date until nobody listens.
pub(super) async fn follow(client: Client, fences: watch::Sender<Option<Arc<Fences>>>) {
    let mut configs = Kind::<IsolationConfigSpec>::new("isolationconfigs");
    let mut isolations = Kind::<NamespaceIsolationSpec>::new("namespaceisolations");
    let mut news = pin!(news(client));
    loop {
        let news = tokio::select! {
            news = news.next() => news,
            () = fences.closed() => return,
        };
        match news {
            Some(News::Config(event)) => configs.take(event, |object| object.spec),
            Some(News::Isolation(event)) => isolations.take(event, |object| object.spec),
            // A watch of kube's never ends.
            None => return,
        }
        let known = (configs.known && isolations.known).then(|| Fences {
            config: configs.objects.get("").cloned().unwrap_or_default(),
            isolated: isolations.objects.clone(),
        });
        fences.send_if_modified(|published| {
            let is_new = published.as_deref() != known.as_ref();
            if is_new {
                *published = known.map(Arc::new);
            }
            is_new
        });
    }
}

fn news(client: Client) -> impl Stream<Item = News> {
    let configs: Api<IsolationConfig> = Api::all(client.clone());
    let isolations: Api<NamespaceIsolation> = Api::all(client);
    let configs = watcher(configs, watcher::Config::default()).default_backoff();
    let isolations = watcher(isolations, watcher::Config::default()).default_backoff();
    stream::select(
        configs.map(News::Config).boxed(),
        isolations.map(News::Isolation).boxed(),
    )
}

// === impl Kind ===

impl<T> Kind<T> {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            objects: BTreeMap::new(),
            list: BTreeMap::new(),
            known: false,
            told: None,
        }
    }

    fn take<K: ResourceExt>(&mut self, event: watcher::Result<Event<K>>, spec: impl Fn(K) -> T) {
        let namespace = |object: &K| Name::from(object.namespace().unwrap_or_default());
        let event = match event {
            Ok(event) => event,
            Err(error) => return self.fail(&error),
        };
        self.told = None;
        match event {
            Event::Init => self.list.clear(),
            Event::InitApply(object) if object.name_any() == SINGLETON => {
                self.list.insert(namespace(&object), spec(object));
            }
            Event::InitDone => {
                self.objects = std::mem::take(&mut self.list);
                self.known = true;
            }
            Event::Apply(object) if object.name_any() == SINGLETON => {
                self.objects.insert(namespace(&object), spec(object));
            }
            Event::Delete(object) if object.name_any() == SINGLETON => {
                self.objects.remove(&namespace(&object));
            }
            Event::InitApply(_) | Event::Apply(_) | Event::Delete(_) => {}
        }
    }

    /// A kind that the server does not have has no objects. Whatever else is wrong with a
    /// list: what is known stays, and nothing is known when nothing was.
    fn fail(&mut self, error: &watcher::Error) {
        let missing = matches!(
            error,
            watcher::Error::InitialListFailed(kube::Error::Api(status))
            | watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 404
        );
        if missing {
            self.objects.clear();
            self.known = true;
        }
        let text = error.to_string();
        if self.told.as_ref() != Some(&text) {
            let kind = self.name;
            if missing {
                tracing::info!(
                    kind,
                    "the cluster has no such custom resource: nothing is isolated"
                );
            } else {
                tracing::warn!(
                    kind,
                    error = text,
                    "cannot be watched (allow get, list and watch)"
                );
            }
            self.told = Some(text);
        }
    }
}
