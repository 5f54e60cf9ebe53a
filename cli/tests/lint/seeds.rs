//! The documents' examples: what lint says of each, and that a stored object is judged as
//! the typed one.

use super::world::{WORLD, stored};
use super::{fixtures, lint};
use ringfence_checks::catalogue::{CATALOGUE, Scope};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

fn seeds() -> Vec<PathBuf> {
    let mut all = Vec::new();
    for folder in ["000", "001", "002", "003", "003/old", "004"] {
        let entries = fs::read_dir(fixtures("seeds").join(folder)).unwrap();
        let files = entries.map(|e| e.unwrap().path());
        all.extend(files.filter(|f| f.extension().is_some_and(|e| e == "yaml")));
    }
    all.sort();
    all
}

fn judged_among_the_world(text: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("world.yaml"), WORLD).unwrap();
    fs::write(folder.path().join("seed.yaml"), text).unwrap();
    let said = lint(&format!("{} -o json", folder.path().display()), "");
    assert!(matches!(said.code, Some(0 | 1)), "{}{}", said.out, said.err);
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    let all = answer["findings"].as_array().unwrap().iter();
    all.filter(|f| f["file"] == "seed.yaml").cloned().collect()
}

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lint/seeds.txt");

/// After a change of checks: `RINGFENCE_WRITE_DOCS=1 cargo test -p ringfence-cli --test lint`
#[test]
fn what_lint_says_of_the_documents_examples() {
    let mut table = String::new();
    for file in seeds() {
        let name = file
            .strip_prefix(fixtures("seeds"))
            .unwrap()
            .display()
            .to_string();
        let found = judged_among_the_world(&fs::read_to_string(&file).unwrap());
        if found.is_empty() {
            writeln!(table, "{name}: clean").unwrap();
        }
        for finding in found {
            let text = |field: &str| finding[field].as_str().unwrap().to_owned();
            let (level, check) = (text("level"), text("check"));
            writeln!(
                table,
                "{name}:{}: {level} {check} {}",
                finding["line"],
                text("path")
            )
            .unwrap();
        }
    }
    if env::var_os("RINGFENCE_WRITE_DOCS").is_some() {
        fs::write(GOLDEN, table).unwrap();
    } else {
        let golden = fs::read_to_string(GOLDEN).unwrap();
        for (found, expected) in table.lines().zip(golden.lines()) {
            assert_eq!(found, expected, "see the comment of this test");
        }
        assert_eq!(table.lines().count(), golden.lines().count());
    }
}

/// A manifest as typed and as `kubectl get -o yaml` returns it: only the checks of files
/// may differ.
#[test]
fn stored_objects_are_judged_as_typed_ones() {
    let of_files: BTreeSet<&str> = CATALOGUE
        .iter()
        .filter(|c| c.scope == Scope::File)
        .map(|c| c.id)
        .collect();
    for file in seeds()
        .iter()
        .filter(|f| !f.to_string_lossy().contains("old"))
    {
        let typed = fs::read_to_string(file).unwrap();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&typed).unwrap();
        let stored: Vec<String> = documents.iter().map(|d| stored(d).to_string()).collect();
        let said = |text: &str| -> BTreeSet<(String, String)> {
            let all = judged_among_the_world(text);
            let pairs = all.iter().map(|f| {
                let text = |field: &str| f[field].as_str().unwrap().to_owned();
                (text("check"), text("level"))
            });
            pairs
                .filter(|(check, _)| !of_files.contains(check.as_str()))
                .collect()
        };
        assert_eq!(
            said(&typed),
            said(&stored.join("\n---\n")),
            "{}",
            file.display()
        );
    }
}

/// Text as it was copied from the documents: nothing of it is lost in silence.
#[test]
fn bad_files_are_named_with_their_line() {
    let entries = fs::read_dir(fixtures("bad")).unwrap();
    let files = entries.map(|e| e.unwrap().path());
    for file in files.filter(|f| f.extension().is_some_and(|e| e == "yaml")) {
        let said = lint(&file.display().to_string(), "");
        let name = file.file_name().unwrap().to_str().unwrap();
        match name {
            // Kubernetes takes these: what is wrong with them is a finding, or nothing.
            "004-ellipsis.yaml" => assert!(matches!(said.code, Some(0 | 1)), "{}", said.out),
            "003-old-version.yaml" => {
                assert!(said.out.contains("old-api"), "{}", said.out);
            }
            _ => {
                assert_eq!(said.code, Some(2), "{name}: {}", said.out);
                assert!(said.out.contains(&format!("{name}:")), "{}", said.out);
            }
        }
    }
}
