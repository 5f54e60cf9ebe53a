//! Leader election by a Lease, as client-go does it.
//!
//! Written here because the crates that fit kube 5 compare the other's `renewTime` with
//! their own clock: a replica whose clock is ahead then takes a Lease that is in use. Here
//! only changes count: a holder is gone when its Lease has not changed for
//! `leaseDuration` of *our* monotonic clock.

mod election;

pub use election::{Attempt, Election, Timing};

use crate::failure::explain;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::{Api, PostParams};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// Which Lease, and as whom.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub lease: String,
    /// Unique among replicas: the pod's name.
    pub identity: String,
    /// How long things last.
    pub timing: Timing,
}

/// Where a candidate stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The Lease was not read yet, or cannot be.
    Unknown(Arc<str>),
    /// Another one leads, or nobody for the moment.
    Follower,
    /// We lead.
    Leader,
}

/// Takes part until `stop` resolves, then gives the Lease back. `standing` always has the
/// present state; it says `Leader` only while no other replica can.
pub async fn run(
    client: Client,
    candidate: Candidate,
    standing: watch::Sender<Standing>,
    stop: impl Future<Output = ()>,
) {
    let api: Api<Lease> = Api::namespaced(client, &candidate.namespace);
    let mut election = Election::new(&candidate.identity, candidate.timing);
    tokio::select! {
        () = stop => {}
        () = take_part(&api, &candidate, &mut election, &standing) => {}
    }
    if election.is_leader(Instant::now()) {
        standing.send_replace(Standing::Follower);
        let given_back = timeout(
            candidate.timing.request,
            give_back(&api, &candidate, &election),
        );
        match given_back.await {
            Ok(Ok(())) => tracing::info!(lease = candidate.lease, "gave the Lease back"),
            Ok(Err(error)) => {
                tracing::warn!(%error, lease = candidate.lease, "cannot give the Lease back; it runs out");
            }
            Err(_) => tracing::warn!(
                lease = candidate.lease,
                "giving the Lease back takes too long; it runs out"
            ),
        }
    }
}

async fn take_part(
    api: &Api<Lease>,
    candidate: &Candidate,
    election: &mut Election,
    standing: &watch::Sender<Standing>,
) {
    loop {
        let begin = Instant::now();
        let round = timeout(
            candidate.timing.request,
            attempt(api, &candidate.lease, election),
        );
        let failure = match round.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(explain(&error)),
            Err(_) => Some(format!("no answer within {:?}", candidate.timing.request)),
        };
        let now = match failure {
            _ if election.is_leader(Instant::now()) => Standing::Leader,
            Some(why) => Standing::Unknown(why.into()),
            None => Standing::Follower,
        };
        standing.send_if_modified(|before| {
            let changed = *before != now;
            if changed {
                announce(candidate, &now);
                *before = now;
            }
            changed
        });
        // Jitter: replicas that started together do not ask together.
        let pause = candidate.timing.retry.mul_f64(1.0 + 0.2 * fastrand::f64());
        sleep(pause.saturating_sub(begin.elapsed())).await;
    }
}

fn announce(candidate: &Candidate, standing: &Standing) {
    let (lease, identity) = (&candidate.lease, &candidate.identity);
    match standing {
        Standing::Leader => tracing::info!(lease, identity, "leading"),
        Standing::Follower => tracing::info!(lease, identity, "not leading"),
        Standing::Unknown(why) => tracing::warn!(lease, identity, %why, "cannot use the Lease"),
    }
}

/// One look at the Lease, and a write when it is ours to take or to keep.
async fn attempt(api: &Api<Lease>, name: &str, election: &mut Election) -> kube::Result<()> {
    let lease = api.get_opt(name).await?;
    // Taken before the write: our time as a leader ends before others may think so.
    let begin = Instant::now();
    let post = PostParams::default();
    let written = match election.attempt(lease, name, begin, Timestamp::now()) {
        Attempt::Wait => return Ok(()),
        Attempt::Create(lease) => api.create(&post, &lease).await,
        Attempt::Replace(lease) => api.replace(name, &post, &lease).await,
    };
    match written {
        Ok(lease) => election.written(&lease, begin),
        // Another one was faster.
        Err(kube::Error::Api(status)) if status.code == 409 => election.lost(),
        Err(error) => return Err(error),
    }
    Ok(())
}

async fn give_back(
    api: &Api<Lease>,
    candidate: &Candidate,
    election: &Election,
) -> kube::Result<()> {
    let Some(lease) = api.get_opt(&candidate.lease).await? else {
        return Ok(());
    };
    let Some(released) = election.released(lease, Timestamp::now()) else {
        return Ok(());
    };
    let post = PostParams::default();
    api.replace(&candidate.lease, &post, &released)
        .await
        .map(drop)
}

#[cfg(test)]
mod tests;
