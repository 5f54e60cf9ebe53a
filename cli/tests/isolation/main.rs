//! `isolate`, `allow`, `status` and `migrate` as people meet them, without a cluster.
#![expect(clippy::unwrap_used, reason = "a test's helpers may panic too")]

use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Output};
use test_case::test_case;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/isolation")
        .join(name)
}

fn ringfence(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(args)
        .output()
        .unwrap()
}

/// Standard output and error.
fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn documents(output: &Output) -> Vec<Value> {
    let (text, error) = said(output);
    serde_saphyr::from_multiple(&text).unwrap_or_else(|e| panic!("{e}: {text}{error}"))
}

#[test]
fn isolate_prints_one_small_object() {
    let output = ringfence(&["isolate", "shop", "--egress", "restricted", "--preview"]);
    assert!(output.status.success());
    let expected = json!({
        "apiVersion": "ringfence.dev/v1alpha1", "kind": "NamespaceIsolation",
        "metadata": {"name": "default", "namespace": "shop"},
        "spec": {"scope": "Namespace", "egress": "Restricted", "onDisable": "Delete", "mode": "Preview"},
    });
    assert_eq!(documents(&output), [expected]);
}

#[test]
fn allow_prints_a_rule_that_ends() {
    let day = [
        "allow", "--to", "shop", "--from", "friend", "--ports", "web/80", "--for", "24h",
    ];
    let output = ringfence(&day);
    let rule = documents(&output).remove(0);
    assert_eq!(
        rule["metadata"],
        json!({"name": "from-friend-web-80", "namespace": "shop"})
    );
    assert_eq!(rule["spec"]["ports"], json!([{"servicePort": "web/80"}]));
    assert!(rule["spec"]["expiresAt"].is_string());
}

#[test_case(&["isolate", "Shop"], "lower-case"; "no namespace")]
#[test_case(&["isolate", "shop", "--off"], "--apply"; "off is no YAML")]
#[test_case(&["isolate", "shop", "--apply", "--kubeconfig", "no/such"], "no/such"; "no kubeconfig")]
#[test_case(&["allow", "--to", "shop", "--from", "10.1.0.5/24"], "write 10.1.0.0/24"; "a CIDR with more bits")]
#[test_case(&["status", "nowhere", "-f", "FIXTURE"], "there are: "; "no such namespace")]
#[test_case(&["migrate", "kubesphere", "-f", "no/such"], "no/such"; "no folder")]
fn what_cannot_be_done_is_told(args: &[&str], words: &str) {
    let shop = fixture("shop.yaml");
    let shop = shop.to_str().unwrap();
    let args: Vec<&str> = args
        .iter()
        .map(|a| if *a == "FIXTURE" { shop } else { *a })
        .collect();
    let output = ringfence(&args);
    assert_eq!(output.status.code(), Some(2));
    let (_, error) = said(&output);
    assert!(error.contains(words), "{error}");
}

fn status(namespace: &str, more: &[&str]) -> Output {
    let shop = fixture("shop.yaml");
    ringfence(&[&["status", namespace, "-f", shop.to_str().unwrap()], more].concat())
}

#[test_case("namespace shop: isolated (scope Namespace, egress Auto;"; "how")]
#[test_case("this namespace           all ports  all pods            inside of the fence"; "inside")]
#[test_case("namespace monitoring     all ports  all pods            IsolationConfig, allowedIngressNamespaces"; "monitoring")]
#[test_case("namespace friend         TCP 8080   all pods            IsolationRule from-friend"; "the friend, on the pods' port")]
#[test_case("everyone                 TCP 9090   pods with app=web   NetworkPolicy leak, spec.ingress[0]"; "somebody else's policy")]
#[test_case("from-friend  Ingress namespace friend     ready"; "a rule")]
#[test_case("until 2999-01-01T00:00:00Z; the audit"; "its end and reason")]
#[test_case("without effect  it ended at 2020-01-01T00:00:00Z"; "a rule that ended")]
#[test_case("without effect  there is no Service friend/gone"; "a rule that means nothing")]
#[test_case("through node-1  203.0.113.7 (the client's own)"; "through the pod's node")]
#[test_case("through node-2  10.0.0.2 (not the client's alone)"; "through another")]
fn status_says_who_may_come_in(line: &str) {
    let output = status("shop", &[]);
    let (text, error) = said(&output);
    assert!(output.status.success(), "{error}");
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        squeezed(&text).contains(&squeezed(line)),
        "{line}\n---\n{text}"
    );
}

#[test]
fn status_for_programs() {
    let output = status("shop", &["-o", "json", "--client", "198.51.100.1"]);
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["isolation"]["mode"], "Enforce");
    assert_eq!(status["ingress"]["pods"], 1);
    assert_eq!(status["ingress"]["openPods"], 0);
    let door = &status["doors"][0];
    assert_eq!(door["arrives"][0]["sources"], json!(["198.51.100.1"]));
    assert_eq!(door["arrives"][1]["masqueraded"], true);
    // The first egress rule restricts egress, even where it means nothing.
    assert_eq!(status["egress"]["closed"], true);
    assert_eq!(status["unknown"], json!([]));
}

#[test]
fn status_of_a_namespace_without_any_policy() {
    let (text, _) = said(&status("open", &[]));
    assert!(text.starts_with("namespace open: not isolated"), "{text}");
    assert!(text.contains("everyone"), "{text}");
}

#[test]
fn kubespheres_guide_moves() {
    let folder = fixture("kubesphere.yaml");
    let output = ringfence(&["migrate", "kubesphere", "-f", folder.to_str().unwrap()]);
    let (_, error) = said(&output);
    assert_eq!(output.status.code(), Some(0), "{error}");
    let kinds: Vec<String> = documents(&output)
        .iter()
        .map(|o| format!("{} {}", o["kind"], o["metadata"]["name"]).replace('"', ""))
        .collect();
    let expected = [
        "IsolationConfig default",
        "NamespaceIsolation default",
        "IsolationRule allow-project",
        "IsolationRule allow-nginx",
        "IsolationRule balancer",
    ];
    assert_eq!(kinds, expected);
    let configuration = &documents(&output)[0]["spec"];
    assert_eq!(
        configuration["dns"]["nodeLocalAddresses"],
        json!(["169.254.25.10"])
    );
    assert!(error.contains("targetPort"), "{error}");
}
