//! The objects that the base lists.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

pub fn base() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/base")
}

pub fn parse(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    serde_saphyr::from_multiple(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The files that kustomization.yaml lists: admission. What it lists as a folder (the
/// enforcer) is `e2e/tests/manifests.rs`' to look at.
pub fn listed() -> Vec<String> {
    let kustomization = parse(&base().join("kustomization.yaml")).remove(0);
    let all = texts(&kustomization, "resources").into_iter();
    all.filter(|name| base().join(name).is_file()).collect()
}

/// Every object of these files.
pub fn objects() -> Vec<Value> {
    let files = listed().into_iter();
    files.flat_map(|file| parse(&base().join(file))).collect()
}

pub fn of_kind(kinds: &[&str]) -> Vec<Value> {
    let all = objects().into_iter();
    all.filter(|o| kinds.contains(&o["kind"].as_str().unwrap()))
        .collect()
}

pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

pub fn items<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

pub fn texts(value: &Value, field: &str) -> Vec<String> {
    items(value, field)
        .iter()
        .map(|v| v.as_str().unwrap().to_owned())
        .collect()
}
