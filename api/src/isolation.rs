//! The object whose presence isolates a namespace.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Isolates the namespace it is in. One object, called `default`; deleting it ends the
/// isolation.
#[derive(
    CustomResource, KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize,
)]
#[kube(
    group = "ringfence.dev",
    version = "v1alpha1",
    kind = "NamespaceIsolation",
    namespaced,
    shortname = "iso",
    category = "ringfence",
    status = "NamespaceIsolationStatus",
    derive = "PartialEq",
    doc = "Isolates the namespace it is in: nobody comes in from other namespaces but whom an IsolationRule names. One object, called `default`; deleting it ends the isolation.",
    printcolumn(name = "Scope", type_ = "string", json_path = ".spec.scope"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Egress", type_ = "string", json_path = ".status.egress"),
    printcolumn(name = "Rules", type_ = "integer", json_path = ".status.rules"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name == 'default'").message("a namespace has one NamespaceIsolation, and it is called `default`")
)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceIsolationSpec {
    /// Who is inside: this namespace alone, or every namespace of its tenant.
    #[serde(default)]
    pub scope: Scope,
    /// Whether egress is restricted too.
    #[serde(default)]
    pub egress: Egress,
    /// What becomes of the NetworkPolicy when this object is deleted.
    #[serde(default)]
    pub on_disable: OnDisable,
    /// Whether it takes effect.
    #[serde(default)]
    pub mode: Mode,
}

/// See [`NamespaceIsolationSpec::scope`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Scope {
    /// This namespace.
    #[default]
    Namespace,
    /// Every namespace with the same value of the configured `tenantLabel`.
    Tenant,
}

/// See [`NamespaceIsolationSpec::egress`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Egress {
    /// Open until the first egress rule exists, restricted from then on.
    #[default]
    Auto,
    /// Open, whatever rules there are.
    Open,
    /// Restricted to rules, DNS and the inside, even without any rule.
    Restricted,
}

/// See [`NamespaceIsolationSpec::on_disable`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnDisable {
    /// It goes too.
    #[default]
    Delete,
    /// It stays as it is, and belongs to nobody.
    Retain,
}

/// See [`NamespaceIsolationSpec::mode`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// It does.
    #[default]
    Enforce,
    /// It is rendered, and status says what it would cut; nothing is cut.
    Preview,
}

/// What the controller says about an isolated namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceIsolationStatus {
    /// The generation that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `PeersResolved`, `SourceIPPreserved`, `EgressRestricted`,
    /// `WidenedByForeignPolicy`, `Enforced`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// `Open` or `Restricted`, as it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<String>,
    /// Rules that are rendered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<u32>,
    /// In mode `Preview`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview: Option<Preview>,
}

/// What isolation would do to traffic between the pods that exist.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Preview {
    /// Connections that pass now and would not: pairs of pods, one port each.
    pub would_cut: u64,
    /// Some of them, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
}
