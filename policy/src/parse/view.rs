//! Trimmed views of API objects: only the fields that decide about packets.
//!
//! They deserialize from the API server's full objects and skip everything else, so
//! that a watch over 150,000 pods never holds a whole pod. As in the API, a field
//! that is absent and a field that is `null` are the same.

use crate::model::Name;
use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

/// `null` as the default value, which is how Go reads it.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// An object, and nothing else: serde takes a list for a struct's fields in their order,
/// so that `spec: []` would read as an empty spec.
struct Mapping<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Mapping<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
            type Value = Mapping<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Mapping<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Mapping)
            }
        }
        deserializer.deserialize_map(Object(PhantomData))
    }
}

/// A map, or `null`.
fn object<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    let object: Option<Mapping<T>> = Option::deserialize(deserializer)?;
    Ok(object.map(|Mapping(object)| object).unwrap_or_default())
}

/// A list of maps, or `null`.
fn objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let objects: Option<Vec<Mapping<T>>> = Option::deserialize(deserializer)?;
    let objects = objects.unwrap_or_default().into_iter();
    Ok(objects.map(|Mapping(object)| object).collect())
}

/// `metadata`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// `name`
    #[serde(deserialize_with = "nullable")]
    pub name: Name,
    /// `namespace`; empty for cluster-scoped kinds.
    #[serde(deserialize_with = "nullable")]
    pub namespace: Name,
    /// `uid`
    #[serde(deserialize_with = "nullable")]
    pub uid: Name,
    /// `resourceVersion`
    #[serde(deserialize_with = "nullable")]
    pub resource_version: Name,
    /// `labels`
    #[serde(deserialize_with = "nullable")]
    pub labels: BTreeMap<Name, Name>,
    /// `deletionTimestamp`: whether it is there is all that matters.
    pub deletion_timestamp: Option<IgnoredAny>,
    /// `annotations`, the few that are read.
    #[serde(deserialize_with = "object")]
    pub annotations: Annotations,
}

/// The annotations that are read: tunnel addresses of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Annotations {
    /// `projectcalico.org/IPv4IPIPTunnelAddr`
    #[serde(rename = "projectcalico.org/IPv4IPIPTunnelAddr")]
    pub ipip: Option<Name>,
    /// `projectcalico.org/IPv4VXLANTunnelAddr`
    #[serde(rename = "projectcalico.org/IPv4VXLANTunnelAddr")]
    pub vxlan: Option<Name>,
    /// `projectcalico.org/IPv6VXLANTunnelAddr`
    #[serde(rename = "projectcalico.org/IPv6VXLANTunnelAddr")]
    pub vxlan6: Option<Name>,
}

/// `v1 Pod`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodView {
    /// `metadata`
    #[serde(deserialize_with = "object")]
    pub metadata: Metadata,
    /// `spec`
    #[serde(deserialize_with = "object")]
    pub spec: PodSpec,
    /// `status`
    #[serde(deserialize_with = "object")]
    pub status: PodStatus,
}

/// `spec` of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// `nodeName`; empty while unscheduled.
    #[serde(deserialize_with = "nullable")]
    pub node_name: Name,
    /// `hostNetwork`
    #[serde(deserialize_with = "nullable")]
    pub host_network: bool,
    /// `serviceAccountName`; the API server writes `default` where there was none.
    #[serde(deserialize_with = "nullable")]
    pub service_account_name: Name,
    /// `automountServiceAccountToken`
    pub automount_service_account_token: Option<bool>,
    /// `containers`
    #[serde(deserialize_with = "objects")]
    pub containers: Vec<Container>,
    /// `initContainers`; those with `restartPolicy: Always` are sidecars and listen.
    #[serde(deserialize_with = "objects")]
    pub init_containers: Vec<Container>,
}

/// A container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// `restartPolicy`; set on init containers only.
    pub restart_policy: Option<Name>,
    /// `ports`
    #[serde(deserialize_with = "objects")]
    pub ports: Vec<ContainerPort>,
}

/// A container's port.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// `name`
    pub name: Option<Name>,
    /// `containerPort`
    pub container_port: i64,
    /// `protocol`; TCP when absent.
    pub protocol: Option<Name>,
}

