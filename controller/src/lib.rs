//! The controller: what one replica in the cluster has to do for all of it.
//!
//! ```text
//!  lease (one leads) --> keeper --watches--> Secret, both webhook configurations
//!                 |        |  ^
//!                 | rotation, hooks <-+-- probe through the API server
//!                 |        |   (pure)
//!                 |        +--> writes: Secret, caBundle, failurePolicy
//!                 |
//!                 +----> mirror --watches--> the cluster, once for all of these:
//!                          |
//!                          +--> isolation --watches--> NamespaceIsolation, rules
//!                          |      +--> writes: a NetworkPolicy each, statuses, Events
//!                          +--> companion --watches--> policies of namespaces in mode `companion`
//!                          |      +--> writes: a policy beside each that forgot DNS or monitoring
//!                          +--> scan --watches--> what it judges
//!                                 +--> writes: reports, metrics
//! ```
//!
//! Its first duty is that the admission webhook can be called: docs/certificates.md. The
//! second, project isolation, never keeps it from that: docs/isolation.md.

pub mod companion;
pub mod config;
mod failure;
pub mod health;
pub mod hooks;
pub mod isolation;
pub mod keeper;
pub mod lease;
pub mod metrics;
pub mod rotation;
pub mod scan;

use anyhow::Context;
use config::Cli;
use health::{Concern, Health};
use lease::Standing;
use metrics::Metrics;
use ringfence_cluster::{Kubernetes, Mirror};
use ringfence_policy::snapshot::Kind;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// What the binary does, until SIGTERM or SIGINT.
///
/// # Errors
/// Flags that make no sense, no way to the API server, or an address that is taken.
pub async fn run(cli: &Cli) -> anyhow::Result<()> {
    let settings = cli.settings()?;
    let kubernetes = Kubernetes::new(cli.kubeconfig.as_deref()).await?;
    let health = Health {
        status: Arc::default(),
        metrics: Arc::new(Metrics::default()),
    };
    health::serve(cli.health(), health.clone()).await?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    };
    let (sender, standing) = watch::channel(Standing::Unknown("was not read yet".into()));
    let client = kubernetes.client().clone();
    let isolation = isolation::Settings {
        namespace: cli.namespace.clone(),
        identity: cli.identity.clone(),
    };
    // Nodes are no matter of isolation.
    let all = cli.scan().is_some() || cli.config.is_some();
    let kinds = if all {
        &Kind::ALL[..]
    } else {
        &isolation::KINDS
    };
    let duties = async || {
        let (mirror, health) = (Mirror::new(kinds.iter().copied()), || health.clone());
        let isolation = isolation::run(&client, &mirror, isolation.clone(), health());
        let companion = companion::run(&client, &mirror, cli.config.clone(), health());
        tokio::join!(
            keeper::run(client.clone(), settings.clone(), health()),
            Box::pin(mirror.watch(&kubernetes)),
            Box::pin(isolation),
            Box::pin(companion),
            Box::pin(scanning(&kubernetes, &mirror, cli.scan(), health())),
        );
    };
    tokio::select! {
        () = lease::run(client.clone(), cli.candidate(), sender, stop) => {}
        () = lead(duties, &health, standing) => {}
    }
    Ok(())
}

/// The scan, where it is wanted.
async fn scanning(
    kubernetes: &Kubernetes,
    mirror: &Mirror,
    settings: Option<scan::Settings>,
    health: Health,
) {
    match settings {
        Some(settings) => scan::run(kubernetes.clone(), mirror, settings, health).await,
        None => std::future::pending().await,
    }
}

/// Works while we lead, and only then.
async fn lead(duties: impl AsyncFn(), health: &Health, mut standing: watch::Receiver<Standing>) {
    loop {
        let now = standing.borrow_and_update().clone();
        health
            .metrics
            .leader
            .set(i64::from(now == Standing::Leader));
        health.status.set(
            Concern::Lease,
            match &now {
                Standing::Unknown(why) => Some(why.to_string()),
                Standing::Follower | Standing::Leader => None,
            },
        );
        let changed = if now == Standing::Leader {
            tokio::select! {
                changed = standing.changed() => changed,
                () = duties() => Ok(()),
            }
        } else {
            health.status.follow();
            standing.changed().await
        };
        if changed.is_err() {
            // The election has ended: so do we, in `run`.
            return std::future::pending().await;
        }
    }
}
