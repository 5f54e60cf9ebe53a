//! The way of a packet through Services: entry node, DNAT, SNAT, endpoint, and the
//! addresses that each end's policy sees.
//!
//! What kube-proxy does was measured in its iptables and nftables modes, which agree:
//!
//! | way | endpoint | `Cluster` | `Local` |
//! |---|---|---|---|
//! | pod -> ClusterIP | any | pod | pod |
//! | outside -> NodePort | on the entry node | client | client |
//! | outside -> NodePort | elsewhere | **entry node** | no answer |
//! | pod -> own node's NodePort | on that node | pod | pod |
//! | pod -> own node's NodePort | elsewhere | **own node** | pod |
//! | pod -> another node's NodePort | any | **a node** | **own node**, or no answer |
//!
//! Masquerading happens in POSTROUTING, after FORWARD has judged the packet: that is
//! why an endpoint on the entry node still sees the client.

mod crossing;
mod service;

pub use service::{endpoints, node_port_owner, service_port};

use crate::model::{Flow, Name, Node, Pod, Service, ServicePort, ServiceType, TrafficPolicy};
use crate::snapshot::Snapshot;
use crossing::Crossing;
use std::net::IpAddr;
use std::sync::Arc;

/// Where a packet starts.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A pod, by one of its addresses.
    Pod(Arc<Pod>, IpAddr),
    /// A node itself, or a hostNetwork pod on it.
    Node(Arc<Node>, IpAddr),
    /// Anything outside the cluster.
    Outside(IpAddr),
}

impl Origin {
    /// The address that sends.
    pub fn address(&self) -> IpAddr {
        match self {
            Self::Pod(_, a) | Self::Node(_, a) | Self::Outside(a) => *a,
        }
    }

    /// Whose address this is in `snapshot`.
    pub fn of(snapshot: &Snapshot, address: IpAddr) -> Self {
        let pod = snapshot
            .pods
            .values()
            .filter(|p| p.is_target() && p.ips.contains(&address))
            .min_by_key(|p| p.terminating);
        if let Some(pod) = pod {
            return Self::Pod(Arc::clone(pod), address);
        }
        snapshot
            .nodes
            .values()
            .find(|n| n.addresses.contains(&address))
            .map_or(Self::Outside(address), |n| {
                Self::Node(Arc::clone(n), address)
            })
    }

    fn node(&self) -> Option<&Name> {
        match self {
            Self::Pod(pod, _) => Some(&pod.node),
            Self::Node(node, _) => Some(&node.name),
            Self::Outside(_) => None,
        }
    }
}

/// Which door of a Service is knocked at.
#[derive(Clone, Debug)]
pub enum Door {
    /// The cluster address, whichever it is.
    ClusterIp,
    /// The node port on this node.
    NodePort(Arc<Node>),
}

/// One possible way to one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The node that picks the endpoint (DNAT).
    pub entry: Name,
    /// The endpoint.
    pub endpoint: Arc<Pod>,
    /// Its address and port after DNAT.
    pub to: (IpAddr, u16),
    /// The node address that replaced the source **before** the endpoint's node
    /// judges, if any; then no policy can tell who the client is.
    pub masqueraded: Option<IpAddr>,
    /// What the source's node judges (egress).
    pub egress: Flow,
    /// What the endpoint's node judges (ingress).
    pub ingress: Flow,
}

/// All ways, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ways {
    /// At least one; kube-proxy picks any of them.
    Some(Vec<Way>),
    /// Nobody answers, and why.
    None(String),
}

/// kube-proxy's choices that change what a policy sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proxy {
    /// `masqueradeAll`: also pod -> ClusterIP arrives as a node where the endpoint
    /// is on another one.
    pub masquerade_all: bool,
}

/// The ways from `origin` through `port` of `service`, entered at `door`.
pub fn ways(
    snapshot: &Snapshot,
    proxy: Proxy,
    origin: &Origin,
    service: &Service,
    port: &ServicePort,
    door: &Door,
) -> Ways {
    if service.service_type == ServiceType::ExternalName {
        return Ways::None(format!(
            "Service {} is an ExternalName: a DNS alias, nothing that kube-proxy forwards",
            service.key
        ));
    }
    let source = origin.address();
    let endpoints = endpoints(snapshot, service, port, source.is_ipv4());
    if endpoints.is_empty() {
        return Ways::None(format!(
            "Service {} has no running pod that matches its selector and has port {}",
            service.key,
            service::target_text(&port.target)
        ));
    }
    let entry = match door {
        Door::ClusterIp => match origin.node() {
            Some(node) => Name::clone(node),
            None => {
                return Ways::None(format!(
                    "the cluster address of Service {} exists only on nodes; from outside use a \
                     node port or a load balancer",
                    service.key
                ));
            }
        },
        Door::NodePort(node) => Name::clone(&node.name),
    };
    let own_node = origin.node() == Some(&entry);
    // kube-proxy treats what comes from inside the cluster on the entry node as
    // internal traffic, whatever externalTrafficPolicy says.
    let only_local = match door {
        Door::ClusterIp => service.internal_traffic_policy == TrafficPolicy::Local,
        Door::NodePort(_) => !own_node && service.external_traffic_policy == TrafficPolicy::Local,
    };
    let crossing = Crossing {
        snapshot,
        proxy,
        origin,
        service,
        port,
        door,
        entry,
    };
    let ways: Vec<Way> = endpoints
        .into_iter()
        .filter(|(pod, _)| !only_local || pod.node == crossing.entry)
        .map(|(pod, to)| crossing.way(pod, to))
        .collect();
    if ways.is_empty() {
        return Ways::None(format!(
            "node {} has no endpoint of Service {} and its traffic policy is Local: the packet \
             is dropped there",
            crossing.entry, service.key
        ));
    }
    Ways::Some(ways)
}

#[cfg(test)]
mod tests;
