//! What KubeSphere has.

use crate::isolation::ask::{self, Ask};
use anyhow::{Context, Result};
use ringfence_cluster::folder;
use serde_json::Value;
use std::path::Path;

/// The objects that matter, as JSON; their kinds are KubeSphere's own.
#[derive(Debug, Default)]
pub struct Found {
    /// `NamespaceNetworkPolicy`
    pub rules: Vec<Value>,
    /// `Namespace`
    pub namespaces: Vec<Value>,
    /// `Workspace`
    pub workspaces: Vec<Value>,
    /// ks-installer's `ClusterConfiguration`
    pub installer: Option<Value>,
    /// `Node`
    pub nodes: Vec<Value>,
}

const RULES: &str = "/apis/network.kubesphere.io/v1alpha1/namespacenetworkpolicies";
/// Newer versions serve the second as well.
const WORKSPACES: [&str; 2] = [
    "/apis/tenant.kubesphere.io/v1alpha1/workspaces",
    "/apis/tenant.kubesphere.io/v1beta1/workspaces",
];
const INSTALLER: &str = "/apis/installer.kubesphere.io/v1alpha1/namespaces/kubesphere-system/clusterconfigurations/ks-installer";

/// From manifests, such as those of `kubectl get -o yaml`.
pub fn folder(path: &Path) -> Result<Found> {
    let documents = folder::documents(path, "default")
        .with_context(|| format!("--folder {}", path.display()))?;
    let mut found = Found::default();
    for written in documents.written {
        let value = written.value;
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
        let ours = text("/apiVersion")
            .unwrap_or_default()
            .contains("kubesphere.io/");
        match (text("/kind").unwrap_or_default(), ours) {
            ("NamespaceNetworkPolicy", true) => found.rules.push(value),
            ("Workspace", true) => found.workspaces.push(value),
            ("ClusterConfiguration", true) => found.installer = Some(value),
            ("Namespace", false) => found.namespaces.push(value),
            ("Node", false) => found.nodes.push(value),
            _ => {}
        }
    }
    Ok(found)
}

/// From a cluster.
pub fn cluster(kubeconfig: Option<&Path>) -> Result<Found> {
    ask::with(kubeconfig, async |ask: &Ask| {
        let mut found = Found {
            rules: ask.list(RULES).await?.unwrap_or_default(),
            namespaces: ask.list("/api/v1/namespaces").await?.unwrap_or_default(),
            installer: ask.get(INSTALLER).await?,
            nodes: ask.list("/api/v1/nodes").await?.unwrap_or_default(),
            ..Found::default()
        };
        for path in WORKSPACES {
            if let Some(workspaces) = ask.list(path).await? {
                found.workspaces = workspaces;
                break;
            }
        }
        Ok(found)
    })
}
