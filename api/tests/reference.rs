//! docs/isolation-reference.md is what the Rust types say.
//! `RINGFENCE_WRITE_DOCS=1 cargo test -p ringfence-api --test reference` writes it.

#![allow(clippy::unwrap_used, reason = "tests")]

use kube::CustomResourceExt;
use ringfence_api::{IsolationConfig, IsolationRule, NamespaceIsolation};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const HEAD: &str = "\
# Reference: `ringfence.dev/v1alpha1`

The objects of project isolation, field by field, as `kubectl explain` tells them. What they
do is in [isolation.md](isolation.md). Generated from `api/src`:
`RINGFENCE_WRITE_DOCS=1 cargo test -p ringfence-api --test reference`.
";

#[test]
fn is_in_step() {
    let crds = [
        NamespaceIsolation::crd(),
        IsolationRule::crd(),
        IsolationConfig::crd(),
    ];
    let mut text = HEAD.to_owned();
    for crd in crds {
        let crd = serde_json::to_value(crd).unwrap();
        section(&mut text, &crd);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/isolation-reference.md");
    if std::env::var_os("RINGFENCE_WRITE_DOCS").is_some() {
        fs::write(&path, text).unwrap();
        return;
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, text, "{}", path.display());
}

fn section(text: &mut String, crd: &Value) {
    let names = &crd["spec"]["names"];
    let version = &crd["spec"]["versions"][0];
    let schema = &version["schema"]["openAPIV3Schema"];
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let scope = word(&crd["spec"]["scope"]).to_lowercase();
    let (kind, short) = (word(&names["kind"]), word(&names["shortNames"][0]));
    writeln!(text, "\n## {kind}").unwrap();
    let about = word(&schema["description"]);
    writeln!(text, "{about} Scope: {scope}; short name `{short}`.\n").unwrap();
    rules(text, schema);
    writeln!(text, "| field | type | |\n|---|---|---|").unwrap();
    for part in ["spec", "status"] {
        rows(text, part, &schema["properties"][part]);
    }
}

/// What CEL refuses, in its own words.
fn rules(text: &mut String, schema: &Value) {
    let rules = schema["x-kubernetes-validations"].as_array();
    for rule in rules.into_iter().flatten() {
        let message = rule["message"].as_str().unwrap();
        writeln!(text, "The API server insists: {message}.\n").unwrap();
    }
}

fn rows(text: &mut String, path: &str, schema: &Value) {
    let fields = schema["properties"].as_object();
    for (name, field) in fields.into_iter().flatten() {
        let path = format!("{path}.{name}");
        let items = &field["items"];
        let about = field["description"].as_str().unwrap_or_default();
        let mut about = about.replace('\n', " ").replace('|', "\\|");
        about.push_str(&limits(field));
        let inner = if items.is_object() { items } else { field };
        let messages = inner["x-kubernetes-validations"].as_array();
        for rule in messages.into_iter().flatten() {
            write!(about, " *{}*", rule["message"].as_str().unwrap()).unwrap();
        }
        writeln!(text, "| `{path}` | {} | {about} |", kind(field)).unwrap();
        // A condition is what it is everywhere.
        if name != "conditions" {
            let suffix = if items.is_object() { "[]" } else { "" };
            rows(text, &format!("{path}{suffix}"), inner);
        }
    }
}

fn kind(field: &Value) -> String {
    let choices = field["enum"].as_array();
    let choices: Vec<&str> = choices
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if !choices.is_empty() {
        return choices.join(", ");
    }
    if field["x-kubernetes-int-or-string"] == true {
        return "number or name".to_owned();
    }
    match field["type"].as_str().unwrap_or_default() {
        "array" => format!("list of {}", kind(&field["items"])),
        "string" if field["format"] == "date-time" => "time".to_owned(),
        other => other.to_owned(),
    }
}

fn limits(field: &Value) -> String {
    let mut all = String::new();
    if let Some(default) = field.get("default").filter(|d| !d.is_object()) {
        write!(all, " Default: {}.", default.to_string().replace('"', "")).unwrap();
    }
    for (key, word) in [("maxItems", "items"), ("maxLength", "characters")] {
        if let Some(most) = field[key].as_u64() {
            write!(all, " At most {most} {word}.").unwrap();
        }
    }
    all
}
