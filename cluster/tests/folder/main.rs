//! A folder of manifests: what is read, what is said, what stays in force.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod watched;

use ringfence_cluster::{Cause, Severity, folder, load_folder};
use ringfence_policy::Snapshot;
use ringfence_policy::model::ObjectKey;
use ringfence_policy::snapshot::Kind;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use tempfile::TempDir;
use test_case::test_case;

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop, labels: {app: web}}\nspec: {nodeName: n1}\nstatus: {podIP: 10.0.0.1}\n";
const DENY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny, namespace: shop}\nspec: {podSelector: {}}\n";

fn folder_of(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

fn load(files: &[(&str, &[u8])]) -> (Snapshot, Vec<String>) {
    let folder = folder_of(files);
    let (snapshot, problems) = load_folder(folder.path(), "default").unwrap();
    (snapshot, problems.iter().map(ToString::to_string).collect())
}

fn has(snapshot: &Snapshot, kind: Kind, namespace: &str, name: &str) -> bool {
    snapshot
        .keys(kind)
        .contains(&ObjectKey::new(namespace, name))
}

#[test_case("a.yaml", POD.as_bytes(); "yaml")]
#[test_case("deep/er/a.yml", POD.as_bytes(); "sub-folder, yml")]
#[test_case("a.yaml", POD.replace('\n', "\r\n").as_bytes(); "crlf")]
#[test_case("a.yaml", format!("\u{feff}{POD}").as_bytes(); "byte order mark")]
#[test_case("a.yaml", format!("# only a comment\n---\n{POD}---\n{DENY}---\n").as_bytes(); "several documents")]
#[test_case("a.json", br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","namespace":"shop"},"spec":{"nodeName":"n1"},"status":{"podIPs":[{"ip":"10.0.0.1"}]}}"#; "json")]
#[test_case("a.yaml", br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","namespace":"shop"},"spec":{"nodeName":"n1"},"status":{"podIP":"10.0.0.1"}}"#; "json in a yaml file")]
#[test_case("a.json", br#"{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","namespace":"shop"},"spec":{"nodeName":"n1"},"status":{"podIP":"10.0.0.1"}}]}]}"#; "list in a list")]
#[test_case("a.json", br#"{"apiVersion":"v1","kind":"PodList","items":[{"metadata":{"name":"web","namespace":"shop"},"spec":{"nodeName":"n1"},"status":{"podIP":"10.0.0.1"}}]}"#; "list of one kind whose items do not say theirs")]
fn reads(name: &str, content: &[u8]) {
    let (snapshot, problems) = load(&[(name, content)]);
    assert_eq!(problems, Vec::<String>::new());
    assert!(has(&snapshot, Kind::Pod, "shop", "web"));
}

#[test]
fn a_namespace_has_its_name_as_label_and_a_pod_without_phase_runs() {
    let (snapshot, _) = load(&[
        (
            "ns.yaml",
            b"apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n",
        ),
        ("pod.yaml", POD.as_bytes()),
    ]);
    let namespace = &snapshot.namespaces["shop"];
    assert_eq!(
        &**namespace.labels.get("kubernetes.io/metadata.name").unwrap(),
        "shop"
    );
    assert!(snapshot.pods[&ObjectKey::new("shop", "web")].is_target());
}

/// Every one of these is named with file and line, and the good file beside it is read.
#[test_case("a.yaml", b"kind: [\n", "a.yaml:", "is no YAML"; "no yaml")]
#[test_case("a.json", b"{\n \"kind\": \"Pod\",\n", "a.json:3", "is no JSON"; "half written json")]
#[test_case("a.yaml", b"apiVersion: v1\nkind: Pod\nmetadata:\n  name: x\n  labels: {app\n", "a.yaml:", "is no YAML"; "half written yaml")]
#[test_case("a.yaml", b"ok: 1\n\xff\xfe\n", "a.yaml:2", "UTF-8"; "no utf8")]
#[test_case("a.yaml", b"\n\njust words\n", "a.yaml:3", "is no object"; "words")]
#[test_case("a.yaml", b"apiVersion: v1\nmetadata: {name: x}\n", "a.yaml:1", "has no kind"; "no kind")]
#[test_case("a.yaml", b"---\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n", "a.yaml:3", "Deployment d (apps/v1) is passed over"; "other kind")]
#[test_case("a.yaml", b"apiVersion: extensions/v1beta1\nkind: NetworkPolicy\nmetadata: {name: old}\n", "a.yaml:1", "write apiVersion: networking.k8s.io/v1"; "removed version")]
#[test_case("a.yaml", b"apiVersion: v1\nkind: Pod\nmetadata: {namespace: shop}\n", "a.yaml:1", "metadata.name"; "no name")]
#[test_case("a.yaml", b"apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop, labels: {v: 1.0}}\n", "a.yaml:1: Pod shop/p", "labels"; "label that is no string")]
#[test_case("a.yaml", b"apiVersion: v1\nkind: List\nitems:\n- 5\n", "a.yaml:4", "is no object"; "list of numbers")]
#[test_case("a.yaml", b"apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n", "a.yaml:1: Pod default/p", "taken to belong to default"; "no namespace")]
#[test_case("a.yaml", b"apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop}\n", "a.yaml:1: Pod shop/p", "spec.nodeName"; "no node")]
fn names(file: &str, content: &[u8], place: &str, words: &str) {
    let (snapshot, problems) = load(&[(file, content), ("good.yaml", POD.as_bytes())]);
    assert!(
        problems
            .iter()
            .any(|p| p.starts_with(place) && p.contains(words)),
        "{problems:#?}"
    );
    assert!(has(&snapshot, Kind::Pod, "shop", "web"));
}

#[test]
fn a_policy_that_cannot_be_parsed_is_there_and_closed() {
    let bad = DENY.replace(
        "podSelector: {}",
        "podSelector: {}, ingress: [{from: [{ipBlock: {cidr: nonsense}}]}]",
    );
    let (snapshot, problems) = load(&[("p.yaml", bad.as_bytes())]);
    let policy = &snapshot.policies[&ObjectKey::new("shop", "deny")];
    assert!(policy.fault.is_some());
    assert!(
        problems[0].starts_with("p.yaml:1: NetworkPolicy shop/deny: spec.ingress"),
        "{problems:?}"
    );
}

#[test]
fn the_first_of_two_equal_names_counts_and_the_second_is_named() {
    let other = POD.replace("10.0.0.1", "10.0.0.2");
    let (snapshot, problems) = load(&[("a.yaml", POD.as_bytes()), ("b.yaml", other.as_bytes())]);
    assert_eq!(
        problems,
        ["b.yaml:1: Pod shop/web: is written twice; the one at a.yaml:1 counts, delete one"]
    );
    assert_eq!(
        snapshot.pods[&ObjectKey::new("shop", "web")].ips[0].to_string(),
        "10.0.0.1"
    );
}

#[test]
fn lines_of_list_items_are_their_own() {
    let item = |n: u8| {
        format!(
            "- apiVersion: v1\n  kind: Pod\n  metadata: {{name: p{n}, namespace: shop}}\n  spec: {{nodeName: n1}}\n"
        )
    };
    let list = format!("apiVersion: v1\nkind: List\nitems:\n{}{}", item(1), item(2));
    let (_, problems) = load(&[("a.yaml", list.as_bytes())]);
    assert!(
        problems
            .iter()
            .any(|p| p.starts_with("a.yaml:4: Pod shop/p1")),
        "{problems:?}"
    );
    assert!(
        problems
            .iter()
            .any(|p| p.starts_with("a.yaml:8: Pod shop/p2")),
        "{problems:?}"
    );
    let json = "{\"kind\": \"List\", \"apiVersion\": \"v1\", \"items\": [\n{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p1\",\"namespace\":\"s\"}},\n\n{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p2\",\"namespace\":\"s\"}}]}";
    let (_, problems) = load(&[("a.json", json.as_bytes())]);
    assert!(
        problems.iter().any(|p| p.starts_with("a.json:4: Pod s/p2")),
        "{problems:?}"
    );
}

#[test]
fn an_alias_bomb_and_endless_nesting_are_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let refs = vec![format!("*a{}", n - 1); 10].join(", ");
        bomb = format!("{bomb}a{n}: &a{n} [{refs}]\n");
    }
    let nested = "[".repeat(100_000);
    let (snapshot, problems) = load(&[
        ("bomb.yaml", bomb.as_bytes()),
        ("good.yaml", POD.as_bytes()),
        ("nested.json", nested.as_bytes()),
        ("nested.yaml", nested.as_bytes()),
    ]);
    for file in ["bomb.yaml", "nested.json", "nested.yaml"] {
        assert!(
            problems.iter().any(|p| p.starts_with(file)),
            "{file}: {problems:?}"
        );
    }
    assert!(has(&snapshot, Kind::Pod, "shop", "web"));
}

