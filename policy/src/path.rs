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

use crate::model::{
    Flow, L4, Name, Node, Pod, Protocol, Service, ServicePort, ServiceType, TargetPort,
    TrafficPolicy,
};
use crate::snapshot::Snapshot;
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
            target_text(&port.target)
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

/// A packet from an origin through one door of a Service.
struct Crossing<'a> {
    snapshot: &'a Snapshot,
    proxy: Proxy,
    origin: &'a Origin,
    service: &'a Service,
    port: &'a ServicePort,
    door: &'a Door,
    entry: Name,
}

impl Crossing<'_> {
    fn way(&self, endpoint: Arc<Pod>, to: (IpAddr, u16)) -> Way {
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

/// The pods behind a Service port that could answer, with address and port.
pub fn endpoints(
    snapshot: &Snapshot,
    service: &Service,
    port: &ServicePort,
    v4: bool,
) -> Vec<(Arc<Pod>, (IpAddr, u16))> {
    let Some(selector) = &service.selector else {
        return Vec::new();
    };
    snapshot
        .pods
        .values()
        .filter(|p| p.key.namespace == service.key.namespace && !p.terminating)
        .filter(|p| p.is_target() || p.host_network)
        .filter(|p| selector.iter().all(|(k, v)| p.labels.get(k) == Some(v)))
        .filter_map(|p| {
            let address = p.ips.iter().find(|a| a.is_ipv4() == v4)?;
            let number = match &port.target {
                TargetPort::Number(n) => *n,
                TargetPort::Named(name) => p.named_port(name, port.protocol)?,
            };
            Some((Arc::clone(p), (*address, number)))
        })
        .collect()
}

/// The Service port that a number means at a door: `port` at the cluster address,
/// `nodePort` at a node. Without a number: the only port there is.
pub fn service_port(
    service: &Service,
    number: Option<u16>,
    protocol: Protocol,
    node_port: bool,
) -> Result<&ServicePort, String> {
    let of_protocol: Vec<&ServicePort> = service
        .ports
        .iter()
        .filter(|p| p.protocol == protocol)
        .collect();
    let found = match number {
        None if of_protocol.len() == 1 => of_protocol.first().copied(),
        None => None,
        Some(n) if node_port => of_protocol.iter().copied().find(|p| p.node_port == Some(n)),
        Some(n) => of_protocol.iter().copied().find(|p| p.port == n),
    };
    found.ok_or_else(|| {
        let known: Vec<String> = service
            .ports
            .iter()
            .map(|p| format!("{}/{}", p.port, p.protocol))
            .collect();
        format!(
            "Service {} has the ports {}; name one of them as SERVICE:PORT",
            service.key,
            known.join(", ")
        )
    })
}

/// The Service that owns a node port, if any does.
pub fn node_port_owner(
    snapshot: &Snapshot,
    number: u16,
    protocol: Protocol,
) -> Option<(&Arc<Service>, &ServicePort)> {
    snapshot.services.values().find_map(|s| {
        s.ports
            .iter()
            .find(|p| p.node_port == Some(number) && p.protocol == protocol)
            .map(|p| (s, p))
    })
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

fn target_text(target: &TargetPort) -> String {
    match target {
        TargetPort::Number(n) => n.to_string(),
        TargetPort::Named(name) => format!("named {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, Namespace, ObjectKey, Phase};
    use crate::snapshot::Object;
    use test_case::test_case;

    fn world(external: TrafficPolicy) -> (Snapshot, Arc<Service>) {
        let mut s = Snapshot::default();
        for (name, address) in [
            ("n1", "192.0.2.1"),
            ("n2", "192.0.2.2"),
            ("n3", "192.0.2.3"),
        ] {
            s.apply(Object::Node(Node {
                name: name.into(),
                addresses: vec![address.parse().unwrap()],
                pod_cidrs: vec![],
            }));
        }
        s.apply(Object::Namespace(Namespace {
            name: "x".into(),
            labels: Labels::default(),
        }));
        let pod = |name: &str, node: &str, ip: &str| Pod {
            key: ObjectKey::new("x", name),
            labels: Labels::new([("app", name)]),
            node: node.into(),
            ips: vec![ip.parse().unwrap()],
            host_network: false,
            phase: Phase::Running,
            terminating: false,
            api_client: false,
            ports: Arc::new([]),
        };
        s.apply(Object::Pod(pod("web", "n2", "10.1.2.9")));
        s.apply(Object::Pod(pod("c1", "n1", "10.1.1.9")));
        s.apply(Object::Pod(pod("c2", "n2", "10.1.2.8")));
        s.apply(Object::Service(Service {
            key: ObjectKey::new("x", "web"),
            service_type: ServiceType::NodePort,
            cluster_ips: vec!["10.96.0.9".parse().unwrap()],
            external_ips: vec![],
            selector: Some(Labels::new([("app", "web")])),
            ports: vec![ServicePort {
                name: "".into(),
                protocol: Protocol::Tcp,
                port: 80,
                target: TargetPort::Number(8080),
                node_port: Some(31_602),
            }],
            external_traffic_policy: external,
            internal_traffic_policy: TrafficPolicy::Cluster,
            source_ranges: vec![],
        }));
        let service = Arc::clone(s.services.values().next().unwrap());
        (s, service)
    }

    /// (source the endpoint's policy sees) or "none".
    fn seen(external: TrafficPolicy, all: bool, from: &str, door: Option<&str>) -> String {
        let (s, service) = world(external);
        let origin = Origin::of(&s, from.parse().unwrap());
        let door = door.map_or(Door::ClusterIp, |n| Door::NodePort(Arc::clone(&s.nodes[n])));
        let proxy = Proxy {
            masquerade_all: all,
        };
        match ways(&s, proxy, &origin, &service, &service.ports[0], &door) {
            Ways::None(_) => "none".to_owned(),
            Ways::Some(w) => w[0].ingress.src.to_string(),
        }
    }

    use TrafficPolicy::{Cluster, Local};
    #[test_case(Cluster, false, "10.1.1.9", None => "10.1.1.9"; "pod to ClusterIP")]
    #[test_case(Cluster, true, "10.1.1.9", None => "192.0.2.1"; "masqueradeAll, endpoint elsewhere")]
    #[test_case(Cluster, true, "10.1.2.8", None => "10.1.2.8"; "masqueradeAll, endpoint here")]
    #[test_case(Cluster, false, "203.0.113.5", Some("n2") => "203.0.113.5"; "outside, endpoint's node")]
    #[test_case(Cluster, false, "203.0.113.5", Some("n1") => "192.0.2.1"; "outside, other node")]
    #[test_case(Local, false, "203.0.113.5", Some("n2") => "203.0.113.5"; "outside, endpoint's node, Local")]
    #[test_case(Local, false, "203.0.113.5", Some("n1") => "none"; "outside, other node, Local")]
    #[test_case(Cluster, false, "10.1.1.9", Some("n1") => "192.0.2.1"; "pod, own node")]
    #[test_case(Local, false, "10.1.1.9", Some("n1") => "10.1.1.9"; "pod, own node, Local")]
    #[test_case(Cluster, false, "10.1.1.9", Some("n2") => "192.0.2.1"; "pod, endpoint's node")]
    #[test_case(Local, false, "10.1.1.9", Some("n2") => "192.0.2.1"; "pod, endpoint's node, Local")]
    #[test_case(Cluster, false, "10.1.1.9", Some("n3") => "192.0.2.3"; "pod, third node")]
    #[test_case(Local, false, "10.1.1.9", Some("n3") => "none"; "pod, third node, Local")]
    #[test_case(Cluster, false, "203.0.113.5", None => "none"; "outside to ClusterIP")]
    fn source_that_policy_sees(
        e: TrafficPolicy,
        all: bool,
        from: &str,
        door: Option<&str>,
    ) -> String {
        seen(e, all, from, door)
    }

    #[test]
    fn masqueraded_packets_leave_with_the_tunnels_address() {
        let (mut s, service) = world(Cluster);
        let mut node = Node::clone(&s.nodes["n1"]);
        node.addresses.push("10.1.1.0".parse().unwrap());
        node.pod_cidrs.push("10.1.1.0/24".parse().unwrap());
        s.apply(Object::Node(node));
        let sees = |from: &str, door: Door| {
            let origin = Origin::of(&s, from.parse().unwrap());
            let port = &service.ports[0];
            match ways(&s, Proxy::default(), &origin, &service, port, &door) {
                Ways::Some(w) => w[0].ingress.src.to_string(),
                Ways::None(why) => why,
            }
        };
        let entry = || Door::NodePort(Arc::clone(&s.nodes["n1"]));
        assert_eq!(sees("203.0.113.5", entry()), "10.1.1.0", "seed 002's hole");
        assert_eq!(
            sees("192.0.2.1", Door::ClusterIp),
            "10.1.1.0",
            "the node itself"
        );
    }

    #[test]
    fn egress_sees_the_node_port_where_dnat_is_elsewhere() {
        let (s, service) = world(Cluster);
        let origin = Origin::of(&s, "10.1.1.9".parse().unwrap());
        let door = Door::NodePort(Arc::clone(&s.nodes["n3"]));
        let Ways::Some(w) = ways(
            &s,
            Proxy::default(),
            &origin,
            &service,
            &service.ports[0],
            &door,
        ) else {
            panic!("there is an endpoint");
        };
        assert_eq!(w[0].egress.to_string(), "TCP 10.1.1.9 -> 192.0.2.3:31602");
        assert_eq!(w[0].ingress.to_string(), "TCP 192.0.2.3 -> 10.1.2.9:8080");
    }
}
