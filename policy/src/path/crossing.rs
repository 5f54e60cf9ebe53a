//! What happens to the addresses of a packet on its way.

use super::{Door, Origin, Proxy, Way};
use crate::model::{Flow, L4, Name, Pod, Service, ServicePort, TrafficPolicy};
use crate::snapshot::Snapshot;
use std::net::IpAddr;
use std::sync::Arc;

/// A packet from an origin through one door of a Service.
pub(super) struct Crossing<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) proxy: Proxy,
    pub(super) origin: &'a Origin,
    pub(super) service: &'a Service,
    pub(super) port: &'a ServicePort,
    pub(super) door: &'a Door,
    pub(super) entry: Name,
}

impl Crossing<'_> {
    pub(super) fn way(&self, endpoint: Arc<Pod>, to: (IpAddr, u16)) -> Way {
        let Self {
            snapshot,
            proxy,
            origin,
            service,
            port,
            door,
            entry,
        } = self;
        let source = origin.address();
        let v4 = source.is_ipv4();
        let local = endpoint.node == *entry;
        let own_node = origin.node() == Some(entry);
        let from_pod = matches!(origin, Origin::Pod(..));
        let entry_address = node_address(snapshot, entry, v4);

        // A packet that leaves a pod's node for another node's address leaves as its node.
        let left_as = if from_pod && !own_node {
            origin.node().and_then(|n| node_address(snapshot, n, v4))
        } else {
            None
        };
        let external_cluster = matches!(door, Door::NodePort(_))
            && service.external_traffic_policy == TrafficPolicy::Cluster;
        let internal_masquerade = matches!(door, Door::ClusterIp) && proxy.masquerade_all;
        // What a node itself sends is masqueraded, as it comes from outside the pods' range.
        let from_node = matches!(origin, Origin::Node(..)) && own_node;
        let masqueraded = if !local && (external_cluster || internal_masquerade || from_node) {
            leaving_address(snapshot, entry, v4).or(left_as)
        } else {
            left_as
        };

        let l4 = |dst| L4::Ports {
            protocol: port.protocol,
            src: 40_000,
            dst,
        };
        let egress = if own_node || origin.node().is_none() {
            Flow {
                src: source,
                dst: to.0,
                l4: l4(to.1),
            }
        } else {
            // DNAT happens on the other node: egress rules see its address and node port.
            Flow {
                src: source,
                dst: entry_address.unwrap_or(to.0),
                l4: l4(port.node_port.unwrap_or(port.port)),
            }
        };
        let ingress = Flow {
            src: masqueraded.unwrap_or(source),
            dst: to.0,
            l4: l4(to.1),
        };
        Way {
            entry: Name::clone(entry),
            endpoint,
            to,
            masqueraded,
            egress,
            ingress,
        }
    }
}

fn node_address(snapshot: &Snapshot, node: &Name, v4: bool) -> Option<IpAddr> {
    snapshot
        .nodes
        .get(node)?
        .addresses
        .iter()
        .copied()
        .find(|a| a.is_ipv4() == v4)
}

/// The address of the device by which a node reaches the pods of others: the tunnel's,
/// which lies in the node's pod range, or its own.
fn leaving_address(snapshot: &Snapshot, node: &Name, v4: bool) -> Option<IpAddr> {
    let found = snapshot.nodes.get(node)?;
    let tunnel = found.addresses.iter().copied().find(|address| {
        address.is_ipv4() == v4 && found.pod_cidrs.iter().any(|range| range.contains(address))
    });
    tunnel.or_else(|| node_address(snapshot, node, v4))
}
