//! A cluster in use by the harness: its client, its nodes, and the agents that run there.

use super::agent::Agent;
use super::clean;
use super::discover::{Real, client, nodes, not_made};
use super::enforcers;
use super::installed::Installed;
use super::outside::{self, Outside};
use super::pods::{self, Running};
use crate::fabric::Topology;
use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, AttachParams, ListParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::AsyncReadExt;
use tokio::runtime::{Builder, Runtime};

/// Where the harness' own pods are.
const OWN: &str = "ringfence-e2e";
/// Where Ringfence is installed.
pub(super) const SYSTEM: &str = "ringfence-system";
/// How its enforcers are labelled.
pub(super) const ENFORCER: &str = "app.kubernetes.io/name=ringfence-enforcer";

/// How a cluster is reached.
#[derive(Clone, Debug)]
pub struct Access {
    /// Its kubeconfig; none: what kubectl would take.
    pub kubeconfig: Option<PathBuf>,
    /// The image of `ringfence-e2e` (`make images`), by which nodes know it.
    pub image: String,
    /// The nodes are containers of kind: the outside is one as well.
    pub kind: bool,
}

/// A cluster in use. Workers come first, in the order of their pod ranges: they are `node1`,
/// `node2` ... of cases; control planes follow.
pub struct Lab {
    // Agents end before the runtime in which their connections are.
    agents: Mutex<BTreeMap<String, Arc<Agent>>>,
    on_nodes: Vec<Arc<Agent>>,
    outside: Option<Outside>,
    nodes: Vec<Real>,
    access: Access,
    installed: Installed,
    enforced: bool,
    families: (bool, bool),
    /// Namespaces that were there before, where the cluster is not the harness' own.
    taken: BTreeSet<String>,
    client: Client,
    runtime: Runtime,
}

impl fmt::Debug for Lab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lab")
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}

