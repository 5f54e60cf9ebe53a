//! Named cases of objects that change: when something is injected, replaced and taken out,
//! and what the annotations say about it.

use crate::cases::{DNS, MONITORING, annotated, egress, policy, rule, unchanged, web, with};
use crate::{Hooks, KUBEADM};
use ringfence_checks::Subject;
use ringfence_checks::inject::{Injected, forged};
use serde_json::{Value, json};
use test_case::test_case;

#[test_case("/metadata/labels", &json!({"a": "b"}); "a label")]
#[test_case("/metadata/annotations", &json!({"a": "b"}); "an annotation")]
#[test_case("/metadata/finalizers", &json!(["a/b"]); "a finalizer")]
#[test_case("/metadata/ownerReferences", &json!([{"name": "a"}]); "an owner")]
#[test_case("/metadata/deletionTimestamp", &json!("2026-06-01T12:00:00Z"); "the deletion")]
fn edits_beside_the_spec_inject_nothing(pointer: &str, value: &Value) {
    let edited = with(web(), pointer, value.clone());
    let hooks = Hooks::new(KUBEADM, "{}");
    assert_eq!(hooks.mutate(&edited, Some(&web())), Injected::default());
}

/// The cluster's hooks have changed since the object was stored. Writing it again as it is
/// leaves it; creating it today fills it in.
#[test]
fn an_object_that_did_not_change_stays_as_an_older_cluster_left_it() {
    let deny_all = with(web(), "/spec/egress", json!([]));
    let before = Hooks::new(KUBEADM, "{}");
    let today = Hooks::new(KUBEADM, "dns: {intoDenyAll: true}");
    assert_eq!(before.stored(&deny_all, None), deny_all);
    assert_eq!(today.stored(&deny_all, Some(&deny_all)), deny_all);
    assert_ne!(today.stored(&deny_all, None), deny_all);
}

#[test]
fn an_author_opts_out_and_in_again() {
    let hooks = Hooks::new(KUBEADM, "{}");
    let stored = hooks.stored(&web(), None);
    assert_eq!(egress(&stored).len(), 2);
    let out = with(
        stored.clone(),
        "/metadata/annotations/inject.ringfence.dev~1dns",
        json!("off"),
    );
    let closed = hooks.stored(&out, Some(&stored));
    assert_eq!(closed["spec"], web()["spec"]);
    assert_eq!(
        closed["metadata"]["annotations"],
        json!({"inject.ringfence.dev/dns": "off"})
    );
    assert_eq!(hooks.mutate(&closed, Some(&out)), Injected::default());
    assert_eq!(hooks.validate(&closed, Some(&stored)).findings, []);
    let back = with(closed.clone(), "/metadata/annotations", json!({}));
    assert_eq!(egress(&hooks.stored(&back, Some(&closed))).len(), 2);
}

#[test]
fn the_last_rule_is_taken_out_and_the_pods_stay_isolated() {
    let hooks = Hooks::new(KUBEADM, "dns: {intoDenyAll: true}");
    let stored = hooks.stored(&policy("policyTypes: [Egress]"), None);
    let mut bare = with(
        stored.clone(),
        "/metadata/annotations/inject.ringfence.dev~1dns",
        json!("off"),
    );
    bare["spec"].as_object_mut().unwrap().remove("policyTypes");
    let closed = hooks.stored(&bare, Some(&stored));
    let subject = Subject::read(&closed).unwrap();
    assert_eq!(subject.policy().unwrap().egress, Some(Vec::new()));
}

#[test]
fn client_side_apply_again_changes_nothing() {
    let hooks = Hooks::new(KUBEADM, "monitoring: {namespaces: [monitoring]}");
    let manifest = policy("policyTypes: [Ingress, Egress], egress: [{to: [{podSelector: {}}]}]");
    let stored = hooks.stored(&manifest, None);
    // kubectl sends its own lists, and leaves annotations alone that it has not set.
    let annotations = stored["metadata"]["annotations"].clone();
    let again = with(manifest, "/metadata/annotations", annotations);
    assert_eq!(hooks.stored(&again, Some(&stored)), stored);
}

#[test]
fn a_stale_rule_is_replaced_when_the_spec_changes() {
    let stored = Hooks::new(KUBEADM, "{}").stored(&web(), None);
    let moved = KUBEADM.replace("port: 53", "port: 53, targetPort: 1053");
    let hooks = Hooks::new(&moved, "{}");
    let labelled = with(stored.clone(), "/metadata/labels", json!({"a": "b"}));
    assert!(
        unchanged(&hooks.mutate(&labelled, Some(&stored))),
        "only a label"
    );
    let own = json!({"ports": [{"port": 80}]});
    let mut edited = stored.clone();
    edited["spec"]["egress"]
        .as_array_mut()
        .unwrap()
        .push(own.clone());
    let after = hooks.stored(&edited, Some(&stored));
    let new = rule(&[("UDP", json!(1053)), ("TCP", json!(1053))]);
    assert_eq!(
        egress(&after),
        [json!({"to": [{"podSelector": {}}]}), own, new]
    );
    assert_ne!(
        after["metadata"]["annotations"][DNS],
        stored["metadata"]["annotations"][DNS]
    );
}

