//! Walking raw JSON with the place in hand. Its path is written out only for an error:
//! most objects have none, and the webhook reads every object that the API server is sent.
//!
//! A value of the wrong type is reported and reads as empty. That is safe only
//! because any error closes the policy: nothing that was read is then used.

use super::errors::{Errors, show};
use serde_json::Value;

/// A value and where it stands.
pub(super) struct Field<'a, 'p> {
    pub(super) value: &'a Value,
    pub(super) place: Place<'p>,
}

/// The way to a value, from the end.
#[derive(Clone, Copy)]
pub(super) enum Place<'p> {
    /// The object itself.
    Root,
    /// A field of what stands at a place.
    Named(&'p Place<'p>, &'p str),
    /// An item of the list in a field of what stands at a place.
    Item(&'p Place<'p>, &'p str, usize),
}

// === impl Place ===

impl Place<'_> {
    /// `spec.ingress[0].from[1]`
    fn path(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Named(parent, name) => join(&parent.path(), name),
            Self::Item(parent, name, index) => {
                format!("{}[{index}]", join(&parent.path(), name))
            }
        }
    }
}

// === impl Field ===

impl<'a, 'p> Field<'a, 'p> {
    pub(super) fn root(value: &'a Value) -> Self {
        let place = Place::Root;
        Self { value, place }
    }

    /// A field of this object; absent and `null` are the same, as in Go.
    pub(super) fn get<'s>(&'s self, name: &'s str) -> Option<Field<'a, 's>> {
        let value = self.value.get(name).filter(|v| !v.is_null())?;
        let place = Place::Named(&self.place, name);
        Some(Field { value, place })
    }

    /// Reports this value.
    pub(super) fn fault(&self, errors: &mut Errors, remedy: impl Into<String>) {
        errors.push(self.place.path(), show(self.value), remedy);
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
            errors.push(join(&self.place.path(), name), show(value), remedy);
        }
    }

    /// The pairs of an object that serves as a map.
    pub(super) fn entries<'s>(
        &'s self,
        errors: &mut Errors,
    ) -> impl Iterator<Item = (&'a str, Field<'a, 's>)> + use<'a, 's, 'p> {
        let map = self.value.as_object();
        if map.is_none() {
            self.fault(errors, "write a map of names to values");
        }
        map.into_iter().flatten().map(|(name, value)| {
            let place = Place::Named(&self.place, name);
            (name.as_str(), Field { value, place })
        })
    }

    /// The items of the list in a field that may be absent.
    pub(super) fn list<'s>(
        &'s self,
        name: &'s str,
        errors: &mut Errors,
    ) -> impl Iterator<Item = Field<'a, 's>> + use<'a, 's, 'p> {
        let list = self.get(name);
        let items = list.as_ref().and_then(|list| list.value.as_array());
        if let (Some(list), None) = (&list, items) {
            list.fault(errors, "write a list, with a dash before each item");
        }
        let items = items.into_iter().flatten().enumerate();
        items.map(move |(i, value)| {
            let place = Place::Item(&self.place, name, i);
            Field { value, place }
        })
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
