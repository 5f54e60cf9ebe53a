//! The enforcers of a cluster: whether there are any, and what keeps one from working.

use super::lab::{ENFORCER, SYSTEM};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use std::time::{Duration, Instant};

/// A rollout may be under way.
const READY: Duration = Duration::from_mins(1);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// Whether anybody enforces; waits until all of them are ready.
///
/// # Errors
/// When one does not get there: which, why, and where its log is. Otherwise every case on
/// its node would find out for itself.
pub(super) async fn are_there(client: &Client) -> Result<bool> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), SYSTEM);
    let deadline = Instant::now() + READY;
    loop {
        let found = pods.list(&ListParams::default().labels(ENFORCER)).await;
        let found = found.context("listing the enforcers")?.items;
        let troubles: Vec<String> = found.iter().filter_map(trouble).collect();
        if troubles.is_empty() {
            return Ok(!found.is_empty());
        }
        ensure!(
            Instant::now() < deadline,
            "after {READY:?} not every enforcer is ready; {}",
            troubles.join("; ")
        );
        tokio::time::sleep(PAUSE).await;
    }
}

/// Why a pod is not ready.
fn trouble(pod: &Pod) -> Option<String> {
    let status = pod.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let ready = conditions.iter().find(|c| c.type_ == "Ready");
    if ready.is_some_and(|c| c.status == "True") {
        return None;
    }
    let containers = status.container_statuses.unwrap_or_default();
    let reason = containers
        .into_iter()
        .find_map(|c| said(c.state?))
        .or_else(|| ready.and_then(|c| c.message.clone()))
        .or(status.message)
        .or(status.phase)
        .unwrap_or_default();
    let name = pod.name_any();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    Some(format!(
        "{SYSTEM}/{name} on {}: {reason} (its log: kubectl -n {SYSTEM} logs {name})",
        node.unwrap_or("no node")
    ))
}

/// Why a container does not run: `ErrImagePull: no such image`.
fn said(state: ContainerState) -> Option<String> {
    let waits = state.waiting.map(|w| (w.reason, w.message));
    let ended = state.terminated.map(|t| {
        (
            t.reason,
            t.message.or(Some(format!("exit code {}", t.exit_code))),
        )
    });
    let (reason, message) = waits.or(ended)?;
    let words: Vec<String> = reason.into_iter().chain(message).collect();
    Some(words.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use test_case::test_case;

    #[test_case(json!({"conditions": [{"type": "Ready", "status": "True"}]}), None; "ready")]
    #[test_case(json!({"containerStatuses": [{"name": "enforcer", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ErrImageNeverPull", "message": "it is not present"}}}]}),
        Some("ErrImageNeverPull: it is not present"); "no image")]
    #[test_case(json!({"containerStatuses": [{"name": "enforcer", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"reason": "Error", "exitCode": 2}}}]}),
        Some("Error: exit code 2"); "it ended")]
    #[test_case(json!({"conditions": [{"type": "Ready", "status": "False", "message": "containers with unready status: [enforcer]"}],
        "containerStatuses": [{"name": "enforcer", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"running": {}}}]}),
        Some("containers with unready status: [enforcer]"); "it runs and is not ready")]
    #[test_case(json!({"phase": "Pending"}), Some("Pending"); "not started")]
    fn why_a_pod_is_not_ready(status: impl Into<Value>, why: Option<&str>) {
        let pod = json!({"metadata": {"name": "ringfence-enforcer-x"}, "spec": {"nodeName": "worker", "containers": []}, "status": status.into()});
        let found = trouble(&serde_json::from_value(pod).unwrap());
        let expected = why.map(|why| {
            format!("ringfence-system/ringfence-enforcer-x on worker: {why} (its log: kubectl -n ringfence-system logs ringfence-enforcer-x)")
        });
        assert_eq!(found, expected);
    }
}
