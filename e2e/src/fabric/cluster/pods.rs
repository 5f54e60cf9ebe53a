//! Pods of a case, and of the harness itself, as they are written to the API server.

use super::lab::Lab;
use crate::case::base;
use crate::controlplane::ResourceVersion;
use crate::fabric::Topology;
use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::timeout;

/// On everything that the harness makes, so that it finds it again.
pub(crate) const MADE: &str = "e2e.ringfence.dev/made";
/// How long pods may take to start. It takes 3 s; a machine that also compiles takes longer.
const START: Duration = Duration::from_mins(2);
/// Who owns the fields that cases change.
const MANAGER: &str = "ringfence-e2e";
/// Who owns [`MADE`] on namespaces, so that no case takes it away.
const LAB: &str = "ringfence-e2e-lab";

/// A pod that runs.
pub(super) struct Running {
    /// `namespace/name`
    pub key: String,
    /// `metadata.uid`: another pod of this name has another.
    pub uid: String,
    /// `metadata.resourceVersion`
    pub version: ResourceVersion,
    /// `status.podIPs`
    pub addresses: Vec<IpAddr>,
    /// As cases know it: what was applied, on the node of the case, with its status.
    pub manifest: Value,
}

/// A namespace of a case.
pub(super) fn namespace(name: &str) -> Value {
    let labels = json!({ "ns": name, "kubernetes.io/metadata.name": name });
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } })
}

/// A pod that waits for the harness to start an agent in it.
fn manifest(lab: &Lab, namespace: &str, name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": namespace, "name": name, "labels": { "pod": name, MADE: "true" },
        },
        "spec": {
            "nodeName": node,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 0,
            // Echo requests from a socket that needs no capability.
            "securityContext": { "sysctls": [{ "name": "net.ipv4.ping_group_range", "value": "0 0" }] },
            "containers": [{
                "name": "server", "image": lab.image(), "args": ["agent", "--hold"],
                "ports": base::ports(),
            }],
        },
    })
}

/// The pod by which the harness has a hand on a node.
pub(super) fn on_node(lab: &Lab, namespace: &str, alias: &str, node: &str) -> Value {
    let mut pod = manifest(lab, namespace, alias, node);
    pod["metadata"]["labels"] = json!({ MADE: "true" });
    pod["spec"]["hostNetwork"] = true.into();
    pod["spec"]["tolerations"] = json!([{ "operator": "Exists" }]);
    if let Some(spec) = pod["spec"].as_object_mut() {
        spec.remove("securityContext");
    }
    pod["spec"]["containers"][0]["ports"] = json!([]);
    pod
}

/// Whether an object is none that the harness has made.
pub(super) fn is_foreign(object: &impl ResourceExt) -> bool {
    !object.labels().contains_key(MADE)
}

/// Starts the pods of a topology. A pod that is there on the right node is kept; one on
/// another node is replaced.
pub(super) async fn start(lab: &Lab, topology: &Topology) -> Result<Vec<Running>> {
    let client = lab.client();
    let names: BTreeSet<&str> = topology.pods.iter().map(|p| &*p.namespace).collect();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    for name in names {
        if namespaces.get_opt(name).await?.is_none() {
            make(&namespaces, name).await?;
        }
        apply(&namespaces, name, &namespace(name)).await?;
    }
    let starts = topology.pods.iter().map(|pod| {
        let real = lab.real_name(&pod.node);
        let wanted = manifest(lab, &pod.namespace, &pod.name, real);
        async move { Box::pin(run(client, &wanted, &pod.node)).await }
    });
    try_join_all(starts).await
}

/// Creates a namespace of the harness.
pub(super) async fn make(namespaces: &Api<Namespace>, name: &str) -> Result<()> {
    let metadata = json!({ "name": name, "labels": { MADE: "true" } });
    let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
    let parameters = PatchParams::apply(LAB).force();
    let made = namespaces
        .patch(name, &parameters, &Patch::Apply(&object))
        .await;
    made.map(drop)
        .with_context(|| format!("making namespace {name}"))
}

/// Starts a pod and waits until it runs; `alias` is the node's name in cases.
pub(super) async fn run(client: &Client, wanted: &Value, alias: &str) -> Result<Running> {
    let text = |pointer: &str| {
        wanted
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    let key = format!("{namespace}/{name}");
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let label = || format!("starting Pod {key}");
    if let Some(old) = api.get_opt(name).await.with_context(label)? {
        let spec = old.spec.as_ref();
        let same_node = spec.and_then(|s| s.node_name.as_deref()) == Some(text("/spec/nodeName"));
        let same_image = spec.and_then(|s| s.containers[0].image.as_deref())
            == Some(text("/spec/containers/0/image"));
        let runs = old.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running");
        let ends = old.metadata.deletion_timestamp.is_some();
        if !(same_node && same_image && runs) || ends {
            let uid = old.uid().unwrap_or_default();
            api.delete(name, &DeleteParams::default().grace_period(0))
                .await
                .with_context(label)?;
            let gone = await_condition(api.clone(), name, conditions::is_deleted(&uid));
            timeout(START, gone).await.with_context(label)??;
        }
    }
    apply(&api, name, wanted).await?;
    let running = await_condition(api.clone(), name, |pod: Option<&Pod>| {
        pod.is_some_and(|pod| !addresses(pod).is_empty() && phase(pod) == "Running")
    });
    let Ok(running) = timeout(START, running).await else {
        let pod = api.get(name).await.with_context(label)?;
        let status = serde_json::to_string(&pod.status)?;
        bail!("Pod {key} does not run after {START:?}; its status is {status}");
    };
    let pod = running.with_context(label)?.with_context(label)?;
    let mut manifest = wanted.clone();
    manifest["spec"]["nodeName"] = alias.into();
    let ips = addresses(&pod);
    manifest["status"] = json!({
        "phase": "Running",
        "hostIP": pod.status.as_ref().and_then(|s| s.host_ip.clone()),
        "podIP": ips.first(),
        "podIPs": ips.iter().map(|ip| json!({ "ip": ip })).collect::<Vec<_>>(),
        "conditions": [{ "type": "Ready", "status": "True" }],
    });
    Ok(Running {
        key,
        uid: pod.uid().unwrap_or_default(),
        version: ResourceVersion::of(&pod)?,
        addresses: ips,
        manifest,
    })
}

fn phase(pod: &Pod) -> &str {
    let status = pod.status.as_ref();
    status.and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let status = pod.status.as_ref();
    let all = status.and_then(|s| s.pod_ips.as_ref());
    let all = all.into_iter().flatten();
    all.filter_map(|ip| ip.ip.parse().ok()).collect()
}

/// Server-side apply.
pub(super) async fn apply<K>(api: &Api<K>, name: &str, object: &Value) -> Result<K>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let parameters = PatchParams::apply(MANAGER).force();
    let applied = api.patch(name, &parameters, &Patch::Apply(object)).await;
    applied.with_context(|| format!("applying {} {name}", object["kind"]))
}
