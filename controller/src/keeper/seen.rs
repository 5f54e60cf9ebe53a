//! What the watches have brought.

use super::api::Server;
use super::{Bundle, Configuration, Contents, Hook, Problem};
use crate::health::Concern;
use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll, select_all};
use k8s_openapi::api::core::v1::Secret;
use kube::api::DynamicObject;
use kube::runtime::{WatchStreamExt, watcher};

/// One thing that a watch has to say; `None` is an object that does not exist.
#[derive(Debug)]
pub enum Event {
    /// About the Secret.
    Secret(Result<Option<Secret>, watcher::Error>),
    /// About a configuration.
    Configuration(Hook, Result<Option<DynamicObject>, watcher::Error>),
}

/// All watches together. They never end: who failed begins again, ever more slowly.
pub type Events = SelectAll<BoxStream<'static, Event>>;

/// The latest of everything.
#[derive(Debug, Default)]
pub struct Seen {
    secret: Latest<Secret>,
    configurations: [Latest<Configuration>; 2],
}

#[derive(Debug, Default)]
enum Latest<T> {
    /// No watch has said anything yet.
    #[default]
    Unheard,
    /// It does not exist.
    Absent,
    /// It is this.
    Is(T),
}

/// Starts the watches: of three objects, by name.
pub fn watch(server: &Server, secret: bool) -> Events {
    let hooks = Hook::ALL.into_iter().map(|hook| {
        let objects =
            watcher::watch_object(server.configurations(hook).clone(), server.configuration());
        let objects = objects.default_backoff();
        objects
            .map(move |object| Event::Configuration(hook, object))
            .boxed()
    });
    let mut all: Vec<BoxStream<'static, Event>> = hooks.collect();
    if secret {
        let objects = watcher::watch_object(server.secrets().clone(), server.secret());
        all.push(objects.default_backoff().map(Event::Secret).boxed());
    }
    select_all(all)
}

/// The next event.
pub async fn next(events: &mut Events) -> Event {
    match events.next().await {
        Some(event) => event,
        // Watches do not end.
        None => std::future::pending().await,
    }
}

// === impl Latest ===

impl<T> Latest<T> {
    fn get(&self) -> Option<&T> {
        match self {
            Self::Is(object) => Some(object),
            Self::Unheard | Self::Absent => None,
        }
    }
}

impl<T> From<Option<T>> for Latest<T> {
    fn from(object: Option<T>) -> Self {
        object.map_or(Self::Absent, Self::Is)
    }
}

// === impl Event ===

impl Event {
    /// Which readiness it gives, or takes away.
    pub fn concern(&self) -> Concern {
        match self {
            Self::Secret(_) => Concern::WatchSecret,
            Self::Configuration(hook, _) => Concern::WatchConfiguration(*hook),
        }
    }
}

// === impl Seen ===

impl Seen {
    /// Remembers an event.
    ///
    /// # Errors
    /// A watch that failed, or a configuration that cannot be read: what was seen before
    /// still counts.
    pub fn note(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Secret(secret) => self.secret = secret?.into(),
            Event::Configuration(hook, object) => {
                let configuration = object?.map(|object| Configuration::read(hook, &object));
                self.configurations[index(hook)] = configuration.transpose()?.into();
            }
        }
        Ok(())
    }

    /// Whether everything was heard of.
    pub fn is_complete(&self, secret: bool) -> bool {
        let unheard = |c: &Latest<_>| matches!(c, Latest::Unheard);
        !self.configurations.iter().any(unheard)
            && (!secret || !matches!(self.secret, Latest::Unheard))
    }

    /// The Secret, if there is one.
    pub fn secret(&self) -> Option<&Secret> {
        self.secret.get()
    }

    /// What the Secret says.
    ///
    /// # Errors
    /// There is none, or it cannot be used.
    pub fn contents(&self) -> Result<Contents, Problem> {
        let missing = || Problem::Malformed {
            what: "Secret",
            why: "it does not exist".into(),
        };
        Contents::read(self.secret().ok_or_else(missing)?)
    }

    /// After a write of ours: what was written.
    pub fn wrote_secret(&mut self, secret: Secret) {
        self.secret = Latest::Is(secret);
    }

    /// A configuration, if there is one.
    pub fn configuration(&self, hook: Hook) -> Option<&Configuration> {
        self.configurations[index(hook)].get()
    }

    /// What API servers trust now, by the caBundles.
    pub fn trusted(&self) -> Bundle {
        let configurations = Hook::ALL
            .iter()
            .filter_map(|hook| self.configuration(*hook));
        let entries = configurations.flat_map(|c| &c.entries);
        entries.fold(Bundle::default(), |all, entry| {
            // What cannot be read verifies nobody.
            let text = std::str::from_utf8(&entry.ca_bundle).unwrap_or_default();
            Bundle::parse(text).map_or(all.clone(), |bundle| all.and(&bundle))
        })
    }

    /// A sentence, when a configuration does not exist.
    pub fn absent(&self, hook: Hook, name: &str) -> Option<String> {
        let kind = match hook {
            Hook::Mutate => "MutatingWebhookConfiguration",
            Hook::Validate => "ValidatingWebhookConfiguration",
        };
        matches!(self.configurations[index(hook)], Latest::Absent).then(|| {
            format!("there is no {kind} {name:?}: apply the manifests, or correct --configuration")
        })
    }
}

fn index(hook: Hook) -> usize {
    match hook {
        Hook::Mutate => 0,
        Hook::Validate => 1,
    }
}
