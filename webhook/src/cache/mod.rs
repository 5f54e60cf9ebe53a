//! The cluster's objects, kept beside the requests: watches feed a store, and now and then
//! an [`Index`] of it is published. On a thread of its own, so that neither a burst of
//! events nor the making of an index delays an answer.

mod fences;
mod settled;

use crate::metrics::Metrics;
use crate::status::{Concern, Status};
use anyhow::Context;
use ringfence_checks::{Facts, Index};
use ringfence_cluster::{Feed, Folder, Kubernetes, Origin, Position, Store};
use ringfence_isolation::judge::Fences;
use ringfence_policy::snapshot::Kind;
use settled::Settled;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};
use tokio::time::sleep_until;

/// Between two publications at least: a rollout is hundreds of events a second.
const PACE: Duration = Duration::from_millis(100);
/// And at least so many times as long as the last one took to make.
const LEISURE: u32 = 10;
/// How often age and staleness are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Where the objects come from, and how long they count without news.
#[derive(Clone, Debug)]
pub struct Source {
    /// The API server or a folder.
    pub origin: Origin,
    /// For the API server; `None`: the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// A watch that has been lost for so long makes results Unknown.
    pub stale_after: Duration,
}

/// What is published.
#[derive(Debug)]
pub struct Published {
    /// The cluster's objects; `None`: unknown.
    pub index: watch::Receiver<Option<Arc<Index>>>,
    /// What else is known of it.
    pub facts: watch::Receiver<Arc<Facts>>,
    /// Which namespaces are isolated; `None`: unknown.
    pub fences: watch::Receiver<Option<Arc<Fences>>>,
}

/// What is known beyond the kinds that decide about packets.
struct Rest {
    facts: watch::Sender<Arc<Facts>>,
    fences: watch::Sender<Option<Arc<Fences>>>,
}

/// The thread's state.
struct Cache {
    source: Source,
    status: Arc<Status>,
    metrics: Arc<Metrics>,
    store: Store,
    settled: Settled,
    index: watch::Sender<Option<Arc<Index>>>,
    /// Where the rest of a folder goes; that of a cluster has watchers of its own.
    folder_rest: Option<Rest>,
    /// When the next namespace settles.
    settles: Option<Instant>,
    /// Something is to be published.
    dirty: bool,
    /// Not before.
    not_before: Instant,
    /// The last word of the source.
    heard: Instant,
    /// Since when a kind cannot be read.
    lost: Option<Instant>,
}

/// Starts to follow `source`. Ends with the process; when it ends before, the process
/// cannot go on, and `ended` gets to know why.
///
/// # Errors
/// No thread.
pub fn start(
    source: Source,
    status: Arc<Status>,
    metrics: Arc<Metrics>,
) -> anyhow::Result<(Published, oneshot::Receiver<anyhow::Error>)> {
    status.raise(Concern::Caches, "waiting for the cluster's objects");
    let (index, index_out) = watch::channel(None);
    let (facts, facts_out) = watch::channel(Arc::new(Facts::default()));
    let (fences, fences_out) = watch::channel(None);
    let (ended, ended_out) = oneshot::channel();
    let cache = Cache {
        source,
        status,
        metrics,
        store: Store::new(Kind::ALL),
        settled: Settled::default(),
        index,
        folder_rest: None,
        settles: None,
        dirty: false,
        not_before: Instant::now(),
        heard: Instant::now(),
        lost: None,
    };
    thread::Builder::new()
        .name("cache".to_owned())
        .spawn(move || {
            let error = match run(cache, Rest { facts, fences }) {
                Ok(()) => anyhow::anyhow!("the source of objects has ended"),
                Err(error) => error,
            };
            // Nobody listens when the process is ending anyway.
            let _ = ended.send(error);
        })
        .context("cannot start the thread of the cache")?;
    let published = Published {
        index: index_out,
        facts: facts_out,
        fences: fences_out,
    };
    Ok((published, ended_out))
}

#[tokio::main(flavor = "current_thread")]
async fn run(mut cache: Cache, rest: Rest) -> anyhow::Result<()> {
    let mut feed = match &cache.source.origin {
        Origin::Kubernetes => {
            let kubernetes = Kubernetes::new(cache.source.kubeconfig.as_deref()).await?;
            let feed = Feed::kubernetes(&kubernetes, Kind::ALL);
            tokio::spawn(fences::follow(kubernetes.client().clone(), rest.fences));
            tokio::spawn(kubernetes.facts(rest.facts));
            feed
        }
        Origin::Folder(path) => {
            let feed = Feed::folder(Folder::new(path, "default"));
            cache.folder_rest = Some(rest);
            feed
        }
    };
    cache.follow(&mut feed).await;
    Ok(())
}

