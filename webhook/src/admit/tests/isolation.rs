//! The kinds of isolation.

use super::*;
use test_case::test_case;

fn isolation(kind: &str, metadata: &Value, spec: &Value) -> Value {
    let mut object = json!({"apiVersion": "ringfence.dev/v1alpha1", "kind": kind,
        "metadata": {"name": "default"}, "spec": spec});
    for (key, value) in metadata.as_object().into_iter().flatten() {
        object["metadata"][key] = value.clone();
    }
    let mut request = create(&object);
    request["kind"] = json!({"group": "ringfence.dev", "version": "v1alpha1", "kind": kind});
    request
}

fn rule(cidr: &str) -> Value {
    let spec = json!({"direction": "Ingress", "peer": {"cidr": {"cidr": cidr}}});
    isolation("IsolationRule", &json!({"namespace": "shop"}), &spec)
}

fn shop_is_isolated() -> Known {
    let mut snapshot = known().index.unwrap().snapshot().clone();
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}});
    snapshot.apply(parse::object(&node).unwrap().0);
    Known {
        index: Some(Index::new(snapshot)),
        fences: Fences {
            isolated: [(
                "shop".into(),
                ringfence_api::NamespaceIsolationSpec::default(),
            )]
            .into(),
            ..Fences::default()
        },
        ..known()
    }
}

fn of<'a>(decision: &'a Decision, check: &str) -> Option<&'a Finding> {
    decision.findings.iter().find(|f| f.check == check)
}

#[test]
fn a_rule_is_judged_by_what_it_will_mean() {
    // Which Services webhooks call is not known here, and without any there is no doubt.
    let known = shop_is_isolated();
    let decision = decide(&known, Hook::Validate, &rule("192.0.2.1/32"));
    assert!(!decision.is_allowed(), "{decision:?}");
    assert_eq!(decision.object, Some(ObjectKey::new("shop", "default")));
    let decision = decide(&known, Hook::Validate, &rule("203.0.113.7/32"));
    assert!(
        decision.is_allowed() && decision.findings.is_empty(),
        "{decision:?}"
    );
    // An update that leaves it as it is.
    let mut request = rule("192.0.2.1/32");
    request["operation"] = "UPDATE".into();
    request["oldObject"] = request["object"].clone();
    let decision = decide(&known, Hook::Validate, &request);
    assert!(decision.is_allowed(), "{decision:?}");
    assert!(of(&decision, "node-address-allowed").is_some());
}

#[test]
fn mutate_has_nothing_to_say() {
    let decision = decide(&shop_is_isolated(), Hook::Mutate, &rule("192.0.2.1/32"));
    assert!(
        decision.is_allowed() && decision.findings.is_empty(),
        "{decision:?}"
    );
}

#[test_case("NamespaceIsolation", &json!({"namespace": "shop"}), &json!({"scope": "Tenant"}); "isolation")]
#[test_case("IsolationConfig", &json!({}), &json!({"gatewayNamespaces": ["gone"]}); "configuration")]
fn the_others_are_warned_of(kind: &str, metadata: &Value, spec: &Value) {
    let request = isolation(kind, metadata, spec);
    let decision = decide(&shop_is_isolated(), Hook::Validate, &request);
    assert!(decision.is_allowed());
    assert!(
        of(&decision, "isolation-unresolved").is_some(),
        "{decision:?}"
    );
}

#[test_case(&json!({"direction": "Sideways", "peer": {}}); "a word")]
#[test_case(&json!([]); "a list")]
fn what_does_not_follow_the_schema_is_said(spec: &Value) {
    let request = isolation("IsolationRule", &json!({"namespace": "shop"}), spec);
    let decision = decide(&shop_is_isolated(), Hook::Validate, &request);
    assert!(decision.is_allowed());
    assert!(
        decision.notes[0].contains("CustomResourceDefinitions"),
        "{decision:?}"
    );
}

#[test_case("alice", false; "somebody else")]
#[test_case("system:serviceaccount:ringfence-system:ringfence-controller", true; "the controller")]
#[test_case("system:serviceaccount:shop:ringfence-controller", false; "one that is called so elsewhere")]
fn policies_of_others_where_they_are_refused(user: &str, allowed: bool) {
    let mut known = shop_is_isolated();
    known.fences.config.foreign_policies = ringfence_api::ForeignPolicies::Deny;
    let mut request = create(&policy(
        &json!({"podSelector": {}, "policyTypes": ["Ingress"]}),
    ));
    request["object"]["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "ringfence"});
    request["userInfo"] = json!({"username": user});
    let decision = decide(&known, Hook::Validate, &request);
    assert_eq!(decision.is_allowed(), allowed, "{decision:?}");
}
