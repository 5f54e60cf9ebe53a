//! Injection: what is added, when, and that nothing else is opened.

#![allow(clippy::unwrap_used)]

mod cases;
mod changes;
mod docs;
mod property;
mod services;

use ringfence_checks::inject::{Injected, inject};
use ringfence_checks::{Config, Facts, Index, Occasion, Report, Subject, World, judge};
use ringfence_policy::{Snapshot, parse};
use serde_json::Value;
use std::fmt;

/// The documents of a YAML text.
fn documents(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    documents.into_iter().filter(|d| !d.is_null()).collect()
}

/// The first document of a YAML text.
fn document(yaml: &str) -> Value {
    documents(yaml).remove(0)
}

/// A cluster of the objects in a YAML text.
fn cluster(yaml: &str) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for value in documents(yaml) {
        let (object, errors) = parse::object(&value).unwrap();
        assert!(errors.is_empty(), "{errors:?}");
        snapshot.apply(object);
    }
    snapshot
}

fn config(yaml: &str) -> Config {
    Config::from_value(&document(yaml)).unwrap()
}

/// A cluster as kubeadm makes it, with pods in 10.16.0.0/14.
const KUBEADM: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: kube-system}}
---
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIP: 10.96.0.10
  selector: {k8s-app: kube-dns}
  ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53}, {name: metrics, port: 9153}]
---
apiVersion: v1
kind: Pod
metadata: {name: coredns, namespace: kube-system, labels: {k8s-app: kube-dns}}
spec:
  nodeName: node-1
  containers: [{name: coredns, ports: [{name: dns, containerPort: 53, protocol: UDP}, {name: dns-tcp, containerPort: 53}]}]
status: {phase: Running, podIP: 10.16.0.2}
---
{apiVersion: v1, kind: Node, metadata: {name: node-1}, spec: {podCIDR: 10.16.0.0/24}}
";

/// What the webhooks know and want.
#[derive(Clone)]
struct Hooks {
    cluster: Option<Snapshot>,
    config: Config,
}

/// The whole of them would fill pages when a property fails.
impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cluster = self.cluster.iter();
        f.debug_struct("Hooks")
            .field("dns", &self.config.dns)
            .field("monitoring", &self.config.monitoring)
            .field(
                "services",
                &cluster.clone().map(|c| &c.services).collect::<Vec<_>>(),
            )
            .field("pods", &cluster.map(|c| c.pods.len()).sum::<usize>())
            .finish_non_exhaustive()
    }
}

impl Hooks {
    fn new(objects: &str, settings: &str) -> Self {
        Self {
            cluster: Some(cluster(objects)),
            config: config(settings),
        }
    }

    fn within<T>(&self, old: Option<&Value>, f: impl FnOnce(&World) -> T) -> T {
        let index = self.cluster.clone().map(Index::new);
        f(&World {
            index: index.as_ref(),
            facts: &Facts::default(),
            config: &self.config,
            now: "2026-06-01T12:00:00Z".parse().unwrap(),
            occasion: match old {
                None => Occasion::Create,
                Some(_) => Occasion::Update,
            },
        })
    }

    /// The answer of the mutating hook.
    fn mutate(&self, object: &Value, old: Option<&Value>) -> Injected {
        let before = old.map(|old| Subject::read(old).unwrap());
        let subject = Subject::read(object).unwrap();
        self.within(old, |world| inject(&subject, before.as_ref().into(), world))
    }

    /// The object as it is stored.
    fn stored(&self, object: &Value, old: Option<&Value>) -> Value {
        let injected = self.mutate(object, old);
        assert_eq!(injected.rejected, None);
        let mut after = object.clone();
        json_patch::patch(&mut after, &injected.patch).unwrap();
        after
    }

    /// The findings of the validating hook.
    fn validate(&self, object: &Value, old: Option<&Value>) -> Report {
        let before = old.map(|old| Subject::read(old).unwrap());
        let subject = Subject::read(object).unwrap();
        self.within(old, |world| judge(&subject, before.as_ref().into(), world))
    }
}
