//! A configuration of either kind, as much of it as matters here.

use super::{FAIL_CLOSED, Hook};
use k8s_openapi::ByteString;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// cert-manager's annotation: who else would write the caBundle.
const INJECTORS: [&str; 3] = [
    "cert-manager.io/inject-ca-from",
    "cert-manager.io/inject-ca-from-secret",
    "cert-manager.io/inject-apiserver-ca",
];

/// What is in one configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// Which of the two.
    pub hook: Hook,
    /// `metadata.resourceVersion`
    pub resource_version: String,
    /// `webhooks`, in order.
    pub entries: Vec<Entry>,
    /// The names in [`FAIL_CLOSED`].
    pub marked: BTreeSet<String>,
    /// cert-manager is told to write the caBundle.
    pub injected: bool,
}

/// One of `webhooks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `name`
    pub name: String,
    /// `clientConfig.caBundle`, empty when absent.
    pub ca_bundle: Vec<u8>,
    /// `failurePolicy`
    pub failure_policy: FailurePolicy,
    /// A rule names networkpolicies, by name or by `*`.
    pub policies: bool,
    /// And no rule names anything else.
    pub only_policies: bool,
}

/// What the API server does when a hook cannot be called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailurePolicy {
    /// Go on without it.
    Ignore,
    /// Refuse the request. What the API server takes when nothing is written.
    #[default]
    Fail,
}

/// A configuration that is not as the API describes it.
#[derive(Debug, thiserror::Error)]
#[error("webhooks: {0}")]
pub struct Unreadable(#[from] serde_json::Error);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireEntry {
    name: String,
    client_config: WireClientConfig,
    #[serde(default)]
    failure_policy: FailurePolicy,
    #[serde(default)]
    rules: Vec<WireRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireClientConfig {
    #[serde(default)]
    ca_bundle: Option<ByteString>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireRule {
    #[serde(default)]
    api_groups: Vec<String>,
    #[serde(default)]
    resources: Vec<String>,
}

// === impl Configuration ===

impl Configuration {
    /// Reads what a watch has brought.
    ///
    /// # Errors
    /// `webhooks` is not what the API says it is.
    pub fn read(hook: Hook, object: &DynamicObject) -> Result<Self, Unreadable> {
        let webhooks = object.data.get("webhooks").cloned();
        let webhooks = webhooks.unwrap_or_else(|| serde_json::Value::Array(Vec::new()));
        let wire: Vec<WireEntry> = serde_json::from_value(webhooks)?;
        let annotations = object.annotations();
        let marks = annotations.get(FAIL_CLOSED).map_or("", String::as_str);
        let marks = marks
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        Ok(Self {
            hook,
            resource_version: object.resource_version().unwrap_or_default(),
            entries: wire.into_iter().map(Entry::from).collect(),
            marked: marks.map(str::to_owned).collect(),
            injected: INJECTORS.iter().any(|key| annotations.contains_key(*key)),
        })
    }

    /// Whether this entry shall be Fail.
    pub fn is_marked(&self, entry: &Entry) -> bool {
        self.marked.contains(&entry.name)
    }
}

impl From<WireEntry> for Entry {
    fn from(wire: WireEntry) -> Self {
        let any = |names: &[String], name: &str| names.iter().any(|n| n == name || n == "*");
        let policies = wire.rules.iter().any(|rule| {
            any(&rule.api_groups, "networking.k8s.io")
                && rule.resources.iter().any(|r| is_policies(r))
        });
        let only = |rule: &WireRule| {
            rule.api_groups == ["networking.k8s.io"] && rule.resources == ["networkpolicies"]
        };
        Self {
            only_policies: policies && wire.rules.iter().all(only),
            policies,
            name: wire.name,
            ca_bundle: wire.client_config.ca_bundle.unwrap_or_default().0,
            failure_policy: wire.failure_policy,
        }
    }
}

fn is_policies(resource: &str) -> bool {
    matches!(
        resource,
        "networkpolicies" | "*" | "*/*" | "networkpolicies/*"
    )
}
