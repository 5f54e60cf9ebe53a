//! `ringfence lint` and `ringfence checks`, as a user meets them.
#![expect(clippy::unwrap_used, reason = "a test's helpers may panic too")]

mod fix;
mod seeds;
mod world;

use ringfence_checks::catalogue::{CATALOGUE, find};
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use test_case::test_case;
use world::WORLD;

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn ringfence(args: &[&str], input: &str) -> Said {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(args)
        .env_remove("COLUMNS")
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
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said {
        code: output.status.code(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

fn lint(args: &str, input: &str) -> Said {
    let args: Vec<&str> = ["lint"]
        .into_iter()
        .chain(args.split_whitespace())
        .collect();
    ringfence(&args, input)
}

fn findings(input: &str) -> Vec<Value> {
    let said = lint("- -o json", input);
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    answer["findings"].as_array().unwrap().clone()
}

fn fixtures(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../e2e/fixtures")
        .join(name)
}

const MISMATCH: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: db # the database
  namespace: shop
spec:
  podSelector: {}
  policyTypes: [Ingress] # only
  egress:
  # nobody
  - to:
    - podSelector: {}
";
const CLEAN: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n";
const TWICE: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: a}
---
apiVersion: v1
kind: Namespace
metadata: {name: a, labels: {team: b}}
";
const WARNED: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {nodeName: node-1}
";

#[test]
fn an_object_that_is_written_twice_is_named_with_both_places() {
    let said = lint("-", TWICE);
    let expected = "<stdin>:5: Namespace a: is written twice; the one at <stdin>:1 counts, delete \
                    one (`kubectl apply` leaves what it applies last)";
    let words = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(expected), "{}", said.out);
}

#[test_case("-", CLEAN, 0; "clean")]
#[test_case("-", WARNED, 1; "a warning fails")]
#[test_case("- --fail-on deny", WARNED, 0; "unless told otherwise")]
#[test_case("- --fail-on deny", MISMATCH, 1; "refused")]
#[test_case("-", "a: [", 2; "no YAML")]
#[test_case("-", TWICE, 1; "the same object twice weighs as a warning")]
#[test_case("- --fail-on deny", TWICE, 0; "and no more")]
#[test_case("-", "just words", 2; "no object")]
#[test_case("-", "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {externalTrafficPolicy: local}", 2; "a field that cannot be read")]
#[test_case("no/such/file", "", 2; "no file")]
#[test_case("- --config no/such/config", CLEAN, 2; "no configuration")]
#[test_case("- --fix", CLEAN, 2; "standard input cannot be fixed")]
fn exit_codes(args: &str, input: &str, code: i32) {
    let said = lint(args, input);
    assert_eq!(said.code, Some(code), "{}{}", said.out, said.err);
}

#[test]
fn a_bad_configuration_is_refused_with_a_suggestion() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    fs::write(&config, "profil: strict\n").unwrap();
    let said = lint(&format!("- --config {}", config.display()), CLEAN);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("did you mean profile?"), "{}", said.err);
    fs::write(&config, "checks: {types-mismatch: 'off'}\n").unwrap();
    let said = lint(
        &format!("- --fail-on deny --config {}", config.display()),
        MISMATCH,
    );
    assert_eq!(said.code, Some(0), "{}", said.out);
}

/// What stands before the fault is judged, and the fault has its line.
#[test_case("table"; "table")]
#[test_case("json"; "json")]
#[test_case("sarif"; "sarif")]
#[test_case("junit"; "junit")]
#[test_case("github"; "github")]
fn nothing_is_lost_to_a_syntax_error(form: &str) {
    let said = lint(
        &format!("- -o {form}"),
        &format!("{MISMATCH}---\nkind: [\n"),
    );
    assert_eq!(said.code, Some(2));
    assert!(said.out.contains("types-mismatch"), "{}", said.out);
    assert!(said.out.contains("is no YAML from here on"), "{}", said.out);
}

#[test]
fn the_table_names_the_field_the_line_and_the_remedy() {
    let said = lint("-", MISMATCH);
    for text in [
        "<stdin>:1  NetworkPolicy shop/db",
        "deny   types-mismatch: spec.egress (line 9)",
        "-> Name both directions, or delete the rules.",
    ] {
        assert!(said.out.contains(text), "{text}: {}", said.out);
    }
    assert!(
        said.out.lines().all(|l| l.chars().count() <= 110),
        "{}",
        said.out
    );
}

