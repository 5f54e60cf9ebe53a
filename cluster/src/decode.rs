//! From JSON to a [`Decoded`] object.

use crate::{Cause, Decoded, Problem, Severity};
use ringfence_policy::model::ObjectKey;
use ringfence_policy::parse::view::{Metadata, NamespaceView, NodeView, PodView, ServiceView};
use ringfence_policy::parse::{self, Lenient, ParseError};
use ringfence_policy::snapshot::{Kind, Object};
use serde::Deserialize;
use serde_json::Value;

/// Decodes one object of the API server from its JSON.
///
/// Pods come by the hundred a second, so they go straight to the trimmed view; only what
/// does not fit it is read a second time, for an error that names the field.
///
/// # Errors
/// An object without a usable name: there is nothing it could be stored under.
pub(crate) fn raw(kind: Kind, json: &str) -> Result<Decoded, Problem> {
    // Serde would take a list for the fields of a struct in their order.
    let fitting = match kind {
        _ if !json.trim_start().starts_with('{') => None,
        Kind::Pod => trimmed(
            json,
            |v: &PodView| &v.metadata,
            |v| map(parse::pod(v), Object::Pod),
        ),
        Kind::Namespace => trimmed(
            json,
            |v: &NamespaceView| &v.metadata,
            |v| map(parse::namespace(v), Object::Namespace),
        ),
        Kind::Node => trimmed(
            json,
            |v: &NodeView| &v.metadata,
            |v| map(parse::node(v), Object::Node),
        ),
        Kind::Service => trimmed(
            json,
            |v: &ServiceView| &v.metadata,
            |v| map(parse::service(v), Object::Service),
        ),
        // From raw JSON, so that a value of a wrong type closes the policy.
        Kind::NetworkPolicy => None,
    };
    let (version, object) = match fitting {
        Some(fitting) => fitting,
        None => match serde_json::from_str::<Value>(json) {
            Ok(mut object) => {
                // Items of a list do not say what they are.
                if let Value::Object(fields) = &mut object {
                    fields.insert("kind".to_owned(), kind.as_str().into());
                }
                let version = object.pointer("/metadata/resourceVersion");
                let version = version.and_then(Value::as_str).map(Box::from);
                (version, parse::object(&object))
            }
            Err(error) => return Err(no_json(kind, &error)),
        },
    };
    decoded(kind, version, object)
}

/// Decodes an object that says itself what it is.
///
/// # Errors
/// As [`raw`].
pub(crate) fn value(kind: Kind, object: &Value) -> Result<Decoded, Problem> {
    decoded(kind, None, parse::object(object))
}

/// An object through its view; `None` when a field has the wrong type.
fn trimmed<'a, V: Deserialize<'a>>(
    json: &'a str,
    metadata: impl FnOnce(&V) -> &Metadata,
    read: impl FnOnce(V) -> Lenient<Object>,
) -> Option<(Option<Box<str>>, Lenient<Object>)> {
    let view = serde_json::from_str(json).ok()?;
    let version = Box::from(&*metadata(&view).resource_version);
    Some((Some(version), read(view)))
}

fn map<T>(parsed: Lenient<T>, object: impl FnOnce(T) -> Object) -> Lenient<Object> {
    parsed.map(|(value, errors)| (object(value), errors))
}

fn decoded(
    kind: Kind,
    resource_version: Option<Box<str>>,
    object: Lenient<Object>,
) -> Result<Decoded, Problem> {
    let (key, object, errors) = match object {
        Ok((object, errors)) => (crate::store::identity(&object).1, Some(object), errors),
        Err(error) if error.object.name.is_empty() => return Err(problem(kind, &error)),
        Err(error) => (error.object.clone(), None, vec![error]),
    };
    Ok(Decoded {
        kind,
        key,
        object,
        problems: errors.iter().map(|error| problem(kind, error)).collect(),
        resource_version,
    })
}

fn problem(kind: Kind, error: &ParseError) -> Problem {
    Problem {
        severity: Severity::Error,
        cause: Cause::Field,
        object: Some((kind, error.object.clone())),
        place: None,
        message: format!("{}: found {}; {}", error.path, error.found, error.remedy),
    }
}

fn no_json(kind: Kind, error: &serde_json::Error) -> Problem {
    Problem {
        severity: Severity::Error,
        cause: Cause::Syntax,
        object: Some((kind, ObjectKey::new("", "?"))),
        place: None,
        message: format!("is no JSON: {error}"),
    }
}
