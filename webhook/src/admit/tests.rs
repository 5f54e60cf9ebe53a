mod isolation;

use super::*;
use crate::review;
use jiff::Timestamp;
use ringfence_checks::{Config, Facts, Index};
use ringfence_isolation::judge::Fences;
use ringfence_policy::{Snapshot, parse};
use serde_json::json;
use test_case::test_case;

struct Known {
    index: Option<Index>,
    config: Config,
    fences: Fences,
}

/// A cluster with DNS and one pod.
fn known() -> Known {
    let mut snapshot = Snapshot::default();
    for object in [
        json!({"kind": "Namespace", "metadata": {"name": "shop", "labels": {"kubernetes.io/metadata.name": "shop"}}}),
        json!({"kind": "Namespace", "metadata": {"name": "kube-system", "labels": {"kubernetes.io/metadata.name": "kube-system"}}}),
        json!({"kind": "Pod", "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}}}),
        json!({"kind": "Service", "metadata": {"name": "kube-dns", "namespace": "kube-system"},
            "spec": {"clusterIP": "10.96.0.10", "selector": {"k8s-app": "kube-dns"}, "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]}}),
    ] {
        let mut object = object;
        object["apiVersion"] = "v1".into();
        snapshot.apply(parse::object(&object).unwrap().0);
    }
    Known {
        index: Some(Index::new(snapshot)),
        config: Config::default(),
        fences: Fences::default(),
    }
}

impl Known {
    fn around<'a>(&'a self, world: &'a World<'a>) -> Around<'a> {
        Around {
            world,
            fences: Some(&self.fences),
        }
    }
}

fn configured(config: &Value) -> Known {
    Known {
        config: Config::from_value(config).unwrap(),
        ..known()
    }
}

fn decide(known: &Known, hook: Hook, request: &Value) -> Decision {
    let review =
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request});
    let bytes = review.to_string();
    let request = review::parse(bytes.as_bytes()).unwrap();
    let world = World {
        index: known.index.as_ref(),
        facts: &Facts::default(),
        config: &known.config,
        now: "2026-06-01T12:00:00Z".parse::<Timestamp>().unwrap(),
        occasion: Occasion::Scan,
    };
    admit(hook, &request, &known.around(&world))
}

/// Egress is isolated and allowed to one peer: DNS is missing.
fn without_dns() -> Value {
    json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"],
        "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "web"}}}]}]})
}

/// `types-mismatch`, which every profile denies.
fn mismatch() -> Value {
    json!({"podSelector": {}, "policyTypes": ["Ingress"], "egress": [{"to": [{"podSelector": {}}]}]})
}

fn policy(spec: &Value) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "web", "namespace": "shop"}, "spec": spec})
}

fn create(object: &Value) -> Value {
    json!({"uid": "1", "operation": "CREATE", "name": "web", "namespace": "shop",
        "kind": {"group": "networking.k8s.io", "version": "v1", "kind": "NetworkPolicy"},
        "userInfo": {"username": "anna", "groups": ["devs"]}, "object": object})
}

fn update(old: &Value, object: &Value) -> Value {
    let mut request = create(object);
    request["operation"] = "UPDATE".into();
    request["oldObject"] = old.clone();
    request
}

fn denied(decision: &Decision) -> Vec<&str> {
    decision.of(Level::Deny).map(|f| f.check).collect()
}

#[test]
fn a_deny_refuses_and_names_the_object() {
    let decision = decide(&known(), Hook::Validate, &create(&policy(&mismatch())));
    assert!(!decision.is_allowed());
    assert_eq!(denied(&decision), ["types-mismatch"]);
    assert_eq!(decision.object.unwrap().to_string(), "shop/web");
}

#[test]
fn what_was_so_before_is_not_denied() {
    let object = policy(&mismatch());
    let decision = decide(&known(), Hook::Validate, &update(&object, &object));
    assert!(decision.is_allowed(), "{decision:?}");
    let decision = decide(
        &known(),
        Hook::Validate,
        &update(&policy(&without_dns()), &object),
    );
    assert!(!decision.is_allowed());
}

