//! What is wrong with an object.

use crate::model::ObjectKey;
use serde_json::Value;
use thiserror::Error;

/// What is wrong with an object, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{kind} {object}: {path}: found {found}; {remedy}")]
pub struct ParseError {
    /// The object's kind.
    pub kind: &'static str,
    /// The object; cluster-scoped kinds have an empty namespace.
    pub object: ObjectKey,
    /// JSON path of the field, for example `spec.ingress[0].from[1].ipBlock.cidr`.
    pub path: String,
    /// What stands there.
    pub found: String,
    /// What to write instead.
    pub remedy: String,
}

/// Collects the errors of one object.
pub(super) struct Errors {
    pub(super) kind: &'static str,
    pub(super) object: ObjectKey,
    pub(super) list: Vec<ParseError>,
}

impl Errors {
    pub(super) fn new(kind: &'static str, object: ObjectKey) -> Self {
        Self {
            kind,
            object,
            list: Vec::new(),
        }
    }

    /// One error of this object, not collected.
    pub(super) fn error(
        &self,
        path: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> ParseError {
        ParseError {
            kind: self.kind,
            object: self.object.clone(),
            path: path.into(),
            found: found.into(),
            remedy: remedy.into(),
        }
    }

    pub(super) fn push(
        &mut self,
        path: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let error = self.error(path, found, remedy);
        self.list.push(error);
    }
}

/// A value as compact JSON; an Event has little room, so long ones are cut.
pub(super) fn show(value: &Value) -> String {
    const MOST: usize = 80;
    let text = value.to_string();
    if text.chars().count() <= MOST {
        text
    } else {
        text.chars().take(MOST).chain("...".chars()).collect()
    }
}
