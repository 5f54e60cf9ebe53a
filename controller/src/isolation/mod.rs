//! Project isolation: keeps one NetworkPolicy in every isolated namespace, and says in
//! status how it stands.
//!
//! ```text
//!  watches --> Seen --+                       +--> policies: apply, delete     (first)
//!  store   --> Snapshot --> Desk: who is due --> duty --> jobs, some at once
//!  clock, looks ------+                       +--> status, Events              (then)
//! ```
//!
//! Level based: a namespace that something happened to is looked at as a whole, and what
//! is written follows from what is there, never from what happened. Enabling, changing and
//! disabling are one write each. Nothing is written before everything has been listed, so
//! that half a list of rules never becomes a policy.

pub(crate) mod api;
mod desk;
mod duty;
mod jobs;
mod look;
mod notices;
mod owned;
mod preview;
mod report;
pub(crate) mod seen;
mod status;
pub(crate) mod watch;

use crate::health::Health;
use desk::Desk;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jobs::{Done, Job};
use ringfence_cluster::{Feed, Kubernetes};
use ringfence_policy::snapshot::Kind;
use tokio::time::{Instant, sleep_until};

/// Who writes the policies: the name in `managedFields`.
pub const MANAGER: &str = "ringfence";

/// Jobs that run at once.
const AT_ONCE: usize = 16;

/// What of the cluster decides about policies and their conditions.
const KINDS: [Kind; 4] = [
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
pub async fn run(kubernetes: Kubernetes, settings: Settings, health: Health) {
    let client = kubernetes.client().clone();
    let (notices, publish) = notices::channel(client.clone(), &settings.identity);
    let (looks, look) = look::channel(client.clone(), &settings.namespace);
    let desk = Desk::new(health, notices);
    tokio::select! {
        () = work(&kubernetes, desk, looks) => {}
        () = publish => {}
        () = look => {}
    }
}

async fn work(kubernetes: &Kubernetes, mut desk: Desk, mut looks: look::Looks) {
    let server = api::Server::new(kubernetes.client().clone());
    let mut events = watch::start(kubernetes.client());
    let mut feed: Option<Feed> = None;
    let mut jobs: FuturesUnordered<_> = FuturesUnordered::new();
    let mut next = Instant::now();
    loop {
        tokio::select! {
            event = watch::next(&mut events) => desk.note(event),
            event = cluster(&mut feed) => desk.cluster(event),
            Some(done) = jobs.next(), if !jobs.is_empty() => desk.done(done),
            Ok(()) = looks.changed() => desk.look(*looks.borrow_and_update()),
            () = sleep_until(next) => {}
        }
        // The rest of a cluster is of no interest before there is something to isolate.
        if feed.is_none() && desk.has_work() {
            feed = Some(Feed::kubernetes(kubernetes, KINDS));
        }
        if let Some(feed) = &mut feed {
            while let Some(event) = feed.try_next() {
                desk.cluster(event);
            }
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

async fn cluster(feed: &mut Option<Feed>) -> ringfence_cluster::Event {
    let Some(feed) = feed else {
        return std::future::pending().await;
    };
    match feed.next().await {
        Some(event) => event,
        // Its tasks do not end.
        None => std::future::pending().await,
    }
}