#[test]
fn what_is_being_deleted_is_not_denied() {
    let mut object = policy(&mismatch());
    object["metadata"]["deletionTimestamp"] = "2026-06-01T12:00:00Z".into();
    let decision = decide(&known(), Hook::Validate, &create(&object));
    assert!(decision.is_allowed(), "{decision:?}");
}

#[test]
fn dns_is_injected_once_and_only_by_mutate() {
    let request = create(&policy(&without_dns()));
    let decision = decide(&known(), Hook::Mutate, &request);
    assert!(
        decision.is_allowed() && decision.withheld.is_none(),
        "{decision:?}"
    );
    let mut patched = policy(&without_dns());
    json_patch::patch(&mut patched, &decision.patch).unwrap();
    assert_eq!(patched["spec"]["egress"].as_array().unwrap().len(), 2);
    let again = decide(&known(), Hook::Mutate, &create(&patched));
    assert!(again.patch.is_empty(), "{again:?}");
    let validated = decide(&known(), Hook::Validate, &create(&patched));
    assert!(validated.is_allowed(), "{validated:?}");
    assert!(
        !validated
            .findings
            .iter()
            .any(|f| f.check == "egress-no-dns"),
        "{validated:?}"
    );
}

#[test]
fn validate_warns_of_what_mutate_was_to_inject() {
    let decision = decide(&known(), Hook::Validate, &create(&policy(&without_dns())));
    assert!(decision.is_allowed() && decision.patch.is_empty());
    assert!(
        decision.of(Level::Warn).any(|f| f.check == "egress-no-dns"),
        "{decision:?}"
    );
}

#[test]
fn mutate_changes_nothing_of_what_it_cannot_know() {
    let known = Known {
        index: None,
        ..known()
    };
    let decision = decide(&known, Hook::Mutate, &create(&policy(&without_dns())));
    assert!(
        decision.is_allowed() && decision.patch.is_empty(),
        "{decision:?}"
    );
    let decision = decide(&known, Hook::Validate, &create(&policy(&without_dns())));
    assert!(
        decision.is_allowed() && !decision.unknown.is_empty(),
        "{decision:?}"
    );
}

#[test]
fn a_forged_record_of_injection_is_refused() {
    let mut object = policy(&without_dns());
    object["metadata"]["annotations"] =
        json!({"injected.ringfence.dev/dns": "egress-no-dns v1 0123456789ab"});
    let decision = decide(&known(), Hook::Validate, &create(&object));
    assert_eq!(denied(&decision), [inject::FORGED], "{decision:?}");
}

#[test]
fn with_generate_name_and_without_namespace_it_works_the_same() {
    let mut object = policy(&without_dns());
    object["metadata"] = json!({"generateName": "web-"});
    let decision = decide(&known(), Hook::Mutate, &create(&object));
    assert!(!decision.patch.is_empty(), "{decision:?}");
    assert_eq!(decision.object.unwrap().to_string(), "shop/web-xxxxx");
}

#[test_case("DELETE"; "delete")]
#[test_case("CONNECT"; "connect")]
#[test_case("PATCH"; "an operation of a later version")]
fn other_operations_are_harmless(operation: &str) {
    let mut request = create(&Value::Null);
    request["operation"] = operation.into();
    request["oldObject"] = policy(&mismatch());
    for hook in Hook::ALL {
        let decision = decide(&known(), hook, &request);
        assert_eq!(decision.skipped, Some(Skip::Operation));
        assert!(decision.is_allowed());
    }
}

#[test_case("", "Pod", ""; "another kind")]
#[test_case("cilium.io", "NetworkPolicy", ""; "the kind of another group")]
#[test_case("networking.k8s.io", "NetworkPolicy", "status"; "a subresource")]
fn other_objects_are_allowed(group: &str, kind: &str, sub_resource: &str) {
    let mut request = create(&json!({"anything": ["at", "all"]}));
    request["kind"] = json!({"group": group, "version": "v1", "kind": kind});
    request["subResource"] = sub_resource.into();
    for hook in Hook::ALL {
        assert_eq!(decide(&known(), hook, &request).skipped, Some(Skip::Kind));
    }
}

