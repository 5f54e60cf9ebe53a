//! The background scan: the checks over what the cluster holds, as `Report` objects and
//! metrics.
//!
//! ```text
//!  mirror (pods, nodes, ...) -+                    +--> Desk: what was found, by object
//!  objects (as they are) -----+--> Due: who is to  |       |
//!  facts, configuration ------+    be judged again-+       +--> report: one for each namespace
//!  clock ---------------------+                            +--> metrics
//! ```
//!
//! Incremental: what changes in a namespace judges again what is in it, and the policies
//! whose peers are there. Nodes, labels of namespaces, facts and the configuration concern
//! everything. Only the leader scans, and what it does not get done waits: certificates and
//! isolation come first.

mod desk;
mod due;
mod metrics;
mod objects;
mod report;
mod server;

use crate::health::Health;
use crate::metrics::Trouble;
use desk::{Desk, Findings};
use due::Due;
use futures::StreamExt;
use futures::stream;
use jiff::Timestamp;
use objects::Objects;
use ringfence_checks::{Config, Facts, Index, Occasion, World};
use ringfence_cluster::{Kubernetes, Mirror, News, Reader};
use ringfence_policy::model::Name;
use server::{Refusal, Server};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

pub use metrics::Metrics;
pub use server::Api;

/// Between two passes at least: a rollout is hundreds of changes.
const PACE: Duration = Duration::from_secs(2);
/// And at least so many times as long as the last one took.
const LEISURE: u32 = 20;
/// Everything is looked at again: suppressions run out, and reports may have been deleted.
const ROUND: Duration = Duration::from_mins(10);
/// Between two tries while reports cannot be written: their CRD may be installed any time.
const RETRY: Duration = Duration::from_secs(15);
/// The facts of a server that tells none are not waited for.
const PATIENCE: Duration = Duration::from_secs(45);
/// Objects that are judged in a row: the Lease is renewed by the same thread.
const ROW: usize = 50;
/// Reports that are written at once.
const AT_ONCE: usize = 8;

/// How the scan is done.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The checks' configuration; `None`: the defaults.
    pub config: Option<PathBuf>,
    /// Which reports are written; `None`: metrics only.
    pub reports: Option<Api>,
}

/// Everything that is known.
struct Scan {
    cluster: Reader,
    objects: Objects,
    facts: watch::Receiver<Arc<Facts>>,
    config: Config,
    due: Due,
    desk: Desk,
    /// Reports that are not as they should be, by namespace.
    unwritten: BTreeSet<Name>,
    server: Option<Server>,
    settings: Settings,
    health: Health,
    /// Why reports cannot be written, as it was told; `None`: they can.
    told: Option<String>,
}

/// Works until it is dropped.
pub async fn run(kubernetes: Kubernetes, mirror: &Mirror, settings: Settings, health: Health) {
    let (sender, facts) = watch::channel(Arc::new(Facts::default()));
    let client = kubernetes.client().clone();
    let mut events = objects::watch(&client);
    let scan = Scan {
        cluster: mirror.reader(),
        objects: Objects::default(),
        facts,
        config: Config::default(),
        due: Due::default(),
        desk: Desk::default(),
        unwritten: BTreeSet::new(),
        server: settings.reports.map(|api| Server::new(client, api)),
        settings,
        health,
        told: None,
    };
    tokio::select! {
        () = kubernetes.facts(sender) => {}
        () = scan.work(&mut events) => {}
    }
}

// === impl Scan ===

impl Scan {
    async fn work(mut self, events: &mut objects::Events) {
        let begin = Instant::now();
        let (mut not_before, mut round, mut retry) = (begin, begin, begin);
        loop {
            let mut wake = round;
            if self.is_due() {
                wake = wake.min(not_before);
            }
            if self.told.is_some() {
                wake = wake.min(retry);
            }
            tokio::select! {
                news = self.cluster.next() => self.take(&news),
                event = objects::next(events) => self.note(event),
                Ok(()) = self.facts.changed() => self.due.everything(),
                () = sleep_until(wake) => {}
            }
            while let Some(news) = self.cluster.try_next() {
                self.take(&news);
            }
            let now = Instant::now();
            let knows_facts = **self.facts.borrow() != Facts::default();
            let patient = knows_facts || now >= begin + PATIENCE;
            if !self.is_whole() || !patient {
                // Half a cluster would have findings that the whole one has not.
                not_before = now + PACE;
                round = round.max(not_before);
                retry = retry.max(not_before);
                continue;
            }
            let again = now >= round;
            if again {
                round = now + ROUND;
                self.due.everything();
                self.read_config();
            }
            if again || self.told.is_some() && now >= retry {
                retry = now + RETRY;
                self.find_reports().await;
            }
            if self.is_due() && now >= not_before {
                self.pass().await;
                not_before = Instant::now() + PACE.max(now.elapsed() * LEISURE);
            }
        }
    }

    fn is_whole(&self) -> bool {
        let store = self.cluster.store();
        store.is_synced() && store.is_settled() && self.objects.is_complete()
    }

