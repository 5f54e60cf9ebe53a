//! Many objects in a real API server, for measurements: namespaces, policies, and pods of
//! which some run on one real node.

use super::apply::{ResourceVersion, create};
use super::kubelet::{Kubelet, running};
use crate::fabric::NodeSpec;
use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};

/// More do not make a two-core API server faster.
const CONNECTIONS: usize = 8;
/// A kubelet's default.
const PODS_PER_NODE: usize = 110;
/// Labels `app=app-0` ... that pods carry and policies select.
const APPS: usize = 5;
/// The host part of the first pod's address on a node; below are the fabric's own pods.
const FIRST_HOST: usize = 130;

/// How much of everything.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Pods in all.
    pub pods: usize,
    /// NetworkPolicies, spread over the namespaces.
    pub policies: usize,
    /// Namespaces `scale-0`, `scale-1` ...
    pub namespaces: usize,
    /// The first pods run here: address 130 and up of its range, at most 120.
    pub node: NodeSpec,
    /// How many of the pods run on [`Self::node`].
    pub local: usize,
}

impl Scale {
    /// What the goals of `docs/performance.md` are measured at: 10,000 pods of which 110
    /// are local, 1,000 policies, 200 namespaces.
    pub fn large(node: NodeSpec) -> Self {
        Self {
            pods: 10_000,
            policies: 1_000,
            namespaces: 200,
            node,
            local: 110,
        }
    }

    /// Namespace and name of the n-th pod.
    pub fn pod_key(&self, number: usize) -> (String, String) {
        (self.namespace(number), format!("pod-{number}"))
    }

    fn namespace(&self, number: usize) -> String {
        format!("scale-{}", number % self.namespaces.max(1))
    }

    /// The n-th pod's node, the node's address, and the pod's own.
    pub fn place(&self, number: usize) -> Result<(String, IpAddr, IpAddr)> {
        if number < self.local {
            let host = u8::try_from(FIRST_HOST + number).ok().filter(|h| *h < 255);
            let host = host.context("a node's range has room for 125 pods of a scale test")?;
            let node = &self.node;
            return Ok((node.name.clone(), node.v4.into(), node.pod4(host).into()));
        }
        let remote = number - self.local;
        let (node, host) = (remote / PODS_PER_NODE, FIRST_HOST + remote % PODS_PER_NODE);
        // 10.128.0.0/9 is nobody else's here.
        let (high, low) = (u8::try_from(128 + node / 256)?, u8::try_from(node % 256)?);
        let ip = Ipv4Addr::new(10, high, low, u8::try_from(host)?);
        Ok((remote_node(node), remote_address(node)?, ip.into()))
    }

    /// A number that takes all values among the pods of one namespace, and of one node.
    fn mixed(&self, number: usize) -> usize {
        number + number / self.namespaces.max(1)
    }

    fn remote_nodes(&self) -> usize {
        self.pods.saturating_sub(self.local).div_ceil(PODS_PER_NODE)
    }
}

fn remote_node(number: usize) -> String {
    format!("scale-node-{number}")
}

fn remote_address(number: usize) -> Result<IpAddr> {
    let (high, low) = (u8::try_from(number / 256)?, u8::try_from(number % 256)?);
    Ok(Ipv4Addr::new(100, 64, high, low).into())
}

/// Creates it all, [`CONNECTIONS`] requests at a time, and reports every pod running. The
/// Node object of [`Scale::node`] must exist; the others are made, or the garbage
/// collector would take their pods.
///
/// Returns the revision of the last write.
pub async fn populate(client: &Client, scale: &Scale) -> Result<ResourceVersion> {
    let kubelet = Kubelet::new(client.clone());
    many(scale.remote_nodes(), |n| {
        let kubelet = kubelet.clone();
        async move {
            kubelet
                .register_as(&remote_node(n), &[remote_address(n)?], &[])
                .await
        }
    })
    .await?;
    many(scale.namespaces, |n| async move {
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {
            "name": scale.namespace(n),
            "labels": {"team": format!("team-{}", n % 10)},
        }}))?;
        ResourceVersion::of(&create(&Api::all(client.clone()), &namespace).await?)
    })
    .await?;
    let policies = many(scale.policies, |n| async move {
        let policy = policy(n, &scale.namespace(n))?;
        let api = Api::namespaced(client.clone(), &scale.namespace(n));
        ResourceVersion::of(&create(&api, &policy).await?)
    })
    .await?;
    let pods = many(scale.pods, |n| start(client, scale, n)).await?;
    Ok(policies.max(pods))
}

