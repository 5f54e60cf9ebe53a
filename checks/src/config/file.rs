//! The configuration file as it is typed. Field documentation here is the reference.

use super::{Injection, Profile, Sctp};
use crate::finding::Level;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Ringfence's configuration of checks and injection.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct File {
    /// `ringfence.dev/v1alpha1`
    pub api_version: Option<String>,
    /// `CheckConfiguration`
    pub kind: Option<String>,
    /// How strict the checks are: `baseline` or `strict`.
    pub profile: Profile,
    /// Levels of single checks: `off`, `audit`, `warn` or `deny`, by the check's id.
    pub checks: BTreeMap<String, Level>,
    /// Rules for some namespaces. A later entry overrides an earlier one.
    pub namespaces: Vec<NamespaceEntry>,
    /// What is added to policies that forgot it.
    pub injection: InjectionEntry,
    /// Where the cluster's DNS is.
    pub dns: DnsEntry,
    /// Who scrapes metrics.
    pub monitoring: MonitoringEntry,
    /// Ingress controllers and gateways inside the cluster.
    pub gateways: Vec<GatewayEntry>,
    /// Ranges that the API does not tell, as CIDRs or single addresses.
    pub ranges: RangesEntry,
    /// Requests that are not judged.
    pub exemptions: Vec<ExemptionEntry>,
    /// What authors may suppress with `ignore.ringfence.dev/CHECK` annotations.
    pub suppression: SuppressionEntry,
    /// Whether nodes and network carry SCTP: `unknown`, `supported` or `unsupported`.
    pub sctp: Sctp,
    /// Namespaces that belong to the system.
    #[schemars(default)]
    pub system_namespaces: Option<Vec<String>>,
    /// Set `externalTrafficPolicy: Local` on Services that become `NodePort` or
    /// `LoadBalancer` behind an ipBlock rule.
    pub default_external_traffic_policy_local: bool,
}

/// Rules for some namespaces: give `names`, `matchLabels` or both (either matches).
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NamespaceEntry {
    /// By name.
    pub names: Vec<String>,
    /// By labels, all of which a namespace must have.
    pub match_labels: BTreeMap<String, String>,
    /// In place of the general profile.
    pub profile: Option<Profile>,
    /// Over the general levels.
    pub checks: BTreeMap<String, Level>,
    /// In place of the general mode of injection.
    pub injection: Option<Injection>,
}

/// What is added to policies that forgot it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct InjectionEntry {
    /// `inPlace`, `companion`, `warn` or `off`.
    pub mode: Injection,
}

/// Where the cluster's DNS is.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DnsEntry {
    /// `namespace/name` of the Service; `kube-system/kube-dns` when absent.
    pub service: Option<String>,
    /// Addresses of node-local caches, for example `169.254.20.10`.
    pub node_local: Vec<String>,
    /// Add DNS also to a policy that denies all egress.
    pub into_deny_all: bool,
}

/// Who scrapes metrics.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MonitoringEntry {
    /// Namespaces whose pods may reach every pod that an ingress policy isolates.
    pub namespaces: Vec<String>,
}

/// An ingress controller or gateway.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GatewayEntry {
    /// Its namespace.
    pub namespace: String,
    /// Labels of its pods; every pod of the namespace when absent.
    pub match_labels: BTreeMap<String, String>,
}

/// Ranges that the API does not tell.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RangesEntry {
    /// Of pods.
    pub pods: Vec<String>,
    /// Of Services.
    pub services: Vec<String>,
    /// Of nodes.
    pub nodes: Vec<String>,
    /// Of tunnel devices.
    pub tunnels: Vec<String>,
    /// Node addresses at which a `hostNetwork` peer lives that policies may allow.
    pub host_network_peers: Vec<String>,
}

/// Requests that are not judged: in one of `namespaces` by one of `users` or `groups`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExemptionEntry {
    /// Required.
    pub namespaces: Vec<String>,
    /// User names, for example `system:serviceaccount:flux-system:kustomize-controller`.
    pub users: Vec<String>,
    /// Groups.
    pub groups: Vec<String>,
}

/// What authors may suppress.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SuppressionEntry {
    /// No check at all may be suppressed.
    pub forbidden: bool,
    /// These may not.
    pub except: Vec<String>,
}
