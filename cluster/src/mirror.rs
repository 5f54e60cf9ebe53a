//! One store for several readers: what a process watches is decoded and kept once.
//!
//! ```text
//!   Feed --> Mirror::follow --> Store <-- store() -- readers, whenever they like
//!                  |
//!                  +--> News to every Reader; who is slow is told that it has missed some
//! ```
//!
//! Readers are level based: the store may be ahead of the news that they have taken. Who
//! has to see every change in its order (an enforcer) keeps a [`Store`] of its own.

use crate::{Feed, Kubernetes, Store};
use ringfence_policy::Change;
use ringfence_policy::snapshot::Kind;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, watch};

/// News that wait for a reader; beyond them it is told to look at everything. A reader that
/// stands still keeps no more objects alive than these.
const QUEUE: usize = 1024;

/// A store that several read; clones share it.
#[derive(Clone, Debug)]
pub struct Mirror(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    kinds: Vec<Kind>,
    store: RwLock<Store>,
    news: broadcast::Sender<News>,
    /// Whether anybody has ever wanted to read.
    wanted: watch::Sender<bool>,
}

/// What a reader gets to know.
#[derive(Clone, Debug)]
pub enum News {
    /// An object has changed; the store has it already.
    Changed(Change),
    /// A list is complete: look at what the store says of itself.
    Listed,
    /// So much has changed that some of it was not kept: anything may be different.
    Missed,
}

/// One reader's place in the news.
#[derive(Debug)]
pub struct Reader {
    mirror: Mirror,
    news: broadcast::Receiver<News>,
}

// === impl Mirror ===

impl Mirror {
    /// An empty one, for these kinds.
    pub fn new(kinds: impl IntoIterator<Item = Kind>) -> Self {
        let kinds: Vec<Kind> = kinds.into_iter().collect();
        let store = RwLock::new(Store::new(kinds.iter().copied()));
        let (news, _) = broadcast::channel(QUEUE);
        let (wanted, _) = watch::channel(false);
        Self(Arc::new(Shared {
            kinds,
            store,
            news,
            wanted,
        }))
    }

    /// Watches an API server, from the first reader on, until it is dropped.
    pub async fn watch(&self, kubernetes: &Kubernetes) {
        let mut wanted = self.0.wanted.subscribe();
        // The sender is ours: it does not go.
        if wanted.wait_for(|wanted| *wanted).await.is_ok() {
            let feed = Feed::kubernetes(kubernetes, self.0.kinds.iter().copied());
            self.follow(feed).await;
        }
    }

    /// Takes what a source says, until it ends.
    pub async fn follow(&self, mut feed: Feed) {
        while let Some(event) = feed.next().await {
            self.take(event);
        }
    }

    fn take(&self, event: crate::Event) {
        let shared = &self.0;
        let listed = matches!(
            event,
            crate::Event::ListDone { .. } | crate::Event::Replace(_)
        );
        let mut store = shared.store.write().unwrap_or_else(PoisonError::into_inner);
        let changes = store.handle(event);
        drop(store);
        let changes = changes.into_iter().map(News::Changed);
        for news in changes.chain(listed.then_some(News::Listed)) {
            // Without a reader there is nobody to tell.
            let _ = shared.news.send(news);
        }
    }

    /// The store as it is now. Do not keep it over an `await`: the source waits.
    pub fn store(&self) -> RwLockReadGuard<'_, Store> {
        let store = self.0.store.read();
        store.unwrap_or_else(PoisonError::into_inner)
    }

    /// A reader of what happens from now on; what has happened is in the store.
    pub fn reader(&self) -> Reader {
        self.0.wanted.send_replace(true);
        Reader {
            mirror: self.clone(),
            news: self.0.news.subscribe(),
        }
    }
}

// === impl Reader ===

impl Reader {
    /// Waits for news; cancel safe.
    pub async fn next(&mut self) -> News {
        match self.news.recv().await {
            Ok(news) => news,
            Err(RecvError::Lagged(_)) => News::Missed,
            // The mirror is ours as well: its sender does not go.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }

    /// News that are there already, so that a burst is one batch.
    pub fn try_next(&mut self) -> Option<News> {
        match self.news.try_recv() {
            Ok(news) => Some(news),
            Err(TryRecvError::Lagged(_)) => Some(News::Missed),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }

    /// As [`Mirror::store`].
    pub fn store(&self) -> RwLockReadGuard<'_, Store> {
        self.mirror.store()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decoded, Event};
    use ringfence_policy::model::ObjectKey;
    use ringfence_policy::parse;
    use serde_json::json;

    fn namespace(name: &str) -> Event {
        let object = json!({"kind": "Namespace", "metadata": {"name": name}});
        let (object, _) = parse::object(&object).unwrap();
        Event::Apply(Decoded {
            kind: Kind::Namespace,
            key: ObjectKey::new("", name),
            object: Some(object),
            problems: Vec::new(),
            resource_version: None,
        })
    }

    fn listed() -> Event {
        Event::ListDone {
            kind: Kind::Namespace,
            resource_version: "1".into(),
        }
    }

    fn told(reader: &mut Reader) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(news) = reader.try_next() {
            told.push(match news {
                News::Changed(Change::Namespace(_, Some(now))) => now.name.to_string(),
                News::Changed(_) => "?".to_owned(),
                News::Listed => "listed".to_owned(),
                News::Missed => "missed".to_owned(),
            });
        }
        told
    }

    #[test]
    fn all_readers_see_the_same_objects() {
        let mirror = Mirror::new([Kind::Namespace]);
        let (mut one, mut other) = (mirror.reader(), mirror.reader());
        mirror.take(namespace("a"));
        mirror.take(listed());
        assert_eq!(told(&mut one), ["a", "listed"]);
        assert!(one.store().is_synced());
        mirror.take(namespace("b"));
        assert_eq!(told(&mut other), ["a", "listed", "b"]);
        let mut late = mirror.reader();
        assert_eq!(
            told(&mut late),
            [""; 0],
            "what has happened is in the store"
        );
        assert_eq!(late.store().snapshot().namespaces.len(), 2);
    }

    #[test]
    fn who_is_slow_is_told_so_and_still_has_all_of_it() {
        let mirror = Mirror::new([Kind::Namespace]);
        let mut reader = mirror.reader();
        for number in 0..QUEUE * 2 {
            mirror.take(namespace(&format!("n{number}")));
        }
        let told = told(&mut reader);
        assert_eq!(told[0], "missed");
        assert_eq!(told.len(), QUEUE + 1, "and what was kept");
        assert_eq!(reader.store().snapshot().namespaces.len(), QUEUE * 2);
    }

    #[tokio::test]
    async fn nothing_is_watched_before_somebody_reads() {
        let mirror = Mirror::new([Kind::Namespace]);
        let wanted = mirror.0.wanted.subscribe();
        assert!(!*wanted.borrow());
        let _reader = mirror.reader();
        assert!(*wanted.borrow());
    }
}
