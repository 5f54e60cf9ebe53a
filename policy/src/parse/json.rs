//! Walking raw JSON with the path in hand.
//!
//! A value of the wrong type is reported and reads as empty. That is safe only
//! because any error closes the policy: nothing that was read is then used.

use super::errors::{Errors, show};
use serde_json::Value;

/// A value and where it stands.
pub(super) struct Field<'a> {
    pub(super) value: &'a Value,
    pub(super) path: String,
}

impl<'a> Field<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        let path = String::new();
        Self { value, path }
    }

    /// A field of this object; absent and `null` are the same, as in Go.
    pub(super) fn get(&self, name: &str) -> Option<Self> {
        let value = self.value.get(name).filter(|v| !v.is_null())?;
        let path = join(&self.path, name);
        Some(Self { value, path })
    }

    /// Reports this value.
    pub(super) fn fault(&self, errors: &mut Errors, remedy: impl Into<String>) {
        errors.push(self.path.clone(), show(self.value), remedy);
    }

    /// Reports anything but an object, and every field that is not `known`: skipping a
    /// misspelt `namespaceSelectr` would silently widen what is allowed.
    pub(super) fn only(&self, known: &[&str], errors: &mut Errors) {
        let Some(map) = self.value.as_object() else {
            let remedy = format!("write an object with any of: {}", known.join(", "));
            return self.fault(errors, remedy);
        };
        for (name, value) in map
            .iter()
            .filter(|(name, _)| !known.contains(&name.as_str()))
        {
            let remedy = format!("no such field here; there are: {}", known.join(", "));
            errors.push(join(&self.path, name), show(value), remedy);
        }
    }

    /// The pairs of an object that serves as a map.
    pub(super) fn entries(&self, errors: &mut Errors) -> Vec<(&'a str, Self)> {
        let Some(map) = self.value.as_object() else {
            self.fault(errors, "write a map of names to values");
            return Vec::new();
        };
        map.iter()
            .map(|(name, value)| {
                let path = join(&self.path, name);
                (name.as_str(), Self { value, path })
            })
            .collect()
    }

    /// The items of a list.
    pub(super) fn items(&self, errors: &mut Errors) -> Vec<Self> {
        let Some(list) = self.value.as_array() else {
            self.fault(errors, "write a list, with a dash before each item");
            return Vec::new();
        };
        list.iter()
            .enumerate()
            .map(|(i, value)| {
                let path = format!("{}[{i}]", self.path);
                Self { value, path }
            })
            .collect()
    }

    /// The items of a list in a field that may be absent.
    pub(super) fn list(&self, name: &str, errors: &mut Errors) -> Vec<Self> {
        self.get(name)
            .map_or_else(Vec::new, |list| list.items(errors))
    }

    /// A string.
    pub(super) fn text(&self, errors: &mut Errors) -> Option<&'a str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.fault(
                errors,
                "write a string, in quotes if it looks like a number or yes/no",
            );
        }
        text
    }
}

/// `path.name`, in brackets where the name itself has dots or slashes.
fn join(path: &str, name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if name.is_empty() || !name.bytes().all(plain) {
        format!("{path}[{name:?}]")
    } else if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}
