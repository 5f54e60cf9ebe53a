//! Nodes and pods are those of a cluster: kind's, or any that a kubeconfig leads to.
//!
//! ```text
//!   harness -- exec --> agent in pod x/a      (image ringfence/probe)
//!           -- exec --> agent on node1        (a pod with hostNetwork: the node's own traffic,
//!                                              and the enforcer's /generation)
//!           -- docker exec -> agent outside   (kind: a container on the cluster's network that
//!                                              has every external address)
//! ```
//!
//! What is said to an agent goes through the API server and the kubelet, never over the pod
//! network: policies do not touch it. An agent that dies is an error, never a deny.

mod agent;
mod clean;
mod discover;
mod enforcers;
mod installed;
mod lab;
mod outside;
mod pods;
mod services;

pub use agent::Agent;
pub use lab::{Access, Lab};
pub(crate) use pods::MADE;

use crate::admission::Said;
use crate::controlplane::{Leads, ResourceVersion};
use crate::fabric::Topology;
use crate::objects::{ClusterObjects, HEALTH_PORT, Mark, Objects, State};
use crate::probe::agent::{Answer, Request};
use crate::probe::{Call, Observation, Transport, everywhere};
use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use ringfence_policy::model::Protocol;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Puts [`MADE`] on an object.
pub(crate) fn mark_as_made(object: &mut Value) {
    let labels = &mut object["metadata"]["labels"];
    if labels.is_null() {
        *labels = json!({});
    }
    labels[MADE] = "true".into();
}

/// Between two looks at something that is about to happen.
const LOOK: Duration = Duration::from_millis(20);

/// The pods of one topology, running in a cluster.
pub struct Cluster {
    lab: Arc<Lab>,
    topology: Topology,
    agents: BTreeMap<String, Arc<Agent>>,
    pods: Vec<Value>,
    listening: BTreeSet<(IpAddr, Protocol, u16)>,
    /// Of the pod that was written last.
    version: ResourceVersion,
    /// When the last policy of an earlier case was deleted.
    purged: Option<ResourceVersion>,
}

impl Cluster {
    /// Starts the pods that `ideal` names, on nodes of the cluster in the place of its own,
    /// and waits until all of them answer.
    pub fn create(lab: &Arc<Lab>, ideal: &Topology) -> Result<Self> {
        let mut topology = ideal.clone();
        lab.fit(&mut topology)?;
        let purged = lab.block_on(clean::purge(lab))?;
        let started = lab.block_on(pods::start(lab, &topology))?;
        let mut agents: BTreeMap<String, Arc<Agent>> = lab.node_agents(&topology);
        for pod in &started {
            topology
                .given
                .insert(pod.key.clone(), pod.addresses.clone());
            agents.insert(pod.key.clone(), lab.agent(pod)?);
        }
        if let Some(outside) = lab.outside() {
            for external in &topology.externals {
                agents.insert(external.name.clone(), Arc::clone(outside));
            }
        }
        let mut cluster = Self {
            lab: Arc::clone(lab),
            topology,
            agents,
            version: started
                .iter()
                .map(|pod| pod.version)
                .max()
                .unwrap_or_default(),
            purged,
            pods: started.into_iter().map(|pod| pod.manifest).collect(),
            listening: BTreeSet::new(),
        };
        cluster.listen(&everywhere())?;
        Ok(cluster)
    }

    /// Nodes, pods and externals, with the addresses that they have.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Whether enforcers run in the cluster.
    pub fn is_enforced(&self) -> bool {
        self.lab.is_enforced()
    }

    /// Whether policies go through a webhook on their way.
    pub fn has_webhook(&self) -> bool {
        self.lab.installed().has_webhook()
    }

    /// Whether pods have addresses of both families.
    pub fn is_dual_stack(&self) -> bool {
        self.lab.has_family(true) && self.lab.has_family(false)
    }

    /// Waits until the webhook answers, fresh from the installation.
    pub fn wait_for_webhook(&self) -> Result<()> {
        installed::wait_for_webhook(&self.lab)
    }

    /// Nodes, namespaces and pods, as cases know them.
    pub fn base(&self) -> Result<State> {
        let mut state = State::default();
        let names: BTreeSet<&str> = self.topology.pods.iter().map(|p| &*p.namespace).collect();
        let objects = self.lab.node_objects(&self.topology);
        for object in objects.chain(names.into_iter().map(pods::namespace)) {
            state.put(object)?;
        }
        for pod in &self.pods {
            state.put(pod.clone())?;
        }
        Ok(state)
    }

    /// The API server as the place where objects go.
    pub fn objects(&self) -> Box<dyn Objects> {
        let written = [("Pod", Some(self.version)), ("NetworkPolicy", self.purged)];
        Box::new(ClusterObjects::new(&self.lab, &self.topology, &written))
    }

