use super::*;
use kube::api::DynamicObject;
use ringfence_certs::Authority;
use std::time::Duration;
use test_case::test_case;

const POLICIES: &str = "policies.validate.ringfence.dev";
const SERVICES: &str = "services.validate.ringfence.dev";

fn now() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().unwrap()
}

fn bundle() -> Bundle {
    let ca = Authority::create(Duration::from_hours(24), now()).unwrap();
    Bundle::parse(ca.certificate()).unwrap()
}

fn object(marks: &str, entries: &[Value]) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "ringfence", "resourceVersion": "7", "annotations": {FAIL_CLOSED: marks}},
        "webhooks": entries,
    }))
    .unwrap()
}

fn entry(name: &str, group: &str, resources: &[&str], policy: &str, bundle: &[u8]) -> Value {
    json!({
        "name": name,
        "clientConfig": {
            "service": {"name": "hook", "namespace": "system", "path": "/validate"},
            "caBundle": ByteString(bundle.to_vec()),
        },
        "failurePolicy": policy,
        "rules": [{"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": resources}],
    })
}

fn policies(policy: &str, bundle: &[u8]) -> Value {
    entry(
        POLICIES,
        "networking.k8s.io",
        &["networkpolicies"],
        policy,
        bundle,
    )
}

fn services(policy: &str, bundle: &[u8]) -> Value {
    entry(SERVICES, "", &["services"], policy, bundle)
}

fn read(marks: &str, entries: &[Value]) -> Configuration {
    Configuration::read(Hook::Validate, &object(marks, entries)).unwrap()
}

/// A proof that both hooks, or none, were called.
fn proof(called: bool) -> Proof {
    let probe = probe::Probe::new(1);
    let mut headers = http::HeaderMap::new();
    for hook in Hook::ALL.into_iter().filter(|_| called) {
        let text = format!(
            "299 - \"{} {} {}\"",
            probe::WORD,
            hook.label(),
            probe.nonce()
        );
        headers.append("warning", text.parse().unwrap());
    }
    probe.heard(&headers)
}

/// One line for each edit: index, whether the bundle is written, the failure policy.
fn lines(edits: &[Edit]) -> Vec<String> {
    let line = |edit: &Edit| {
        let bundle = if edit.ca_bundle.is_some() {
            "bundle"
        } else {
            "-"
        };
        let policy = edit.failure_policy.map_or("-".into(), |p| format!("{p:?}"));
        format!("{} {bundle} {policy}", edit.index)
    };
    edits.iter().map(line).collect()
}

#[test]
fn a_wiped_bundle_is_written_everywhere() {
    let ours = bundle();
    let pem = ours.pem();
    let wiped = read(
        "",
        &[policies("Ignore", b""), services("Ignore", pem.as_bytes())],
    );
    assert_eq!(lines(&repair(&wiped, Some(&ours), now())), ["0 bundle -"]);
    let foreign = bundle().pem();
    let other = read(
        "",
        &[
            policies("Ignore", foreign.as_bytes()),
            services("Fail", b""),
        ],
    );
    assert_eq!(
        lines(&repair(&other, Some(&ours), now())),
        ["0 bundle -", "1 bundle -"]
    );
    let right = read("", &[policies("Ignore", pem.as_bytes())]);
    assert!(repair(&right, Some(&ours), now()).is_empty());
    assert!(agrees(&right, &ours) && !agrees(&wiped, &ours));
}

#[test]
fn what_is_closed_stays_closed_when_its_bundle_is_repaired() {
    let ours = bundle();
    let wiped = read(POLICIES, &[policies("Fail", b"")]);
    assert_eq!(lines(&repair(&wiped, Some(&ours), now())), ["0 bundle -"]);
}

#[test_case(b"", &["0 - Ignore"]; "no bundle")]
#[test_case(b"hello", &["0 - Ignore"]; "a bundle that cannot be read")]
fn nothing_stays_closed_by_which_nothing_can_be_verified(bundle: &[u8], wanted: &[&str]) {
    let marked = read(POLICIES, &[policies("Fail", bundle)]);
    assert_eq!(lines(&repair(&marked, None, now())), wanted);
    let theirs = read("", &[policies("Fail", bundle)]);
    assert!(
        repair(&theirs, None, now()).is_empty(),
        "not ours to change"
    );
}

