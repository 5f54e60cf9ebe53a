//! A whole world, built and taken down as one.

use super::links;
use super::namespace::{Netns, sysctl};
use super::node::Node;
use crate::fabric::topology::{NodeSpec, PodKind, PodSpec, Topology};
use crate::sandbox;
use anyhow::{Context, Result, anyhow, bail};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The control machine's address on the node network.
pub const CONTROL_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 102, 123, links::CONTROL);

/// Something that sends and answers: a pod, a node, or an address outside.
#[derive(Clone, Debug)]
pub struct Host {
    /// As cases write it: `namespace/pod`, a node's name, an external's name.
    pub name: String,
    /// Its namespace; external addresses share one.
    pub netns: Netns,
    /// Its addresses, IPv4 first.
    pub addresses: Vec<IpAddr>,
}

impl Host {
    /// Its address of the same family as `other`, if it has one.
    pub fn address_like(&self, other: IpAddr) -> Option<IpAddr> {
        self.addresses
            .iter()
            .copied()
            .find(|a| a.is_ipv4() == other.is_ipv4())
    }
}

/// A running world. Dropping it ends its programs and frees its namespaces.
#[derive(Debug)]
pub struct World {
    name: String,
    topology: Topology,
    hosts: BTreeMap<String, Host>,
    nodes: BTreeMap<String, Node>,
    wire: Netns,
    control: Node,
}

impl Drop for World {
    /// What its programs wrote goes, too: etcd's files alone take a hundred megabytes of
    /// memory, and a run has many worlds. One that stays goes with the process.
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(Path::new(sandbox::RUN).join(&self.name));
    }
}

impl World {
    /// Builds the world that `topology` describes.
    pub fn create(topology: Topology) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("world{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let nodes = topology
            .nodes
            .iter()
            .map(|spec| Ok((spec.name.clone(), Node::create(&spec.name, &name)?)))
            .collect::<Result<BTreeMap<_, _>>>()?;
        let mut world = Self {
            name: name.clone(),
            hosts: BTreeMap::new(),
            nodes,
            wire: Netns::create(&[
                ("bridge/bridge-nf-call-iptables", "0"),
                ("bridge/bridge-nf-call-ip6tables", "0"),
            ])
            .or_else(|_| Netns::create(&[]))?,
            control: Node::create("control", &name)?,
            topology,
        };
        world.connect()?;
        Ok(world)
    }

    fn connect(&mut self) -> Result<()> {
        let outside = Netns::create(&[])?;
        let mut ports: Vec<(String, String)> = self
            .nodes
            .values()
            .map(|n| (n.name().to_owned(), n.netns().path()))
            .collect();
        ports.push(("outside".into(), outside.path()));
        ports.push(("control".into(), self.control.netns().path()));
        ip(&self.wire, &links::wire(&ports))?;
        ip(&outside, &links::outside(&self.topology))?;
        ip(self.control.netns(), &links::control(&self.topology))?;
        for external in &self.topology.externals {
            self.hosts.insert(
                external.name.clone(),
                Host {
                    name: external.name.clone(),
                    netns: outside.clone(),
                    addresses: vec![external.address],
                },
            );
        }
        for spec in self.topology.nodes.clone() {
            self.connect_node(&spec)?;
        }
        Ok(())
    }

    fn connect_node(&mut self, spec: &NodeSpec) -> Result<()> {
        let netns = self.node(&spec.name)?.netns().clone();
        let pods: Vec<(&PodSpec, Netns)> = self
            .topology
            .pods
            .iter()
            .filter(|pod| pod.node == spec.name)
            .map(|pod| Ok((pod, Netns::create(&[])?)))
            .collect::<Result<_>>()?;
        let paths: Vec<(&PodSpec, String)> = pods.iter().map(|(p, n)| (*p, n.path())).collect();
        ip(&netns, &links::node(&self.topology, spec, &paths))?;
        if self.topology.overlay {
            batch("bridge", &netns, &links::forwarding(&self.topology, spec))?;
        }
        if self.topology.kind == PodKind::Routed {
            let names: Vec<String> = pods.iter().map(|(pod, _)| links::veth(pod)).collect();
            netns.run(|| names.iter().try_for_each(|veth| answer_for_gateway(veth)))?;
        }
        for (pod, inside) in &pods {
            ip(inside, &links::pod(self.topology.kind, spec, pod))?;
        }
        let mut hosts: Vec<Host> = pods
            .into_iter()
            .map(|(pod, netns)| Host {
                name: format!("{}/{}", pod.namespace, pod.name),
                netns,
                addresses: vec![spec.pod4(pod.host).into(), spec.pod6(pod.host).into()],
            })
            .collect();
        hosts.push(Host {
            name: spec.name.clone(),
            netns,
            addresses: vec![spec.v4.into(), spec.v6.into()],
        });
        self.hosts
            .extend(hosts.into_iter().map(|h| (h.name.clone(), h)));
        Ok(())
    }

    /// A name for folders, unique in the process.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it was built from.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The host of this name.
    pub fn host(&self, name: &str) -> Result<&Host> {
        self.hosts.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.hosts.keys().map(String::as_str).collect();
            anyhow!(
                "no pod, node or external is called {name:?}; there are {}",
                known.join(", ")
            )
        })
    }

    /// All hosts, by name.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values()
    }

    /// The pods, in the topology's order.
    pub fn pods(&self) -> impl Iterator<Item = &Host> {
        let name = |p: &PodSpec| format!("{}/{}", p.namespace, p.name);
        self.topology
            .pods
            .iter()
            .filter_map(move |p| self.hosts.get(&name(p)))
    }

    /// The node of this name.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.nodes
            .get(name)
            .with_context(|| format!("no node is called {name:?}"))
    }

    /// All nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// The control machine, which has [`CONTROL_ADDRESS`]: a control plane runs there.
    pub fn control(&self) -> &Node {
        &self.control
    }
}

/// Lets a node answer ARP for 169.254.1.1 on a routed pod's veth, at once: the kernel
/// otherwise waits up to 0.8 s before a proxy answer.
fn answer_for_gateway(veth: &str) -> Result<()> {
    sysctl(&format!("ipv4/conf/{veth}/proxy_arp"), "1")?;
    sysctl(&format!("ipv4/neigh/{veth}/proxy_delay"), "0")
}

fn ip(netns: &Netns, text: &str) -> Result<()> {
    batch("ip", netns, text)
}

/// Runs `ip -batch -` or `bridge -batch -` inside a namespace.
fn batch(program: &str, netns: &Netns, text: &str) -> Result<()> {
    netns.run(|| {
        let mut child = Command::new(program)
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {program} (Debian: apt install iproute2)"))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(text.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{program} -batch: {said}\ninput was:\n{text}");
        }
        Ok(())
    })
}
