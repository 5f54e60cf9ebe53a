//! What a change will cut, said before it lands.

use crate::binary::Binary;
use crate::reviews;
use serde_json::{Value, json};
use std::fs;

const MORE: &str = "
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
spec: {nodeName: node1, containers: [{name: c, ports: [{name: sql, containerPort: 5432}]}]}
status: {podIPs: [{ip: 10.0.0.3}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: shop}
spec: {defaultBackend: {service: {name: web, port: {number: 80}}}}
";

fn own_namespace_only(app: &str) -> Value {
    json!({"podSelector": {"matchLabels": {"app": app}}, "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": {}}]}]})
}

async fn warnings(binary: &Binary, spec: &Value) -> String {
    let answer = binary.post("/validate", reviews::policy(spec)).await;
    let answer = answer.response();
    assert_eq!(answer["allowed"], true, "{answer}");
    answer["warnings"].to_string()
}

#[tokio::test]
async fn a_policy_says_what_it_cuts_until_it_is_there() {
    let prepare = |b: &Binary| {
        fs::write(b.folder.path().join("objects/more.yaml"), MORE).unwrap();
    };
    let binary = Binary::start_with(&[], prepare).await.ready().await;
    // DNS in kube-system reaches the database no longer; its name is none of the author's.
    let db = own_namespace_only("db");
    let said = warnings(&binary, &db).await;
    assert!(
        said.contains("cuts 1 flow between pods [impact, spec]"),
        "{said}"
    );
    assert!(
        !said.contains("kube-system") && !said.contains("kube-dns"),
        "{said}"
    );
    let nobody = json!({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"]});
    let said = warnings(&binary, &nobody).await;
    assert!(
        said.contains("cuts 2 flows between pods: web->db:5432, ... [impact, spec]"),
        "{said}"
    );
    let said = warnings(&binary, &own_namespace_only("web")).await;
    assert!(
        said.contains("[cuts-ingress,") && said.contains("Service web, port 80"),
        "{said}"
    );
    assert!(
        !warnings(&binary, &own_namespace_only("none"))
            .await
            .contains("[impact,")
    );
    // Once it is there, it cuts nothing any more.
    let review: Value = serde_json::from_slice(&reviews::policy(&nobody)).unwrap();
    let object = review["request"]["object"].to_string();
    fs::write(binary.folder.path().join("objects/policy.json"), object).unwrap();
    binary
        .until("the policy is known", async |b| {
            !warnings(b, &nobody).await.contains("[impact,")
        })
        .await;
    let said = warnings(&binary, &db).await;
    assert!(
        said.contains("opens 1 flow between pods: web->db:5432 [impact, spec]"),
        "{said}"
    );
}