/// `status` of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodStatus {
    /// `phase`
    pub phase: Option<Name>,
    /// `podIP`: read when `podIPs` is empty.
    #[serde(rename = "podIP")]
    pub pod_ip: Option<Name>,
    /// `podIPs`
    #[serde(rename = "podIPs", deserialize_with = "objects")]
    pub pod_ips: Vec<Ip>,
}

/// An item of `podIPs` or of `loadBalancer.ingress`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Ip {
    /// `ip`; absent on load balancers that have only a host name.
    pub ip: Option<Name>,
}

/// `v1 Namespace`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NamespaceView {
    /// `metadata`
    #[serde(deserialize_with = "object")]
    pub metadata: Metadata,
}

/// `v1 Node`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeView {
    /// `metadata`
    #[serde(deserialize_with = "object")]
    pub metadata: Metadata,
    /// `spec`
    #[serde(deserialize_with = "object")]
    pub spec: NodeSpec,
    /// `status`
    #[serde(deserialize_with = "object")]
    pub status: NodeStatus,
}

/// `spec` of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    /// `podCIDR`: read when `podCIDRs` is empty.
    #[serde(rename = "podCIDR")]
    pub pod_cidr: Option<Name>,
    /// `podCIDRs`
    #[serde(rename = "podCIDRs", deserialize_with = "nullable")]
    pub pod_cidrs: Vec<Name>,
}

/// `status` of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// `addresses`
    #[serde(deserialize_with = "objects")]
    pub addresses: Vec<NodeAddress>,
}

/// An item of a node's `addresses`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeAddress {
    /// `type`: `InternalIP`, `ExternalIP`, `Hostname`, ...
    #[serde(rename = "type", deserialize_with = "nullable")]
    pub kind: Name,
    /// `address`
    #[serde(deserialize_with = "nullable")]
    pub address: Name,
}

/// `v1 Service`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServiceView {
    /// `metadata`
    #[serde(deserialize_with = "object")]
    pub metadata: Metadata,
    /// `spec`
    #[serde(deserialize_with = "object")]
    pub spec: ServiceSpec,
    /// `status`
    #[serde(deserialize_with = "object")]
    pub status: ServiceStatus,
}

/// `spec` of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// `type`; `ClusterIP` when absent.
    #[serde(rename = "type")]
    pub kind: Option<Name>,
    /// `clusterIP`: read when `clusterIPs` is empty; `None` when headless.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<Name>,
    /// `clusterIPs`
    #[serde(rename = "clusterIPs", deserialize_with = "nullable")]
    pub cluster_ips: Vec<Name>,
    /// `externalIPs`
    #[serde(rename = "externalIPs", deserialize_with = "nullable")]
    pub external_ips: Vec<Name>,
    /// `selector`
    #[serde(deserialize_with = "nullable")]
    pub selector: BTreeMap<Name, Name>,
    /// `ports`
    #[serde(deserialize_with = "objects")]
    pub ports: Vec<ServicePortView>,
    /// `externalTrafficPolicy`
    pub external_traffic_policy: Option<Name>,
    /// `internalTrafficPolicy`
    pub internal_traffic_policy: Option<Name>,
    /// `loadBalancerSourceRanges`
    #[serde(deserialize_with = "nullable")]
    pub load_balancer_source_ranges: Vec<Name>,
}

/// A Service's port.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePortView {
    /// `name`
    #[serde(deserialize_with = "nullable")]
    pub name: Name,
    /// `protocol`; TCP when absent.
    pub protocol: Option<Name>,
    /// `port`
    pub port: i64,
    /// `targetPort`; `port` when absent.
    pub target_port: Option<IntOrString>,
    /// `nodePort`; 0 and absent are the same.
    #[serde(deserialize_with = "nullable")]
    pub node_port: i64,
}

/// A number or a name.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a number or a name")]
pub enum IntOrString {
    /// A number.
    Int(i64),
    /// A name.
    String(Name),
}

/// `status` of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    /// `loadBalancer`
    #[serde(deserialize_with = "object")]
    pub load_balancer: LoadBalancer,
}

/// `status.loadBalancer`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LoadBalancer {
    /// `ingress`
    #[serde(deserialize_with = "objects")]
    pub ingress: Vec<Ip>,
}