async fn start(client: &Client, scale: &Scale, number: usize) -> Result<ResourceVersion> {
    let (namespace, name) = scale.pod_key(number);
    let (node, host, ip) = scale.place(number)?;
    let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    create(
        &api,
        &pod(&namespace, &name, number, scale.mixed(number), &node)?,
    )
    .await?;
    let status = Patch::Merge(json!({"status": running(&[host], &[ip])}));
    let pod = api
        .patch_status(&name, &PatchParams::default(), &status)
        .await
        .with_context(|| format!("writing the status of Pod {namespace}/{name}"))?;
    ResourceVersion::of(&pod)
}

/// Runs `work` for 0 to `count`, some at a time; the largest revision, or the first error.
async fn many<F>(count: usize, work: impl Fn(usize) -> F) -> Result<ResourceVersion>
where
    F: Future<Output = Result<ResourceVersion>>,
{
    stream::iter((0..count).map(work))
        .buffer_unordered(CONNECTIONS)
        .try_fold(ResourceVersion::default(), |last, version| async move {
            Ok(last.max(version))
        })
        .await
}

fn pod(namespace: &str, name: &str, number: usize, mixed: usize, node: &str) -> Result<Pod> {
    serde_json::from_value(json!({
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {
                "app": format!("app-{}", mixed % APPS),
                "tier": if mixed.is_multiple_of(2) { "front" } else { "back" },
                "pod-template-hash": format!("{:x}", number / 8),
            },
        },
        "spec": {
            "nodeName": node,
            "containers": [{
                "name": "main",
                "image": "none",
                "ports": [{"name": "http", "containerPort": 8080}],
            }],
        },
    }))
    .context("a pod of the scale test")
}

/// Five shapes in turn, so that every kind of peer, named ports and both directions occur.
fn policy(number: usize, namespace: &str) -> Result<NetworkPolicy> {
    let app = |n: usize| json!({"matchLabels": {"app": format!("app-{}", n % APPS)}});
    let team = json!({"matchLabels": {"team": format!("team-{}", number % 10)}});
    let tcp = |port: Value| json!([{"protocol": "TCP", "port": port}]);
    let block = format!("172.{}.{}.0/24", 16 + number % 16, number / 16 % 256);
    let spec = match number / 16 % 5 {
        0 => {
            json!({"ingress": [{"from": [{"podSelector": app(number + 1)}], "ports": tcp(json!(8080))}]})
        }
        1 => {
            json!({"ingress": [{"from": [{"namespaceSelector": team}], "ports": tcp(json!("http"))}]})
        }
        2 => {
            json!({"ingress": [{"from": [{"namespaceSelector": team, "podSelector": app(number + 2)}]}]})
        }
        3 => {
            json!({"ingress": [{"from": [{"ipBlock": {"cidr": block}}], "ports": tcp(json!(80))}]})
        }
        _ => json!({
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{}],
            "egress": [
                {"to": [{"podSelector": app(number + 3)}]},
                {"to": [{"namespaceSelector": {}}], "ports": [{"protocol": "UDP", "port": 53}]},
            ],
        }),
    };
    let mut policy = json!({
        "metadata": {"name": format!("policy-{number}"), "namespace": namespace},
        "spec": spec,
    });
    policy["spec"]["podSelector"] = app(number / 3);
    serde_json::from_value(policy).context("a policy of the scale test")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::{PodKind, Topology};
    use std::collections::BTreeSet;

    #[test]
    fn addresses_do_not_repeat_and_local_pods_are_in_the_nodes_range() {
        let node = Topology::new(PodKind::Bridge, 1).nodes.remove(0);
        let scale = Scale::large(node.clone());
        let places: Vec<_> = (0..scale.pods).map(|n| scale.place(n).unwrap()).collect();
        let addresses: BTreeSet<IpAddr> = places.iter().map(|p| p.2).collect();
        assert_eq!(addresses.len(), scale.pods);
        assert_eq!(places.iter().filter(|p| p.0 == node.name).count(), 110);
        let last = places.last().unwrap();
        assert_eq!(last.0, remote_node(scale.remote_nodes() - 1));
    }

    #[test]
    fn every_namespace_has_policies_of_its_own_shapes() {
        let kinds: BTreeSet<String> = (0..1_000)
            .map(|n| serde_json::to_string(&policy(n, "x").unwrap().spec).unwrap())
            .collect();
        assert!(kinds.len() > 100, "only {} different policies", kinds.len());
    }
}
