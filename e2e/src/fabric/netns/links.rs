//! The `ip -batch` text that builds each part of a world. Pure, so that it can be read
//! and printed; [`super::world`] runs it.

use crate::fabric::topology::{
    External, NODE_NETWORK, NODE_NETWORK6, NodeSpec, PodKind, PodSpec, Topology,
};
use std::fmt::Write as _;
use std::net::IpAddr;

/// The host part of the outside router's addresses on the node network.
pub const ROUTER: u8 = 254;
/// The host part of the control plane's addresses on the node network.
pub const CONTROL: u8 = 250;

/// Port and header of the overlay; 4789 and 8472 are usual, the number does not matter.
const VXLAN: &str = "id 4096 dstport 8472 nolearning";

fn v4(host: u8) -> String {
    let [a, b, c, _] = NODE_NETWORK.0.octets();
    format!("{a}.{b}.{c}.{host}")
}

fn v6(host: u8) -> String {
    format!("{}{host:x}", NODE_NETWORK6.0)
}

/// The switch of the node network, in the wire namespace: one port for each path in
/// `ports` (name and namespace path), which appears there as `eth0`.
pub fn wire(ports: &[(String, String)]) -> String {
    let mut text = "link set lo up\nlink add wire type bridge\nlink set wire up\n".to_owned();
    for (name, path) in ports {
        let _ = write!(
            text,
            "link add {name} type veth peer name eth0 netns {path}\n\
             link set {name} master wire up\n"
        );
    }
    text
}

/// Addresses and routes of a machine on the node network that is no node.
fn neighbour(host: u8) -> String {
    format!(
        "link set lo up\nlink set eth0 up\naddr add {}/{} dev eth0\naddr add {}/{} dev eth0 nodad\n",
        v4(host),
        NODE_NETWORK.1,
        v6(host),
        NODE_NETWORK6.1
    )
}

/// Routes to every pod range by its node's address.
fn pod_routes(topology: &Topology) -> String {
    let mut text = String::new();
    for node in &topology.nodes {
        let _ = write!(
            text,
            "route add {}/24 via {}\nroute add {}/64 via {}\n",
            node.pods4, node.v4, node.pods6, node.v6
        );
    }
    text
}

/// The outside: one namespace which is the nodes' default gateway and has the address of
/// every external client.
pub fn outside(topology: &Topology) -> String {
    let mut text = neighbour(ROUTER) + &pod_routes(topology);
    for External { address, .. } in &topology.externals {
        let _ = writeln!(text, "addr add {}", host_address(*address, "eth0"));
    }
    text
}

/// The machine on which a control plane can run.
pub fn control(topology: &Topology) -> String {
    neighbour(CONTROL) + &pod_routes(topology)
}

fn host_address(address: IpAddr, device: &str) -> String {
    match address {
        IpAddr::V4(a) => format!("{a}/32 dev {device}"),
        IpAddr::V6(a) => format!("{a}/128 dev {device} nodad"),
    }
}

/// The MAC address of a node's VXLAN device, from its IPv4 address.
fn tunnel_mac(node: &NodeSpec) -> String {
    let [a, b, c, d] = node.v4.octets();
    format!("02:42:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// A node: its port on the wire, the pods' ends of the veths, routes to the other nodes.
/// `pods` are this node's pods and the paths of their namespaces.
pub fn node(topology: &Topology, node: &NodeSpec, pods: &[(&PodSpec, String)]) -> String {
    let mut text = format!(
        "link set lo up\nlink set eth0 up\n\
         addr add {}/{} dev eth0\naddr add {}/{} dev eth0 nodad\n\
         route add default via {}\nroute add ::/0 via {}\n",
        node.v4,
        NODE_NETWORK.1,
        node.v6,
        NODE_NETWORK6.1,
        v4(ROUTER),
        v6(ROUTER)
    );
    if topology.kind == PodKind::Bridge {
        let [.., a, b] = node.v4.octets();
        let _ = write!(
            text,
            "link add cni0 address 02:00:00:00:{a:02x}:{b:02x} type bridge\nlink set cni0 up\n\
             addr add {}/24 dev cni0\naddr add {}/64 dev cni0 nodad\n",
            node.pod4(1),
            node.pod6(1)
        );
    }
    for (pod, path) in pods {
        let veth = veth(pod);
        let (ip4, ip6) = (node.pod4(pod.host), node.pod6(pod.host));
        match topology.kind {
            PodKind::Bridge => {
                let _ = write!(
                    text,
                    "link add {veth} type veth peer name eth0 netns {path}\n\
                     link set {veth} master cni0 up\n\
                     link set {veth} type bridge_slave hairpin on\n"
                );
            }
            PodKind::Routed => {
                let _ = write!(
                    text,
                    "link add {veth} address ee:ee:ee:ee:ee:ee type veth peer name eth0 netns {path}\n\
                     link set {veth} up\n\
                     route add {ip4} dev {veth} scope link\nroute add {ip6} dev {veth}\n"
                );
            }
        }
    }
    text + &between_nodes(topology, node)
}

fn between_nodes(topology: &Topology, node: &NodeSpec) -> String {
    let others = topology
        .nodes
        .iter()
        .filter(|other| other.name != node.name);
    let mut text = String::new();
    if topology.overlay {
        let _ = write!(
            text,
            "link add vxlan0 address {} type vxlan {VXLAN} local {} dev eth0\n\
             addr add {}/32 dev vxlan0\nlink set vxlan0 up\n",
            tunnel_mac(node),
            node.v4,
            node.pods4
        );
    }
    for other in others {
        if topology.overlay {
            let mac = tunnel_mac(other);
            let _ = write!(
                text,
                "route add {0}/24 via {0} dev vxlan0 onlink\n\
                 neigh add {0} lladdr {mac} dev vxlan0 nud permanent\n",
                other.pods4
            );
        } else {
            let _ = writeln!(text, "route add {}/24 via {}", other.pods4, other.v4);
        }
        let _ = writeln!(text, "route add {}/64 via {}", other.pods6, other.v6);
    }
    text
}

/// The overlay's forwarding entries, for `bridge -batch`.
pub fn forwarding(topology: &Topology, node: &NodeSpec) -> String {
    let mut text = String::new();
    for other in topology.nodes.iter().filter(|o| o.name != node.name) {
        let _ = writeln!(
            text,
            "fdb add {} dev vxlan0 dst {}",
            tunnel_mac(other),
            other.v4
        );
    }
    text
}

/// The node's end of a pod's veth pair.
pub fn veth(pod: &PodSpec) -> String {
    format!("pod{}", pod.host)
}

/// A pod's own end.
pub fn pod(kind: PodKind, node: &NodeSpec, pod: &PodSpec) -> String {
    let (ip4, ip6) = (node.pod4(pod.host), node.pod6(pod.host));
    let up = "link set lo up\nlink set eth0 up\n";
    match kind {
        PodKind::Bridge => format!(
            "{up}addr add {ip4}/24 dev eth0\naddr add {ip6}/64 dev eth0 nodad\n\
             route add default via {}\nroute add ::/0 via {}\n",
            node.pod4(1),
            node.pod6(1)
        ),
        // fe80::ecee:eeff:feee:eeee is the link-local address of ee:ee:ee:ee:ee:ee.
        PodKind::Routed => format!(
            "{up}addr add {ip4}/32 dev eth0\naddr add {ip6}/128 dev eth0 nodad\n\
             route add 169.254.1.1 dev eth0 scope link\nroute add default via 169.254.1.1 dev eth0\n\
             route add ::/0 via fe80::ecee:eeff:feee:eeee dev eth0\n"
        ),
    }
}
