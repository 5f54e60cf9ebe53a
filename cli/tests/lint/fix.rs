//! `--fix` on files.

use super::{MISMATCH, Said, WARNED, findings, lint};
use serde_json::Value;
use std::fs;

fn fixed(text: &str) -> (String, Said) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    fs::write(&file, text).unwrap();
    let said = lint(&format!("{} --fix", file.display()), "");
    (fs::read_to_string(&file).unwrap(), said)
}

#[test]
fn fix_keeps_comments_and_everything_else() {
    let other = "# first\nkind:   ConfigMap   # odd\napiVersion: v1\nmetadata: {name: x}\n---\n";
    let (text, said) = fixed(&format!("{other}{MISMATCH}"));
    assert!(text.starts_with(other), "{text}");
    for comment in ["# the database", "# nobody", "# only"] {
        assert!(text.contains(comment), "{comment}: {text}");
    }
    let found = findings(&text);
    assert!(
        found.iter().all(|f| f["check"] != "types-mismatch"),
        "{text}{}",
        said.err
    );
    let line = text.lines().find(|l| l.contains("# only")).unwrap();
    assert!(
        line.contains("Ingress") || text.contains("- Egress"),
        "{text}"
    );
}

#[test]
fn fix_mends_an_entry_of_a_list_and_its_neighbours_stay() {
    let service = "\
apiVersion: v1
kind: Service # web
metadata: {name: web, namespace: shop}
spec:
  # outside
  type: NodePort
  selector: {app: web}
  ports: [{port: 80}]
";
    let policy = WARNED.replace("0.0.0.0/0", "198.51.100.0/24");
    let (text, said) = fixed(&format!("{policy}---\n{service}"));
    assert!(text.starts_with(&policy), "{text}");
    assert!(
        text.contains("externalTrafficPolicy: Local"),
        "{text}{}",
        said.err
    );
    assert!(
        text.contains("# outside") && text.contains("# web"),
        "{text}"
    );
    assert!(
        !said.out.contains("external-policy-cluster"),
        "{}",
        said.out
    );
}

#[test]
fn what_cannot_be_edited_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.json");
    let object: Value = serde_saphyr::from_str(MISMATCH).unwrap();
    fs::write(&file, object.to_string()).unwrap();
    let said = lint(&format!("{} --fix", file.display()), "");
    assert_eq!(fs::read_to_string(&file).unwrap(), object.to_string());
    assert!(
        said.err.contains("write this instead") && said.err.contains("- Egress"),
        "{}",
        said.err
    );
    assert_eq!(said.code, Some(1));
}
