//! `ringfence preview` on folders, as somebody types it.
#![expect(clippy::unwrap_used, reason = "a test's helpers may panic too")]

use serde_json::Value;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use test_case::test_case;

const CLUSTER: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: shop, labels: {app: web}}
spec: {nodeName: node1, serviceAccountName: web}
status: {podIPs: [{ip: 10.1.0.1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web}}
spec: {nodeName: node1, serviceAccountName: web}
status: {podIPs: [{ip: 10.1.0.2}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db-0, namespace: shop, labels: {app: db}}
spec: {nodeName: node1, containers: [{name: c, ports: [{name: sql, containerPort: 5432}]}]}
status: {podIPs: [{ip: 10.1.0.3}]}
---
apiVersion: v1
kind: Pod
metadata: {name: prometheus-0, namespace: monitoring, labels: {app: prometheus}}
spec: {nodeName: node1}
status: {podIPs: [{ip: 10.1.0.4}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {selector: {app: db}, ports: [{port: 5432}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: db, namespace: shop}
spec: {defaultBackend: {service: {name: db, port: {number: 5432}}}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kubernetes, namespace: default, labels: {kubernetes.io/service-name: kubernetes}}
endpoints: [{addresses: [192.0.2.10]}]
ports: [{port: 6443}]
";

const CONFIG: &str = "monitoring: {namespaces: [monitoring]}";

const DB: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 5432}]}]
";

/// The folder `cluster` and the files `change.yaml` and `config.yaml` in a new folder.
fn preview(cluster: &str, change: &str, flags: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("cluster")).unwrap();
    fs::write(folder.path().join("cluster/all.yaml"), cluster).unwrap();
    fs::write(folder.path().join("change.yaml"), change).unwrap();
    fs::write(folder.path().join("config.yaml"), CONFIG).unwrap();
    run(folder.path(), &["-f", "change.yaml", "cluster"], flags, "")
}

fn run(folder: &Path, arguments: &[&str], flags: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .arg("preview")
        .args(arguments)
        .args(flags)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn what_a_new_policy_cuts_as_a_table() {
    let output = preview(CLUSTER, DB, &["--config=config.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    let text = text(&output);
    for line in [
        "NetworkPolicy shop/db: new",
        "Cuts 1 flow (pairs of pods, by port):",
        "from the gateways to Services: shop/db:5432",
        "Nothing is opened.",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
    let row = text.lines().find(|l| l.contains("prometheus")).unwrap();
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(
        words,
        [
            "monitoring/prometheus",
            "shop/db",
            "TCP",
            "5432",
            "1",
            "monitoring"
        ]
    );
}

#[test]
fn the_same_as_json() {
    let output = preview(CLUSTER, DB, &["--config=config.yaml", "-o=json"]);
    assert_eq!(output.status.code(), Some(1));
    let answer = json(&output);
    assert_eq!(answer["changes"][0]["action"], "create");
    assert_eq!(answer["cut"]["flows"], 1);
    let row = &answer["cut"]["rows"][0];
    assert_eq!(row["from"]["namespace"], "monitoring");
    assert_eq!(
        (&row["port"], &row["protocol"]),
        (&5432.into(), &"TCP".into())
    );
    assert_eq!(row["monitoring"], true);
    assert_eq!(answer["cut"]["ways"][0]["kind"], "backend");
    assert_eq!(answer["cut"]["ways"][0]["service"], "db");
    assert_eq!(answer["opened"]["flows"], 0);
    // No webhook is there, so nothing about them is unknown.
    assert_eq!(answer["unknown"], serde_json::json!([]));
}

#[test]
fn the_way_to_the_api_server() {
    let deny = DB
        .replace("app: db", "app: web")
        .replace("[Ingress]", "[Egress]")
        .replace("  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 5432}]}]\n", "");
    let output = preview(CLUSTER, &deny, &["-o=json"]);
    let ways = &json(&output)["cut"]["ways"];
    assert_eq!(ways[0]["kind"], "apiServer");
    assert_eq!(ways[0]["from"]["name"], "web");
}

#[test]
fn what_its_deletion_opens() {
    let cluster = format!("{CLUSTER}---\n{DB}");
    let output = preview(&cluster, DB, &["--delete", "-o=json"]);
    assert_eq!(output.status.code(), Some(0));
    let answer = json(&output);
    assert_eq!(answer["changes"][0]["action"], "delete");
    assert_eq!(answer["opened"]["flows"], 1);
}

#[test]
fn what_is_there_already_changes_nothing() {
    let cluster = format!("{CLUSTER}---\n{DB}");
    let output = preview(&cluster, DB, &[]);
    assert_eq!(output.status.code(), Some(0));
    let text = text(&output);
    assert!(text.contains("stays as it is"), "{text}");
    assert!(text.contains("Nothing is cut.") && text.contains("Nothing is opened."));
}

#[test]
fn labels_of_a_namespace_count_and_other_kinds_are_named() {
    let by_team = DB.replace(
        "podSelector: {matchLabels: {app: web}}}]",
        "namespaceSelector: {matchLabels: {team: sre}}}]",
    );
    let cluster = format!(
        "{CLUSTER}---\n{by_team}---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: monitoring}}\n"
    );
    let change = "apiVersion: v1\nkind: Namespace\nmetadata: {name: monitoring, labels: {team: sre}}\n---\n\
                  apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: shop}\n";
    let output = preview(&cluster, change, &[]);
    assert_eq!(output.status.code(), Some(0), "nothing is cut");
    let text = text(&output);
    assert!(text.contains("Namespace monitoring: changes"), "{text}");
    assert!(text.contains("Opens 1 flow"), "{text}");
    assert!(text.contains("1 other object(s): not looked at"), "{text}");
}

#[test]
fn from_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("all.yaml"), CLUSTER).unwrap();
    let output = run(folder.path(), &["-f", "-", "."], &[], DB);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("shop/db"));
}

#[test_case("kind: ConfigMap\napiVersion: v1\nmetadata: {name: x}\n", "found no NetworkPolicy"; "nothing to preview")]
#[test_case("{", "no YAML"; "no manifest")]
#[test_case("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x}\nspec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: nonsense}}]}]}\n", "cidr"; "a policy that cannot be read")]
fn what_it_cannot_answer(change: &str, said: &str) {
    let output = preview(CLUSTER, change, &[]);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains(said), "{error}");
}

#[test]
fn a_folder_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("change.yaml"), DB).unwrap();
    let output = run(folder.path(), &["-f", "change.yaml", "nowhere"], &[], "");
    assert_eq!(output.status.code(), Some(2));
}
