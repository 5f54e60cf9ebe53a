//! A watch of our own beside the enforcer's: when did the API server send an event?

use super::lab::Lab;
use crate::controlplane::ResourceVersion;
use anyhow::{Result, bail};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, WatchEvent, WatchParams};
use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Marks the pods of a benchmark, with the value `yes`.
pub const LABEL: &str = "ringfence-bench";
/// How long our own watch may be behind.
const PATIENCE: Duration = Duration::from_secs(5);
/// The server ends the watch after this many seconds, in time for the next benchmark.
const SECONDS: u32 = 290;

type Arrivals = Arc<Mutex<HashMap<u64, Instant>>>;

/// A running watch of all pods with [`LABEL`]. Ends when dropped.
#[derive(Debug)]
pub struct Watch {
    arrivals: Arrivals,
    task: JoinHandle<Result<()>>,
}

// === impl Watch ===

impl Watch {
    /// Starts watching what comes from now on (and at once what is there).
    pub fn start(lab: &Lab) -> Self {
        let arrivals = Arrivals::default();
        let noting = note(lab.api().client(), Arc::clone(&arrivals));
        let task = lab.api().spawn(noting);
        Self { arrivals, task }
    }

    /// When the event of this revision came. Waits for it, if need be.
    pub fn arrival(&self, version: ResourceVersion) -> Result<Instant> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = arrivals.get(&version.0) {
                return Ok(*at);
            }
            drop(arrivals);
            if self.task.is_finished() || Instant::now() > deadline {
                bail!("our own watch has missed revision {version}");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn note(client: Client, arrivals: Arrivals) -> Result<()> {
    let pods: Api<Pod> = Api::all(client);
    let only = WatchParams::default()
        .labels(&format!("{LABEL}=yes"))
        .timeout(SECONDS);
    let mut events = pin!(pods.watch(&only, "0").await?);
    while let Some(event) = events.try_next().await? {
        let now = Instant::now();
        match event {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) | WatchEvent::Deleted(pod) => {
                let version = ResourceVersion::of(&pod)?;
                let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
                arrivals.insert(version.0, now);
            }
            WatchEvent::Error(status) => bail!("our own watch: {}", status.message),
            WatchEvent::Bookmark(_) => {}
        }
    }
    Ok(())
}
