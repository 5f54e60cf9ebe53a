//! The harness in the role of kubelet: nodes register, pods start, end and go away.

use super::apply::{MANAGER, ResourceVersion, create, delete};
use crate::fabric::NodeSpec;
use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use std::net::IpAddr;

/// The grace period that a pod gets when none is asked for.
const GRACE_SECONDS: u32 = 30;

/// Writes what a kubelet would write. Endpoint slices, and with them kube-proxy's rules,
/// follow by themselves.
#[derive(Clone)]
pub struct Kubelet {
    client: Client,
}

impl Kubelet {
    /// With the rights of `client`.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Creates a Node with its addresses and pod ranges, ready.
    pub async fn register(&self, spec: &NodeSpec) -> Result<ResourceVersion> {
        let ranges = [format!("{}/24", spec.pods4), format!("{}/64", spec.pods6)];
        self.register_as(&spec.name, &[spec.v4.into(), spec.v6.into()], &ranges)
            .await
    }

    /// As [`Self::register`], from its parts: internal addresses and `podCIDRs`.
    pub async fn register_as(
        &self,
        name: &str,
        addresses: &[IpAddr],
        pod_cidrs: &[String],
    ) -> Result<ResourceVersion> {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "spec": {"podCIDR": pod_cidrs.first(), "podCIDRs": pod_cidrs},
        }))?;
        let api: Api<Node> = Api::all(self.client.clone());
        create(&api, &node).await?;
        let mut known = vec![json!({"type": "Hostname", "address": name})];
        known.extend(
            addresses
                .iter()
                .map(|a| json!({"type": "InternalIP", "address": a})),
        );
        let status = json!({"status": {
            "addresses": known,
            "conditions": [condition("Ready")],
        }});
        let node = api
            .patch_status(name, &PatchParams::default(), &Patch::Merge(status))
            .await
            .with_context(|| format!("writing the status of Node {name}"))?;
        ResourceVersion::of(&node)
    }

    /// Creates a pod (its manifest must have `spec.nodeName`) and reports it running with
    /// these addresses. `host` holds the node's addresses: agents tell by `hostIP` and
    /// `nodeName` which pods are theirs.
    pub async fn start(
        &self,
        pod: &Pod,
        host: &[IpAddr],
        ips: &[IpAddr],
    ) -> Result<ResourceVersion> {
        let namespace = pod.namespace().unwrap_or_else(|| "default".into());
        create(&self.pods(&namespace), pod).await?;
        self.set_running(&namespace, &pod.name_any(), host, ips)
            .await
    }

    /// Reports a pod running and ready.
    pub async fn set_running(
        &self,
        namespace: &str,
        name: &str,
        host: &[IpAddr],
        ips: &[IpAddr],
    ) -> Result<ResourceVersion> {
        self.patch_status(namespace, name, running(host, ips)).await
    }

    /// Reports the end of a pod: `Succeeded` or `Failed`. The pod keeps its address in
    /// its status, while the address is free for another pod.
    pub async fn set_ended(
        &self,
        namespace: &str,
        name: &str,
        phase: &str,
    ) -> Result<ResourceVersion> {
        let not_ready = json!({"type": "Ready", "status": "False", "reason": "PodCompleted"});
        self.patch_status(
            namespace,
            name,
            json!({"phase": phase, "conditions": [not_ready]}),
        )
        .await
    }

    /// Asks for a pod's deletion, with a grace period: it is terminating until
    /// [`Self::remove`].
    pub async fn terminate(&self, namespace: &str, name: &str) -> Result<ResourceVersion> {
        let grace = DeleteParams::default().grace_period(GRACE_SECONDS);
        let label = || format!("terminating Pod {namespace}/{name}");
        let answer = self
            .pods(namespace)
            .delete(name, &grace)
            .await
            .with_context(label)?;
        let pod = answer
            .left()
            .with_context(|| format!("Pod {namespace}/{name} was gone at once: has it no node?"))?;
        ResourceVersion::of(&pod)
    }

    /// Confirms that a pod has ended: it is gone. `None` when it was gone before.
    pub async fn remove(&self, namespace: &str, name: &str) -> Result<Option<ResourceVersion>> {
        delete(
            &self.pods(namespace),
            name,
            &DeleteParams::default().grace_period(0),
        )
        .await
        .with_context(|| format!("removing Pod {namespace}/{name}"))
    }

    async fn patch_status(
        &self,
        namespace: &str,
        name: &str,
        status: Value,
    ) -> Result<ResourceVersion> {
        let patch = Patch::Merge(json!({ "status": status }));
        let pod = self
            .pods(namespace)
            .patch_status(name, &PatchParams::apply(MANAGER), &patch)
            .await
            .with_context(|| format!("writing the status of Pod {namespace}/{name}"))?;
        ResourceVersion::of(&pod)
    }

    fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// The `status` of a pod that runs and is ready.
pub(super) fn running(host: &[IpAddr], ips: &[IpAddr]) -> Value {
    let list = |addresses: &[IpAddr]| -> Vec<Value> {
        addresses.iter().map(|ip| json!({ "ip": ip })).collect()
    };
    json!({
        "phase": "Running",
        "hostIP": host.first(),
        "hostIPs": list(host),
        "podIP": ips.first(),
        "podIPs": list(ips),
        "conditions": ready_conditions(),
    })
}

/// The conditions of a pod that is ready.
pub(super) fn ready_conditions() -> Value {
    json!(["Initialized", "ContainersReady", "Ready"].map(condition))
}

fn condition(kind: &str) -> Value {
    json!({"type": kind, "status": "True", "reason": "RingfenceE2e"})
}
