//! What the watches have brought.

use super::api::Server;
use super::{Bundle, Configuration, Contents, Hook, Problem};
use crate::health::Concern;
use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll, select_all};
use k8s_openapi::api::core::v1::Secret;
use kube::api::DynamicObject;
use kube::runtime::{WatchStreamExt, watcher};
use std::fmt;

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

/// The latest of everything; the outer `None` was not heard of yet.
#[derive(Debug, Default)]
pub struct Seen {
    secret: Option<Option<Secret>>,
    configurations: [Option<Option<Configuration>>; 2],
}

/// What cannot be seen.
#[derive(Debug)]
pub struct Blind {
    /// Which readiness it takes away.
    pub concern: Concern,
    why: String,
}

impl fmt::Display for Blind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
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

// === impl Seen ===

impl Seen {
    /// Remembers an event.
    ///
    /// # Errors
    /// A watch that failed, or a configuration that cannot be read: what was seen before
    /// still counts.
    pub fn note(&mut self, event: Event) -> Result<(), Blind> {
        let blind = |concern, error: &dyn fmt::Display| Blind {
            concern,
            why: error.to_string(),
        };
        match event {
            Event::Secret(secret) => {
                self.secret = Some(secret.map_err(|e| blind(Concern::Secret, &e))?);
            }
            Event::Configuration(hook, object) => {
                let object = object.map_err(|e| blind(Concern::Configurations, &e))?;
                let configuration = object.map(|object| Configuration::read(hook, &object));
                let configuration = configuration.transpose();
                *self.slot(hook) =
                    Some(configuration.map_err(|e| blind(Concern::Configurations, &e))?);
            }
        }
        Ok(())
    }

    /// Whether everything was heard of.
    pub fn is_complete(&self, secret: bool) -> bool {
        self.configurations.iter().all(Option::is_some) && (self.secret.is_some() || !secret)
    }

    /// The Secret, if there is one.
    pub fn secret(&self) -> Option<&Secret> {
        self.secret.as_ref()?.as_ref()
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
        self.secret = Some(Some(secret));
    }

    /// A configuration, if there is one.
    pub fn configuration(&self, hook: Hook) -> Option<&Configuration> {
        self.configurations[index(hook)].as_ref()?.as_ref()
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
        matches!(self.configurations[index(hook)], Some(None)).then(|| {
            format!("there is no {kind} {name:?}: apply the manifests, or correct --configuration")
        })
    }

    fn slot(&mut self, hook: Hook) -> &mut Option<Option<Configuration>> {
        &mut self.configurations[index(hook)]
    }
}

fn index(hook: Hook) -> usize {
    match hook {
        Hook::Mutate => 0,
        Hook::Validate => 1,
    }
}
