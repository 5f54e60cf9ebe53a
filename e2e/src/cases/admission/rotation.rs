//! Certificates change and replicas are replaced while policies are written: none fails.

use super::case;
use crate::admission::Admission;
use crate::case::{Case, Stage};
use crate::patience::eventually;
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, PostParams};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case("admission-three-rotations-under-load")
            .act("the API server insists on the webhook", insist)
            .act("three rotations", rotations),
        case("admission-a-rolling-restart-under-load")
            .act("the API server insists on the webhook", insist)
            .act(
                "two replicas, restarted one after the other",
                rolling_restart,
            ),
    ]
}

fn insist(stage: &mut Stage) -> Result<()> {
    stage.with_admission(|admission, server, _| admission.register(server, Some("Fail")))
}

/// Writers that create policies (dry) one after another, until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    writers: Vec<tokio::task::JoinHandle<Result<()>>>,
}

const WRITERS: usize = 4;

// === impl Load ===

impl Load {
    fn start(stage: &mut Stage) -> Result<Self> {
        let (server, _) = stage.api_server()?;
        let policy: NetworkPolicy = serde_json::from_value(json!({
            "metadata": {"namespace": "shop", "generateName": "load-"},
            "spec": {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]},
        }))?;
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let writers = (0..WRITERS)
            .map(|_| {
                let api: Api<NetworkPolicy> = Api::namespaced(server.client(), "shop");
                let (policy, stop, done) = (policy.clone(), Arc::clone(&stop), Arc::clone(&done));
                server.spawn(async move {
                    let dry_run = PostParams {
                        dry_run: true,
                        ..PostParams::default()
                    };
                    while !stop.load(Ordering::Relaxed) {
                        api.create(&dry_run, &policy)
                            .await
                            .context("writing a policy")?;
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        let load = Self {
            stop,
            done,
            writers,
        };
        load.wait_for(20)?;
        Ok(load)
    }

    /// Waits until so many more were written, or a writer has given up.
    fn wait_for(&self, more: u64) -> Result<()> {
        let wanted = self.done.load(Ordering::Relaxed) + more;
        eventually("the writers write", || {
            let given_up = self
                .writers
                .iter()
                .any(tokio::task::JoinHandle::is_finished);
            Ok(given_up || self.done.load(Ordering::Relaxed) >= wanted)
        })
    }

    /// How many were written; an error when one was not.
    fn finish(self, stage: &mut Stage) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let (server, _) = stage.api_server()?;
        for writer in self.writers {
            server.block_on(writer).context("a writer panicked")??;
        }
        Ok(self.done.load(Ordering::Relaxed))
    }
}

fn rotations(stage: &mut Stage) -> Result<()> {
    let load = Load::start(stage)?;
    let turned = (1..=3).try_for_each(|round| {
        stage
            .with_admission(Admission::rotate)
            .with_context(|| format!("rotation {round}"))?;
        load.wait_for(100)
    });
    let written = load.finish(stage)?;
    turned?;
    ensure!(
        written > 300,
        "only {written} policies were written meanwhile"
    );
    stage.with_admission(|admission, server, _| admission.register(server, None))
}

fn rolling_restart(stage: &mut Stage) -> Result<()> {
    stage.with_admission(|admission, server, world| {
        admission.start_replica(server, world, "node2")
    })?;
    let load = Load::start(stage)?;
    let turned = ["node1", "node2"].into_iter().try_for_each(|node| {
        stage.with_admission(|admission, server, world| {
            admission
                .stop_replica(server, node)
                .with_context(|| format!("stopping the replica on {node}"))?;
            load.wait_for(20)?;
            admission.start_replica(server, world, node)
        })?;
        load.wait_for(50)
    });
    let written = load.finish(stage)?;
    turned?;
    ensure!(
        written > 100,
        "only {written} policies were written meanwhile"
    );
    stage.with_admission(|admission, server, _| {
        admission.stop_replica(server, "node2")?;
        admission.register(server, None)
    })
}
