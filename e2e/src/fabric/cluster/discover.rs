//! What a cluster is: how it is reached, its nodes, its namespaces.

use super::lab::Access;
use super::pods::MADE;
use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A node of the cluster.
#[derive(Clone, Debug)]
pub(super) struct Real {
    /// Its name in the cluster.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its pod ranges, as they are written.
    pub ranges: Vec<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

impl Real {
    /// Its pod ranges.
    pub fn ranges(&self) -> impl Iterator<Item = &str> {
        self.ranges.iter().map(String::as_str)
    }
}

/// Connects.
pub(super) async fn client(access: &Access) -> Result<Client> {
    let config = match &access.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path)
                .with_context(|| format!("reading the kubeconfig {}", path.display()))?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?
        }
        None => Config::infer()
            .await
            .context("no kubeconfig was found: pass --kubeconfig FILE")?,
    };
    let address = config.cluster_url.clone();
    let client = Client::try_from(config).context("preparing the cluster's client")?;
    let version = client.apiserver_version().await;
    version.with_context(|| format!("the API server at {address} does not answer"))?;
    Ok(client)
}

/// Namespaces that the harness has not made.
pub(super) async fn not_made(client: &Client) -> Result<BTreeSet<String>> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let others = ListParams::default().labels(&format!("!{MADE}"));
    let found = namespaces.list(&others).await;
    let found = found.context("listing namespaces")?;
    Ok(found.iter().map(ResourceExt::name_any).collect())
}

/// Its nodes that are ready: workers in the order of their pod ranges, then control planes.
pub(super) async fn nodes(client: &Client) -> Result<Vec<Real>> {
    let api: Api<Node> = Api::all(client.clone());
    let mut found = Vec::new();
    for node in api
        .list(&ListParams::default())
        .await
        .context("listing nodes")?
    {
        let labels = node.labels().clone();
        let spec = node.spec.clone().unwrap_or_default();
        let status = node.status.clone().unwrap_or_default();
        let conditions = status.conditions.iter().flatten();
        if !conditions
            .into_iter()
            .any(|c| c.type_ == "Ready" && c.status == "True")
        {
            continue;
        }
        let addresses = status.addresses.iter().flatten();
        let addresses = addresses
            .filter(|a| a.type_ == "InternalIP")
            .map(|a| a.address.parse())
            .collect::<Result<Vec<IpAddr>, _>>()?;
        let Some(ranges) = spec.pod_cidrs else {
            bail!("Node {} has no spec.podCIDRs", node.name_any());
        };
        let control_plane = labels.contains_key("node-role.kubernetes.io/control-plane");
        let order = (control_plane, ranges.clone());
        let real = Real {
            name: node.name_any(),
            labels,
            ranges,
            addresses,
        };
        found.push((order, real));
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found.into_iter().map(|(_, node)| node).collect())
}