    fn is_due(&self) -> bool {
        !self.due.is_empty() || !self.unwritten.is_empty()
    }

    fn take(&mut self, news: &News) {
        match news {
            News::Changed(change) => self.due.note(change, &self.config),
            News::Listed => {}
            News::Missed => self.due.everything(),
        }
    }

    fn note(&mut self, event: objects::Event) {
        match self.objects.note(event) {
            Ok(changed) => changed.into_iter().for_each(|id| self.due.object(id)),
            Err(error) => {
                self.health.metrics.failed(Trouble::Watch);
                tracing::warn!(error, "the scan's watch failed; it begins again");
            }
        }
    }

    /// The configuration as it is now. One that is bad is told, and the last one counts.
    fn read_config(&mut self) {
        let Some(path) = &self.settings.config else {
            return;
        };
        match crate::config::read_checks(path) {
            Ok(config) => self.config = config,
            Err(error) => {
                self.health.metrics.failed(Trouble::Scan);
                tracing::error!(
                    error = format!("{error:#}"),
                    "the scan's configuration is bad; the last one counts"
                );
            }
        }
    }

    /// Learns which reports there are: those of namespaces without findings must go, and
    /// those that somebody deleted must come back.
    async fn find_reports(&mut self) {
        let Some(server) = &self.server else {
            return;
        };
        match server.existing().await {
            Ok(namespaces) => {
                self.desk.forget_reports();
                self.unwritten.extend(namespaces);
                self.unwritten.extend(self.desk.namespaces().cloned());
                self.tell(None);
            }
            Err(refusal) => self.tell(Some(refusal)),
        }
    }

    /// Says once that reports cannot be written, and why, and that they can again.
    fn tell(&mut self, refusal: Option<Refusal>) {
        let metrics = &self.health.metrics.scan;
        metrics.reports_available.set(i64::from(refusal.is_none()));
        let now = refusal.map(|refusal| match refusal {
            Refusal::Missing(what) => format!(
                "the cluster has no {what}: findings are metrics only; install manifests/overlays/reports"
            ),
            Refusal::Gone => "the namespace is gone".to_owned(),
            Refusal::Failed(why) => format!("reports cannot be written: {why}"),
        });
        if self.told == now {
            return;
        }
        if let Some(why) = &now {
            tracing::warn!(why, "findings of the scan are metrics only");
        } else {
            tracing::info!("findings of the scan are written as reports");
        }
        self.told = now;
    }

    /// Judges what is due, and writes what has changed by it.
    async fn pass(&mut self) {
        let begin = Instant::now();
        let due = std::mem::take(&mut self.due);
        let facts = Arc::clone(&self.facts.borrow());
        if due.is_empty() {
            return self.write().await;
        }
        let index = Index::new(self.cluster.store().snapshot().clone());
        let world = World {
            index: Some(&index),
            facts: &facts,
            config: &self.config,
            now: Timestamp::now(),
            occasion: Occasion::Scan,
        };
        let ids = due.resolve(&self.objects, &index);
        let judged = ids.len();
        for row in ids.chunks(ROW) {
            for id in row {
                let findings = self.objects.get(id).map(|raw| Findings::of(&raw, &world));
                self.unwritten.extend(self.desk.put(id, findings));
            }
            tokio::task::yield_now().await;
        }
        let metrics = &self.health.metrics.scan;
        metrics.judged.inc_by(judged as u64);
        metrics
            .objects
            .set(i64::try_from(self.objects.len()).unwrap_or(i64::MAX));
        metrics.found(self.desk.counts());
        metrics.last.set(Timestamp::now().as_second());
        tracing::debug!(judged, took = ?begin.elapsed(), "scanned");
        self.write().await;
    }

    /// Writes the reports that are not as they should be; what fails is tried again in the
    /// next round.
    async fn write(&mut self) {
        let wanted = std::mem::take(&mut self.unwritten);
        let Some(server) = &self.server else {
            return;
        };
        if self.told.is_some() {
            return;
        }
        let now = Timestamp::now();
        let changed = wanted
            .into_iter()
            .map(|namespace| {
                let report = self.desk.report(&namespace, server.api(), now);
                (namespace, report)
            })
            .filter(|(namespace, report)| self.desk.is_new(namespace, report.as_ref()));
        let writes = changed.map(|(namespace, report)| async move {
            let written = match &report {
                Some(report) => server.apply(&namespace, &report.object).await,
                None => server.delete(&namespace).await,
            };
            (namespace, report, written)
        });
        let done: Vec<_> = stream::iter(writes)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut failed = None;
        for (namespace, report, written) in done {
            match written {
                Ok(()) => {
                    self.health.metrics.scan.written.inc();
                    self.desk.written(namespace, report);
                }
                Err(Refusal::Gone) => self.desk.written(namespace, None),
                Err(refusal) => failed = Some(refusal),
            }
        }
        if let Some(refusal) = failed {
            self.health.metrics.failed(Trouble::Scan);
            self.tell(Some(refusal));
        }
    }
}
