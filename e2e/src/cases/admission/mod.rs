//! The webhook in a real API server: what it answers, what it adds, what packets do then,
//! and that it never stands in the way.

mod answers;
mod controller;
mod injection;
mod isolation;
mod outage;
mod rotation;
mod writes;

use crate::case::{Case, Stage};
use crate::fabric::Placement;
use anyhow::{Context, Result};
use serde_json::Value;

/// A shop, its neighbour, who scrapes, and who answers DNS.
pub(super) const PODS: [&str; 6] = [
    "shop/web@node1",
    "shop/db@node2",
    "other/web@node1",
    "monitoring/scraper@node2",
    "kube-system/dns@node2",
    "kube-system/other@node1",
];

/// Those that can be had in any cluster: `kube-system` belongs to somebody.
pub(super) const WITHOUT_SYSTEM: [&str; 4] = [PODS[0], PODS[1], PODS[2], PODS[3]];

/// The cases.
pub fn cases() -> Vec<Case> {
    [
        answers::cases(),
        injection::cases(),
        writes::cases(),
        outage::cases(),
        rotation::cases(),
        controller::cases(),
        isolation::cases(),
    ]
    .concat()
}

/// A case over [`PODS`]. What is shown does not depend on how pods are connected.
fn case(name: &'static str) -> Case {
    Case::new(name, "admission")
        .tags(&["admission"])
        .pods(&PODS)
        .any_kind()
        .placements(&[Placement::Spread])
        .webhook()
}

/// An object as the API server has it.
fn stored(stage: &mut Stage, kind: &str, key: &str) -> Result<Value> {
    let (namespace, name) = key.split_once('/').context("namespace/name")?;
    let said = stage.kubectl(&["-n", namespace, "get", kind, name, "-o", "json"], "")?;
    serde_json::from_str(&said.accepted()?.out).context("kubectl printed no JSON")
}

/// `metadata.resourceVersion`
fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].to_string()
}
