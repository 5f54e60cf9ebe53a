use super::*;
use ringfence_checks::Unknown;
use ringfence_policy::model::ObjectKey;
use serde_json::{Value, json};

fn finding(level: Level, sentence: &str) -> Finding {
    Finding {
        check: "types-mismatch",
        level,
        path: "spec.egress".to_owned(),
        sentence: sentence.to_owned(),
        evidence: sentence.to_owned(),
        patch: None,
        softened: None,
    }
}

fn decision(findings: Vec<Finding>) -> Decision {
    Decision {
        object: Some(ObjectKey::new("shop", "web")),
        findings,
        ..Decision::default()
    }
}

fn rendered(decision: &Decision) -> Value {
    let bytes = render("u-1", decision).unwrap();
    let value: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(value["response"]["uid"], "u-1");
    assert_eq!(value["kind"], "AdmissionReview");
    assert_eq!(value["apiVersion"], "admission.k8s.io/v1");
    value["response"].clone()
}

#[test]
fn an_allowed_object_without_findings_is_answered_in_few_words() {
    let answer = rendered(&decision(vec![]));
    assert_eq!(answer, json!({"uid": "u-1", "allowed": true}));
}

#[test]
fn a_denial_lists_every_deny_with_path_sentence_and_remedy() {
    let mut mended = finding(Level::Deny, "Nothing may leave");
    mended.patch = serde_json::from_value(json!([{"op": "remove", "path": "/spec/egress"}])).ok();
    let answer = rendered(&decision(vec![
        mended,
        finding(Level::Deny, "Everybody may enter"),
        finding(Level::Warn, "A warning"),
    ]));
    assert_eq!(answer["allowed"], false);
    let status = &answer["status"];
    assert_eq!(
        (&status["code"], &status["reason"]),
        (&json!(403), &json!("Forbidden"))
    );
    let message = status["message"].as_str().unwrap();
    for part in [
        "shop/web",
        "spec.egress: Nothing may leave",
        r#"{"op":"remove","path":"/spec/egress"}"#,
        "Everybody may enter",
        "ringfence checks types-mismatch",
    ] {
        assert!(message.contains(part), "{part} is missing in {message}");
    }
    assert_eq!(status["details"]["name"], "web");
    assert_eq!(status["details"]["causes"][1]["reason"], "types-mismatch");
    assert_eq!(status["details"]["causes"][1]["field"], "spec.egress");
    assert_eq!(answer["warnings"].as_array().unwrap().len(), 1);
}

#[test]
fn what_to_do_is_said_once_for_a_check() {
    let denies = ["One", "Two", "Three"].map(|sentence| finding(Level::Deny, sentence));
    let answer = rendered(&decision(denies.to_vec()));
    let message = answer["status"]["message"].as_str().unwrap();
    assert_eq!(message.matches("Name both directions").count(), 1);
    assert!(message.contains("; spec.egress: Two [types-mismatch]: as above; "));
    assert!(message.len() < 500, "{message}");
    // Each cause stands for itself.
    let cause = &answer["status"]["details"]["causes"][2]["message"];
    assert!(cause.as_str().unwrap().contains("Name both directions"));
}

#[test]
fn ten_thousand_denials_are_told_in_few_bytes() {
    let many = (0..10_000).map(|i| finding(Level::Deny, &format!("{i} {}", "x".repeat(100))));
    let answer = rendered(&decision(many.collect()));
    let message = answer["status"]["message"].as_str().unwrap();
    assert!(message.len() <= LONGEST_MESSAGE && message.ends_with("..."));
    let causes = answer["status"]["details"]["causes"].as_array().unwrap();
    assert_eq!(causes.len(), MOST_CAUSES);
    assert!(answer.to_string().len() < 64 << 10, "all of it");
}

#[test]
fn warnings_are_few_and_short_and_clean_and_name_their_object() {
    let many = (0..40).map(|i| finding(Level::Warn, &format!("{i} \n{}", "ä".repeat(300))));
    let answer = rendered(&decision(many.collect()));
    let warnings = answer["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), MOST_WARNINGS + 1);
    for warning in warnings {
        let warning = warning.as_str().unwrap();
        assert!(warning.starts_with("shop/web: "), "{warning}");
        assert!(warning.len() <= LONGEST_WARNING, "{warning}");
        assert!(!warning.contains(char::is_control), "{warning}");
    }
    assert_eq!(warnings[MOST_WARNINGS], "shop/web: 28 more");
    let all: usize = warnings.iter().map(|w| w.as_str().unwrap().len()).sum();
    assert!(all < 4096, "{all}");
}

#[test]
fn a_long_name_leaves_room_for_the_sentence() {
    let mut decision = decision(vec![finding(Level::Warn, "Nobody may enter")]);
    decision.object = Some(ObjectKey::new("n".repeat(63), "p".repeat(253)));
    let answer = rendered(&decision);
    assert!(
        answer["warnings"][0]
            .as_str()
            .unwrap()
            .contains("Nobody may enter")
    );
}

#[test]
fn unknown_warns_once_and_never_denies() {
    let mut decision = decision(vec![]);
    let missing = "the cluster's objects are not known (yet)";
    for check in ["peer-none", "selects-none"] {
        decision.unknown.push(Unknown { check, missing });
    }
    let answer = rendered(&decision);
    assert_eq!(answer["allowed"], true);
    assert_eq!(
        answer["warnings"],
        json!([format!(
            "shop/web: not checked: peer-none and 1 more, because {missing}"
        )])
    );
}

#[test]
fn audit_annotations_have_plain_keys_and_bounded_values() {
    let many = (0..2000).map(|i| finding(Level::Audit, &format!("{i}")));
    let answer = rendered(&decision(many.collect()));
    let annotations = answer["auditAnnotations"].as_object().unwrap();
    for (key, value) in annotations {
        assert!(
            key.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
            "{key}"
        );
        assert!(value.as_str().unwrap().len() <= LONGEST_ANNOTATION);
    }
    assert!(
        answer.get("warnings").is_none(),
        "audit findings do not warn"
    );
}

#[test]
fn a_patch_is_base64_and_goes_only_with_an_allowed_object() {
    let patch = json!([{"op": "add", "path": "/spec/egress/-", "value": {}}]);
    let mut decision = decision(vec![]);
    decision.patch = serde_json::from_value(patch.clone()).unwrap();
    let answer = rendered(&decision);
    assert_eq!(answer["patchType"], "JSONPatch");
    let json = BASE64_STANDARD
        .decode(answer["patch"].as_str().unwrap())
        .unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&json).unwrap(), patch);
    decision.findings.push(finding(Level::Deny, "no"));
    let answer = rendered(&decision);
    assert!(answer.get("patch").is_none() && answer.get("patchType").is_none());
}

#[test]
fn overload_is_a_denial_with_code_429() {
    let bytes = overloaded("u-9").unwrap();
    let value: Value = serde_json::from_slice(&bytes).unwrap();
    let response = &value["response"];
    assert_eq!(
        (&response["uid"], &response["allowed"]),
        (&json!("u-9"), &json!(false))
    );
    assert_eq!(response["status"]["code"], 429);
}
