//! Pods, namespaces, nodes and Services.

use super::{Labels, Name, ObjectKey, Protocol};
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Namespace and name.
    pub key: ObjectKey,
    /// `metadata.labels`
    pub labels: Labels,
    /// `spec.nodeName`; empty while unscheduled.
    pub node: Name,
    /// `status.podIPs`; empty until the network is up.
    pub ips: Vec<IpAddr>,
    /// Shares the node's network: never a target, never a selector peer.
    pub host_network: bool,
    /// `status.phase`
    pub phase: Phase,
    /// `metadata.deletionTimestamp` is set.
    pub terminating: bool,
    /// It runs under a service account of its own (not `default`) and does not turn the
    /// token off: whoever made it so means it to talk to the API server.
    pub api_client: bool,
    /// The **named** container ports; names can repeat across protocols.
    pub ports: Arc<[PodPort]>,
}

impl Pod {
    /// Whether policies see this pod: it has a network of its own and has not ended.
    /// (A pod that ended keeps its address in status while another pod reuses it.)
    pub fn is_target(&self) -> bool {
        !self.host_network && !matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// The number of the container port with this name and protocol.
    pub fn named_port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        self.ports
            .iter()
            .find(|p| *p.name == *name && p.protocol == protocol)
            .map(|p| p.port)
    }
}

/// A named container port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodPort {
    /// `name`
    pub name: Name,
    /// `protocol`
    pub protocol: Protocol,
    /// `containerPort`
    pub port: u16,
}

/// `status.phase` of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Accepted, containers not all started.
    Pending,
    /// Running.
    #[default]
    Running,
    /// All containers ended well.
    Succeeded,
    /// All containers ended, one badly.
    Failed,
    /// The node does not answer.
    Unknown,
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// `metadata.name`
    pub name: Name,
    /// `metadata.labels`; the API server always sets `kubernetes.io/metadata.name`,
    /// and the folder source does the same.
    pub labels: Labels,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `metadata.name`
    pub name: Name,
    /// `status.addresses` that are addresses, and tunnel addresses from annotations.
    pub addresses: Vec<IpAddr>,
    /// `spec.podCIDRs`
    pub pod_cidrs: Vec<IpNet>,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub key: ObjectKey,
    /// `spec.type`
    pub service_type: ServiceType,
    /// `spec.clusterIPs` that are addresses (none when headless).
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.externalIPs` and `status.loadBalancer.ingress[].ip`
    pub external_ips: Vec<IpAddr>,
    /// `spec.selector`; `None` when absent or empty (endpoints are made by others).
    pub selector: Option<Labels>,
    /// `spec.ports`
    pub ports: Vec<ServicePort>,
    /// `spec.externalTrafficPolicy`
    pub external_traffic_policy: TrafficPolicy,
    /// `spec.internalTrafficPolicy`
    pub internal_traffic_policy: TrafficPolicy,
    /// `spec.loadBalancerSourceRanges`; empty lets everyone in.
    pub source_ranges: Vec<IpNet>,
}

/// `spec.type` of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceType {
    /// `ClusterIP`
    ClusterIp,
    /// `NodePort`
    NodePort,
    /// `LoadBalancer`
    LoadBalancer,
    /// `ExternalName`
    ExternalName,
}

/// `externalTrafficPolicy`, `internalTrafficPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TrafficPolicy {
    /// Any endpoint, masqueraded where needed.
    #[default]
    Cluster,
    /// Endpoints of the entry node only; the client's address is kept.
    Local,
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// `name`; empty for a single unnamed port.
    pub name: Name,
    /// `protocol`
    pub protocol: Protocol,
    /// `port`
    pub port: u16,
    /// `targetPort`; the port itself when absent.
    pub target: TargetPort,
    /// `nodePort`
    pub node_port: Option<u16>,
}

/// `targetPort`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// A pod port's number.
    Number(u16),
    /// A pod port's name, per pod.
    Named(Name),
}