#[test]
fn what_is_no_manifest_is_passed_over() {
    let (snapshot, problems) = load(&[
        (".hidden.yaml", b"kind: ["),
        (".dir/a.yaml", b"kind: ["),
        ("a.yaml~", b"kind: ["),
        ("#a.yaml", b"kind: ["),
        ("README.md", b"kind: ["),
    ]);
    assert_eq!(problems, Vec::<String>::new());
    assert!(snapshot.pods.is_empty());
}

#[test]
fn odd_files_are_named_and_loops_end() {
    let folder = folder_of(&[("good.yaml", POD.as_bytes())]);
    symlink(
        folder.path().join("nowhere"),
        folder.path().join("dangling.yaml"),
    )
    .unwrap();
    symlink("loop.yaml", folder.path().join("loop.yaml")).unwrap();
    fs::create_dir(folder.path().join("dir.yaml")).unwrap();
    let big = fs::File::create(folder.path().join("big.yaml")).unwrap();
    big.set_len(1 << 40).unwrap();
    let (snapshot, problems) = load_folder(folder.path(), "default").unwrap();
    let causes: Vec<_> = problems
        .iter()
        .map(|p| (p.place.clone().unwrap().file.display().to_string(), p.cause))
        .collect();
    for file in ["big.yaml", "dangling.yaml", "loop.yaml"] {
        assert!(
            causes.contains(&(file.to_owned(), Cause::Read)),
            "{causes:?}"
        );
    }
    assert!(has(&snapshot, Kind::Pod, "shop", "web"));

    let folder = folder_of(&[("good.yaml", POD.as_bytes())]);
    symlink(".", folder.path().join("again")).unwrap();
    let (snapshot, problems) = load_folder(folder.path(), "default").unwrap();
    assert!(problems.iter().all(|p| p.severity == Severity::Error));
    assert!(has(&snapshot, Kind::Pod, "shop", "web"));
}

#[test]
fn no_folder_is_an_error() {
    let error = load_folder(Path::new("/nonexistent/folder"), "default").unwrap_err();
    assert!(format!("{error:#}").contains("/nonexistent/folder"));
}

#[test]
fn the_digest_is_that_of_names_and_content() {
    let folder = folder_of(&[("a.yaml", b"x"), ("b.yaml", b"y")]);
    let first = folder::digest(folder.path()).unwrap();
    assert_eq!(first.len(), 64);
    fs::write(folder.path().join("README.md"), "not read").unwrap();
    assert_eq!(folder::digest(folder.path()).unwrap(), first);
    fs::rename(folder.path().join("b.yaml"), folder.path().join("c.yaml")).unwrap();
    assert_ne!(folder::digest(folder.path()).unwrap(), first);
}
