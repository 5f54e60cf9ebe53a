//! Who is to be judged again, after what has changed.

use super::objects::{Id, Objects};
use ringfence_checks::{Config, Index};
use ringfence_policy::Change;
use ringfence_policy::model::{Name, Node, Peer, Pod, Policy};
use ringfence_policy::snapshot::Kind;
use std::collections::BTreeSet;

/// What has changed since the last pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    everything: bool,
    /// In which namespaces.
    namespaces: BTreeSet<Name>,
    /// Objects of which only something has changed that others do not look at.
    objects: BTreeSet<Id>,
}

// === impl Due ===

impl Due {
    /// Whether nothing has.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Something that concerns all.
    pub fn everything(&mut self) {
        self.everything = true;
    }

    /// An object itself.
    pub fn object(&mut self, id: Id) {
        self.objects.insert(id);
    }

    /// Something of the cluster.
    pub fn note(&mut self, change: &Change, config: &Config) {
        match change {
            Change::Pod(before, after) => {
                if pod(before.as_deref()) != pod(after.as_deref()) {
                    let pod = before.as_ref().or(after.as_ref());
                    self.namespace(pod.map(|pod| &pod.key.namespace), config);
                }
            }
            Change::Policy(before, after) => {
                let policy = before.as_ref().or(after.as_ref());
                self.namespace(policy.map(|policy| &policy.key.namespace), config);
            }
            Change::Service(before, after) => {
                let service = before.as_ref().or(after.as_ref());
                self.namespace(service.map(|service| &service.key.namespace), config);
            }
            // Peers everywhere may match it, or not any more.
            Change::Namespace(..) => self.everything(),
            Change::Node(before, after) => {
                if node(before.as_deref()) != node(after.as_deref()) {
                    self.everything();
                }
            }
        }
    }

    fn namespace(&mut self, name: Option<&Name>, config: &Config) {
        let Some(name) = name else {
            return;
        };
        let gateways = config.gateways.iter().map(|gateway| &gateway.namespace);
        let mut special = gateways
            .chain(&config.monitoring)
            .chain([&config.dns.service.namespace]);
        // Checks look at those whatever they judge.
        if special.any(|namespace| namespace == name) {
            self.everything = true;
        }
        self.namespaces.insert(Name::clone(name));
    }

    /// The objects that have to be judged for it; gone ones too.
    pub fn resolve(&self, objects: &Objects, index: &Index) -> Vec<Id> {
        let concerned = |id: &&Id| {
            let (kind, key) = id;
            let own = match kind {
                Kind::Namespace => &key.name,
                _ => &key.namespace,
            };
            self.everything
                || self.namespaces.contains(own)
                || *kind == Kind::NetworkPolicy
                    && index
                        .snapshot()
                        .policies
                        .get(key)
                        .is_some_and(|policy| self.concerns(policy, index))
        };
        let mut ids: BTreeSet<Id> = self.objects.clone();
        ids.extend(objects.ids().filter(concerned).cloned());
        ids.into_iter().collect()
    }

    /// Whether a peer of the policy is where something has changed.
    fn concerns(&self, policy: &Policy, index: &Index) -> bool {
        let rules = [&policy.ingress, &policy.egress].into_iter().flatten();
        let mut peers = rules.flatten().flat_map(|rule| &rule.peers);
        peers.any(|peer| match peer {
            Peer::Pods { namespaces, .. } => self
                .namespaces
                .iter()
                .any(|name| index.is_peer(&policy.key.namespace, namespaces, name)),
            Peer::Block(_) => false,
        })
    }
}

/// What checks look at of a pod: not its name, of which every rollout makes new ones, but
/// then it is another pod.
fn pod(pod: Option<&Pod>) -> Option<impl PartialEq> {
    pod.map(|pod| {
        let place = (pod.node.clone(), pod.ips.clone(), pod.is_target());
        (pod.labels.clone(), pod.ports.clone(), pod.api_client, place)
    })
}

fn node(node: Option<&Node>) -> Option<impl PartialEq> {
    node.map(|node| (node.addresses.clone(), node.pod_cidrs.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::api::DynamicObject;
    use kube::runtime::watcher::Event as Said;
    use ringfence_policy::snapshot::Object;
    use ringfence_policy::{Snapshot, parse};
    use serde_json::{Value, json};
    use std::sync::Arc;
    use test_case::test_case;

    fn policy(namespace: &str, name: &str, from: &Value) -> Value {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"podSelector": {}, "ingress": [{"from": [from]}]}})
    }

    fn cluster() -> (Objects, Index) {
        let own = json!({"podSelector": {}});
        let to_a =
            json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "a"}}});
        let policies = [
            policy("a", "own", &own),
            policy("b", "own", &own),
            policy("b", "from-a", &to_a),
        ];
        let mut snapshot = Snapshot::default();
        let mut objects = Objects::default();
        for value in policies {
            snapshot.apply(parse::object(&value).unwrap().0);
            let object: DynamicObject = serde_json::from_value(value).unwrap();
            objects
                .note((Kind::NetworkPolicy, Ok(Said::Apply(object))))
                .unwrap();
        }
        for name in ["a", "b"] {
            let value =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            snapshot.apply(parse::object(&value).unwrap().0);
        }
        (objects, Index::new(snapshot))
    }

    fn resolved(due: &Due) -> Vec<String> {
        let (objects, index) = cluster();
        let ids = due.resolve(&objects, &index);
        ids.iter().map(|(_, key)| key.to_string()).collect()
    }

    fn a_pod(namespace: &str, label: &str, ended: bool) -> Arc<Pod> {
        let phase = if ended { "Succeeded" } else { "Running" };
        let value = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": namespace, "name": "p", "labels": {"app": label}},
            "status": {"phase": phase}});
        let (Object::Pod(pod), _) = parse::object(&value).unwrap() else {
            panic!("no pod");
        };
        Arc::new(pod)
    }

    #[test_case("a", &["a/own", "b/from-a"]; "who lets it in is concerned")]
    #[test_case("b", &["b/from-a", "b/own"]; "and nobody else")]
    #[test_case("c", &[]; "a namespace that no policy is about")]
    #[test_case("kube-system", &["a/own", "b/from-a", "b/own"]; "DNS is everybody's")]
    fn a_pod_that_comes(namespace: &str, expected: &[&str]) {
        let mut due = Due::default();
        let change = Change::Pod(None, Some(a_pod(namespace, "x", false)));
        due.note(&change, &Config::default());
        assert_eq!(resolved(&due), expected);
    }

    #[test]
    fn what_no_check_looks_at_of_a_pod() {
        let mut due = Due::default();
        let before = a_pod("a", "x", false);
        let after = Pod {
            terminating: true,
            ..Pod::clone(&before)
        };
        due.note(
            &Change::Pod(Some(Arc::clone(&before)), Some(Arc::new(after))),
            &Config::default(),
        );
        assert!(due.is_empty());
        let ended = Change::Pod(Some(before), Some(a_pod("a", "x", true)));
        due.note(&ended, &Config::default());
        assert!(!due.is_empty());
    }

    #[test]
    fn an_object_that_is_gone_is_among_them() {
        let mut due = Due::default();
        due.object((
            Kind::Service,
            ringfence_policy::model::ObjectKey::new("x", "gone"),
        ));
        assert_eq!(resolved(&due), ["x/gone"]);
    }
}