/// What was freed goes back to the system when its time has come and somebody frees a page
/// again. After a large index nobody may do so for long: so this thread does, now and then.
fn give_back() {
    const PAGE: usize = 1 << 20;
    drop(black_box(Vec::<u8>::with_capacity(PAGE)));
}

// === impl Cache ===

impl Cache {
    async fn follow(&mut self, feed: &mut Feed) {
        loop {
            let now = Instant::now();
            let mut wake = now + LOOK;
            if self.dirty {
                wake = wake.min(self.not_before);
            }
            tokio::select! {
                event = feed.next() => {
                    let Some(event) = event else { return };
                    self.take(event);
                    while let Some(event) = feed.try_next() {
                        self.take(event);
                    }
                }
                () = sleep_until(wake.into()) => give_back(),
            }
            self.look(Instant::now());
        }
    }

    fn take(&mut self, event: ringfence_cluster::Event) {
        let news = !matches!(event, ringfence_cluster::Event::Unavailable { .. });
        if news {
            self.heard = Instant::now();
        }
        let was_synced = self.store.is_synced();
        self.dirty |= !self.store.handle(event).is_empty();
        self.dirty |= !was_synced && self.store.is_synced();
    }

    fn look(&mut self, now: Instant) {
        self.metrics
            .cache_age
            .set(i64::try_from(self.heard.elapsed().as_secs()).unwrap_or(i64::MAX));
        if !self.store.is_synced() {
            let missing: Vec<String> = self
                .store
                .missing()
                .iter()
                .map(ToString::to_string)
                .collect();
            let text = format!("waiting for the cluster's objects: {}", missing.join("; "));
            self.status.raise(Concern::Caches, text);
            return;
        }
        if self.is_stale(now) {
            return;
        }
        self.dirty |= self.settles.is_some_and(|due| due <= now);
        // A list under way is partly old and partly new.
        if !self.store.is_settled() {
            return;
        }
        if self.dirty && now >= self.not_before {
            self.publish(now);
        }
        if !self.dirty {
            // Not only after a publication: most events change nothing that counts.
            self.status.published(self.store.position());
        }
    }

    /// Whether a watch has been lost for too long; tells, and takes the objects back.
    fn is_stale(&mut self, now: Instant) -> bool {
        let lost: Vec<String> = self
            .store
            .unavailable()
            .map(|(kind, reason)| format!("{}: {reason}", kind.plural()))
            .collect();
        if lost.is_empty() {
            self.lost = None;
            if self.status.settle(Concern::Stale) {
                tracing::info!("the cluster's objects are known again");
            }
            return false;
        }
        let since = *self.lost.get_or_insert(now);
        if now < since + self.source.stale_after {
            return false;
        }
        let text = format!("what needs the cluster is Unknown: {}", lost.join("; "));
        if self.status.raise(Concern::Stale, text) {
            tracing::error!(lost = lost.join("; "), "a watch is lost for too long");
        }
        if self.index.send_replace(None).is_some() {
            self.metrics.cache_known.set(0);
            self.status.published(Position::default());
        }
        self.dirty = true;
        true
    }

    /// What the folder says beyond the five kinds, as of the last change of one of them.
    fn read_rest(&self) {
        let (Origin::Folder(path), Some(rest)) = (&self.source.origin, &self.folder_rest) else {
            return;
        };
        match ringfence_cluster::folder::documents(path, "default") {
            Ok(documents) => {
                let values = || documents.written.iter().map(|written| &written.value);
                let facts = ringfence_checks::facts::read(values());
                rest.facts.send_replace(Arc::new(facts));
                match Fences::read(values()) {
                    Ok(fences) => drop(rest.fences.send_replace(Some(Arc::new(fences)))),
                    Err(error) => tracing::warn!(%error, "isolation stays as it was"),
                }
            }
            // The source itself says so as well, and facts stay as they were.
            Err(error) => tracing::warn!(error = format!("{error:#}"), "no facts from the folder"),
        }
    }

    fn publish(&mut self, now: Instant) {
        self.read_rest();
        let index = Index::new(self.store.snapshot().clone());
        // Otherwise the first request that asks for it would wait.
        index.prepare();
        let settled = self.settled.look(&index, now);
        self.settles = self.settled.next(now);
        let first = self.index.borrow().is_none();
        self.index
            .send_replace(Some(Arc::new(index.with_settled(settled))));
        self.dirty = false;
        let took = now.elapsed();
        self.not_before = Instant::now() + PACE.max(took * LEISURE);
        self.metrics.cache_known.set(1);
        if self.status.settle(Concern::Caches) || first {
            let snapshot = self.store.snapshot();
            tracing::info!(
                pods = snapshot.pods.len(),
                policies = snapshot.policies.len(),
                services = snapshot.services.len(),
                namespaces = snapshot.namespaces.len(),
                ?took,
                "the cluster's objects are known"
            );
        }
    }
}
