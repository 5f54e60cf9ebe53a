//! Project isolation: keeps one NetworkPolicy in every isolated namespace, and says in
//! status how it stands.
//!
//! ```text
//!  watches --> Seen --+                       +--> policies: apply, delete     (first)
//!  mirror  --> Snapshot --> Desk: who is due --> duty --> jobs, some at once
//!  clock, looks ------+                       +--> status, Events              (then)
//! ```
//!
//! Level based: a namespace that something happened to is looked at as a whole, and what
//! is written follows from what is there, never from what happened. Enabling, changing and
//! disabling are one write each. Nothing is written before everything has been listed, so
//! that half a list of rules never becomes a policy, nor while a kind is going away.

pub(crate) mod api;
mod desk;
mod duty;
mod jobs;
pub(crate) mod kept;
mod kinds;
mod look;
mod notices;
mod owned;
mod preview;
mod report;
mod seen;
mod status;
pub(crate) mod watch;

use crate::health::Health;
use desk::Desk;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jobs::{Done, Job};
use kube::Client;
use ringfence_cluster::{Mirror, News, Reader};
use ringfence_policy::snapshot::Kind;
use tokio::time::{Instant, sleep_until};

/// Who writes the policies: the name in `managedFields`.
pub const MANAGER: &str = "ringfence";

/// Jobs that run at once.
const AT_ONCE: usize = 16;

/// What of the cluster decides about policies and their conditions.
pub const KINDS: [Kind; 4] = [
    Kind::Namespace,
    Kind::Service,
    Kind::NetworkPolicy,
    Kind::Pod,
];

/// Who we are.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our namespace, where the enforcer's `DaemonSet` is looked for.
    pub namespace: String,
    /// This replica, for Events.
    pub identity: String,
}

/// Works until it is dropped.
pub async fn run(client: &Client, mirror: &Mirror, settings: Settings, health: Health) {
    let server = api::Server::new(client.clone());
    let (notices, publish) = notices::channel(client.clone(), &settings.identity, server.turns());
    let (looks, look) = look::channel(client.clone(), &settings.namespace);
    let desk = Desk::new(health, notices, mirror.clone());
    tokio::select! {
        () = work(client, &server, mirror, desk, looks) => {}
        () = publish => {}
        () = look => {}
    }
}

async fn work(
    client: &Client,
    server: &api::Server,
    mirror: &Mirror,
    mut desk: Desk,
    mut looks: look::Looks,
) {
    let mut events = watch::start(client);
    let mut cluster: Option<Reader> = None;
    let mut jobs: FuturesUnordered<_> = FuturesUnordered::new();
    let mut kinds: FuturesUnordered<_> = FuturesUnordered::new();
    let mut next = Instant::now();
    loop {
        tokio::select! {
            event = watch::next(&mut events) => desk.note(event),
            news = news(&mut cluster) => desk.cluster(news),
            Some(done) = jobs.next(), if !jobs.is_empty() => desk.done(done),
            Some(looked) = kinds.next(), if !kinds.is_empty() => desk.looked(looked),
            Ok(()) = looks.changed() => desk.look(*looks.borrow_and_update()),
            () = sleep_until(next) => {}
        }
        // The rest of a cluster is of no interest before there is something to isolate.
        if cluster.is_none() && desk.has_work() {
            cluster = Some(mirror.reader());
        }
        while let Some(news) = cluster.as_mut().and_then(Reader::try_next) {
            desk.cluster(news);
        }
        if desk.doubts_kinds() {
            kinds.push(kinds::look(client.clone()));
        }
        next = desk.due();
        while jobs.len() < AT_ONCE {
            let Some((namespace, job)) = desk.take() else {
                break;
            };
            jobs.push(carry_out(server.clone(), namespace, job));
        }
    }
}

async fn carry_out(server: api::Server, namespace: desk::Name, job: Job) -> Done {
    job.run(&server, namespace).await
}

/// The next news, if anybody reads any.
pub(crate) async fn news(cluster: &mut Option<Reader>) -> News {
    match cluster {
        Some(cluster) => cluster.next().await,
        None => std::future::pending().await,
    }
}
