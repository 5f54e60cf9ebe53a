//! Pods, namespaces, nodes and Services from their trimmed views.
//!
//! A field that cannot be read is reported and left out; the rest of the object is
//! kept, so that one bad address does not take a pod's other address from policy.

use super::errors::{Errors, ParseError};
use super::view::{IntOrString, Metadata, NamespaceView, NodeView, PodView, ServiceView};
use super::{Lenient, address};
use crate::model::{
    Labels, Name, Namespace, Node, ObjectKey, Phase, Pod, PodPort, Protocol, Service, ServicePort,
    ServiceType, TargetPort, TrafficPolicy,
};
use std::net::IpAddr;

/// The label that the API server puts on every namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// A pod. Ports: the named ones of containers and of sidecars (init containers that
/// restart always), the first of each name and protocol as kubelet resolves them.
pub fn pod(view: PodView) -> Lenient<Pod> {
    let mut errors = namespaced("Pod", &view.metadata)?;
    let PodView {
        metadata,
        spec,
        status,
    } = view;
    let ips = if status.pod_ips.is_empty() {
        let path = || "status.podIP".to_owned();
        errors.addresses(status.pod_ip.iter().map(|ip| (path(), ip)))
    } else {
        let ips = status.pod_ips.iter().enumerate();
        errors.addresses(
            ips.filter_map(|(i, item)| Some((format!("status.podIPs[{i}].ip"), item.ip.as_ref()?))),
        )
    };
    let mut ports: Vec<PodPort> = Vec::new();
    let containers = spec
        .containers
        .iter()
        .enumerate()
        .map(|c| ("containers", c));
    let sidecars = spec
        .init_containers
        .iter()
        .enumerate()
        .filter(|(_, c)| c.restart_policy.as_deref() == Some("Always"))
        .map(|c| ("initContainers", c));
    for (list, (i, container)) in containers.chain(sidecars) {
        for (j, port) in container.ports.iter().enumerate() {
            let path = format!("spec.{list}[{i}].ports[{j}]");
            let Some(name) = port.name.as_ref().filter(|n| !n.is_empty()) else {
                continue;
            };
            let protocol = errors.protocol(&format!("{path}.protocol"), port.protocol.as_ref());
            let number = errors.port(&format!("{path}.containerPort"), port.container_port);
            if let (Some(protocol), Some(port)) = (protocol, number)
                && !ports
                    .iter()
                    .any(|p| p.name == *name && p.protocol == protocol)
            {
                let name = Name::clone(name);
                ports.push(PodPort {
                    name,
                    protocol,
                    port,
                });
            }
        }
    }
    let phase = match status.phase.as_deref() {
        None | Some("") => Phase::default(),
        Some("Pending") => Phase::Pending,
        Some("Running") => Phase::Running,
        Some("Succeeded") => Phase::Succeeded,
        Some("Failed") => Phase::Failed,
        Some("Unknown") => Phase::Unknown,
        Some(other) => {
            errors.push(
                "status.phase",
                format!("{other:?}"),
                "write Pending, Running, Succeeded, Failed or Unknown; the pod counts as Unknown",
            );
            Phase::Unknown
        }
    };
    let pod = Pod {
        key: errors.object.clone(),
        labels: Labels::new(metadata.labels),
        node: spec.node_name,
        ips,
        host_network: spec.host_network,
        phase,
        terminating: metadata.deletion_timestamp.is_some(),
        api_client: spec.automount_service_account_token != Some(false)
            && !matches!(&*spec.service_account_name, "" | "default"),
        ports: ports.into(),
    };
    Ok((pod, errors.list))
}

/// A namespace; the label `kubernetes.io/metadata.name` is added where it is missing.
pub fn namespace(view: NamespaceView) -> Lenient<Namespace> {
    let errors = cluster_scoped("Namespace", &view.metadata)?;
    let Metadata {
        name, mut labels, ..
    } = view.metadata;
    labels
        .entry(NAMESPACE_NAME.into())
        .or_insert_with(|| Name::clone(&name));
    let labels = Labels::new(labels);
    Ok((Namespace { name, labels }, errors.list))
}

