//! What the probe makes: two pods on every node, a policy for each side.

use super::super::isolation::{CLOSED_BY_CLIENT, CLOSED_BY_SERVER, OPEN};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use serde_json::{Value, json};
use std::net::IpAddr;

/// Which of the two a pod is.
const ROLE: &str = "ringfence.dev/doctor";

/// Why no pod is started there.
pub(super) fn unfit(node: &Node) -> Option<String> {
    let system = node.labels().get("kubernetes.io/os");
    if let Some(system) = system.filter(|system| *system != "linux") {
        return Some(format!("its system is {system}"));
    }
    let conditions = node
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten());
    let mut ready = conditions.filter(|c| c.type_ == "Ready" && c.status == "True");
    ready.next().is_none().then(|| "it is not ready".to_owned())
}

/// The name of a pod on the n-th node.
pub(super) fn name_of(role: &str, index: usize) -> String {
    format!("{role}-{index}")
}

/// Passes the Pod Security level `restricted`.
pub(super) fn manifest(name: &str, role: &str, node: &str, image: &str) -> Value {
    json!({
        "metadata": { "name": name, "labels": { ROLE: role } },
        "spec": {
            "nodeName": node,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 0,
            "restartPolicy": "Never",
            "tolerations": [{ "operator": "Exists" }],
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [{
                "name": "probe", "image": image, "args": ["agent", "--hold"],
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                    "capabilities": { "drop": ["ALL"] },
                },
                "resources": {
                    "requests": { "cpu": "10m", "memory": "16Mi" },
                    "limits": { "cpu": "200m", "memory": "64Mi" },
                },
            }],
        },
    })
}

/// One for each side: see the ports in `isolation`.
pub(super) fn policies() -> [Value; 2] {
    let selector = |role: &str| json!({ "matchLabels": { ROLE: role } });
    let ports =
        |ports: [u16; 2]| json!(ports.map(|port| json!({ "protocol": "TCP", "port": port })));
    [
        json!({
            "metadata": { "name": "server" },
            "spec": {
                "podSelector": selector("server"),
                "policyTypes": ["Ingress"],
                "ingress": [{
                    "from": [{ "podSelector": selector("client") }],
                    "ports": ports([OPEN, CLOSED_BY_CLIENT]),
                }],
            },
        }),
        json!({
            "metadata": { "name": "client" },
            "spec": {
                "podSelector": selector("client"),
                "policyTypes": ["Egress"],
                "egress": [{
                    "to": [{ "podSelector": selector("server") }],
                    "ports": ports([OPEN, CLOSED_BY_SERVER]),
                }],
            },
        }),
    ]
}

/// How far a pod has come.
pub(super) enum State {
    /// With these addresses.
    Runs(Vec<IpAddr>),
    /// Why not yet.
    Waits(String),
    /// Why never.
    Failed(String),
}

/// How far it has come.
pub(super) fn state(pod: &Pod) -> State {
    let status = pod.status.clone().unwrap_or_default();
    let addresses = status.pod_ips.iter().flatten();
    let addresses: Vec<IpAddr> = addresses.filter_map(|ip| ip.ip.parse().ok()).collect();
    let phase = status.phase.unwrap_or_default();
    if phase == "Running" && !addresses.is_empty() {
        return State::Runs(addresses);
    }
    let mut containers = status.container_statuses.into_iter().flatten();
    let waiting = containers.find_map(|c| c.state?.waiting);
    let reason = waiting.as_ref().and_then(|w| w.reason.clone());
    let reason = reason.or(status.reason).unwrap_or_else(|| phase.clone());
    let message = waiting.and_then(|w| w.message).or(status.message);
    let words = message.map_or_else(|| reason.clone(), |text| format!("{reason}: {text}"));
    let never = ["ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"];
    if never.contains(&&*reason) || phase == "Failed" {
        State::Failed(words)
    } else {
        State::Waits(words)
    }
}
