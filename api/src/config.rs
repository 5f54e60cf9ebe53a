//! What holds for every isolated namespace of the cluster.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Cluster-wide settings of project isolation. There is one object, called `default`;
/// without it the defaults hold.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "ringfence.dev",
    version = "v1alpha1",
    kind = "IsolationConfig",
    shortname = "isoconf",
    category = "ringfence",
    derive = "PartialEq",
    doc = "Cluster-wide settings of project isolation. One object, called `default`; without it the defaults hold.",
    validation = Rule::new("self.metadata.name == 'default'").message("there is one IsolationConfig, and it is called `default`")
)]
#[serde(rename_all = "camelCase")]
pub struct IsolationConfigSpec {
    /// Namespaces that may always come in, such as the one of the monitoring system.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    pub allowed_ingress_namespaces: Vec<String>,
    /// Namespaces of ingress gateways: they may come in, so that routes go on working.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    pub gateway_namespaces: Vec<String>,
    /// The label that names a namespace's tenant; needed by `scope: Tenant`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 316))]
    pub tenant_label: Option<String>,
    /// What becomes of NetworkPolicies that others write in an isolated namespace. Whoever
    /// may write them can open the namespace again, so without `Deny` isolation protects
    /// against mistakes, not against the namespace's own users.
    #[serde(default)]
    pub foreign_policies: ForeignPolicies,
    /// Where names are resolved; kept open when egress is restricted.
    #[serde(default)]
    pub dns: Dns,
}

/// See [`IsolationConfigSpec::foreign_policies`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ForeignPolicies {
    /// They may.
    Allow,
    /// They may; those that widen the isolation are named, to their author and in status.
    #[default]
    Warn,
    /// They are refused.
    Deny,
}

/// The cluster's DNS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Dns {
    /// The DNS Service, `namespace/name`.
    #[schemars(
        length(min = 3, max = 127),
        regex(pattern = r"^[a-z0-9-]+/[a-z0-9-]+$")
    )]
    pub service: String,
    /// Addresses of a node-local cache.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), with = "Vec<String>")]
    pub node_local_addresses: Vec<IpAddr>,
}

// === impl Dns ===

impl Default for Dns {
    fn default() -> Self {
        Self {
            service: "kube-system/kube-dns".into(),
            node_local_addresses: Vec::new(),
        }
    }
}
