//! From Kubernetes' API objects to the model.
//!
//! ```text
//!  JSON NetworkPolicy -----------------> policy()  -> Policy, closed when anything is wrong
//!  JSON or watch event -> view::PodView -> pod()   -> Pod without what cannot be read
//!  any of the five kinds --------------> object()  -> snapshot::Object
//! ```
//!
//! NetworkPolicies are read from raw JSON: a value of the wrong type must be an error
//! with a path that closes the policy, not a failure to deserialize that loses it.

mod address;
mod errors;
mod json;
mod names;
mod objects;
mod policy;
mod rules;
mod selector;
pub mod view;

pub use errors::ParseError;
pub use objects::{namespace, node, pod, service};
pub use policy::{COMPANION, policy};

use crate::model::{ObjectKey, Policy};
use crate::snapshot::{Kind, Object};
use errors::{Errors, show};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

/// An object and what could not be read of it; `Err` when not even its name can.
pub type Lenient<T> = Result<(T, Vec<ParseError>), ParseError>;

/// A policy and its faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The policy. With any error: closed, and `fault` is set.
    pub policy: Policy,
    /// Everything that is wrong with it.
    pub errors: Vec<ParseError>,
}

/// An object of any of the five kinds, by its `apiVersion` and `kind`, and what could
/// not be read of it.
///
/// # Errors
/// Another kind, or an object without a name.
pub fn object(value: &Value) -> Lenient<Object> {
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or("");
    match kind {
        "NetworkPolicy" => policy(value).map(|p| (Object::Policy(p.policy), p.errors)),
        "Pod" => view(value, Kind::Pod, pod).map(|(o, e)| (Object::Pod(o), e)),
        "Namespace" => {
            view(value, Kind::Namespace, namespace).map(|(o, e)| (Object::Namespace(o), e))
        }
        "Node" => view(value, Kind::Node, node).map(|(o, e)| (Object::Node(o), e)),
        "Service" => view(value, Kind::Service, service).map(|(o, e)| (Object::Service(o), e)),
        _ => Err(Errors::new("object", named(value)).error(
            "kind",
            show(value.get("kind").unwrap_or(&Value::Null)),
            "write NetworkPolicy, Pod, Namespace, Node or Service",
        )),
    }
}

/// The same for an object of the `k8s-openapi` types.
pub fn api<T: Serialize>(object: &T) -> Lenient<Object> {
    let value = serde_json::to_value(object).map_err(|e| {
        let errors = Errors::new("object", ObjectKey::new("", ""));
        errors.error(".", e.to_string(), "pass an object that JSON can hold")
    })?;
    self::object(&value)
}

/// Reads a `v1` object through its view.
fn view<'a, V: Deserialize<'a>, T>(
    value: &'a Value,
    kind: Kind,
    read: impl FnOnce(V) -> Lenient<T>,
) -> Lenient<T> {
    let errors = Errors::new(kind.as_str(), named(value));
    metadata(&errors, value)?;
    let version = value.get("apiVersion").unwrap_or(&Value::Null);
    if !matches!(version.as_str(), Some("v1")) && !version.is_null() {
        return Err(errors.error("apiVersion", show(version), "write v1"));
    }
    let view = serde_path_to_error::deserialize(value).map_err(|e| {
        let found = at(value, e.path()).map_or_else(|| "nothing".to_owned(), show);
        let path = e.path().to_string();
        errors.error(path, found, expected(&e.into_inner().to_string()))
    })?;
    read(view)
}

/// Reports metadata of a wrong type: without it there is no name to report anything under.
fn metadata(errors: &Errors, object: &Value) -> Result<(), ParseError> {
    let remedy = "write a map with the object's name, and its namespace where it has one";
    match object.get("metadata") {
        None | Some(Value::Null | Value::Object(_)) => Ok(()),
        Some(found) => Err(errors.error("metadata", show(found), remedy)),
    }
}

/// The value at a path.
fn at<'a>(value: &'a Value, path: &Path) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, step| match step {
        Segment::Seq { index } => value.get(index),
        Segment::Map { key } => value.get(key),
        Segment::Enum { .. } | Segment::Unknown => Some(value),
    })
}

/// What to write, from serde's "invalid type: sequence, expected a map".
fn expected(message: &str) -> String {
    match message.rsplit_once("expected ").map_or(message, |(_, e)| e) {
        "i64" => "write a whole number, without quotes".to_owned(),
        "a boolean" => "write true or false, without quotes".to_owned(),
        "a sequence" => "write a list, with a dash before each item".to_owned(),
        "a map" => "write a map of names to values".to_owned(),
        "a string" => "write a string, in quotes if it looks like a number or yes/no".to_owned(),
        other => format!("write {other}"),
    }
}

/// As much of the key as can be read, for messages.
fn named(value: &Value) -> ObjectKey {
    let text = |field| {
        let text = value.get("metadata").and_then(|m| m.get(field));
        text.and_then(Value::as_str).unwrap_or("")
    };
    ObjectKey::new(text("namespace"), text("name"))
}
