//! Requests that make sense.

use crate::binary::Binary;
use crate::reviews;

#[tokio::test]
async fn serves_validates_and_mutates_over_tls() {
    let binary = Binary::start().await.ready().await;
    let refused = binary
        .post("/validate", reviews::refused())
        .await
        .response();
    assert_eq!(refused["allowed"], false, "{refused}");
    assert_eq!(refused["status"]["code"], 403);
    let causes = refused["status"]["details"]["causes"].as_array().unwrap();
    assert!(
        causes.iter().any(|c| c["reason"] == "types-mismatch"),
        "{refused}"
    );
    let harmless = binary
        .post("/validate", reviews::harmless())
        .await
        .response();
    assert_eq!(harmless["allowed"], true, "{harmless}");
    let mutated = binary.post("/mutate", reviews::harmless()).await.response();
    assert_eq!(mutated["allowed"], true, "{mutated}");
    assert!(
        binary
            .logged()
            .contains("705ab4f5-6393-11e8-b7cc-42010a800002")
    );
    let name = "ringfence_webhook_requests_total{hook=\"validate\",kind=\"NetworkPolicy\",outcome=\"denied\"}";
    assert!((binary.metric(name).await - 1.0).abs() < f64::EPSILON);
}
