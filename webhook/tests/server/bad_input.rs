//! Bodies that nobody should send. Each is answered, and the server goes on.

use crate::binary::Binary;
use crate::reviews;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What the API server waits for `/mutate`.
const API_SERVER: Duration = Duration::from_secs(2);

#[tokio::test]
async fn what_is_no_review_gets_a_400_that_says_what_was_expected() {
    let binary = Binary::start().await.ready().await;
    let good = reviews::harmless();
    let other_version = String::from_utf8(good.clone()).unwrap();
    let other_version = other_version.replace("admission.k8s.io/v1", "admission.k8s.io/v1beta1");
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("empty", vec![], "an empty body"),
        ("cut off", good[..good.len() / 2].to_vec(), "EOF"),
        ("no JSON", b"hello".to_vec(), "expected value"),
        ("nested deeply", deep.into_bytes(), "no such JSON"),
        (
            "a Pod",
            br#"{"kind":"Pod","apiVersion":"v1"}"#.to_vec(),
            "kind \"Pod\"",
        ),
        ("another version", other_version.into_bytes(), "v1beta1"),
        (
            "no request",
            br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}"#.to_vec(),
            "no request",
        ),
        ("no UTF-8", b"{\"kind\":\"\xff\"}".to_vec(), "no UTF-8"),
    ];
    for (name, body, found) in cases {
        for path in ["/validate", "/mutate"] {
            let answer = binary.post(path, &body).await;
            assert_eq!(answer.status, 400, "{name}: {answer:?}");
            let text = answer.text();
            assert!(
                text.starts_with("expected the JSON of an AdmissionReview"),
                "{name}: {text}"
            );
            assert!(text.contains(found), "{name}: {text}");
        }
    }
    let refused = "ringfence_webhook_bodies_refused_total{reason=\"no_review\"}";
    assert!((binary.metric(refused).await - 16.0).abs() < f64::EPSILON);
    assert_eq!(
        binary.post("/validate", good).await.response()["allowed"],
        true
    );
}

#[tokio::test]
async fn a_body_of_20_mib_gets_a_413_and_is_counted() {
    let binary = Binary::start().await.ready().await;
    let answer = binary.post("/validate", vec![b' '; 20 << 20]).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    assert!(answer.closes(), "{answer:?}");
    let refused = "ringfence_webhook_bodies_refused_total{reason=\"too_large\"}";
    assert!((binary.metric(refused).await - 1.0).abs() < f64::EPSILON);
    assert_eq!(
        binary
            .post("/validate", reviews::harmless())
            .await
            .response()["allowed"],
        true
    );
}

#[tokio::test]
async fn requests_that_make_little_sense_are_answered_in_band() {
    let binary = Binary::start().await.ready().await;
    let other =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "shop"}});
    let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "web", "namespace": "shop"}});
    let mut unknown = policy.clone();
    unknown["spec"] = json!({"podSelector": {}, "later": true});
    let mut invalid = policy.clone();
    invalid["spec"] = json!({"podSelector": {}, "ingress": 7});
    let cases: [(&str, Vec<u8>, bool); 5] = [
        ("another kind", reviews::review(&other), true),
        ("unknown fields", reviews::review(&unknown), true),
        ("an invalid policy", reviews::review(&invalid), true),
        (
            "a deletion",
            reviews::request("DELETE", &Value::Null, &policy),
            true,
        ),
        (
            "a missing object",
            reviews::request("CREATE", &Value::Null, &policy),
            false,
        ),
    ];
    for (name, body, allowed) in cases {
        for path in ["/validate", "/mutate"] {
            let response = binary.post(path, &body).await.response();
            assert_eq!(response["allowed"], allowed, "{name}: {response}");
            assert_eq!(response["uid"], "705ab4f5-6393-11e8-b7cc-42010a800002");
            assert!(response.get("patch").is_none(), "{name}: {response}");
        }
    }
}

#[tokio::test]
async fn ten_thousand_rules_are_answered_before_the_api_server_gives_up() {
    let binary = Binary::start().await.ready().await;
    let rule = |i: u32| {
        json!({"from": [{"podSelector": {"matchLabels": {"app": format!("a{i}")}}},
            {"ipBlock": {"cidr": format!("10.{}.{}.0/24", i / 256, i % 256)}}],
            "ports": [{"port": 1 + i, "protocol": "TCP"}]})
    };
    let rules: Vec<Value> = (0..10_000).map(rule).collect();
    let body =
        reviews::policy(&json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": rules}));
    for path in ["/mutate", "/validate"] {
        let from = Instant::now();
        let response = binary.post(path, &body).await.response();
        assert_eq!(response["allowed"], true, "{response}");
        // Held by the server's own deadline, so that this does not depend on the machine.
        assert!(from.elapsed() < API_SERVER * 2, "{:?}", from.elapsed());
    }
}
