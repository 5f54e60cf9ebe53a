//! The files of `fixtures/` themselves: all are used, and read as their sheets say.

use crate::case::Step;
use crate::objects::documents;
use ringfence_policy::parse;
use ringfence_policy::snapshot::Object;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use test_case::test_case;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

fn yaml_files(name: &str) -> Vec<String> {
    let entries = fs::read_dir(folder(name)).unwrap();
    let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
    let names = names.filter_map(|n| n.strip_suffix(".yaml").map(str::to_owned));
    names.collect()
}

/// Path below `fixtures/seeds`, without the extension, and text of every file.
fn seeds() -> Vec<(String, String)> {
    let folders = ["000", "001", "002", "003", "003/old", "004"];
    let paths = folders.iter().flat_map(|part| {
        yaml_files(&format!("seeds/{part}"))
            .into_iter()
            .map(move |name| format!("{part}/{name}"))
    });
    paths.map(|path| (path.clone(), text(&path))).collect()
}

fn text(path: &str) -> String {
    fs::read_to_string(folder("seeds").join(format!("{path}.yaml"))).unwrap()
}

#[test]
fn every_policy_of_the_documents_is_used() {
    let all = super::cases();
    let steps = all.iter().flat_map(|case| &case.steps);
    let used: Vec<&str> = steps
        .filter_map(|step| match step {
            Step::Apply { yaml, .. } => Some(yaml.as_str()),
            _ => None,
        })
        .collect();
    let unused: Vec<String> = seeds()
        .into_iter()
        .filter(|(path, _)| !path.contains("/old/"))
        .filter(|(_, text)| text.contains("kind: NetworkPolicy") && !used.contains(&text.as_str()))
        .map(|(path, _)| path)
        .collect();
    assert!(unused.is_empty(), "no case applies {unused:?}");
}

#[test]
fn every_current_fixture_parses_without_a_fault() {
    let kinds = ["NetworkPolicy", "Pod", "Namespace", "Service"];
    for (path, text) in seeds().iter().filter(|(path, _)| !path.contains("/old/")) {
        for object in documents(text, "default").unwrap() {
            if kinds.iter().any(|kind| object["kind"] == *kind) {
                let (_, errors) = parse::object(&object).unwrap();
                assert!(errors.is_empty(), "{path}: {errors:?}");
            }
        }
    }
}

/// Kubernetes took these fields over unchanged when the API moved.
#[test]
fn the_old_fixtures_mean_what_the_new_ones_mean() {
    for (path, old) in seeds()
        .iter()
        .filter(|(path, _)| path.contains("/old/0") && !path.contains("07-ds"))
    {
        let new = text(&path.replace("/old/", "/"));
        let (old, new) = (
            documents(old, "default").unwrap(),
            documents(&new, "default").unwrap(),
        );
        for (old, new) in old.iter().zip(&new) {
            assert_eq!(old["apiVersion"], "extensions/v1beta1", "{path}");
            let (_, errors) = parse::object(old).unwrap();
            assert_eq!(errors[0].path, "apiVersion", "{path}: closed, and why");
            let mut converted = old.clone();
            converted["apiVersion"] = "networking.k8s.io/v1".into();
            let meaning = |object| match parse::object(object) {
                Ok((ringfence_policy::snapshot::Object::Policy(p), errors))
                    if errors.is_empty() =>
                {
                    p
                }
                other => panic!("{path}: {other:?}"),
            };
            assert_eq!(meaning(&converted), meaning(new), "{path}");
        }
    }
}

struct Bad {
    text: String,
    sheet: String,
}

impl Bad {
    fn read(name: &str) -> Self {
        let read = |extension| {
            fs::read_to_string(folder("bad").join(name).with_extension(extension)).unwrap()
        };
        Self {
            text: read("yaml"),
            sheet: read("txt"),
        }
    }

    fn says(&self, key: &str) -> &str {
        let line = self
            .sheet
            .lines()
            .find_map(|l| l.strip_prefix(key)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("the sheet has no {key}"))
    }

    fn line(&self) -> u64 {
        self.says("line").parse().unwrap()
    }
}

#[test]
fn every_bad_file_has_a_test() {
    let mut names = yaml_files("bad");
    names.sort();
    let mut tested = [NO_YAML.as_slice(), &WRONG, &["004-dashes", "004-ellipsis"]].concat();
    tested.sort_unstable();
    assert_eq!(names, tested);
}

const NO_YAML: [&str; 4] = ["001-flattened", "001-numbered", "002-flattened", "003-perf"];
const WRONG: [&str; 3] = [
    "000-local-in-lower-case",
    "000-url-as-cidr",
    "003-old-version",
];

#[test_case("001-flattened")]
#[test_case("001-numbered")]
#[test_case("002-flattened")]
#[test_case("003-perf")]
fn is_no_yaml_from_this_line_on(name: &str) {
    let bad = Bad::read(name);
    let error = serde_saphyr::from_multiple::<Value>(&bad.text).unwrap_err();
    let location = error.location().expect("a location");
    assert_eq!(location.line(), bad.line(), "{error}");
}

#[test_case("000-local-in-lower-case")]
#[test_case("000-url-as-cidr")]
#[test_case("003-old-version")]
fn is_an_object_with_this_fault(name: &str) {
    let bad = Bad::read(name);
    let object = documents(&bad.text, "default").unwrap().remove(0);
    let errors = match parse::object(&object) {
        Ok((_, errors)) => errors,
        Err(error) => vec![error],
    };
    let [error] = &errors[..] else {
        panic!("one error, not {errors:?}")
    };
    assert_eq!(error.path, bad.says("field"));
    assert!(error.found.contains(bad.says("found")), "{error}");
    let remedy = bad.says("remedy").split([',', ';']).next().unwrap();
    assert!(error.remedy.contains(remedy), "{error}");
    let line = bad
        .text
        .lines()
        .position(|l| l.contains(bad.says("found")))
        .unwrap();
    assert_eq!(line as u64 + 1, bad.line());
}

#[test]
fn a_list_is_no_object() {
    let bad = Bad::read("004-dashes");
    let read: Vec<Value> = serde_saphyr::from_multiple(&bad.text).unwrap();
    assert!(read[0].is_array());
    assert!(documents(&bad.text, "default").is_err());
}

#[test]
fn three_dots_end_a_document_and_what_is_left_denies() {
    let bad = Bad::read("004-ellipsis");
    let object = documents(&bad.text, "default").unwrap().remove(0);
    // Kubernetes takes an empty spec; so nothing is reported, and nothing is let in.
    let (read, errors) = parse::object(&object).unwrap();
    assert!(errors.is_empty(), "{errors:?}");
    let Object::Policy(policy) = read else {
        panic!("no policy")
    };
    assert_eq!((policy.ingress, policy.egress), (Some(vec![]), None));
}
