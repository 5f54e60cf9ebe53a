//! What is due, for every state that a namespace can be in.

use super::*;
use crate::isolation::seen::NamespaceNote;
use kube::api::DynamicObject;
use ringfence_isolation::{Dns, Input, render};
use ringfence_policy::Snapshot;
use ringfence_policy::model::ObjectKey;
use serde_json::json;
use std::collections::BTreeMap;
use test_case::test_case;

const NS: &str = "shop";

fn isolation(spec: &Value, metadata: &Value) -> NamespaceIsolation {
    let mut object =
        json!({"metadata": {"name": "default", "namespace": NS, "uid": "i-1"}, "spec": spec});
    if let (Value::Object(all), Value::Object(more)) = (&mut object["metadata"], metadata) {
        all.extend(more.clone());
    }
    serde_json::from_value(object).unwrap()
}

fn rendered(isolation: &NamespaceIsolation) -> Rendered {
    render(&Input {
        namespace: NS,
        config: &ringfence_api::IsolationConfigSpec::default(),
        isolation: &isolation.spec,
        rules: &BTreeMap::new(),
        snapshot: &Snapshot::default(),
        dns: &Dns::default(),
        now: jiff::Timestamp::UNIX_EPOCH,
    })
}

/// Our policy as the API server keeps it, changed by a merge of `change`.
fn policy(isolation: &NamespaceIsolation, change: &Value) -> Owned {
    let mut object = rendered(isolation).object(owner(isolation).as_ref());
    object["metadata"]["uid"] = "p-1".into();
    object["metadata"]["resourceVersion"] = "7".into();
    for (field, value) in change.as_object().unwrap() {
        let (part, name) = field.split_once('/').unwrap();
        object[part][name] = value.clone();
    }
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    Owned::read(&object).unwrap()
}

fn seen(
    isolation: Option<&NamespaceIsolation>,
    policy: Option<Owned>,
    note: NamespaceNote,
) -> Seen {
    let mut seen = Seen::default();
    seen.namespaces.created(&ObjectKey::new("", NS), "1", note);
    if let Some(isolation) = isolation {
        let key = ObjectKey::new(NS, SINGLETON);
        seen.isolations.created(&key, "1", isolation.clone());
    }
    if let Some(policy) = policy {
        let key = ObjectKey::new(NS, ringfence_isolation::POLICY);
        seen.policies.created(&key, "1", policy);
    }
    seen
}

/// The duty in one word.
fn word(
    isolation: Option<&NamespaceIsolation>,
    policy: Option<Owned>,
    note: NamespaceNote,
) -> &'static str {
    let rendered = isolation.map(rendered);
    match duty(&seen(isolation, policy, note), NS, rendered.as_ref()) {
        Duty::Nothing => "nothing",
        Duty::Foreign => "foreign",
        Duty::Enable(_) => "enable",
        Duty::Disable(..) => "disable",
        Duty::Create(_) => "create",
        Duty::Update(_) => "update",
        Duty::Delete(..) => "delete",
    }
}

fn there() -> NamespaceNote {
    NamespaceNote::default()
}

#[test_case(json!({}), "nothing"; "as it should be")]
#[test_case(json!({"spec/ingress": [{}]}), "update"; "opened")]
#[test_case(json!({"spec/podSelector": {"matchLabels": {"a": "b"}}}), "update"; "for other pods")]
#[test_case(json!({"spec/policyTypes": ["Ingress", "Egress"]}), "update"; "shut")]
#[test_case(json!({"metadata/annotations": {}}), "update"; "without sources")]
#[test_case(json!({"metadata/labels": {}}), "update"; "without its label, known by its owner")]
#[test_case(json!({"metadata/ownerReferences": []}), "update"; "without its owner, known by its label")]
#[test_case(json!({"metadata/ownerReferences": [], "metadata/labels": {}}), "foreign"; "somebody else's")]
#[test_case(json!({"metadata/ownerReferences": [], "metadata/labels": {}, "metadata/managedFields": [{"manager": "ringfence", "operation": "Apply"}]}), "update"; "known by its manager")]
#[allow(clippy::needless_pass_by_value, reason = "as the cases write it")]
fn an_isolated_namespace(change: Value, expected: &str) {
    let isolation = isolation(&json!({}), &json!({}));
    let policy = policy(&isolation, &change);
    assert_eq!(word(Some(&isolation), Some(policy), there()), expected);
}

#[test_case(json!({}), "create"; "enforced")]
#[test_case(json!({"mode": "Preview"}), "nothing"; "a preview")]
#[allow(clippy::needless_pass_by_value, reason = "as the cases write it")]
fn without_a_policy(spec: Value, expected: &str) {
    let isolation = isolation(&spec, &json!({}));
    assert_eq!(word(Some(&isolation), None, there()), expected);
}

#[test]
fn retaining_takes_the_owner_away_and_deleting_gives_it_back() {
    let (delete, retain) = (
        isolation(&json!({}), &json!({})),
        isolation(&json!({"onDisable": "Retain"}), &json!({})),
    );
    let (owned, free) = (policy(&delete, &json!({})), policy(&retain, &json!({})));
    assert_eq!(word(Some(&retain), Some(owned.clone()), there()), "update");
    assert_eq!(word(Some(&delete), Some(free.clone()), there()), "update");
    assert_eq!(word(None, Some(owned), there()), "delete");
    assert_eq!(word(None, Some(free), there()), "nothing");
}

#[test]
fn a_preview_enforces_nothing_not_even_what_was_retained() {
    let retain = isolation(&json!({"onDisable": "Retain"}), &json!({}));
    let preview = isolation(&json!({"mode": "Preview"}), &json!({}));
    let free = policy(&retain, &json!({}));
    assert_eq!(word(Some(&preview), Some(free), there()), "delete");
}

#[test]
fn what_goes_is_left_alone() {
    let isolation = isolation(
        &json!({}),
        &json!({"deletionTimestamp": "2026-06-01T00:00:00Z"}),
    );
    assert_eq!(word(Some(&isolation), None, there()), "nothing");
    let going = NamespaceNote {
        terminating: true,
        ..there()
    };
    let fresh = self::isolation(&json!({}), &json!({}));
    assert_eq!(word(Some(&fresh), None, going), "nothing");
}

#[test]
fn the_annotation_begins_and_ends_what_it_began() {
    let wants = || NamespaceNote {
        wants_isolation: true,
        ..there()
    };
    assert_eq!(word(None, None, wants()), "enable");
    let made = isolation(
        &json!({}),
        &json!({"annotations": {MADE_FOR: KUBESPHERE.0}}),
    );
    assert_eq!(word(Some(&made), None, wants()), "create");
    assert_eq!(word(Some(&made), None, there()), "disable");
    let own = isolation(&json!({}), &json!({}));
    assert_eq!(
        word(Some(&own), None, there()),
        "create",
        "somebody's own stays"
    );
}

#[test]
fn an_update_names_the_object_that_was_seen() {
    let isolation = isolation(&json!({}), &json!({}));
    let policy = policy(&isolation, &json!({"spec/ingress": [{}]}));
    let seen = seen(Some(&isolation), Some(policy), there());
    let Duty::Update(object) = duty(&seen, NS, Some(&rendered(&isolation))) else {
        panic!("no update");
    };
    assert_eq!(object["metadata"]["uid"], "p-1");
}
