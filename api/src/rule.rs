//! A hole in the fence.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Lets a peer in, or the namespace's pods out to it, while the namespace is isolated.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "ringfence.dev",
    version = "v1alpha1",
    kind = "IsolationRule",
    namespaced,
    shortname = "isorule",
    category = "ringfence",
    status = "IsolationRuleStatus",
    derive = "PartialEq",
    doc = "Lets a peer in, or the namespace's pods out to it, while the namespace is isolated.",
    printcolumn(name = "Direction", type_ = "string", json_path = ".spec.direction"),
    printcolumn(name = "Peer", type_ = "string", json_path = ".status.peer"),
    printcolumn(name = "Expires", type_ = "date", json_path = ".spec.expiresAt"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".spec.reason",
        priority = "1"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct IsolationRuleSpec {
    /// Which way connections are made.
    pub direction: Direction,
    /// Whom they come from or go to.
    pub peer: Peer,
    /// On which ports; without, on all (of a Service: on all of its own).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub ports: Vec<RulePort>,
    /// When the rule ends; without, never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// Why it exists, for whoever finds it later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reason: Option<String>,
}

/// Seen from the isolated namespace.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Direction {
    /// The peer connects to the namespace's pods.
    Ingress,
    /// The namespace's pods connect to the peer.
    Egress,
}

/// Exactly one of the three.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.namespace), has(self.service), has(self.cidr)].filter(x, x).size() == 1").message("peer: exactly one of namespace, service and cidr")
)]
pub struct Peer {
    /// Every pod of a namespace, by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// The pods behind a Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceRef>,
    /// Addresses outside of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<Cidr>,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceRef {
    /// Its namespace.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Its name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// A range of addresses. `maxItems` and `maxLength` bound what the API server thinks its
/// CEL rules could cost.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("isCIDR(self.cidr)").message("cidr: write a range such as 10.1.0.1/32; a port belongs to spec.ports, a scheme nowhere"),
    validation = Rule::new("!isCIDR(self.cidr) || cidr(self.cidr) == cidr(self.cidr).masked()").message("cidr: bits are set behind the prefix; write the range's first address"),
    validation = Rule::new("!has(self.except) || !isCIDR(self.cidr) || self.except.all(e, isCIDR(e) && cidr(self.cidr).containsCIDR(e))").message("except: every entry is a range inside of cidr")
)]
pub struct Cidr {
    /// The range, with its prefix length.
    #[schemars(length(min = 1, max = 43))]
    pub cidr: String,
    /// Ranges inside of it that are not meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 43)))]
    pub except: Vec<String>,
}

/// A port, several, or all of a protocol.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.servicePort) || (!has(self.port) && !has(self.endPort) && !has(self.protocol))").message("ports: servicePort stands alone; it names port and protocol"),
    validation = Rule::new("!has(self.endPort) || (has(self.port) && type(self.port) == int && self.port <= self.endPort)").message("ports: endPort needs a port that is a number and not above it")
)]
pub struct RulePort {
    /// TCP (the default), UDP or SCTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "protocol")]
    pub protocol: Option<String>,
    /// A port of the pods, by number or by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "port_number")]
    pub port: Option<PortNumber>,
    /// The last port of a range that begins at `port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub end_port: Option<u16>,
    /// A port of a Service of the namespace that is connected to, as `service/port` (number
    /// or name): resolved to what its pods listen on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 3, max = 127),
        regex(pattern = r"^[a-z0-9-]+/[a-z0-9-]+$")
    )]
    pub service_port: Option<String>,
}

/// A port by number or by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PortNumber {
    /// 1 to 65535.
    Number(u16),
    /// A container port's name.
    Name(String),
}

/// What the controller says about a rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IsolationRuleStatus {
    /// The generation that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `PeersResolved`, `PeerAllows`, `SourceIPPreserved`, `Expired`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The peer in a few words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
}

fn protocol(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["TCP", "UDP", "SCTP"]})
}

fn port_number(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-int-or-string": true})
}
