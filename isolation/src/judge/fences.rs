//! Which namespaces are isolated, and how.

use ringfence_api::{
    GROUP, IsolationConfig, IsolationConfigSpec, Mode, NamespaceIsolation, NamespaceIsolationSpec,
    SINGLETON,
};
use ringfence_policy::model::Name;
use serde_json::Value;
use std::collections::BTreeMap;
use thiserror::Error;

/// The objects of isolation that judging others needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fences {
    /// `IsolationConfig default`, or the defaults.
    pub config: IsolationConfigSpec,
    /// The isolated namespaces.
    pub isolated: BTreeMap<Name, NamespaceIsolationSpec>,
}

/// An object that does not follow its schema.
#[derive(Debug, Error)]
#[error("{kind} {name}: {error}; `kubectl explain {kind}` shows its fields")]
pub struct Unreadable {
    kind: String,
    name: String,
    error: serde_json::Error,
}

impl Fences {
    /// Those among the objects of a cluster or of a folder; other kinds are passed over,
    /// and so is what is not called `default`, which nobody looks at.
    ///
    /// # Errors
    /// One of them does not follow its schema: without it everything would look open.
    pub fn read<'a>(objects: impl IntoIterator<Item = &'a Value>) -> Result<Self, Unreadable> {
        let mut fences = Self::default();
        for object in objects {
            let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
            let version = text("/apiVersion").unwrap_or_default();
            let ours = version
                .split_once('/')
                .is_some_and(|(group, _)| group == GROUP);
            if !ours || text("/metadata/name") != Some(SINGLETON) {
                continue;
            }
            let namespace = text("/metadata/namespace").unwrap_or("default");
            let unreadable = |error| Unreadable {
                kind: text("/kind").unwrap_or_default().to_owned(),
                name: format!("{namespace}/{SINGLETON}"),
                error,
            };
            match text("/kind") {
                Some("IsolationConfig") => {
                    let config: IsolationConfig =
                        serde_json::from_value(object.clone()).map_err(unreadable)?;
                    fences.config = config.spec;
                }
                Some("NamespaceIsolation") => {
                    let isolation: NamespaceIsolation =
                        serde_json::from_value(object.clone()).map_err(unreadable)?;
                    fences.isolated.insert(namespace.into(), isolation.spec);
                }
                _ => {}
            }
        }
        Ok(fences)
    }

    /// How a namespace is isolated, unless it is not, or for a preview only.
    pub fn of(&self, namespace: &str) -> Option<&NamespaceIsolationSpec> {
        let found = self.isolated.get(namespace);
        found.filter(|isolation| isolation.mode == Mode::Enforce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fences(yaml: &str) -> Result<Fences, String> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
        Fences::read(&documents).map_err(|error| error.to_string())
    }

    #[test]
    fn of_a_folder() {
        let fences = fences(
            "{apiVersion: ringfence.dev/v1alpha1, kind: IsolationConfig, metadata: {name: default}, spec: {tenantLabel: t}}
---
{apiVersion: ringfence.dev/v1alpha1, kind: NamespaceIsolation, metadata: {name: default, namespace: a}, spec: {}}
---
{apiVersion: ringfence.dev/v1alpha1, kind: NamespaceIsolation, metadata: {name: default, namespace: b}, spec: {mode: Preview}}
---
{apiVersion: ringfence.dev/v1alpha1, kind: NamespaceIsolation, metadata: {name: other, namespace: c}, spec: {}}
---
{apiVersion: example.dev/v1, kind: NamespaceIsolation, metadata: {name: default, namespace: d}, spec: {}}
---
{apiVersion: v1, kind: Pod, metadata: {name: default}}",
        )
        .unwrap();
        assert_eq!(fences.config.tenant_label.as_deref(), Some("t"));
        let names: Vec<&str> = fences.isolated.keys().map(AsRef::as_ref).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(fences.of("a").is_some() && fences.of("b").is_none());
    }

    #[test]
    fn one_that_cannot_be_read_is_not_passed_over() {
        let error = fences(
            "{apiVersion: ringfence.dev/v1alpha1, kind: NamespaceIsolation, metadata: {name: default, namespace: a}, spec: {mode: Off}}",
        )
        .unwrap_err();
        assert!(
            error.starts_with("NamespaceIsolation a/default: "),
            "{error}"
        );
    }
}
