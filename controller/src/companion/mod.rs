//! Companion policies: where a namespace's injection mode is `companion`, what an author's
//! policy forgot stands in one policy beside it, and the author's object is never touched.
//!
//! ```text
//!  policies, companions --watches--+
//!  namespaces, Services, nodes ----+--> Desk: which authors are due
//!  the checks' configuration ------+      --> author: what is lacking (checks::inject)
//!                                         --> apply or delete one companion each
//! ```
//!
//! One companion for each author's policy: the union of several selectors is no selector,
//! and a companion goes when its author's policy goes (ownerReference).

mod author;
mod desk;

use crate::config::read_checks;
use crate::health::Health;
use crate::isolation::api::{Refusal, Server};
use crate::isolation::news;
use crate::isolation::watch::Pauses;
use crate::metrics::Trouble;
pub use author::{LABEL, PREFIX};
use desk::{Desk, Event, Write};
use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll, select_all};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config as WatchConfig, watcher};
use ringfence_checks::Config;
use ringfence_checks::config::Injection;
use ringfence_cluster::{Mirror, Reader};
use ringfence_policy::snapshot::Kind;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// Between two looks at the configuration.
const LOOK: Duration = Duration::from_secs(10);
/// After a write that failed.
const AGAIN: Duration = Duration::from_secs(5);
/// What decides about DNS and about modes. Pods do not: what is lacking must not depend on
/// which of them run right now.
const KINDS: [Kind; 3] = [Kind::Namespace, Kind::Service, Kind::Node];

/// Works until it is dropped. `path`: the checks' configuration; without one no namespace is
/// in mode `companion`, and there is nothing to do.
pub async fn run(client: &Client, mirror: &Mirror, path: Option<PathBuf>, health: Health) {
    let Some(path) = path else {
        return std::future::pending().await;
    };
    let mut config = Config::default();
    loop {
        let text = std::fs::read(&path).unwrap_or_default();
        match read_checks(&path) {
            Ok(read) => config = read,
            // The last good one holds.
            Err(error) => tracing::error!(
                error = format!("{error:#}"),
                "companions: bad configuration"
            ),
        }
        tokio::select! {
            () = work(client, mirror, config.clone(), &health) => {}
            () = changed(&path, &text) => {}
        }
    }
}

/// Ends when the file has other contents: what is mounted is swapped by renaming.
async fn changed(path: &Path, before: &[u8]) {
    loop {
        sleep(LOOK).await;
        if std::fs::read(path).is_ok_and(|now| now != before) {
            return;
        }
    }
}

/// Whether any namespace may be in mode `companion`.
fn is_wanted(config: &Config) -> bool {
    let of_namespaces = config.namespaces.iter().filter_map(|n| n.injection);
    of_namespaces
        .chain([config.injection])
        .any(|mode| mode == Injection::Companion)
}

async fn work(client: &Client, mirror: &Mirror, config: Config, health: &Health) {
    let wanted = is_wanted(&config);
    let server = Server::new(client.clone());
    let mut events = watches(client, wanted);
    let mut cluster = wanted.then(|| mirror.reader());
    let mut desk = Desk::new(config, wanted, mirror.clone());
    let mut again = Instant::now() + AGAIN;
    loop {
        tokio::select! {
            Some(event) = events.next() => desk.note(event, health),
            news = news(&mut cluster) => desk.cluster(&news),
            () = sleep_until(again) => {
                desk.try_again();
                again = Instant::now() + AGAIN;
            }
        }
        while let Some(news) = cluster.as_mut().and_then(Reader::try_next) {
            desk.cluster(&news);
        }
        while let Some((key, writes)) = desk.next() {
            for write in writes {
                if let Err(why) = carry_out(&server, &write).await {
                    health.metrics.failed(Trouble::Companion);
                    tracing::warn!(policy = %key, why, "a companion could not be written; it is tried again");
                    desk.failed(key.clone());
                }
            }
        }
    }
}

async fn carry_out(server: &Server, write: &Write) -> Result<(), String> {
    let result = match write {
        Write::Apply(key, object) => {
            let applied = server.apply(&key.namespace, &key.name, object, true).await;
            applied.map(drop)
        }
        Write::Delete(key, uid, version) => {
            server.delete(&key.namespace, &key.name, uid, version).await
        }
    };
    match result {
        // The watches tell what is there now.
        Ok(()) | Err(Refusal::Gone | Refusal::Changed(_)) => Ok(()),
        Err(Refusal::Failed(why)) => Err(why),
    }
}

type Events = SelectAll<BoxStream<'static, Event>>;

/// Companions are always watched: those of a mode that has ended have to go.
fn watches(client: &Client, authors: bool) -> Events {
    let kind = ApiResource::erase::<NetworkPolicy>(&());
    let all: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
    let policies = |config| watcher(all.clone(), config).backoff(Pauses::default());
    let companions = WatchConfig::default().labels(&format!("{LABEL}=true"));
    let mut streams = vec![policies(companions).map(Event::Companion).boxed()];
    if authors {
        let others = WatchConfig::default().labels(&format!("{LABEL}!=true"));
        streams.push(policies(others).map(Event::Author).boxed());
    }
    select_all(streams)
}
