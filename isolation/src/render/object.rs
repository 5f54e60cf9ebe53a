//! The policy as the API knows it.

use super::Rendered;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use ringfence_checks::inject::rule::to_json;
use ringfence_policy::model::{Direction, Rule};
use serde_json::{Value, json};

/// The name of the policy that isolates a namespace.
pub const POLICY: &str = ringfence_checks::inject::ISOLATION;

/// The label by which our policies are found, and its value.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "ringfence");

/// The annotation that says where each rule of `spec.ingress` comes from, in order.
pub const INGRESS: &str = "isolation.ringfence.dev/ingress";

/// The same for `spec.egress`.
pub const EGRESS: &str = "isolation.ringfence.dev/egress";

impl Rendered {
    /// Annotations of the policy; egress has none while it is open.
    pub fn annotations(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![(INGRESS, self.ingress.join(","))];
        if self.policy.egress.is_some() {
            all.push((EGRESS, self.egress.join(",")));
        }
        all
    }

    /// The object to apply. Without an owner it outlives the `NamespaceIsolation`
    /// (`onDisable: Retain`).
    pub fn object(&self, owner: Option<&OwnerReference>) -> Value {
        let rules = |direction, rules: &[Rule]| -> Vec<Value> {
            rules.iter().map(|rule| to_json(direction, rule)).collect()
        };
        let mut spec = json!({
            "podSelector": {},
            "policyTypes": ["Ingress"],
            "ingress": rules(Direction::Ingress, self.policy.ingress.as_deref().unwrap_or_default()),
        });
        if let Some(egress) = &self.policy.egress {
            spec["policyTypes"] = json!(["Ingress", "Egress"]);
            spec["egress"] = rules(Direction::Egress, egress).into();
        }
        let annotations = self.annotations().into_iter();
        let annotations: serde_json::Map<String, Value> = annotations
            .map(|(key, value)| (key.to_owned(), value.into()))
            .collect();
        let (label, value) = MANAGED_BY;
        let mut object = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {
                "namespace": &*self.policy.key.namespace,
                "name": POLICY,
                "labels": {label: value},
                "annotations": annotations,
            },
            "spec": spec,
        });
        if let Some(owner) = owner {
            object["metadata"]["ownerReferences"] = json!([owner]);
        }
        object
    }
}
