//! A cluster of YAML, for tests.

use crate::render::{Dns, Input, Rendered, render};
use jiff::Timestamp;
use ringfence_api::{IsolationConfigSpec, IsolationRule, NamespaceIsolationSpec};
use ringfence_policy::model::Name;
use ringfence_policy::{Snapshot, parse};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// When everything happens.
pub const NOW: &str = "2026-06-01T12:00:00Z";

/// Objects around a namespace, and the objects of its isolation.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub snapshot: Snapshot,
    pub config: IsolationConfigSpec,
    pub isolation: NamespaceIsolationSpec,
    pub rules: BTreeMap<Name, IsolationRule>,
}

impl Cluster {
    /// With the objects of a YAML stream.
    pub fn new(yaml: &str) -> Self {
        Self::default().with(yaml)
    }

    /// With these objects, too.
    pub fn with(mut self, yaml: &str) -> Self {
        for document in yaml.split("\n---") {
            let object: Value = serde_saphyr::from_str(document).unwrap();
            let (object, errors) = parse::object(&object).unwrap();
            assert_eq!(errors, []);
            self.snapshot.apply(object);
        }
        self
    }

    /// With this `spec` of the `IsolationConfig`.
    pub fn config(mut self, spec: &str) -> Self {
        self.config = serde_saphyr::from_str(spec).unwrap();
        self
    }

    /// With this `spec` of the `NamespaceIsolation`.
    pub fn isolation(mut self, spec: &str) -> Self {
        self.isolation = serde_saphyr::from_str(spec).unwrap();
        self
    }

    /// With an `IsolationRule`.
    pub fn rule(mut self, name: &str, spec: &str) -> Self {
        let spec: Value = serde_saphyr::from_str(spec).unwrap();
        let rule = json!({"metadata": {"name": name}, "spec": spec});
        self.rules
            .insert(name.into(), serde_json::from_value(rule).unwrap());
        self
    }

    /// The policy of namespace `demo-project`.
    pub fn render(&self) -> Rendered {
        self.render_in("demo-project")
    }

    /// The policy of a namespace.
    pub fn render_in(&self, namespace: &str) -> Rendered {
        self.render_at(namespace, NOW.parse().unwrap())
    }

    /// The same at another time.
    pub fn render_at(&self, namespace: &str, now: Timestamp) -> Rendered {
        let rules = self.rules.iter().map(|(name, rule)| (name.clone(), rule));
        render(&Input {
            namespace,
            config: &self.config,
            isolation: &self.isolation,
            rules: &rules.collect(),
            snapshot: &self.snapshot,
            dns: &Dns::find(&self.snapshot, &self.config),
            now,
        })
    }
}
