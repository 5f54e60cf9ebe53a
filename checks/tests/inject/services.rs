//! `externalTrafficPolicy: Local` by opt-in.

use crate::{Hooks, document};
use serde_json::{Value, json};
use test_case::test_case;

const CLUSTER: &str = "
apiVersion: v1
kind: Node
metadata: {name: node-1}
spec: {podCIDRs: [10.1.0.0/16]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24}}]}]
";
const OPT_IN: &str = "defaultExternalTrafficPolicyLocal: true";

fn service(kind: &str, policy: &str) -> Value {
    document(&format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: web, namespace: shop}}, \
         spec: {{type: {kind}, externalTrafficPolicy: {policy}, selector: {{app: web}}, \
         ports: [{{port: 80}}]}}}}"
    ))
}

fn is_local(hooks: &Hooks, object: &Value, old: Option<&Value>) -> bool {
    hooks.stored(object, old)["spec"]["externalTrafficPolicy"] == "Local"
}

#[test_case("NodePort", true)]
#[test_case("LoadBalancer", true)]
#[test_case("ClusterIP", false)]
fn by_type(kind: &str, expected: bool) {
    let object = service(kind, "Cluster");
    assert_eq!(
        is_local(&Hooks::new(CLUSTER, OPT_IN), &object, None),
        expected
    );
    assert!(
        !is_local(&Hooks::new(CLUSTER, "{}"), &object, None),
        "no opt-in"
    );
}

#[test]
fn when_it_becomes_so() {
    let hooks = Hooks::new(CLUSTER, OPT_IN);
    let inside = service("ClusterIP", "''");
    let open = service("NodePort", "Cluster");
    assert!(is_local(&hooks, &open, Some(&inside)));
    let mut labelled = open.clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    assert!(
        !is_local(&hooks, &labelled, Some(&open)),
        "it was so before"
    );
    assert!(is_local(&hooks, &open, Some(&service("NodePort", "Local"))));
}

#[test_case("192.0.2.0/24", "0.0.0.0/0"; "a block of everyone")]
#[test_case("app: web}}", "app: db}}"; "other pods")]
#[test_case("namespace: shop", "namespace: other"; "another namespace")]
#[test_case("ipBlock: {cidr: 192.0.2.0/24}", "podSelector: {}"; "no block")]
#[test_case("192.0.2.0/24", "10.1.0.0/16"; "a block of pods, whose address is not lost")]
#[test_case("192.0.2.0/24}}]", "192.0.2.0/24}}], ports: [{port: 7}]"; "a block for another port")]
fn not_behind_a_block(found: &str, instead: &str) {
    let hooks = Hooks::new(&CLUSTER.replace(found, instead), OPT_IN);
    assert!(!is_local(&hooks, &service("NodePort", "Cluster"), None));
}

#[test]
fn an_author_who_means_it() {
    let hooks = Hooks::new(CLUSTER, OPT_IN);
    let annotated = |key: &str, value: &str| {
        let mut object = service("NodePort", "Cluster");
        object["metadata"]["annotations"] = json!({key: value});
        object
    };
    assert!(!is_local(
        &hooks,
        &annotated("inject.ringfence.dev/local", "off"),
        None
    ));
    let last_applied = "kubectl.kubernetes.io/last-applied-configuration";
    let typed = |policy: &str| annotated(last_applied, &format!("{{\"spec\": {{{policy}}}}}"));
    assert!(!is_local(
        &hooks,
        &typed("\"externalTrafficPolicy\": \"Cluster\""),
        None
    ));
    assert!(is_local(&hooks, &typed(""), None));
}

#[test]
fn not_synced_is_unknown() {
    let mut hooks = Hooks::new(CLUSTER, OPT_IN);
    hooks.cluster = None;
    let injected = hooks.mutate(&service("NodePort", "Cluster"), None);
    assert!(injected.patch.0.is_empty());
    assert_eq!(injected.unknown.len(), 1);
}
