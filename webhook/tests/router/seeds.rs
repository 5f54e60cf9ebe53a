//! The requests in `tests/seeds`, which the fuzzer begins with too.

use crate::{post, response, webhook};
use serde_json::Value;
use std::fs;
use std::path::Path;
use test_case::test_case;

fn seed(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds");
    fs::read_to_string(folder.join(format!("{name}.json"))).unwrap()
}

async fn ask(hook: &str, name: &str) -> Value {
    let (router, _) = webhook();
    let body = seed(name);
    let length = body.len();
    let response = response(post(&router, hook, body, length).await).await;
    assert_eq!(response["uid"], "705ab4f5-6393-11e8-b7cc-42010a800002");
    response
}

#[test_case("create-harmless", true; "harmless")]
#[test_case("create-refused", false; "refused")]
#[test_case("create-without-dns", true; "without dns")]
#[test_case("create-rich", true; "rich")]
#[test_case("create-generate-name", true; "generate name")]
#[test_case("create-forged", false; "forged")]
#[test_case("create-suppressed", true; "suppressed")]
#[test_case("create-invalid", true; "invalid")]
#[test_case("create-unknown-field", true; "unknown field")]
#[test_case("create-other-kind", true; "other kind")]
#[test_case("create-missing-object", false; "missing object")]
#[test_case("update-refused-before", true; "refused before")]
#[test_case("update-newly-refused", false; "newly refused")]
#[test_case("update-finalizer", true; "finalizer")]
#[test_case("update-status", true; "subresource")]
#[test_case("update-service", true; "service")]
#[test_case("update-namespace", true; "namespace")]
#[test_case("delete", true; "delete")]
#[test_case("connect", true; "connect")]
#[tokio::test]
async fn validate(name: &str, allowed: bool) {
    let response = ask("/validate", name).await;
    assert_eq!(response["allowed"], allowed, "{response}");
    assert!(response.get("patch").is_none(), "{response}");
    if !allowed {
        assert!(response["status"]["message"].is_string(), "{response}");
    }
}

#[test_case("create-without-dns", true; "without dns")]
#[test_case("create-dry-run", true; "a dry run is answered as the real one")]
#[test_case("create-generate-name", true; "generate name")]
#[test_case("create-harmless", false; "ingress only")]
#[test_case("update-label", false; "a label edit")]
#[test_case("update-finalizer", false; "a finalizer")]
#[test_case("create-invalid", false; "invalid")]
#[test_case("create-refused", false; "what validate refuses")]
#[test_case("update-status", false; "subresource")]
#[test_case("delete", false; "delete")]
#[test_case("connect", false; "connect")]
#[tokio::test]
async fn mutate(name: &str, patched: bool) {
    let response = ask("/mutate", name).await;
    assert_eq!(response["allowed"], true, "{response}");
    assert_eq!(response.get("patch").is_some(), patched, "{response}");
}

#[tokio::test]
async fn what_is_suppressed_is_in_the_audit_log() {
    let response = ask("/validate", "create-suppressed").await;
    let findings = response["auditAnnotations"]["findings"].as_str().unwrap();
    assert!(
        findings.contains("audit types-mismatch") && findings.contains("2099-01-01"),
        "{findings}"
    );
}
