//! What a world consists of: nodes, pods pinned to them, and clients outside.

use crate::controlplane::ProxyMode;
use ringfence_policy::path::Proxy;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The nodes' L2 network, the one of seed 002.
pub const NODE_NETWORK: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 102, 123, 0), 24);
/// The nodes' IPv6 network.
pub const NODE_NETWORK6: (Ipv6Addr, u8) = (Ipv6Addr::new(0xfd00, 0x102, 0, 0, 0, 0, 0, 0), 64);

/// How a CNI plugs a pod into its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PodKind {
    /// A veth port of the bridge `cni0`, which has the gateway address; hairpin on.
    Bridge,
    /// A veth and a host route, the gateway is 169.254.1.1 by proxy ARP, as Calico does.
    Routed,
}

impl PodKind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::Bridge, Self::Routed];

    /// `bridge`, `routed`
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Routed => "routed",
        }
    }
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeSpec {
    /// `metadata.name`
    pub name: String,
    /// Addresses on the node network.
    pub v4: Ipv4Addr,
    /// As above.
    pub v6: Ipv6Addr,
    /// The IPv4 pod range, a /24: `.0` is the tunnel address, `.1` the gateway.
    pub pods4: Ipv4Addr,
    /// The IPv6 pod range, a /64: `::1` is the gateway.
    pub pods6: Ipv6Addr,
}

impl NodeSpec {
    /// The address of the n-th host of the IPv4 pod range.
    pub fn pod4(&self, host: u8) -> Ipv4Addr {
        let [a, b, c, _] = self.pods4.octets();
        Ipv4Addr::new(a, b, c, host)
    }

    /// The address of the n-th host of the IPv6 pod range.
    pub fn pod6(&self, host: u8) -> Ipv6Addr {
        let mut segments = self.pods6.segments();
        segments[7] = u16::from(host);
        segments.into()
    }
}

/// A pod, pinned to a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodSpec {
    /// `metadata.namespace`
    pub namespace: String,
    /// `metadata.name`
    pub name: String,
    /// `spec.nodeName`
    pub node: String,
    /// Host part of its addresses in the node's ranges; 2 to 254.
    pub host: u8,
}

/// An address outside the cluster, with a server and a client behind it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct External {
    /// By which cases call it.
    pub name: String,
    /// The address.
    pub address: IpAddr,
}

/// A world. Equal topologies can share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Topology {
    /// How pods are plugged in.
    pub kind: PodKind,
    /// Whether traffic between nodes goes through a VXLAN overlay whose tunnel addresses
    /// lie inside the pod ranges (it stands in for seed 002's IPIP).
    pub overlay: bool,
    /// How Services work, where there is an API server.
    pub services: Services,
    /// The nodes.
    pub nodes: Vec<NodeSpec>,
    /// The pods.
    pub pods: Vec<PodSpec>,
    /// The outside.
    pub externals: Vec<External>,
    /// Addresses that somebody else gave out, by the name of a pod or node: they are then
    /// not those that follow from ranges and host parts.
    pub given: BTreeMap<String, Vec<IpAddr>>,
}

/// kube-proxy's settings and the addresses of Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Services {
    /// `mode` of every kube-proxy.
    pub mode: ProxyMode,
    /// `masqueradeAll`
    pub masquerade_all: bool,
    /// `clusterCIDR`: the range of all pods, IPv4.
    pub pods: (Ipv4Addr, u8),
    /// `--service-cluster-ip-range`, IPv4.
    pub range: (Ipv4Addr, u8),
}

impl Default for Services {
    fn default() -> Self {
        Self {
            mode: ProxyMode::Iptables,
            masquerade_all: false,
            pods: (Ipv4Addr::new(10, 16, 0, 0), 14),
            range: (Ipv4Addr::new(10, 96, 0, 0), 16),
        }
    }
}

impl Services {
    /// What the oracle has to know about kube-proxy.
    pub fn proxy(&self) -> Proxy {
        Proxy {
            masquerade_all: self.masquerade_all,
        }
    }
}

/// Where the pods of a case run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Placement {
    /// All on `node1`.
    Same,
    /// Round robin over the nodes, in the order in which they are named.
    Spread,
}

impl Placement {
    /// Both placements.
    pub const ALL: [Self; 2] = [Self::Same, Self::Spread];

    /// `same`, `cross`: as in names of cases.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Spread => "cross",
        }
    }
}

