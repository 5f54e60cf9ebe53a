//! NetworkPolicies from raw JSON.
//!
//! Validated as the API server does
//! (`kubernetes/pkg/apis/networking/validation/validation.go`), because objects from a
//! folder have passed no API server, and stricter about fields that do not exist.

use super::errors::{Errors, show};
use super::json::{Field, Place};
use super::rules::rule;
use super::selector::selector;
use super::{ParseError, Parsed, named, names};
use crate::model::{Direction, Policy, Rule, Selector};
use serde_json::Value;
use std::sync::Arc;

/// The label of companions, with the value `true`: see [`Policy::allow_only`].
pub const COMPANION: &str = "ringfence.dev/companion";

/// How many errors a policy's `fault` repeats; an Event has room for about as many.
const FAULTS_SHOWN: usize = 20;

/// Reads a policy. All faults are collected, and with any of them the policy is
/// **closed**: it allows nothing, and isolates the pods that it selects (all of its
/// namespace when it is the selector that cannot be read) in the directions that it
/// would have isolated (both when that cannot be read).
///
/// # Errors
/// When not even namespace and name can be read.
pub fn policy(object: &Value) -> Result<Parsed, ParseError> {
    let mut errors = Errors::new("NetworkPolicy", named(object));
    super::metadata(&errors, object)?;
    for field in ["namespace", "name"] {
        let found = object.get("metadata").and_then(|m| m.get(field));
        if found.and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(errors.error(
                format!("metadata.{field}"),
                found.map_or_else(|| "nothing".to_owned(), show),
                format!("give the policy a {field}"),
            ));
        }
    }
    let root = Field::root(object);
    root.only(
        &["apiVersion", "kind", "metadata", "spec", "status"],
        &mut errors,
    );
    let unknown_to_us = !errors.list.is_empty();
    identity(&root, &mut errors);
    // A policy without spec is valid: no selector, no rules, policyTypes by default.
    let empty = Value::Object(serde_json::Map::new());
    let spec = root.get("spec").unwrap_or(Field {
        value: &empty,
        place: Place::Named(&Place::Root, "spec"),
    });
    let mut policy = read(&spec, unknown_to_us, &mut errors);
    if errors.list.is_empty() {
        policy.allow_only = is_companion(object);
    } else {
        let closed = |rules: Option<Vec<Rule>>| rules.map(|_| Vec::new());
        policy.ingress = closed(policy.ingress);
        policy.egress = closed(policy.egress);
        policy.fault = Some(fault(&errors.list));
    }
    Ok(Parsed {
        policy,
        errors: errors.list,
    })
}

/// `apiVersion`, `kind` and the syntax of the names. Items of lists have no kind.
fn identity(root: &Field, errors: &mut Errors) {
    if let Some(kind) = root.get("kind")
        && kind.value.as_str() != Some("NetworkPolicy")
    {
        kind.fault(errors, "write NetworkPolicy");
    }
    if let Some(version) = root.get("apiVersion") {
        match version.value.as_str() {
            Some("networking.k8s.io/v1") => {}
            Some("extensions/v1beta1") => version.fault(
                errors,
                "write networking.k8s.io/v1: Kubernetes 1.16 removed this version; \
                 the fields are the same",
            ),
            _ => version.fault(errors, "write networking.k8s.io/v1"),
        }
    }
    let Some(metadata) = root.get("metadata") else {
        return;
    };
    let syntax = [
        ("namespace", names::label as fn(&str) -> bool, 63),
        ("name", names::subdomain, 253),
    ];
    for (field, valid, most) in syntax {
        if let Some(name) = metadata.get(field)
            && !name.value.as_str().is_some_and(valid)
        {
            let remedy =
                format!("write at most {most} lower-case letters, digits, and dashes between them");
            name.fault(errors, remedy);
        }
    }
}

/// The policy in `spec`. Its rules count only when there were no errors at all.
fn read(spec: &Field, mut unclear: bool, errors: &mut Errors) -> Policy {
    let before = errors.list.len();
    spec.only(&["podSelector", "policyTypes", "ingress", "egress"], errors);
    // An unknown field may be a misspelt `egress` or `policyTypes`.
    unclear |= errors.list.len() > before;

    let before = errors.list.len();
    let pod_selector = spec.get("podSelector").map(|s| selector(&s, errors));
    let pod_selector = pod_selector
        .filter(|_| errors.list.len() == before)
        .unwrap_or_else(Selector::everything);

    let before = errors.list.len();
    let types = policy_types(spec, errors);
    unclear |= errors.list.len() > before;

    let mut rules = |field: &str, direction| -> Vec<Rule> {
        let items = spec.list(field, errors);
        items.map(|item| rule(&item, direction, errors)).collect()
    };
    let ingress = rules("ingress", Direction::Ingress);
    let egress = rules("egress", Direction::Egress);

    // An egress section that is no list would have held rules, had it been written well.
    let egress_section = spec
        .get("egress")
        .is_some_and(|e| e.value.as_array().is_none_or(|rules| !rules.is_empty()));
    let isolates = |direction| match direction {
        _ if unclear => true,
        _ if !types.is_empty() => types.contains(&direction),
        Direction::Ingress => true,
        Direction::Egress => egress_section,
    };
    Policy {
        key: errors.object.clone(),
        pod_selector,
        ingress: isolates(Direction::Ingress).then_some(ingress),
        egress: isolates(Direction::Egress).then_some(egress),
        fault: None,
        allow_only: false,
    }
}

/// Whether the controller keeps the policy beside an author's (injection mode `companion`):
/// it has the label, and belongs to another NetworkPolicy. Whoever forges that on a policy
/// of their own only makes it isolate less, which they could do anyway by deleting it.
fn is_companion(object: &Value) -> bool {
    let metadata = &object["metadata"];
    let mut owners = metadata["ownerReferences"].as_array().into_iter().flatten();
    metadata["labels"][COMPANION] == "true" && owners.any(|owner| owner["kind"] == "NetworkPolicy")
}

/// What `policyTypes` says; empty when it says nothing and is inferred.
fn policy_types(spec: &Field, errors: &mut Errors) -> Vec<Direction> {
    let mut types = Vec::new();
    let mut count = 0;
    for item in spec.list("policyTypes", errors) {
        count += 1;
        match item.value.as_str() {
            Some("Ingress") => types.push(Direction::Ingress),
            Some("Egress") => types.push(Direction::Egress),
            _ => item.fault(errors, "write Ingress or Egress, with a capital letter"),
        }
    }
    if count > 2
        && let Some(list) = spec.get("policyTypes")
    {
        list.fault(errors, "write each of Ingress and Egress at most once");
    }
    types
}

fn fault(errors: &[ParseError]) -> Arc<str> {
    let mut text: Vec<String> = errors
        .iter()
        .take(FAULTS_SHOWN)
        .map(|e| format!("{}: found {}; {}", e.path, e.found, e.remedy))
        .collect();
    if errors.len() > FAULTS_SHOWN {
        text.push(format!("and {} more", errors.len() - FAULTS_SHOWN));
    }
    text.join(". ").into()
}
