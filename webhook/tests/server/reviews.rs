//! Requests as the API server writes them.

use serde_json::{Value, json};

/// A request to create a NetworkPolicy `shop/web` with this spec.
pub fn policy(spec: &Value) -> Vec<u8> {
    review(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "web", "namespace": "shop"}, "spec": spec,
    }))
}

/// A request to create an object.
pub fn review(object: &Value) -> Vec<u8> {
    request("CREATE", object, &Value::Null)
}

/// A request.
pub fn request(operation: &str, object: &Value, old: &Value) -> Vec<u8> {
    let some = if object.is_null() { old } else { object };
    let version = some["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    // In the order in which the API server writes it: the uid comes early.
    let uid = "705ab4f5-6393-11e8-b7cc-42010a800002";
    let kind = json!({"group": group, "version": version, "kind": some["kind"]});
    let rest = json!({
        "kind": kind,
        "name": some["metadata"]["name"],
        "namespace": some["metadata"]["namespace"],
        "operation": operation,
        "userInfo": {"username": "anna", "groups": ["system:authenticated"]},
        "object": object,
        "oldObject": old,
        "dryRun": false,
    });
    let rest = rest.to_string();
    format!(
        r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"{uid}",{}}}"#,
        &rest[1..]
    )
    .into_bytes()
}

/// A policy that every profile refuses.
pub fn refused() -> Vec<u8> {
    policy(&json!({"podSelector": {}, "policyTypes": ["Ingress"],
        "egress": [{"to": [{"podSelector": {}}]}]}))
}

/// A policy without findings.
pub fn harmless() -> Vec<u8> {
    policy(
        &json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}],
            "ports": [{"port": 80, "protocol": "TCP"}]}]}),
    )
}
