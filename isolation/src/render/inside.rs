//! Who is inside, and which namespaces may always come in.

use super::{Input, everything, faults_of};
use ringfence_api::Scope;
use ringfence_checks::inject::dns::NAMESPACE_NAME;
use ringfence_policy::model::{NamespaceMatch, Peer, Selector};

/// The namespace itself, and with `scope: Tenant` those of its tenant.
pub(super) fn peers(input: &Input, faults: &mut Vec<String>) -> Vec<Peer> {
    let own = Peer::Pods {
        namespaces: NamespaceMatch::Own,
        pods: Selector::everything(),
    };
    let mut peers = vec![own];
    if input.isolation.scope == Scope::Tenant {
        match tenant(input) {
            Ok(peer) => peers.push(peer),
            Err(why) => faults.push(format!(
                "scope Tenant: {why}; only the namespace itself is inside"
            )),
        }
    }
    peers
}

fn tenant(input: &Input) -> Result<Peer, String> {
    let key = input.config.tenant_label.as_deref();
    let key = key.ok_or("IsolationConfig spec.tenantLabel is not set")?;
    let namespace = input.snapshot.namespaces.get(input.namespace);
    let value = namespace.and_then(|n| n.labels.get(key));
    // A label without a value names nobody.
    let value = value.filter(|value| !value.is_empty());
    let value = value.ok_or_else(|| format!("the namespace has no value of label {key}"))?;
    let peer = Peer::Pods {
        namespaces: NamespaceMatch::Labels(Selector::labels([(key, &**value)])),
        pods: Selector::everything(),
    };
    match faults_of(&everything(vec![peer.clone()])) {
        None => Ok(peer),
        Some(fault) => Err(format!("IsolationConfig spec.tenantLabel: {fault}")),
    }
}

/// The namespaces that a list of the configuration names, whether they exist or not.
pub(super) fn configured(
    input: &Input,
    field: &str,
    names: &[String],
    faults: &mut Vec<String>,
) -> Vec<Peer> {
    let mut peers = Vec::new();
    for name in names {
        let peer = named(name);
        if let Some(fault) = faults_of(&everything(vec![peer.clone()])) {
            faults.push(format!("IsolationConfig spec.{field}: {fault}"));
            continue;
        }
        if !input.snapshot.namespaces.contains_key(name.as_str()) {
            faults.push(format!(
                "IsolationConfig spec.{field}: there is no namespace {name}"
            ));
        }
        peers.push(peer);
    }
    peers
}

/// Every pod of a namespace, by the label that the API server sets.
pub(super) fn named(namespace: &str) -> Peer {
    Peer::Pods {
        namespaces: NamespaceMatch::Labels(Selector::labels([(NAMESPACE_NAME, namespace)])),
        pods: Selector::everything(),
    }
}
