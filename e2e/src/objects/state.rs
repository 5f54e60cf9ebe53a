//! What the cluster should contain now: the harness's own copy of every object.

use anyhow::{Context, Result, bail};
use ringfence_policy::Snapshot;
use ringfence_policy::parse;
use ringfence_policy::snapshot::Kind;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// Names an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// `kind`
    pub kind: String,
    /// `metadata.namespace`; empty for kinds without.
    pub namespace: String,
    /// `metadata.name`
    pub name: String,
}

impl Reference {
    /// The name of `object`.
    pub fn of(object: &Value) -> Result<Self> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let (Some(kind), Some(name)) = (text("/kind"), text("/metadata/name")) else {
            bail!("an object needs kind and metadata.name: {object}");
        };
        Ok(Self {
            kind: kind.into(),
            namespace: text("/metadata/namespace").unwrap_or_default().into(),
            name: name.into(),
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// The objects of a YAML text, `kind: List` taken apart; those without a namespace belong
/// to `namespace`.
pub fn documents(yaml: &str, namespace: &str) -> Result<Vec<Value>> {
    // Namespaces are called x, y and z: `y` must stay a word, not become `true`.
    let options = serde_saphyr::options! { strict_booleans: true };
    let read: Vec<Value> =
        serde_saphyr::from_multiple_with_options(yaml, options).context("not YAML")?;
    let mut objects = Vec::new();
    for document in read.into_iter().filter(|d| !d.is_null()) {
        match document.get("items").and_then(Value::as_array) {
            Some(items) => objects.extend(items.iter().cloned()),
            None => objects.push(document),
        }
    }
    for object in &mut objects {
        let reference = Reference::of(object)?;
        let global = matches!(
            reference.kind.as_str(),
            "Namespace"
                | "Node"
                | "ClusterRole"
                | "ClusterRoleBinding"
                | "MutatingWebhookConfiguration"
                | "ValidatingWebhookConfiguration"
        );
        if !global && reference.namespace.is_empty() {
            object["metadata"]["namespace"] = namespace.into();
        }
    }
    Ok(objects)
}

/// All objects by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State(BTreeMap<Reference, Value>);

impl State {
    /// Puts an object in. False when it was there just so.
    pub fn put(&mut self, object: Value) -> Result<bool> {
        let reference = Reference::of(&object)?;
        let old = self.0.insert(reference.clone(), object);
        Ok(old.as_ref() != self.0.get(&reference))
    }

    /// Takes an object out.
    pub fn take(&mut self, reference: &Reference) -> Result<Value> {
        self.0
            .remove(reference)
            .with_context(|| format!("there is no {reference}"))
    }

    /// An object.
    pub fn get(&self, reference: &Reference) -> Option<&Value> {
        self.0.get(reference)
    }

    /// All objects.
    pub fn iter(&self) -> impl Iterator<Item = (&Reference, &Value)> {
        self.0.iter()
    }

    /// What the oracle judges by. Kinds that decide about no packet are left out; a faulty
    /// policy is in, closed.
    ///
    /// # Errors
    /// An object of a deciding kind that cannot be read at all.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        for (reference, object) in &self.0 {
            if Kind::ALL.iter().any(|kind| kind.as_str() == reference.kind) {
                let (read, _) = parse::object(object).with_context(|| reference.to_string())?;
                snapshot.apply(read);
            }
        }
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_taken_apart_and_namespaces_filled_in() {
        let yaml = "kind: List\nitems:\n- {kind: Pod, metadata: {name: a}}\n---\nkind: Namespace\nmetadata: {name: x}\n";
        let names: Vec<String> = documents(yaml, "dev")
            .unwrap()
            .iter()
            .map(|o| Reference::of(o).unwrap().to_string())
            .collect();
        assert_eq!(names, ["Pod dev/a", "Namespace x"]);
    }

    #[test]
    fn y_is_a_name() {
        let read = documents("kind: Namespace\nmetadata: {name: y}", "").unwrap();
        assert_eq!(read[0]["metadata"]["name"], "y");
    }
}
