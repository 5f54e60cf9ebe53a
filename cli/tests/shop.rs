//! The binary over the sample shop: answers, exit codes and errors as a user meets them.
#![expect(clippy::unwrap_used, reason = "a test's helpers may panic too")]

use std::path::PathBuf;
use std::process::{Command, Output};
use test_case::test_case;

fn shop() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/shop")
}

fn ringfence(args: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(args.split_whitespace())
        .arg("--folder")
        .arg(shop())
        .output()
        .unwrap()
}

/// Exit code, then what must stand in standard output or standard error.
#[test_case("explain --from shop/frontend --to pod/shop/backend:8080", 0, "=> ALLOWED"; "allowed")]
#[test_case("explain --from tenant/web --to shop/database:5432", 1, "=> REFUSED"; "refused")]
#[test_case("explain --from tenant/web --to shop/database:5432", 1, "add to spec.ingress of"; "what would change it")]
#[test_case("explain --from 203.0.113.7 --to node-1:30080", 0, "policy sees  203.0.113.7"; "node port keeps the client")]
#[test_case("explain --from 203.0.113.7 --to node-2:30080", 1, "NO ANSWER: node node-2 has no endpoint"; "node port without endpoint")]
#[test_case("explain --from shop/frontend --to svc/shop/backend:80", 0, "DNAT to"; "through a service")]
#[test_case("explain --from shop/frontend --to shop/backend", 2, "found no port"; "no port")]
#[test_case("explain --from svc/shop/frontend --to shop/backend:80", 2, "a Service sends nothing"; "service as source")]
#[test_case("explain --from 10.9.9.9 --to [fd00::1]:80", 2, "different families"; "families")]
#[test_case("explain --from shop/frontend --to shop/backend --protocol icmp", 1, "=> REFUSED"; "ping needs a rule without ports")]
#[test_case("matrix --port 8080", 0, "shop/frontend"; "matrix")]
#[test_case("matrix --only nowhere", 2, "there are no pods to show"; "empty matrix")]
#[test_case("render --node node-1", 0, "iptables-restore --noflush"; "render")]
#[test_case("render --node node-1 --summary", 0, "shop/frontend"; "render in words")]
#[test_case("render --node nod", 2, "there are: node-1, node-2"; "no such node")]
fn answers(args: &str, code: i32, text: &str) {
    let output = ringfence(args);
    let all = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(code), "{all}");
    assert!(all.contains(text), "{text:?} is not in:\n{all}");
}

#[test]
fn matrix_as_json_has_every_cell_with_its_reasons() {
    let output = ringfence("matrix --output json --with 203.0.113.7");
    let cells: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let parties = cells.iter().map(|c| c["from"].as_str().unwrap());
    let parties: std::collections::BTreeSet<&str> = parties.collect();
    assert_eq!(cells.len(), parties.len() * parties.len());
    assert!(parties.contains("203.0.113.7"));
    assert!(
        cells
            .iter()
            .all(|c| !c["ingress"].as_str().unwrap().is_empty())
    );
}

#[test]
fn an_object_without_namespace_is_said_to_be_in_the_default_one() {
    let folder = tempfile::tempdir().unwrap();
    let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny}\n\
                  spec: {podSelector: {}}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\n\
                  spec: {nodeName: node-1}\nstatus: {podIP: 10.0.0.1}\n";
    std::fs::write(folder.path().join("all.yaml"), policy).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args([
            "explain", "--from", "10.9.9.9", "--to", "a:80", "-n", "dev", "-f",
        ])
        .arg(folder.path())
        .output()
        .unwrap();
    let notes = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{notes}");
    assert!(notes.contains("dev"), "{notes}");
}

#[test]
fn an_answer_about_everything_without_a_broken_file_says_so_by_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(shop().join("20-pods.yaml"), folder.path().join("pods.yaml")).unwrap();
    let matrix = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        command.args(["matrix", "-q", "-f"]).arg(folder.path());
        command.output().unwrap()
    };
    assert_eq!(matrix().status.code(), Some(0));
    std::fs::write(folder.path().join("broken.yaml"), "kind: [").unwrap();
    let output = matrix();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("1 could not be read"), "{said}");
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    let output = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["matrix", "-f", "no/such/folder"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no/such/folder"));
}

#[test_case("bash"; "bash")]
#[test_case("zsh"; "zsh")]
#[test_case("fish"; "fish")]
fn completion(shell: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["completion", shell])
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("explain"));
}