#[test]
fn expired_cas_open_and_are_not_raised() {
    let pem = bundle().pem();
    let later = now() + Duration::from_hours(25);
    let closed = read(POLICIES, &[policies("Fail", pem.as_bytes())]);
    assert!(repair(&closed, None, now()).is_empty());
    assert_eq!(lines(&repair(&closed, None, later)), ["0 - Ignore"]);
    let open = read(POLICIES, &[policies("Ignore", pem.as_bytes())]);
    assert!(wants_proof(&open, now()) && !wants_proof(&open, later));
    assert!(raise(&open, &proof(true), later).is_empty());
}

#[test]
fn only_what_is_marked_and_proved_is_raised() {
    let pem = bundle().pem();
    let entries = [
        policies("Ignore", pem.as_bytes()),
        services("Ignore", pem.as_bytes()),
    ];
    let marked = read(POLICIES, &entries);
    assert!(wants_proof(&marked, now()));
    assert!(raise(&marked, &proof(false), now()).is_empty());
    assert_eq!(lines(&raise(&marked, &proof(true), now())), ["0 - Fail"]);
    let unmarked = read("", &entries);
    assert!(!wants_proof(&unmarked, now()) && raise(&unmarked, &proof(true), now()).is_empty());
    let empty = read(POLICIES, &[policies("Ignore", b"")]);
    assert!(!wants_proof(&empty, now()) && raise(&empty, &proof(true), now()).is_empty());
    let closed = read(POLICIES, &[policies("Fail", pem.as_bytes())]);
    assert!(!wants_proof(&closed, now()) && fails_closed(&closed) && !fails_closed(&marked));
}

#[test_case(&[services("Ignore", b"x")], SERVICES, "only an entry for networkpolicies"; "services cannot be proved")]
#[test_case(&[entry(POLICIES, "*", &["*"], "Ignore", b"x")], POLICIES, "only an entry for networkpolicies"; "everything")]
#[test_case(&[policies("Ignore", b"x"), entry("b.ringfence.dev", "*", &["*/*"], "Ignore", b"x")], POLICIES,
    "several entries are for networkpolicies"; "which of two")]
#[test_case(&[policies("Ignore", b"x")], "polices", "names \"polices\""; "a slip")]
fn a_mark_that_cannot_be_followed_says_so(entries: &[Value], marks: &str, said: &str) {
    let configuration = read(marks, entries);
    let doubts: Vec<String> = doubts(&configuration)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(doubts.len(), 1, "{doubts:?}");
    assert!(doubts[0].contains(said), "{doubts:?}");
    assert!(raise(&configuration, &proof(true), now()).is_empty());
}

#[test]
fn the_patch_holds_for_what_was_seen_only() {
    let object = object(&format!(" {POLICIES} , "), &[policies("Ignore", b"old")]);
    let seen = Configuration::read(Hook::Validate, &object).unwrap();
    assert!(doubts(&seen).is_empty());
    let ours = bundle();
    let edit = Edit {
        index: 0,
        name: POLICIES.into(),
        ca_bundle: Some(ours.pem().into_bytes()),
        failure_policy: Some(FailurePolicy::Fail),
    };
    let patch = patch(&seen, &[edit]).unwrap();
    let mut json = serde_json::to_value(&object).unwrap();
    json_patch::patch(&mut json, &patch).unwrap();
    let after = Configuration::read(
        Hook::Validate,
        &serde_json::from_value(json.clone()).unwrap(),
    )
    .unwrap();
    assert!(agrees(&after, &ours) && fails_closed(&after));
    for (pointer, value) in [
        ("/metadata/resourceVersion", "8"),
        ("/webhooks/0/name", "other"),
    ] {
        let mut changed = serde_json::to_value(&object).unwrap();
        *changed.pointer_mut(pointer).unwrap() = value.into();
        assert!(
            json_patch::patch(&mut changed, &patch).is_err(),
            "{pointer}"
        );
    }
}

#[test]
fn what_the_server_defaults_and_what_nobody_wrote() {
    let bare = json!({"name": "a.b.c", "clientConfig": {}});
    let read = read("", &[bare]);
    assert_eq!(read.entries[0].failure_policy, FailurePolicy::Fail);
    assert!(read.entries[0].ca_bundle.is_empty() && !read.entries[0].policies);
    let mut object = object("", &[]);
    object.data = json!({});
    let empty = Configuration::read(Hook::Mutate, &object).unwrap();
    assert!(empty.entries.is_empty() && !empty.injected);
    object.data = json!({"webhooks": "none"});
    assert!(Configuration::read(Hook::Mutate, &object).is_err());
}