impl Topology {
    /// `nodes` nodes named `node1`, `node2` ..., no pods, and the outside addresses that
    /// the documents name (`fixtures.md`).
    pub fn new(kind: PodKind, nodes: u8) -> Self {
        Self {
            kind,
            overlay: false,
            services: Services::default(),
            nodes: (1..=nodes).map(node).collect(),
            pods: Vec::new(),
            given: BTreeMap::new(),
            externals: EXTERNALS
                .iter()
                .map(|(name, address)| External {
                    name: (*name).into(),
                    address: *address,
                })
                .collect(),
        }
    }

    /// Adds pods, written `namespace/name`, placed as `placement` says; a pod written
    /// `namespace/name@node` is pinned there, `namespace/name@node:32` has that host part.
    pub fn pods<'a>(
        mut self,
        pods: impl IntoIterator<Item = &'a str>,
        placement: Placement,
    ) -> Self {
        for pod in pods {
            let (key, pinned) = pod
                .split_once('@')
                .map_or((pod, None), |(k, n)| (k, Some(n)));
            let (namespace, name) = key.split_once('/').unwrap_or(("default", key));
            let (pinned, host) = pinned
                .and_then(|node| node.split_once(':'))
                .map_or((pinned, None), |(node, host)| {
                    (Some(node), host.parse().ok())
                });
            let node = match (pinned, placement) {
                (Some(node), _) => node.to_owned(),
                (None, Placement::Same) => self.nodes[0].name.clone(),
                (None, Placement::Spread) => {
                    self.nodes[self.pods.len() % self.nodes.len()].name.clone()
                }
            };
            self.add_pod(namespace, name, node, host);
        }
        self
    }

    fn add_pod(&mut self, namespace: &str, name: &str, node: String, host: Option<u8>) {
        let taken = self
            .pods
            .iter()
            .filter(|p| p.node == node)
            .map(|p| p.host)
            .max();
        self.pods.push(PodSpec {
            namespace: namespace.into(),
            name: name.into(),
            node,
            host: host.unwrap_or_else(|| taken.unwrap_or(9) + 1),
        });
    }

    /// The addresses of a pod, node or external, IPv4 first.
    pub fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        if let Some(given) = self.given.get(name) {
            return Some(given.clone());
        }
        let pod = self.pods.iter().find_map(|pod| {
            let own = name.split_once('/') == Some((&pod.namespace, &pod.name));
            let node = self.node(&pod.node).filter(|_| own)?;
            Some(vec![node.pod4(pod.host).into(), node.pod6(pod.host).into()])
        });
        let node = || self.node(name).map(|n| vec![n.v4.into(), n.v6.into()]);
        let external = || {
            let found = self.externals.iter().find(|e| e.name == name);
            found.map(|e| vec![e.address])
        };
        pod.or_else(node).or_else(external)
    }

    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<&NodeSpec> {
        self.nodes.iter().find(|n| n.name == name)
    }
}

fn node(number: u8) -> NodeSpec {
    let segment = u16::from(number);
    NodeSpec {
        name: format!("node{number}"),
        v4: Ipv4Addr::new(10, 102, 123, 10 + number),
        v6: Ipv6Addr::new(0xfd00, 0x102, 0, 0, 0, 0, 0, 10 + segment),
        pods4: Ipv4Addr::new(10, 16, number, 0),
        pods6: Ipv6Addr::new(0xfd00, 0x10, 0x16, segment, 0, 0, 0, 0),
    }
}

/// The outside: one address of every range that the documents name, inside and outside
/// of each exception.
const EXTERNALS: [(&str, IpAddr); 11] = [
    ("net172", IpAddr::V4(Ipv4Addr::new(172, 17, 0, 5))),
    ("net172-1", IpAddr::V4(Ipv4Addr::new(172, 17, 1, 5))),
    ("net14", IpAddr::V4(Ipv4Addr::new(14, 215, 0, 7))),
    ("net10", IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7))),
    ("office", IpAddr::V4(Ipv4Addr::new(10, 2, 3, 4))),
    ("lan", IpAddr::V4(Ipv4Addr::new(192, 168, 1, 1))),
    ("service10", IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1))),
    ("dns8", IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8))),
    ("stranger", IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9))),
    (
        "office6",
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 3, 0, 0, 0, 4)),
    ),
    (
        "stranger6",
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 9)),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_spread_or_pinned_and_addresses_do_not_repeat() {
        let topology =
            Topology::new(PodKind::Bridge, 2).pods(["x/a", "x/b", "y/c@node1"], Placement::Spread);
        let places: Vec<_> = topology
            .pods
            .iter()
            .map(|p| (p.node.as_str(), p.host))
            .collect();
        assert_eq!(places, [("node1", 10), ("node2", 10), ("node1", 11)]);
    }
}
