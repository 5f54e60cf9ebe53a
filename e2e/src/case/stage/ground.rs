//! What a stage stands on: namespaces of this machine, or a cluster.

use crate::admission::dns;
use crate::fabric::{Cluster, Topology, World};
use crate::probe::{Call, Net, Observation, Transport};
use anyhow::{Result, bail};
use ringfence_policy::model::Protocol;
use std::net::IpAddr;

/// Where nodes and pods are.
pub(super) enum Ground {
    /// Network namespaces of this machine. The servers end before the world.
    Here {
        /// Servers and probes.
        net: Net,
        /// Nodes and pods.
        world: World,
    },
    /// Pods of a cluster.
    There(Cluster),
}

impl Ground {
    /// The world of namespaces, with its servers.
    pub fn here(&self) -> Result<(&Net, &World)> {
        match self {
            Self::Here { net, world } => Ok((net, world)),
            Self::There(_) => bail!(ELSEWHERE),
        }
    }

    /// As [`Self::here`], to start more servers.
    pub fn here_mut(&mut self) -> Result<(&mut Net, &World)> {
        match self {
            Self::Here { net, world } => Ok((net, world)),
            Self::There(_) => bail!(ELSEWHERE),
        }
    }

    /// The world of namespaces.
    pub fn world(&self) -> Result<&World> {
        self.here().map(|(_, world)| world)
    }

    /// Nodes, pods and externals, with the addresses that they have.
    pub fn topology(&self) -> &Topology {
        match self {
            Self::Here { world, .. } => world.topology(),
            Self::There(cluster) => cluster.topology(),
        }
    }

    /// More servers on every host.
    pub fn listen(&mut self, ports: &[(Protocol, u16)]) -> Result<()> {
        match self {
            Self::Here { net, world } => world
                .hosts()
                .try_for_each(|host| net.listen(&host.name, &host.netns, &host.addresses, ports)),
            Self::There(cluster) => cluster.listen(ports),
        }
    }

    /// Whether somebody answers there.
    pub fn is_listening(&self, address: IpAddr, transport: Transport) -> bool {
        match self {
            Self::Here { net, .. } => net.is_listening(address, transport),
            Self::There(cluster) => cluster.is_listening(address, transport),
        }
    }

    /// Sends everything at once, each from the host of that name; results in this order.
    pub fn fire(&self, calls: Vec<(String, Call)>) -> Result<Vec<Observation>> {
        match self {
            Self::Here { net, world } => {
                let shots = calls.into_iter().map(|(from, call)| {
                    let host = world.host(&from)?;
                    Ok(call.inside(host.netns.clone()))
                });
                net.fire(&shots.collect::<Result<Vec<_>>>()?)
            }
            Self::There(cluster) => cluster.fire(&calls),
        }
    }

    /// Whether a pod resolves a name by this server, over UDP and over TCP.
    pub fn resolves(&self, from: &str, server: IpAddr, name: &str) -> Result<[bool; 2]> {
        match self {
            Self::Here { world, .. } => {
                let pod = &world.host(from)?.netns;
                pod.run(|| dns::resolves(server, name))
            }
            Self::There(cluster) => cluster.resolves(from, server, name),
        }
    }

    /// What a program printed on a node, whatever its exit status.
    pub fn on_node(&self, node: &str, program: &str, args: &[&str]) -> Result<String> {
        match self {
            Self::Here { world, .. } => {
                let output = world.node(node)?.output(program, args, "")?;
                Ok(String::from_utf8_lossy(&output.stdout).into_owned())
            }
            Self::There(cluster) => cluster.on_node(node, &[&[program], args].concat()),
        }
    }

    /// How a reader gets to where the rules of a node are.
    pub fn door(&self, node: &str) -> Result<String> {
        Ok(match self {
            Self::Here { world, .. } => {
                format!("nsenter --net={}", world.node(node)?.netns().path())
            }
            Self::There(cluster) => cluster.door(node),
        })
    }

    /// Empties every node's conntrack table. Not a cluster's: the connections of its own
    /// programs to the API server would lose their translation, and hang.
    pub fn forget_flows(&self) -> Result<()> {
        match self {
            Self::Here { world, .. } => world
                .nodes()
                .try_for_each(|node| node.output("conntrack", &["-F"], "").map(drop)),
            Self::There(_) => Ok(()),
        }
    }
}

/// Said by cases that reach into the machine.
const ELSEWHERE: &str = "the pods are in a cluster, not in namespaces of this machine";