#[test]
fn github_annotations_have_file_and_line() {
    let said = lint("- -o github", MISMATCH);
    let line = "::error file=<stdin>,line=9,title=types-mismatch::NetworkPolicy shop/db: ";
    assert!(said.out.contains(line), "{}", said.out);
}

#[test]
fn sarif_has_the_shape_of_its_schema() {
    let said = lint("- -o sarif", MISMATCH);
    let sarif: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    let run = &sarif["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), CATALOGUE.len());
    let results = run["results"].as_array().unwrap();
    assert!(!results.is_empty());
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(["error", "warning", "note"].contains(&result["level"].as_str().unwrap()));
        assert!(result["message"]["text"].is_string());
        let physical = &result["locations"][0]["physicalLocation"];
        assert_eq!(physical["artifactLocation"]["uri"], "%3Cstdin%3E");
        assert!(physical["region"]["startLine"].as_u64().unwrap() >= 1);
    }
    assert_eq!(run["invocations"][0]["executionSuccessful"], true);
}

#[test]
fn junit_counts_what_fails() {
    let said = lint(
        "- -o junit --fail-on deny",
        &format!("{MISMATCH}---\n{WARNED}"),
    );
    assert!(
        said.out
            .contains("tests=\"2\" skipped=\"0\" failures=\"1\" errors=\"0\""),
        "{}",
        said.out
    );
    assert!(
        said.out
            .contains("<testcase name=\"NetworkPolicy shop/db\""),
        "{}",
        said.out
    );
}

#[test]
fn json_has_every_documented_field() {
    let said = lint("- -o json", MISMATCH);
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(answer["version"], 1);
    let finding = answer["findings"].as_array().unwrap().iter();
    let finding = finding
        .clone()
        .find(|f| f["check"] == "types-mismatch")
        .unwrap();
    let expected = json!({
        "kind": "NetworkPolicy", "namespace": "shop", "name": "db", "file": "<stdin>", "line": 9,
        "check": "types-mismatch", "level": "deny", "path": "spec.egress", "softened": null,
        "patch": [{"op": "add", "path": "/spec/policyTypes/-", "value": "Egress"}],
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(finding[field], *value, "{field}");
    }
    for field in ["sentence", "title"] {
        assert!(finding[field].is_string(), "{field}");
    }
}

#[test]
fn items_of_a_list_are_judged_each_at_its_line() {
    let indented = MISMATCH.replace('\n', "\n    ");
    let list = format!(
        "apiVersion: v1\nkind: List\nitems:\n  - {}",
        indented.trim_start()
    );
    let found = findings(&list);
    let found = found
        .iter()
        .find(|f| f["check"] == "types-mismatch")
        .unwrap();
    assert_eq!(found["line"], 12);
}

#[test]
fn removed_versions_are_judged() {
    let old = MISMATCH.replace("networking.k8s.io/v1", "extensions/v1beta1");
    let found = findings(&old);
    assert!(found.iter().any(|f| f["check"] == "types-mismatch"));
    if find("old-api").is_some() {
        assert!(found.iter().any(|f| f["check"] == "old-api"));
        assert_eq!(lint("-", &old).code, Some(1));
    }
}

/// The other objects are the cluster, kinds that tell facts too.
#[test]
fn the_folder_is_the_cluster() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("world.yaml"), WORLD).unwrap();
    let seed = fixtures("seeds/002/03-v2.yaml");
    fs::copy(seed, folder.path().join("v2.yaml")).unwrap();
    let said = lint(folder.path().to_str().unwrap(), "");
    assert_eq!(said.code, Some(1), "{}", said.out);
    for tunnel in ["10.233.90.0", "10.233.96.0", "10.233.92.0"] {
        let sentence = format!("{tunnel}/32 is a tunnel address: admits every pod and client");
        assert!(said.out.contains(&sentence), "{}", said.out);
    }
}

#[test]
fn checks_lists_and_explains() {
    let said = ringfence(&["checks"], "");
    assert!(
        CATALOGUE.iter().all(|c| said.out.contains(c.id)),
        "{}",
        said.out
    );
    let isolation = ringfence(&["checks", "isolation-cuts"], "");
    assert!(said.out.contains("isolation-cuts"), "{}", said.out);
    assert!(
        isolation.out.contains("ringfence allow"),
        "{}",
        isolation.out
    );
    let said = ringfence(&["checks", "cidr-world"], "");
    assert!(said.out.contains("    kind: NetworkPolicy"), "{}", said.out);
    let said = ringfence(&["checks", "cidr"], "");
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("did you mean cidr-world"), "{}", said.err);
}