    /// More servers on every host.
    pub fn listen(&mut self, ports: &[(Protocol, u16)]) -> Result<()> {
        let named: Vec<(String, u16)> = ports.iter().map(|(p, n)| (p.to_string(), *n)).collect();
        let asked = self.agents.iter().map(|(host, agent)| {
            let addresses = self.topology.addresses(host).unwrap_or_default();
            async {
                // The cluster may have one family only.
                let addresses = self.lab.reachable(addresses);
                let request = Request::Listen {
                    host: host.clone(),
                    addresses: addresses.clone(),
                    ports: named.clone(),
                };
                agent.ask(&request).await?;
                anyhow::Ok(addresses)
            }
        });
        let all = self.lab.block_on(try_join_all(asked))?;
        for address in all.into_iter().flatten() {
            let keys = ports
                .iter()
                .map(|(protocol, port)| (address, *protocol, *port));
            self.listening.extend(keys);
        }
        Ok(())
    }

    /// Whether somebody answers there. Echo requests always have an answer.
    pub fn is_listening(&self, address: IpAddr, transport: Transport) -> bool {
        match transport {
            Transport::Icmp => true,
            Transport::Port(protocol, port) => self.listening.contains(&(address, protocol, port)),
        }
    }

    /// Sends everything at once, each from the host of that name; results in this order.
    pub fn fire(&self, calls: &[(String, Call)]) -> Result<Vec<Observation>> {
        let mut by_agent: BTreeMap<&str, (Vec<usize>, Vec<Call>)> = BTreeMap::new();
        for (index, (from, call)) in calls.iter().enumerate() {
            let (places, own) = by_agent.entry(from).or_default();
            places.push(index);
            own.push(call.clone());
        }
        let asked = by_agent
            .into_iter()
            .map(|(host, (places, own))| async move {
                let agent = self.agents.get(host);
                let agent = agent
                    .with_context(|| format!("no pod, node or external is called {host:?}"))?;
                let wanted = own.len();
                match agent.ask(&Request::Fire(own)).await? {
                    Answer::Seen(seen) if seen.len() == wanted => Ok((places, seen)),
                    other => bail!("{host}: another answer than {wanted} observations: {other:?}"),
                }
            });
        let mut results: Vec<Option<Observation>> = calls.iter().map(|_| None).collect();
        for (places, seen) in self.lab.block_on(try_join_all(asked))? {
            for (place, observation) in places.into_iter().zip(seen) {
                results[place] = Some(observation);
            }
        }
        let complete: Option<Vec<Observation>> = results.into_iter().collect();
        complete.context("a probe was sent and nothing was said of it")
    }

    /// Whether a pod resolves a name by this server, over UDP and over TCP.
    pub fn resolves(&self, from: &str, server: IpAddr, name: &str) -> Result<[bool; 2]> {
        let agent = self.agents.get(from);
        let agent = agent.with_context(|| format!("no pod is called {from:?}"))?;
        let name = name.to_owned();
        match self
            .lab
            .block_on(agent.ask(&Request::Resolve { server, name }))?
        {
            Answer::Resolved(found) => Ok(found),
            other => bail!("{from}: {other:?} does not say whether a name was resolved"),
        }
    }

    /// kubectl, as whoever owns the kubeconfig.
    pub fn kubectl(&self, args: &[&str], input: &str) -> Result<Said> {
        installed::kubectl(&self.lab, args, input)
    }

    /// Waits until the enforcer of every node has everything up to `mark` in the kernel.
    ///
    /// # Errors
    /// When one does not get there in time; the message has its last answer and says where
    /// its log is.
    pub fn wait_applied(&self, mark: &Mark, patience: Duration) -> Result<()> {
        if !self.is_enforced() {
            return Ok(());
        }
        let waits = self.topology.nodes.iter().map(|node| async {
            let agent = self.agents.get(&node.name).context("a node without agent")?;
            let deadline = Instant::now() + patience;
            loop {
                let request = Request::Get {
                    port: HEALTH_PORT,
                    page: "/generation".to_owned(),
                };
                let said = match agent.ask(&request).await {
                    Ok(Answer::Page(page)) => page,
                    Ok(other) => bail!("{}: {other:?} is no page", node.name),
                    // It may be starting.
                    Err(error) => format!("{error:#}"),
                };
                if mark.is_reached(&said) {
                    return Ok(());
                }
                ensure!(
                    Instant::now() < deadline,
                    "{}: not applied after {patience:?}: waited for {mark:?}; /generation says {said}; {}",
                    node.name,
                    self.lab.where_to_look(&node.name)
                );
                tokio::time::sleep(LOOK).await;
            }
        });
        self.lab.block_on(try_join_all(waits)).map(drop)
    }

    /// Waits until every replica of the webhook judges by everything up to `mark`.
    pub fn wait_judged(&self, mark: &Mark) -> Result<()> {
        installed::wait_judged(&self.lab, mark)
    }

    /// What a program printed on a node, in the enforcer's pod there.
    pub fn on_node(&self, node: &str, command: &[&str]) -> Result<String> {
        self.lab.on_node(node, command)
    }

    /// How a reader gets to where the rules of a node are.
    pub fn door(&self, node: &str) -> String {
        self.lab.door(node)
    }

    /// Waits until every node's kube-proxy leads there.
    pub fn wait_services(&self, leads: &Leads) -> Result<()> {
        services::wait(&self.lab, &self.topology, leads)
    }
}