/// A node: its own addresses, and those of its tunnel devices from annotations.
pub fn node(view: NodeView) -> Lenient<Node> {
    let mut errors = cluster_scoped("Node", &view.metadata)?;
    let NodeView {
        metadata,
        spec,
        status,
    } = view;
    // A Hostname or DNS name may happen to be an address, then it counts as one.
    let named = |kind: &str| !matches!(kind, "InternalIP" | "ExternalIP");
    let listed = status.addresses.iter().enumerate();
    let mut addresses = errors.addresses(
        listed
            .filter(|(_, a)| !(named(&a.kind) && address::address(&a.address).is_err()))
            .map(|(i, a)| (format!("status.addresses[{i}].address"), &a.address)),
    );
    let tunnels = [
        ("IPv4IPIPTunnelAddr", &metadata.annotations.ipip),
        ("IPv4VXLANTunnelAddr", &metadata.annotations.vxlan),
        ("IPv6VXLANTunnelAddr", &metadata.annotations.vxlan6),
    ];
    addresses.extend(errors.addresses(tunnels.iter().filter_map(|(name, value)| {
        let value = value.as_ref().filter(|v| !v.is_empty())?;
        Some((
            format!("metadata.annotations[\"projectcalico.org/{name}\"]"),
            value,
        ))
    })));
    let mut seen = std::collections::BTreeSet::new();
    addresses.retain(|a| seen.insert(*a));
    let ranges: Vec<(String, &Name)> = if spec.pod_cidrs.is_empty() {
        let single = spec.pod_cidr.iter().filter(|c| !c.is_empty());
        single.map(|c| ("spec.podCIDR".to_owned(), c)).collect()
    } else {
        let all = spec.pod_cidrs.iter().enumerate();
        all.map(|(i, c)| (format!("spec.podCIDRs[{i}]"), c))
            .collect()
    };
    let mut pod_cidrs = Vec::new();
    for (path, text) in ranges {
        match address::network(text) {
            Ok(net) => pod_cidrs.push(net),
            Err(remedy) => errors.push(path, format!("{text:?}"), remedy),
        }
    }
    let name = Name::clone(&errors.object.name);
    Ok((
        Node {
            name,
            addresses,
            pod_cidrs,
        },
        errors.list,
    ))
}

/// A Service.
pub fn service(view: ServiceView) -> Lenient<Service> {
    let mut errors = namespaced("Service", &view.metadata)?;
    let ServiceView { spec, status, .. } = view;
    let service_type = match spec.kind.as_deref() {
        None | Some("" | "ClusterIP") => ServiceType::ClusterIp,
        Some("NodePort") => ServiceType::NodePort,
        Some("LoadBalancer") => ServiceType::LoadBalancer,
        Some("ExternalName") => ServiceType::ExternalName,
        Some(other) => {
            let remedy = "write ClusterIP, NodePort, LoadBalancer or ExternalName";
            errors.push("spec.type", format!("{other:?}"), remedy);
            ServiceType::ClusterIp
        }
    };
    let assigned = |ip: &Name| !ip.is_empty() && &**ip != "None";
    let cluster_ips: Vec<(String, &Name)> = if spec.cluster_ips.is_empty() {
        let single = spec.cluster_ip.iter();
        single.map(|ip| ("spec.clusterIP".to_owned(), ip)).collect()
    } else {
        let all = spec.cluster_ips.iter().enumerate();
        all.map(|(i, ip)| (format!("spec.clusterIPs[{i}]"), ip))
            .collect()
    };
    let cluster_ips = errors.addresses(cluster_ips.into_iter().filter(|(_, ip)| assigned(ip)));
    let external = spec.external_ips.iter().enumerate();
    let mut external_ips =
        errors.addresses(external.map(|(i, ip)| (format!("spec.externalIPs[{i}]"), ip)));
    let balancer = status.load_balancer.ingress.iter().enumerate();
    external_ips.extend(errors.addresses(balancer.filter_map(|(i, item)| {
        let ip = item.ip.as_ref().filter(|ip| !ip.is_empty())?;
        Some((format!("status.loadBalancer.ingress[{i}].ip"), ip))
    })));
    let mut ports = Vec::new();
    for (i, port) in spec.ports.iter().enumerate() {
        let path = format!("spec.ports[{i}]");
        let protocol = errors.protocol(&format!("{path}.protocol"), port.protocol.as_ref());
        let number = errors.port(&format!("{path}.port"), port.port);
        let target = match &port.target_port {
            None | Some(IntOrString::Int(0)) => number.map(TargetPort::Number),
            Some(IntOrString::Int(n)) => errors
                .port(&format!("{path}.targetPort"), *n)
                .map(TargetPort::Number),
            Some(IntOrString::String(name)) if name.is_empty() => number.map(TargetPort::Number),
            Some(IntOrString::String(name)) => Some(TargetPort::Named(Name::clone(name))),
        };
        let node_port = match port.node_port {
            0 => None,
            n => errors.port(&format!("{path}.nodePort"), n),
        };
        if let (Some(protocol), Some(port_number), Some(target)) = (protocol, number, target) {
            ports.push(ServicePort {
                name: Name::clone(&port.name),
                protocol,
                port: port_number,
                target,
                node_port,
            });
        }
    }
    let external_traffic_policy = errors.traffic_policy(
        "externalTrafficPolicy",
        spec.external_traffic_policy.as_ref(),
    );
    let internal_traffic_policy = errors.traffic_policy(
        "internalTrafficPolicy",
        spec.internal_traffic_policy.as_ref(),
    );
    let mut source_ranges = Vec::new();
    for (i, text) in spec.load_balancer_source_ranges.iter().enumerate() {
        // The API server allows spaces around them.
        match address::network(text.trim()) {
            Ok(range) => source_ranges.push(range),
            Err(remedy) => {
                let path = format!("spec.loadBalancerSourceRanges[{i}]");
                errors.push(path, format!("{text:?}"), remedy);
            }
        }
    }
    let service = Service {
        key: errors.object.clone(),
        service_type,
        cluster_ips,
        external_ips,
        selector: Some(spec.selector)
            .filter(|s| !s.is_empty())
            .map(Labels::new),
        ports,
        external_traffic_policy,
        internal_traffic_policy,
        source_ranges,
    };
    Ok((service, errors.list))
}

