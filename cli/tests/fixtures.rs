//! The binary over every example of the documents, good and bad: it answers, or names the
//! file, the line or field, and what to do.
#![expect(clippy::unwrap_used, reason = "a test's helpers may panic too")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use test_case::test_case;

fn fixtures(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../e2e/fixtures")
        .join(name)
}

/// A pod in every namespace that the documents name; so every policy has somebody to judge.
fn world() -> String {
    let namespaces = [
        "default",
        "demo-project",
        "demo-project-2",
        "foo",
        "nsa",
        "my-namespace",
        "database",
        "test-network-policy",
        "kube-system",
    ];
    let mut text = "apiVersion: v1\nkind: Node\nmetadata: {name: node1}\n\
        spec: {podCIDR: 10.16.1.0/24}\n\
        status: {addresses: [{type: InternalIP, address: 10.102.123.11}]}\n"
        .to_owned();
    for (number, namespace) in namespaces.iter().enumerate() {
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n\
             ---\napiVersion: v1\nkind: Pod\nmetadata: {{name: pod, namespace: {namespace}}}\n\
             spec: {{nodeName: node1, containers: [{{name: c, image: c}}]}}\n\
             status: {{phase: Running, podIP: 10.16.1.{0}, podIPs: [{{ip: 10.16.1.{0}}}]}}\n",
            number + 10
        );
    }
    text
}

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn ringfence(args: &[&str], source: &Path) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(args)
        .arg("--folder")
        .arg(source)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said {
        code: output.status.code(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

const MATRIX: [&str; 6] = [
    "matrix",
    "--with",
    "192.168.1.1",
    "--with",
    "14.215.0.7",
    "-ojson",
];
const EXPLAIN: [&str; 5] = ["explain", "--from", "10.2.3.4", "--to", "default/pod:80"];

/// The matrix and an explanation over a fixture and the world around it.
///
/// # Panics
/// When the binary does anything but answer.
fn answers(fixture: &Path) -> Said {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("world.yaml"), world()).unwrap();
    let name = fixture.file_name().unwrap();
    fs::copy(fixture, folder.path().join(name)).unwrap();
    let said = ringfence(&MATRIX, folder.path());
    // 2: something could not be read, and the matrix is without it.
    let lost = said.err.contains("could not be read");
    let code = Some(if lost { 2 } else { 0 });
    assert_eq!(said.code, code, "{}: {}", fixture.display(), said.err);
    let cells: Vec<serde_json::Value> = serde_json::from_str(&said.out).unwrap();
    assert!(cells.len() >= 11 * 11, "{}", fixture.display());
    let explained = ringfence(&EXPLAIN, folder.path());
    assert!(
        matches!(explained.code, Some(0 | 1)) && explained.out.contains("=> "),
        "{}: {:?} {}",
        fixture.display(),
        explained.code,
        explained.err
    );
    said
}

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(fixtures(folder)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "yaml"));
    assert!(!files.is_empty(), "{folder}");
    files
}

#[test_case("seeds/000")]
#[test_case("seeds/001")]
#[test_case("seeds/002")]
#[test_case("seeds/003")]
#[test_case("seeds/004")]
fn every_example_is_read_without_an_error(folder: &str) {
    for file in yaml_files(folder) {
        let said = answers(&file);
        let errors: Vec<&str> = said
            .err
            .lines()
            .filter(|l| l.starts_with("error:"))
            .collect();
        assert!(errors.is_empty(), "{}: {errors:?}", file.display());
        // A policy that nobody is judged by would make the line above worth nothing.
        let text = fs::read_to_string(&file).unwrap();
        if text.contains("podSelector: {}") && text.contains("namespace: foo") {
            assert!(
                said.out.contains("\"allowed\": false"),
                "{}",
                file.display()
            );
        }
    }
}

#[test]
fn examples_of_the_old_version_are_named_and_shut() {
    for file in yaml_files("seeds/003/old") {
        let said = answers(&file);
        if fs::read_to_string(&file)
            .unwrap()
            .contains("kind: NetworkPolicy")
        {
            let error = said.err.lines().find(|l| l.starts_with("error:")).unwrap();
            assert!(error.contains("networking.k8s.io/v1"), "{error}");
        }
    }
}

/// What the sheet beside a bad file says under `key`.
fn sheet(name: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(fixtures(&format!("bad/{name}.txt"))).unwrap();
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix(key)?.strip_prefix(": "));
    line.map(str::to_owned)
}

#[test]
fn every_bad_file_is_named_with_line_or_field_and_remedy() {
    for file in yaml_files("bad") {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let said = answers(&file);
        let errors: String = said
            .err
            .lines()
            .filter(|l| l.starts_with("error:"))
            .collect::<Vec<_>>()
            .join("\n");
        if name == "004-ellipsis" {
            // Kubernetes takes it, so no error: it denies.
            assert_eq!(errors, "", "{name}");
            assert!(said.out.contains("\"allowed\": false"), "{name}");
            continue;
        }
        let base = file.file_name().unwrap().to_str().unwrap();
        assert!(errors.contains(base), "{name}: {:?}", said.err);
        if let (Some(field), Some(found)) = (sheet(name, "field"), sheet(name, "found")) {
            let remedy = sheet(name, "remedy").unwrap();
            let remedy = remedy.split([',', ';']).next().unwrap();
            for word in [&field, &found, remedy] {
                assert!(errors.contains(word), "{name}: {word:?} is not in {errors}");
            }
        } else if name != "004-dashes" {
            let line = sheet(name, "line").unwrap();
            let place = [format!("{base}:{line}"), format!("line {line}")];
            assert!(
                place.iter().any(|p| errors.contains(p)),
                "{name}: {place:?} are not in {errors}"
            );
        }
    }
}

/// `-f` may name one file, as kubectl's may.
#[test]
fn a_single_file_is_a_source() {
    let file = fixtures("seeds/004/11-deny-all.yaml");
    let said = ringfence(&MATRIX, &file);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let said = ringfence(&MATRIX, &fixtures("bad/001-flattened.yaml"));
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("001-flattened.yaml"), "{}", said.err);
}
