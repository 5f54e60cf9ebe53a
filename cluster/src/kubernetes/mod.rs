//! The API server as a source: one task per kind lists and watches it.

mod facts;
mod failure;
mod list;
mod position;
mod reflect;
mod wire;

use crate::{Event, Feed, Missing, Problem, Store};
use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use ringfence_policy::Snapshot;
use ringfence_policy::snapshot::Kind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

pub use position::Pace;

/// A connection to an API server; clones share it.
#[derive(Clone)]
pub struct Kubernetes {
    client: Client,
    address: Arc<str>,
    pace: Pace,
}

/// Long enough for a distant server; a dead one should be known soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

// === impl Kubernetes ===

impl Kubernetes {
    /// Reads `kubeconfig`; without one, the pod's service account, and outside of a
    /// cluster what kubectl would take. Does not connect yet.
    pub async fn new(kubeconfig: Option<&Path>) -> anyhow::Result<Self> {
        let config = match kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path)
                    .with_context(|| format!("cannot read the kubeconfig {}", path.display()))?;
                Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                    .await
                    .with_context(|| format!("cannot use the kubeconfig {}", path.display()))?
            }
            None => Config::infer().await.context(
                "found neither a service account nor a kubeconfig; \
                 run inside a cluster, or pass --kubeconfig",
            )?,
        };
        Self::with_config(config)
    }

    /// From a configuration that is there already. Needs a tokio runtime.
    pub fn with_config(mut config: Config) -> anyhow::Result<Self> {
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        // Retries are ours: they tell the consumer why, and are spread over time.
        config.default_retry = false;
        let address = config.cluster_url.to_string();
        let client = Client::try_from(config)
            .with_context(|| format!("cannot make a client for the API server {address}"))?;
        Ok(Self {
            client,
            address: address.trim_end_matches('/').into(),
            pace: Pace::default(),
        })
    }

    /// With other waiting times.
    #[must_use]
    pub fn with_pace(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// The client, for what is not watched (Events, Leases).
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The server's URL, for messages.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Lists and watches one kind until the consumer has gone.
    pub(crate) async fn watch(self, kind: Kind, events: mpsc::Sender<Event>) {
        reflect::run(&self, kind, &events).await;
    }
}

/// Reads these kinds once. Fails with the first reason why one cannot be read, for
/// example the RBAC rule that is missing.
pub async fn load_cluster(
    kubeconfig: Option<&Path>,
    kinds: &[Kind],
) -> anyhow::Result<(Snapshot, Vec<Problem>)> {
    let kubernetes = Kubernetes::new(kubeconfig).await?;
    let mut store = Store::new(kinds.iter().copied());
    let mut feed = Feed::kubernetes(&kubernetes, kinds.iter().copied());
    while !store.is_synced() {
        let event = feed.next().await.context("the source has ended")?;
        store.handle(event);
        if let Some((kind, reason)) = store.unavailable().next() {
            let reason = Some(reason.clone());
            anyhow::bail!("cannot read {}", Missing { kind, reason });
        }
    }
    Ok(store.into_parts())
}
