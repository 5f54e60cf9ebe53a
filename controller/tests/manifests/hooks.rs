//! The webhook configurations, and the facts about admission that they must respect.

use crate::objects::{items, name, of_kind, texts};
use serde_json::Value;
use std::collections::BTreeMap;
use test_case::test_case;

pub fn configurations() -> Vec<Value> {
    of_kind(&[
        "ValidatingWebhookConfiguration",
        "MutatingWebhookConfiguration",
    ])
}

#[test]
fn no_entry_can_freeze_a_cluster() {
    let services: BTreeMap<String, Value> = of_kind(&["Service"])
        .into_iter()
        .map(|s| (name(&s).to_owned(), s))
        .collect();
    for configuration in configurations() {
        let validates = configuration["kind"] == "ValidatingWebhookConfiguration";
        for entry in items(&configuration, "webhooks") {
            let who = entry["name"].as_str().unwrap();
            assert_eq!(
                entry["failurePolicy"], "Ignore",
                "{who}: Fail before there is a caBundle"
            );
            assert_eq!(entry["sideEffects"], "None", "{who}: dry runs would fail");
            assert_eq!(entry["matchPolicy"], "Equivalent", "{who}");
            assert_eq!(texts(entry, "admissionReviewVersions"), ["v1"], "{who}");
            assert_eq!(
                entry["timeoutSeconds"],
                if validates { 3 } else { 2 },
                "{who}"
            );
            let reinvocation = entry.get("reinvocationPolicy").and_then(Value::as_str);
            assert_eq!(reinvocation, (!validates).then_some("IfNeeded"), "{who}");
            let mut created = false;
            for rule in items(entry, "rules") {
                let operations = texts(rule, "operations");
                let allowed = operations.iter().all(|o| o == "CREATE" || o == "UPDATE");
                assert!(allowed, "{who}: never DELETE");
                created |= operations.iter().any(|o| o == "CREATE");
                let ours = texts(rule, "apiGroups") == ["ringfence.dev"];
                let version = if ours { "v1alpha1" } else { "v1" };
                assert_eq!(texts(rule, "apiVersions"), [version], "{who}");
                assert_eq!(
                    texts(rule, "resources").len(),
                    1,
                    "{who}: an entry per kind"
                );
                assert!(!rule.to_string().contains('*'), "{who}");
            }
            let excluded = &entry["namespaceSelector"]["matchExpressions"][0];
            assert_eq!(excluded["operator"], "NotIn", "{who}");
            assert!(
                texts(excluded, "values").contains(&"ringfence-system".to_owned()),
                "{who}"
            );
            let conditions = entry["matchConditions"].to_string();
            assert!(
                conditions.contains("deletionTimestamp")
                    && conditions.contains("oldObject == null") == created,
                "{who}"
            );
            let client = &entry["clientConfig"];
            assert!(client.get("caBundle").is_none(), "{who}: the controller's");
            let service = &services[client["service"]["name"].as_str().unwrap()];
            assert_eq!(
                service["spec"]["ports"][0]["port"], client["service"]["port"],
                "{who}"
            );
            let path = if validates { "/validate" } else { "/mutate" };
            assert_eq!(client["service"]["path"], path, "{who}");
        }
    }
}

#[test_case("ValidatingWebhookConfiguration", &["policies.validate.ringfence.dev"]; "validating")]
#[test_case("MutatingWebhookConfiguration", &[]; "mutating")]
fn what_fails_closed_can_be_proved(kind: &str, wanted: &[&str]) {
    use ringfence_controller::hooks::{Configuration, Hook, doubts};
    let object = of_kind(&[kind]).remove(0);
    let object = serde_json::from_value(object).unwrap();
    let hook = if kind.starts_with('V') {
        Hook::Validate
    } else {
        Hook::Mutate
    };
    let configuration = Configuration::read(hook, &object).unwrap();
    let marked: Vec<&str> = configuration.marked.iter().map(String::as_str).collect();
    assert_eq!(marked, wanted);
    assert_eq!(doubts(&configuration), []);
}