fn namespaced(kind: &'static str, metadata: &Metadata) -> Result<Errors, ParseError> {
    let key = ObjectKey::new(
        Name::clone(&metadata.namespace),
        Name::clone(&metadata.name),
    );
    let errors = Errors::new(kind, key);
    if metadata.namespace.is_empty() {
        let error = errors.error(
            "metadata.namespace",
            "nothing",
            "name the object's namespace",
        );
        return Err(error);
    }
    nameless(errors)
}

fn cluster_scoped(kind: &'static str, metadata: &Metadata) -> Result<Errors, ParseError> {
    nameless(Errors::new(
        kind,
        ObjectKey::new("", Name::clone(&metadata.name)),
    ))
}

fn nameless(errors: Errors) -> Result<Errors, ParseError> {
    if errors.object.name.is_empty() {
        return Err(errors.error("metadata.name", "nothing", "name the object"));
    }
    Ok(errors)
}

impl Errors {
    fn addresses<'a>(&mut self, texts: impl Iterator<Item = (String, &'a Name)>) -> Vec<IpAddr> {
        let mut addresses = Vec::new();
        for (path, text) in texts.filter(|(_, text)| !text.is_empty()) {
            match address::address(text) {
                Ok(ip) => addresses.push(ip),
                Err(remedy) => self.push(path, format!("{text:?}"), remedy),
            }
        }
        addresses
    }

    fn protocol(&mut self, path: &str, text: Option<&Name>) -> Option<Protocol> {
        let Some(text) = text else {
            return Some(Protocol::Tcp);
        };
        let protocol = Protocol::ALL.into_iter().find(|p| p.to_string() == **text);
        if protocol.is_none() {
            self.push(path, format!("{text:?}"), "write TCP, UDP or SCTP");
        }
        protocol
    }

    fn port(&mut self, path: &str, number: i64) -> Option<u16> {
        let port = u16::try_from(number).ok().filter(|p| *p > 0);
        if port.is_none() {
            self.push(path, number.to_string(), "write a number from 1 to 65535");
        }
        port
    }

    fn traffic_policy(&mut self, field: &str, text: Option<&Name>) -> TrafficPolicy {
        match text.map(|t| &**t) {
            None | Some("" | "Cluster") => TrafficPolicy::Cluster,
            Some("Local") => TrafficPolicy::Local,
            Some(other) => {
                let remedy = "write Cluster or Local, with a capital letter";
                self.push(format!("spec.{field}"), format!("{other:?}"), remedy);
                TrafficPolicy::Cluster
            }
        }
    }
}