impl Lab {
    /// Connects, and starts a pod with an agent on every node.
    pub fn connect(access: &Access) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("starting a runtime for the cluster's client")?;
        let client = runtime.block_on(client(access))?;
        let nodes = runtime.block_on(nodes(&client))?;
        ensure!(!nodes.is_empty(), "the cluster has no node that is ready");
        let has = |v4: bool| {
            let mut all = nodes.iter().flat_map(|n| &n.ranges);
            all.any(|range| range.contains(':') != v4)
        };
        let families = (has(true), has(false));
        let enforced = runtime.block_on(enforcers::are_there(&client))?;
        let taken = if access.kind {
            BTreeSet::new()
        } else {
            runtime.block_on(not_made(&client))?
        };
        let installed = runtime.block_on(Installed::find(&client))?;
        let mut lab = Self {
            agents: Mutex::default(),
            on_nodes: Vec::new(),
            outside: None,
            nodes,
            access: access.clone(),
            installed,
            enforced,
            families,
            taken,
            client,
            runtime,
        };
        lab.on_nodes = lab.start_on_nodes()?;
        if access.kind {
            let outside = lab
                .runtime
                .block_on(outside::start(lab.image(), &lab.nodes))?;
            lab.outside = Some(outside);
        }
        Ok(lab)
    }

    fn start_on_nodes(&self) -> Result<Vec<Arc<Agent>>> {
        let started = self.block_on(async {
            let namespaces: Api<Namespace> = Api::all(self.client.clone());
            pods::make(&namespaces, OWN).await?;
            let starts = self
                .nodes
                .iter()
                .enumerate()
                .map(|(index, node)| async move {
                    let alias = alias(index);
                    let pod = pods::on_node(self, OWN, &alias, &node.name);
                    Box::pin(pods::run(&self.client, &pod, &alias)).await
                });
            try_join_all(starts).await
        })?;
        started.iter().map(|pod| self.agent(pod)).collect()
    }

    /// Runs something with the client.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// A client with the rights of the kubeconfig; use it inside [`Self::block_on`].
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The image of pods.
    pub(super) fn image(&self) -> &str {
        &self.access.image
    }

    /// The kubeconfig; `None`: what kubectl would take.
    pub(super) fn kubeconfig(&self) -> Option<&Path> {
        self.access.kubeconfig.as_deref()
    }

    /// What of Ringfence there is besides enforcers.
    pub fn installed(&self) -> &Installed {
        &self.installed
    }

    /// Whether enforcers run in the cluster.
    pub fn is_enforced(&self) -> bool {
        self.enforced
    }

    /// Whether this namespace is somebody else's.
    pub fn is_taken(&self, namespace: &str) -> bool {
        self.taken.contains(namespace)
    }

    /// How many nodes there are.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is an external of this name.
    pub fn has_outside(&self, name: &str) -> bool {
        let outside = self.outside.as_ref();
        outside.is_some_and(|outside| outside.names.contains(name))
    }

    /// Whether pods have addresses of this family.
    pub fn has_family(&self, v4: bool) -> bool {
        if v4 { self.families.0 } else { self.families.1 }
    }

    /// Whether the harness has made an outside.
    pub(super) fn has_any_outside(&self) -> bool {
        self.outside.is_some()
    }

    /// The agent of everything outside.
    pub(super) fn outside(&self) -> Option<&Arc<Agent>> {
        self.outside.as_ref().map(|outside| &outside.agent)
    }

    /// Of these addresses those of families that the cluster has.
    pub(super) fn reachable(&self, mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
        addresses.retain(|address| self.has_family(address.is_ipv4()));
        addresses
    }

    /// Puts the cluster's nodes in the place of the topology's.
    pub(super) fn fit(&self, topology: &mut Topology) -> Result<()> {
        ensure!(
            topology.nodes.len() <= self.nodes.len(),
            "needs {} nodes, the cluster has {}",
            topology.nodes.len(),
            self.nodes.len()
        );
        for (node, real) in topology.nodes.iter().zip(&self.nodes) {
            let addresses = self.reachable(real.addresses.clone());
            topology.given.insert(node.name.clone(), addresses);
        }
        // A host of a family that the cluster has not is like a pod's address of it: not there.
        for external in &topology.externals {
            if !self.has_family(external.address.is_ipv4()) {
                topology.given.insert(external.name.clone(), Vec::new());
            }
        }
        topology.externals.retain(|e| self.has_outside(&e.name));
        Ok(())
    }

    /// The agents of a topology's nodes.
    pub(super) fn node_agents(&self, topology: &Topology) -> BTreeMap<String, Arc<Agent>> {
        let nodes = topology.nodes.iter().zip(&self.on_nodes);
        nodes
            .map(|(node, agent)| (node.name.clone(), Arc::clone(agent)))
            .collect()
    }

    /// Nodes as cases know them.
    pub(super) fn node_objects(&self, topology: &Topology) -> impl Iterator<Item = Value> {
        topology.nodes.iter().zip(&self.nodes).map(|(node, real)| {
            let addresses = real.addresses.iter();
            let addresses = addresses.map(|a| json!({ "type": "InternalIP", "address": a }));
            json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": { "name": node.name, "labels": real.labels },
                "spec": { "podCIDR": real.ranges.first(), "podCIDRs": real.ranges },
                "status": { "addresses": addresses.collect::<Vec<_>>() },
            })
        })
    }

    /// What the cluster calls a node of a case.
    pub fn real_name<'a>(&'a self, node: &'a str) -> &'a str {
        let mut all = self.nodes.iter().enumerate();
        let found = all.find(|(index, _)| alias(*index) == node);
        found.map_or(node, |(_, real)| &real.name)
    }

    /// The agent of a pod, started where there is none.
    pub(super) fn agent(&self, pod: &Running) -> Result<Arc<Agent>> {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = agents.get(&pod.uid) {
            return Ok(Arc::clone(known));
        }
        let (namespace, name) = pod.key.split_once('/').context("a pod without namespace")?;
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let parameters = AttachParams::default()
            .stdin(true)
            .stdout(true)
            .stderr(false);
        let process = self
            .block_on(api.exec(name, ["/program", "agent"], &parameters))
            .with_context(|| format!("starting an agent in Pod {}", pod.key))?;
        let agent = Arc::new(Agent::in_pod(&pod.key, process)?);
        agents.insert(pod.uid.clone(), Arc::clone(&agent));
        Ok(agent)
    }

    /// Runs a program in the enforcer's pod of a node, which shares the node's network, and
    /// returns what it printed.
    pub(super) fn on_node(&self, node: &str, command: &[&str]) -> Result<String> {
        let real = self.real_name(node);
        let api: Api<Pod> = Api::namespaced(self.client.clone(), SYSTEM);
        let parameters = ListParams::default()
            .labels(ENFORCER)
            .fields(&format!("spec.nodeName={real}"));
        self.block_on(async {
            let found = api.list(&parameters).await?.items;
            let pod = found
                .first()
                .with_context(|| format!("no enforcer on {real}"))?
                .name_any();
            let parameters = AttachParams::default().stdout(true).stderr(false);
            let mut process = api.exec(&pod, command.iter().copied(), &parameters).await?;
            let mut text = String::new();
            if let Some(mut output) = process.stdout() {
                output.read_to_string(&mut text).await?;
            }
            process.join().await?;
            anyhow::Ok(text)
        })
        .with_context(|| format!("running {} on {real}", command.join(" ")))
    }

    /// Removes everything that the harness has made in the cluster.
    pub fn clean(&self) -> Result<()> {
        self.block_on(clean::all(self))
            .context("removing what the harness has made")
    }

    /// How a reader gets to where the rules of a node are.
    pub(super) fn door(&self, node: &str) -> String {
        let pod = self.enforcer_of(node);
        format!(
            "{}: kubectl -n {SYSTEM} exec {pod} --",
            self.real_name(node)
        )
    }

    /// Where a reader finds out what is wrong on a node.
    pub(super) fn where_to_look(&self, node: &str) -> String {
        let pod = self.enforcer_of(node);
        format!("its log: kubectl -n {SYSTEM} logs {pod}")
    }

    /// For a shell: the name of a node's enforcer.
    fn enforcer_of(&self, node: &str) -> String {
        let real = self.real_name(node);
        format!(
            "$(kubectl -n {SYSTEM} get pods -l {ENFORCER} --field-selector spec.nodeName={real} -o name)"
        )
    }
}

/// What cases call the n-th node.
fn alias(index: usize) -> String {
    format!("node{}", index + 1)
}