#[test_case("anna", &["x"], "shop" => true; "the user")]
#[test_case("otto", &["devs"], "shop" => true; "a group")]
#[test_case("otto", &["x"], "shop" => false; "another user")]
#[test_case("anna", &["devs"], "bank" => false; "another namespace")]
fn exemptions_need_user_and_namespace(user: &str, groups: &[&str], namespace: &str) -> bool {
    let config =
        json!({"exemptions": [{"namespaces": ["shop"], "users": ["anna"], "groups": ["devs"]}]});
    let mut request = create(&policy(&mismatch()));
    request["userInfo"] = json!({"username": user, "groups": groups});
    request["namespace"] = namespace.into();
    request["object"]["metadata"]["namespace"] = namespace.into();
    let decision = decide(&configured(&config), Hook::Validate, &request);
    assert_eq!(
        decision.is_allowed(),
        decision.skipped == Some(Skip::Exempt)
    );
    decision.is_allowed()
}

#[test]
fn a_request_without_object_is_refused_in_band() {
    for hook in Hook::ALL {
        let decision = decide(&known(), hook, &create(&Value::Null));
        assert_eq!(decision.refusal.as_ref().unwrap().code, 400);
        assert!(!decision.is_allowed());
    }
}

fn deep() -> String {
    format!("{}{}", "[".repeat(500), "]".repeat(500))
}

#[test]
fn an_object_that_is_nested_too_deeply_is_refused_unless_it_was_so_before() {
    let create = create(&policy(&mismatch())).to_string();
    let deep_object = format!(r#"{{"spec":{}}}"#, deep());
    let create = create.replace(&policy(&mismatch()).to_string(), &deep_object);
    let refused = decide_text(&create);
    assert_eq!(refused.refusal.unwrap().code, 400);
    let update = create.replace(
        r#""operation":"CREATE""#,
        &format!(r#""operation":"UPDATE","oldObject":{deep_object}"#),
    );
    let allowed = decide_text(&update);
    assert!(
        allowed.is_allowed() && allowed.notes.len() == 1,
        "{allowed:?}"
    );
}

fn decide_text(request: &str) -> Decision {
    let text = format!(
        r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{request}}}"#
    );
    let request = review::parse(text.as_bytes()).unwrap();
    let known = known();
    let world = World {
        index: known.index.as_ref(),
        facts: &Facts::default(),
        config: &known.config,
        now: Timestamp::UNIX_EPOCH,
        occasion: Occasion::Scan,
    };
    admit(Hook::Validate, &request, &known.around(&world))
}

#[test]
fn an_object_of_too_many_nodes_is_not_judged_and_that_is_said() {
    let peers = vec![json!({"podSelector": {}}); MOST_NODES / 2 + 1];
    let spec = json!({"podSelector": {}, "policyTypes": ["Ingress"], "egress": [{"to": peers}]});
    let decision = decide(&known(), Hook::Validate, &create(&policy(&spec)));
    assert!(decision.is_allowed());
    assert!(
        decision.notes[0].starts_with("not judged: "),
        "{:?}",
        decision.notes
    );
}

#[test_case(&json!({"podSelector": {}, "egress": "all"}); "a field of another type")]
#[test_case(&json!({"podSelector": {}, "ingress": [{"from": [{"podSelektor": {}}]}]}); "an unknown field")]
#[test_case(&json!({"podSelector": {}, "ingress": [{"ports": [{"port": 99999}]}]}); "a port out of range")]
fn an_invalid_policy_is_left_to_the_api_server_by_mutate_and_warned_of_by_validate(spec: &Value) {
    let request = create(&policy(spec));
    let decision = decide(&known(), Hook::Mutate, &request);
    assert!(
        decision.is_allowed() && decision.patch.is_empty(),
        "{decision:?}"
    );
    let decision = decide(&known(), Hook::Validate, &request);
    assert!(
        decision.is_allowed() && !decision.notes.is_empty(),
        "{decision:?}"
    );
}

#[test]
fn a_policy_without_any_name_is_left_to_the_api_server() {
    let mut request = create(
        &json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {}, "spec": {}}),
    );
    request["name"] = "".into();
    assert!(decide(&known(), Hook::Mutate, &request).is_allowed());
}
