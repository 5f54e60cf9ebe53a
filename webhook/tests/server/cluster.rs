//! The cluster that is known, changes, is lost, and comes back.

use crate::binary::Binary;
use crate::reviews;
use serde_json::{Value, json};
use std::fs;

/// A request for a policy that lacks DNS.
fn without_dns() -> Vec<u8> {
    let web = json!({"podSelector": {"matchLabels": {"app": "web"}}});
    reviews::policy(&json!({"podSelector": {"matchLabels": {"app": "web"}},
        "policyTypes": ["Egress"], "egress": [{"to": [web]}]}))
}

async fn mutated(binary: &Binary) -> Value {
    binary.post("/mutate", without_dns()).await.response()
}

#[tokio::test]
async fn a_lost_cluster_makes_results_unknown_until_it_is_back() {
    let binary = Binary::start_with(&["--stale-after=50ms"], |_| {}).await;
    let binary = binary.ready().await;
    assert!(mutated(&binary).await.get("patch").is_some());
    let (objects, away) = (
        binary.folder.path().join("objects"),
        binary.folder.path().join("away"),
    );
    fs::rename(&objects, &away).unwrap();
    binary
        .until("it says that the cluster is lost", async |b| {
            let (status, text) = b.get("/readyz").await;
            status == 200 && text.contains("what needs the cluster is Unknown")
        })
        .await;
    assert!(binary.metric("ringfence_webhook_cache_known ").await < 0.5);
    let mutate = mutated(&binary).await;
    assert!(
        mutate["allowed"] == true && mutate.get("patch").is_none(),
        "{mutate}"
    );
    let validate = binary.post("/validate", without_dns()).await.response();
    assert_eq!(validate["allowed"], true);
    assert!(
        validate["warnings"].to_string().contains("not checked"),
        "{validate}"
    );
    // What needs no cluster is judged as before.
    let refused = binary
        .post("/validate", reviews::refused())
        .await
        .response();
    assert_eq!(refused["allowed"], false);
    fs::rename(&away, &objects).unwrap();
    binary
        .until("the cluster is known again", async |b| {
            mutated(b).await.get("patch").is_some()
        })
        .await;
    assert_eq!(binary.get("/readyz").await.1, "ok\n");
}

#[tokio::test]
async fn a_change_of_the_cluster_counts() {
    let binary = Binary::start().await.ready().await;
    assert!(mutated(&binary).await.get("patch").is_some());
    let path = binary.folder.path().join("objects/cluster.yaml");
    let objects = fs::read_to_string(&path).unwrap();
    fs::write(&path, objects.replace("name: kube-dns,", "name: other,")).unwrap();
    binary
        .until("there is no DNS Service any more", async |b| {
            mutated(b).await.get("patch").is_none()
        })
        .await;
}

/// Whoever has written something asks when it counts.
#[tokio::test]
async fn what_is_published_is_what_answers_are_made_of() {
    let binary = Binary::start_with(&["--stale-after=50ms"], |_| {}).await;
    let binary = binary.ready().await;
    let objects = binary.folder.path().join("objects");
    let path = objects.join("cluster.yaml");
    let with_dns = fs::read_to_string(&path).unwrap();
    let without = with_dns.replace("name: kube-dns,", "name: other,");
    for (text, patched) in [(&without, false), (&with_dns, true)].repeat(3) {
        fs::write(&path, text).unwrap();
        let digest = ringfence_cluster::folder::digest(&objects).unwrap();
        binary
            .until("the file is published", async |b| {
                published(b).await["digest"] == *digest
            })
            .await;
        assert_eq!(mutated(&binary).await.get("patch").is_some(), patched);
    }
    fs::rename(&objects, binary.folder.path().join("away")).unwrap();
    binary
        .until("nothing counts any more", async |b| {
            published(b).await == json!({})
        })
        .await;
}

async fn published(binary: &Binary) -> Value {
    let (_, text) = binary.get("/generation").await;
    serde_json::from_str::<Value>(&text).unwrap()["published"].clone()
}

#[tokio::test]
async fn without_a_cluster_it_is_alive_and_not_ready_and_says_what_it_waits_for() {
    let binary = Binary::start_with(&[], |b| {
        fs::rename(
            b.folder.path().join("objects"),
            b.folder.path().join("away"),
        )
        .unwrap();
    })
    .await;
    binary
        .until("readiness names the folder", async |b| {
            let (status, text) = b.get("/readyz").await;
            status == 503
                && text.contains("waiting for the cluster's objects")
                && text.contains("objects cannot be read")
        })
        .await;
    assert_eq!(binary.get("/livez").await.0, 200);
}

#[tokio::test]
async fn fences_of_the_folder_count() {
    let fences = "\
{apiVersion: ringfence.dev/v1alpha1, kind: IsolationConfig, metadata: {name: default}, spec: {foreignPolicies: Deny}}
---
{apiVersion: ringfence.dev/v1alpha1, kind: NamespaceIsolation, metadata: {name: default, namespace: shop}, spec: {}}
";
    let binary = Binary::start_with(&[], |b| {
        fs::write(b.folder.path().join("objects/fences.yaml"), fences).unwrap();
    });
    let binary = binary.await.ready().await;
    let answer = binary.post("/validate", reviews::harmless()).await;
    let answer = answer.response();
    assert_eq!(answer["allowed"], false, "{answer}");
    let cause = &answer["status"]["details"]["causes"][0];
    assert_eq!(cause["reason"], "foreign-policy");
    assert!(
        cause["message"].to_string().contains("ringfence allow"),
        "{cause}"
    );
    let rule = reviews::review(&json!({
        "apiVersion": "ringfence.dev/v1alpha1", "kind": "IsolationRule",
        "metadata": {"name": "r", "namespace": "other"},
        "spec": {"direction": "Ingress", "peer": {"namespace": "shop"}},
    }));
    let answer = binary.post("/validate", rule).await.response();
    assert_eq!(answer["allowed"], true);
    assert!(
        answer["warnings"].to_string().contains("is not isolated"),
        "{answer}"
    );
}
