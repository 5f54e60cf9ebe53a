//! Where names are resolved.

use ringfence_api::IsolationConfigSpec;
use ringfence_checks::inject::dns::{PROTOCOLS, Target, single, standard};
use ringfence_checks::{Config, Index};
use ringfence_policy::Snapshot;
use ringfence_policy::model::{ObjectKey, Peer, Rule};
use std::sync::Arc;

/// The egress rules that DNS needs; the same for every namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// None when there is no usable DNS Service and no node-local cache.
    pub rules: Vec<Rule>,
    /// Why the DNS Service cannot be named in a rule.
    pub fault: Option<String>,
}

impl Dns {
    /// The rules for the configured Service and node-local caches. Looks at that Service,
    /// and at the pods of its namespace.
    pub fn find(snapshot: &Snapshot, spec: &IsolationConfigSpec) -> Self {
        let mut config = Config::default();
        let service = &spec.dns.service;
        config
            .dns
            .node_local
            .clone_from(&spec.dns.node_local_addresses);
        let Some((namespace, name)) = service.split_once('/') else {
            let fault = format!("dns.service: found {service:?}; write namespace/name");
            return Self::without_service(&config, fault);
        };
        config.dns.service = ObjectKey::new(namespace, name);
        let index = Index::new(excerpt(snapshot, &config.dns.service));
        match Target::find(&index, &config) {
            Ok(target) => Self {
                rules: target.rules(&PROTOCOLS),
                fault: None,
            },
            Err(fault) => Self::without_service(&config, fault.to_string()),
        }
    }

    fn without_service(config: &Config, fault: String) -> Self {
        let caches = config.dns.node_local.iter();
        let caches: Vec<Peer> = caches.map(|a| Peer::Block(single(*a))).collect();
        let rule = Rule {
            peers: caches,
            ports: PROTOCOLS.map(standard).to_vec(),
        };
        Self {
            rules: Some(rule)
                .filter(|r| !r.peers.is_empty())
                .into_iter()
                .collect(),
            fault: Some(fault),
        }
    }
}

/// What of a snapshot is about DNS: an index of a whole cluster takes longer to make.
fn excerpt(snapshot: &Snapshot, service: &ObjectKey) -> Snapshot {
    let mut excerpt = Snapshot::default();
    if let Some(found) = snapshot.services.get(service) {
        excerpt.services.insert(service.clone(), Arc::clone(found));
    }
    if let Some(found) = snapshot.namespaces.get(&service.namespace) {
        let name = Arc::clone(&service.namespace);
        excerpt.namespaces.insert(name, Arc::clone(found));
    }
    let first = ObjectKey::new(Arc::clone(&service.namespace), "");
    let pods = snapshot.pods.range(first..);
    let pods = pods.take_while(|(key, _)| key.namespace == service.namespace);
    let pods = pods.map(|(key, pod)| (key.clone(), Arc::clone(pod)));
    excerpt.pods.extend(pods);
    excerpt
}
