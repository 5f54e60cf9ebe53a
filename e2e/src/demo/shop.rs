//! The sample shop of `examples/shop`: its objects, and the world that they describe.

use crate::fabric::{External, NodeSpec, PodKind, PodSpec, Topology};
use crate::objects::documents;
use crate::probe::{Transport, tcp};
use anyhow::{Context, Result, anyhow};
use ringfence_policy::Snapshot;
use ringfence_policy::model::{Node, Pod, Protocol};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// Everything but the policies.
pub const OBJECTS: [&str; 4] = [
    include_str!("../../../examples/shop/00-namespaces.yaml"),
    include_str!("../../../examples/shop/10-nodes.yaml"),
    include_str!("../../../examples/shop/20-pods.yaml"),
    include_str!("../../../examples/shop/30-services.yaml"),
];
/// The policies, with their comments.
pub const POLICIES: &str = include_str!("../../../examples/shop/40-policies.yaml");

/// The client outside of the cluster.
pub const OUTSIDE: (&str, Ipv4Addr) = ("outside", Ipv4Addr::new(203, 0, 113, 7));

/// What is knocked at: pod and port, and what the port is.
pub const DOORS: [(&str, u16, &str); 6] = [
    ("shop/frontend", 80, "web"),
    ("shop/backend", 8080, "api"),
    ("shop/database", 5432, "sql"),
    ("shop/backend", 9090, "metrics"),
    ("shop/database", 9090, "metrics"),
    ("kube-system/dns", 53, "dns"),
];

/// A door's transport.
pub fn transport(port: u16) -> Transport {
    match port {
        53 => Transport::Port(Protocol::Udp, port),
        port => tcp(port),
    }
}

/// The objects of a YAML text as a snapshot.
pub fn snapshot(texts: &[&str]) -> Result<Snapshot> {
    let mut snapshot = Snapshot::default();
    for text in texts {
        for object in documents(text, "default")? {
            let (object, errors) = ringfence_policy::parse::object(&object)?;
            if let Some(error) = errors.into_iter().next() {
                return Err(error.into());
            }
            snapshot.apply(object);
        }
    }
    Ok(snapshot)
}

/// The world of the shop's nodes and pods, with one client outside.
pub fn topology(snapshot: &Snapshot) -> Result<Topology> {
    Ok(Topology {
        kind: PodKind::Bridge,
        overlay: false,
        services: crate::fabric::Services::default(),
        given: BTreeMap::new(),
        nodes: snapshot
            .nodes
            .values()
            .map(|n| node(n))
            .collect::<Result<_>>()?,
        pods: snapshot
            .pods
            .values()
            .map(|p| pod(p))
            .collect::<Result<_>>()?,
        externals: vec![External {
            name: OUTSIDE.0.into(),
            address: OUTSIDE.1.into(),
        }],
    })
}

fn node(node: &Node) -> Result<NodeSpec> {
    let missing = |what: &str| anyhow!("node {} of the shop has no {what}", node.name);
    let mut spec = NodeSpec {
        name: node.name.to_string(),
        v4: Ipv4Addr::UNSPECIFIED,
        v6: std::net::Ipv6Addr::UNSPECIFIED,
        pods4: Ipv4Addr::UNSPECIFIED,
        pods6: std::net::Ipv6Addr::UNSPECIFIED,
    };
    for address in &node.addresses {
        match address {
            IpAddr::V4(v4) => spec.v4 = *v4,
            IpAddr::V6(v6) => spec.v6 = *v6,
        }
    }
    for range in &node.pod_cidrs {
        match range.network() {
            IpAddr::V4(v4) => spec.pods4 = v4,
            IpAddr::V6(v6) => spec.pods6 = v6,
        }
    }
    if spec.v4.is_unspecified() || spec.v6.is_unspecified() {
        return Err(missing("address of one family"));
    }
    if spec.pods4.is_unspecified() || spec.pods6.is_unspecified() {
        return Err(missing("pod range of one family"));
    }
    Ok(spec)
}

fn pod(pod: &Pod) -> Result<PodSpec> {
    let v4 = pod.ips.iter().find_map(|ip| match ip {
        IpAddr::V4(v4) => Some(v4.octets()[3]),
        IpAddr::V6(_) => None,
    });
    Ok(PodSpec {
        namespace: pod.key.namespace.to_string(),
        name: pod.key.name.to_string(),
        node: pod.node.to_string(),
        host: v4.with_context(|| format!("pod {} of the shop has no IPv4 address", pod.key))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_gives_the_pods_the_addresses_that_the_files_say() {
        let snapshot = snapshot(&OBJECTS).unwrap();
        let topology = topology(&snapshot).unwrap();
        assert_eq!(topology.nodes.len(), 2);
        for spec in &topology.pods {
            let node = topology.node(&spec.node).unwrap();
            let key = ringfence_policy::model::ObjectKey::new(
                spec.namespace.as_str(),
                spec.name.as_str(),
            );
            let made: Vec<IpAddr> = vec![node.pod4(spec.host).into(), node.pod6(spec.host).into()];
            assert_eq!(snapshot.pods[&key].ips, made, "{key}");
        }
    }

    #[test]
    fn every_door_is_a_port_of_its_pod() {
        let snapshot = snapshot(&OBJECTS).unwrap();
        for (name, port, _) in DOORS {
            let (namespace, name) = name.split_once('/').unwrap();
            let key = ringfence_policy::model::ObjectKey::new(namespace, name);
            assert!(
                snapshot.pods[&key].ports.iter().any(|p| p.port == port),
                "{key} {port}"
            );
        }
    }

    #[test]
    fn policies_parse_without_fault() {
        let snapshot = snapshot(&[POLICIES]).unwrap();
        assert!(snapshot.policies.values().all(|p| p.fault.is_none()));
        assert_eq!(snapshot.policies.len(), 6);
    }
}