#[test]
fn an_authors_own_rule_is_never_replaced() {
    let own = rule(&[("UDP", json!(53)), ("TCP", json!(53))]);
    let old = with(web(), "/spec/egress", json!([own]));
    let hooks = Hooks::new(
        &KUBEADM.replace("port: 53", "port: 53, targetPort: 1053"),
        "{}",
    );
    let edited = with(
        old.clone(),
        "/spec/podSelector",
        json!({"matchLabels": {"a": "b"}}),
    );
    let after = hooks.stored(&edited, Some(&old));
    assert_eq!(egress(&after).len(), 2);
    assert_eq!(egress(&after)[0], own);
}

#[test]
fn a_forged_annotation_is_taken_away() {
    let hooks = Hooks::new(KUBEADM, "{}");
    let stored = hooks.stored(&web(), None);
    let record = stored["metadata"]["annotations"][DNS]
        .as_str()
        .unwrap()
        .to_owned();
    // On an object that needs no injection, copied from another.
    let open = annotated(policy("policyTypes: [Egress], egress: [{}]"), DNS, &record);
    assert_eq!(
        hooks.stored(&open, None)["metadata"]["annotations"],
        json!({})
    );
    // A label edit that brings one.
    let old = policy("policyTypes: [Egress], egress: [{}]");
    assert_eq!(
        hooks.stored(&open, Some(&old))["metadata"]["annotations"],
        json!({})
    );
    // One that claims the author's own rule.
    let own = ringfence_checks::inject::rule::hash(
        ringfence_policy::model::Direction::Egress,
        &Subject::read(&open)
            .unwrap()
            .policy()
            .unwrap()
            .egress
            .as_ref()
            .unwrap()[0],
    );
    let claim = annotated(old, DNS, &format!("v1:{own}"));
    assert_eq!(
        hooks.stored(&claim, None)["metadata"]["annotations"],
        json!({})
    );
}

#[test]
fn an_annotation_that_was_taken_away_comes_back() {
    let hooks = Hooks::new(KUBEADM, "{}");
    let stored = hooks.stored(&web(), None);
    let bare = with(stored.clone(), "/metadata/annotations", Value::Null);
    assert_eq!(hooks.stored(&bare, Some(&stored)), stored);
    let without_rule = with(stored.clone(), "/spec/egress", json!([{}]));
    let after = hooks.stored(&without_rule, Some(&stored));
    assert_eq!(after["metadata"]["annotations"], json!({}));
}

#[test]
fn the_validating_hook_refuses_forgeries() {
    let hooks = Hooks::new(KUBEADM, "{}");
    let stored = hooks.stored(&web(), None);
    let record = stored["metadata"]["annotations"][DNS].as_str().unwrap();
    let finds = |object: &Value, old: Option<&Value>| {
        let old = old.map(|old| Subject::read(old).unwrap());
        let found = forged(&Subject::read(object).unwrap(), old.as_ref().into());
        assert!(
            found
                .iter()
                .all(|f| f.level == ringfence_checks::Level::Deny)
        );
        assert!(found.iter().all(|f| f.sentence.chars().count() <= 120));
        found.len()
    };
    assert_eq!(finds(&stored, None), 0, "ours");
    assert_eq!(finds(&web(), None), 0, "none");
    let copied = annotated(web(), DNS, record);
    assert_eq!(finds(&copied, None), 1, "copied to where the rule is not");
    assert_eq!(finds(&copied, Some(&web())), 1, "added later");
    assert_eq!(
        finds(&copied, Some(&stored)),
        0,
        "it was so before: the rule went"
    );
    assert_eq!(
        finds(&annotated(web(), DNS, "yes"), Some(&stored)),
        1,
        "changed"
    );
    assert_eq!(
        finds(&annotated(stored.clone(), MONITORING, record), None),
        1,
        "another part"
    );
    let number = with(web(), "/metadata/annotations", json!({DNS: 5}));
    assert_eq!(finds(&number, None), 1, "no text");
    let ports = json!([{"port": 53}, {"protocol": "UDP", "port": 53}]);
    let otherwise = with(stored, "/spec/egress/1/ports", ports);
    assert_eq!(finds(&otherwise, None), 0, "meaning counts");
}

#[test]
fn monitoring_moves_to_another_namespace() {
    let object = policy("policyTypes: [Ingress]");
    let stored =
        Hooks::new(KUBEADM, "monitoring: {namespaces: [monitoring]}").stored(&object, None);
    let edited = with(
        stored.clone(),
        "/spec/podSelector",
        json!({"matchLabels": {"a": "b"}}),
    );
    let moved = Hooks::new(KUBEADM, "monitoring: {namespaces: [observe]}");
    let after = moved.stored(&edited, Some(&stored));
    let ingress = after["spec"]["ingress"].to_string();
    assert!(
        ingress.contains("observe") && !ingress.contains("\"monitoring\""),
        "{ingress}"
    );
    let none = Hooks::new(KUBEADM, "{}").stored(&edited, Some(&stored));
    assert_eq!(none["spec"]["ingress"], json!([]));
    assert_eq!(none["metadata"]["annotations"], json!({}));
}
