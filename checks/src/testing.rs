//! Table tests of checks: objects and clusters as YAML, findings as text.

use crate::engine::judge;
use crate::facts::Facts;
use crate::{Config, Index, Occasion, Report, Subject, World};
use ringfence_policy::Snapshot;
use ringfence_policy::parse;
use serde_json::Value;

/// One question to the engine; the defaults are a synced, empty cluster and `lint`.
#[derive(Clone, Debug)]
pub struct Case {
    /// The cluster; `None`: not synced.
    pub cluster: Option<Snapshot>,
    /// What else is known.
    pub facts: Facts,
    /// The configuration.
    pub config: Config,
    /// Why we look.
    pub occasion: Occasion,
    /// The object before.
    pub old: Option<Value>,
    /// Namespaces with pods that are only seconds old.
    pub young: Vec<String>,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            cluster: Some(Snapshot::default()),
            facts: Facts::default(),
            config: Config::default(),
            occasion: Occasion::Lint,
            old: None,
            young: Vec::new(),
        }
    }
}

/// The documents of a YAML text.
pub fn documents(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    documents.into_iter().filter(|d| !d.is_null()).collect()
}

/// The one document of a YAML text.
pub fn document(yaml: &str) -> Value {
    let mut all = documents(yaml);
    assert_eq!(all.len(), 1, "one document expected:\n{yaml}");
    all.remove(0)
}

/// The policy `default/p` with the spec in one line of YAML.
pub fn policy(spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{name: p, namespace: default}}\nspec: {spec}\n"
    )
}

/// The same policy as somebody's companion.
pub fn companion(policy: &str) -> String {
    let mark = "labels: {ringfence.dev/companion: 'true'}, \
                ownerReferences: [{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, name: a, uid: '1'}]";
    policy.replace("metadata: {", &format!("metadata: {{{mark}, "))
}

/// A cluster of the objects in a YAML text; those without namespace are in `default`.
pub fn cluster(yaml: &str) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for mut value in documents(yaml) {
        if !matches!(value["kind"].as_str(), Some("Node" | "Namespace")) {
            let namespace = &mut value["metadata"]["namespace"];
            if namespace.is_null() {
                *namespace = "default".into();
            }
        }
        let (object, errors) = parse::object(&value).unwrap();
        assert!(errors.is_empty(), "{errors:?}");
        snapshot.apply(object);
    }
    snapshot
}

impl Case {
    /// In a cluster of these objects.
    pub fn within(yaml: &str) -> Self {
        Self {
            cluster: Some(cluster(yaml)),
            ..Self::default()
        }
    }

    /// With a configuration.
    pub fn config(mut self, yaml: &str) -> Self {
        self.config = Config::from_value(&document(yaml)).unwrap();
        self
    }

    /// For another reason than `lint`.
    pub fn on(mut self, occasion: Occasion) -> Self {
        self.occasion = occasion;
        self
    }

    /// As an update of this object.
    pub fn after(mut self, yaml: &str) -> Self {
        self.old = Some(document(yaml));
        self.occasion = Occasion::Update;
        self
    }

    /// Everything that is found in an object.
    pub fn judge(&self, object: &Value) -> Report {
        let index = self.cluster.clone().map(|snapshot| {
            let index = Index::new(snapshot);
            let mut settled: std::collections::BTreeSet<_> =
                index.all().map(|w| w.pod.key.namespace.clone()).collect();
            settled.retain(|name| !self.young.iter().any(|y| **y == **name));
            index.with_settled(settled)
        });
        let world = World {
            index: index.as_ref(),
            facts: &self.facts,
            config: &self.config,
            now: "2026-06-01T12:00:00Z".parse().unwrap(),
            occasion: self.occasion,
        };
        let old = self.old.as_ref().map(|old| Subject::read(old).unwrap());
        judge(&Subject::read(object).unwrap(), old.as_ref().into(), &world)
    }

    /// What one check finds: `level path: sentence` each.
    pub fn found(&self, check: &str, object: &str) -> Vec<String> {
        let report = self.judge(&document(object));
        let findings = report.findings.iter().filter(|f| f.check == check);
        findings
            .map(|f| format!("{} {}: {}", f.level.as_str(), f.path, f.sentence))
            .collect()
    }

    /// The paths at which one check finds something.
    pub fn paths(&self, check: &str, object: &str) -> Vec<String> {
        let report = self.judge(&document(object));
        let findings = report.findings.into_iter().filter(|f| f.check == check);
        findings.map(|f| f.path).collect()
    }

    /// Whether a check says that it does not know.
    pub fn is_unknown(&self, check: &str, object: &str) -> bool {
        let report = self.judge(&document(object));
        report.unknown.iter().any(|u| u.check == check)
    }
}
