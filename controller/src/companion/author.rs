//! What an author's policy lacks, as an object. Pure.

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::DynamicObject;
use ringfence_checks::inject::inject;
use ringfence_checks::{Before, Config, Facts, Index, Occasion, Subject, World};
use ringfence_isolation::POLICY;
use ringfence_isolation::render::MANAGED_BY;
use ringfence_policy::model::ObjectKey;
pub use ringfence_policy::parse::COMPANION as LABEL;
use serde_json::{Value, json};

/// What the name of a companion begins with; its author's uid follows, so that an author's
/// policy that is made anew never meets the companion of the old one.
pub const PREFIX: &str = "ringfence-companion-";

/// Says which policy a companion belongs to.
const OF: &str = "ringfence.dev/companion-of";

/// An author's policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Author {
    raw: Value,
    uid: String,
    terminating: bool,
}

// === impl Author ===

impl Author {
    /// Reads an object. What isolates a whole namespace for us is nobody's to complete.
    pub fn read(object: &DynamicObject) -> Option<Self> {
        let metadata = &object.metadata;
        if metadata.name.as_deref() == Some(POLICY) {
            return None;
        }
        Some(Self {
            raw: json!({
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {
                    "namespace": metadata.namespace,
                    "name": metadata.name,
                    "annotations": metadata.annotations,
                },
                "spec": object.data["spec"],
            }),
            uid: object.uid()?,
            terminating: metadata.deletion_timestamp.is_some(),
        })
    }

    /// Its companion; `None` when nothing is lacking, or the namespace is in another mode.
    pub fn companion(&self, index: &Index, config: &Config) -> Option<(ObjectKey, Value)> {
        if self.terminating {
            return None;
        }
        let facts = Facts::default();
        let world = World {
            index: Some(index),
            facts: &facts,
            config,
            now: Timestamp::UNIX_EPOCH,
            occasion: Occasion::Scan,
        };
        let subject = Subject::read(&self.raw).ok()?;
        let rules = inject(&subject, Before::Nothing, &world).companion?;
        let metadata = &self.raw["metadata"];
        let spec = &self.raw["spec"];
        let name = format!("{PREFIX}{}", self.uid);
        let mut object = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {
                "namespace": metadata["namespace"],
                "name": name,
                "labels": {LABEL: "true", MANAGED_BY.0: MANAGED_BY.1},
                "annotations": {OF: metadata["name"]},
                "ownerReferences": [{
                    "apiVersion": "networking.k8s.io/v1",
                    "kind": "NetworkPolicy",
                    "name": metadata["name"],
                    "uid": self.uid,
                }],
            },
            "spec": {
                "podSelector": spec.get("podSelector").cloned().unwrap_or_else(|| json!({})),
                "policyTypes": spec["policyTypes"],
            },
        });
        for (field, rules) in [("ingress", rules.ingress), ("egress", rules.egress)] {
            if !rules.is_empty() {
                object["spec"][field] = rules.into();
            }
        }
        let namespace = metadata["namespace"].as_str().unwrap_or_default();
        Some((ObjectKey::new(namespace, name.as_str()), object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_policy::{Snapshot, parse};
    use test_case::test_case;

    fn index() -> Index {
        let objects = [
            json!({"kind": "Namespace", "metadata": {"name": "shop", "labels": {"gitops": "yes"}}}),
            json!({"kind": "Namespace", "metadata": {"name": "other"}}),
            json!({"kind": "Namespace", "metadata": {"name": "kube-system"}}),
            json!({
                "kind": "Service", "metadata": {"name": "kube-dns", "namespace": "kube-system"},
                "spec": {"clusterIP": "10.96.0.10", "selector": {"k8s-app": "kube-dns"},
                    "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]},
            }),
        ];
        let mut snapshot = Snapshot::default();
        for object in objects {
            snapshot.apply(parse::object(&object).unwrap().0);
        }
        Index::new(snapshot)
    }

    fn config() -> Config {
        let value = json!({
            "monitoring": {"namespaces": ["monitoring"]},
            "namespaces": [{"matchLabels": {"gitops": "yes"}, "injection": "companion"}],
        });
        Config::from_value(&value).unwrap()
    }

    fn author(namespace: &str, annotations: &Value, spec: &Value) -> Author {
        let object = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"namespace": namespace, "name": "web", "uid": "1-2", "annotations": annotations},
            "spec": spec,
        });
        Author::read(&serde_json::from_value(object).unwrap()).unwrap()
    }

    fn egress() -> Value {
        json!({
            "podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"],
            "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "db"}}}]}],
        })
    }

    #[test]
    fn dns_for_the_same_pods_owned_by_the_authors_policy() {
        let (key, object) = author("shop", &json!({}), &egress())
            .companion(&index(), &config())
            .unwrap();
        assert_eq!(key.to_string(), "shop/ringfence-companion-1-2");
        assert_eq!(object["spec"]["podSelector"], egress()["podSelector"]);
        assert_eq!(object["spec"]["policyTypes"], json!(["Egress"]));
        assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], "1-2");
        let policy = parse::policy(&object).unwrap();
        assert_eq!(policy.errors, []);
        assert_eq!(policy.policy.egress.unwrap().len(), 1);
        assert_eq!(policy.policy.ingress, None);
    }

    #[test]
    fn monitoring_for_an_ingress_policy() {
        let spec = json!({"podSelector": {}, "policyTypes": ["Ingress"]});
        let (_, object) = author("shop", &json!({}), &spec)
            .companion(&index(), &config())
            .unwrap();
        assert!(
            object["spec"]["ingress"].to_string().contains("monitoring"),
            "{object}"
        );
        assert!(object["spec"].get("egress").is_none());
    }

    #[test_case("other", json!({}), egress(); "another mode")]
    #[test_case("shop", json!({"inject.ringfence.dev/dns": "off"}), egress(); "opted out")]
    #[test_case("shop", json!({}), json!({"podSelector": {}, "policyTypes": ["Egress"]}); "a pure deny")]
    #[test_case("shop", json!({}), json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]}); "nothing is lacking")]
    #[test_case("shop", json!({}), json!({"podSelector": 7}); "unreadable")]
    #[allow(clippy::needless_pass_by_value, reason = "as the cases write it")]
    fn none(namespace: &str, annotations: Value, spec: Value) {
        let author = author(namespace, &annotations, &spec);
        assert_eq!(author.companion(&index(), &config()), None);
    }
}
