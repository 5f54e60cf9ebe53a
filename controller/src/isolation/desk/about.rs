//! Which namespaces rules name.

use super::Name;
use ringfence_api::IsolationRule;
use ringfence_policy::model::ObjectKey;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// From a namespace to those whose rules name it.
#[derive(Debug, Default)]
pub struct About {
    peers: BTreeMap<ObjectKey, Name>,
    /// Peer, namespace, and how many of its rules name that peer.
    named: BTreeMap<Name, BTreeMap<Name, usize>>,
}

// === impl About ===

impl About {
    /// A rule as it is now.
    pub fn note(&mut self, key: &ObjectKey, rule: Option<&IsolationRule>) {
        if let Some(peer) = self.peers.remove(key) {
            self.forget(peer, &key.namespace);
        }
        let Some(peer) = rule.and_then(peer) else {
            return;
        };
        let peer = Name::from(peer);
        let namespaces = self.named.entry(Name::clone(&peer)).or_default();
        *namespaces.entry(Name::clone(&key.namespace)).or_default() += 1;
        self.peers.insert(key.clone(), peer);
    }

    fn forget(&mut self, peer: Name, namespace: &Name) {
        let Entry::Occupied(mut namespaces) = self.named.entry(peer) else {
            return;
        };
        if let Entry::Occupied(mut count) = namespaces.get_mut().entry(Name::clone(namespace)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        if namespaces.get().is_empty() {
            namespaces.remove();
        }
    }

    /// The namespaces whose rules name this one.
    pub fn of(&self, namespace: &str) -> impl Iterator<Item = &Name> {
        self.named
            .get(namespace)
            .into_iter()
            .flat_map(BTreeMap::keys)
    }
}

/// The namespace that a rule names.
fn peer(rule: &IsolationRule) -> Option<&str> {
    let peer = &rule.spec.peer;
    let service = peer.service.as_ref().map(|s| s.namespace.as_str());
    peer.namespace.as_deref().or(service)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(peer: &serde_json::Value) -> IsolationRule {
        let rule = json!({"metadata": {}, "spec": {"direction": "Ingress", "peer": peer}});
        serde_json::from_value(rule).unwrap()
    }

    fn of(about: &About, namespace: &str) -> Vec<String> {
        about.of(namespace).map(ToString::to_string).collect()
    }

    #[test]
    fn rules_come_change_and_go() {
        let mut about = About::default();
        let key = |name: &str| ObjectKey::new("own", name);
        about.note(&key("a"), Some(&rule(&json!({"namespace": "peer"}))));
        about.note(
            &key("b"),
            Some(&rule(
                &json!({"service": {"namespace": "peer", "name": "s"}}),
            )),
        );
        about.note(
            &key("c"),
            Some(&rule(&json!({"cidr": {"cidr": "10.0.0.0/8"}}))),
        );
        assert_eq!(of(&about, "peer"), ["own"]);
        about.note(&key("a"), Some(&rule(&json!({"namespace": "other"}))));
        assert_eq!(
            (of(&about, "peer"), of(&about, "other")),
            (vec!["own".into()], vec!["own".into()])
        );
        about.note(&key("b"), None);
        assert_eq!(of(&about, "peer"), [""; 0]);
        assert_eq!(about.named.len(), 1);
    }
}
