//! What the cluster around a rule does to it: statements that need more than the rule.
//!
//! They look at objects, not at packets, and in doubt they are silent about a problem: a
//! condition that is often wrong is read by nobody.

use crate::judge::is_within;
use crate::render::{POLICY, Rendered};
use crate::{Condition, Statement, Status};
use ringfence_api::{Direction, IsolationRuleSpec};
use ringfence_checks::inject::dns::NAMESPACE_NAME;
use ringfence_policy::Snapshot;
use ringfence_policy::model::{
    self, Labels, NamespaceMatch, ObjectKey, Peer, Policy, Rule, Service, ServiceType,
    TrafficPolicy,
};
use std::sync::Arc;

/// Names that a message repeats.
const NAMES: usize = 5;

/// Whether policies that somebody else wrote in the namespace open what `rendered` closes.
/// Companions are among them: whoever may write policies may write their label.
pub fn widened(snapshot: &Snapshot, rendered: &Rendered) -> Statement {
    let namespace = &rendered.policy.key.namespace;
    let foreign = of_namespace(snapshot, namespace).filter(|policy| *policy.key.name != *POLICY);
    let names: Vec<&str> = foreign
        .filter(|policy| widens(policy, &rendered.policy))
        .map(|policy| &*policy.key.name)
        .collect();
    if names.is_empty() {
        let message = "no NetworkPolicy of somebody else lets more through";
        return Statement::new(
            Condition::WidenedByForeignPolicy,
            Status::False,
            "None",
            message,
        );
    }
    let message = format!(
        "these NetworkPolicies let more through than isolation does: {}; delete them, or \
         write IsolationRules in their place",
        listed(&names)
    );
    Statement::new(
        Condition::WidenedByForeignPolicy,
        Status::True,
        "ForeignPolicy",
        message,
    )
}

/// Whether a policy allows anything in a direction that `fence` isolates which `fence`
/// does not allow, peer by peer.
fn widens(policy: &Policy, fence: &Policy) -> bool {
    let directions = [model::Direction::Ingress, model::Direction::Egress];
    directions.into_iter().any(|direction| {
        let Some(fence) = fence.rules(direction) else {
            return false;
        };
        let rules = policy.rules(direction).unwrap_or_default();
        rules.iter().any(|rule| !is_within(fence, rule))
    })
}

/// Whether addresses arrive at the namespace's pods as an ingress rule names them; `None`
/// for egress rules. `masquerade_all`: kube-proxy's setting, where it is known.
pub fn source_ip(
    snapshot: &Snapshot,
    namespace: &str,
    spec: &IsolationRuleSpec,
    masquerade_all: Option<bool>,
) -> Option<Statement> {
    if spec.direction == Direction::Egress {
        return None;
    }
    let statement = |status, reason, message: String| {
        Some(Statement::new(
            Condition::SourceIPPreserved,
            status,
            reason,
            message,
        ))
    };
    if masquerade_all == Some(true) {
        let message = "kube-proxy's masqueradeAll is on: what comes through a Service arrives \
                       with a node's address, and the rule does not match it";
        return statement(Status::False, "MasqueradeAll", message.to_owned());
    }
    if spec.peer.cidr.is_some() {
        let hidden: Vec<&str> = services(snapshot, namespace)
            .filter(|service| is_meant(service, spec) && hides_clients(service))
            .map(|service| &*service.key.name)
            .collect();
        if !hidden.is_empty() {
            let message = format!(
                "clients of Services with externalTrafficPolicy Cluster may arrive with a \
                 node's address, which the rule does not match: {}; set it to Local",
                listed(&hidden)
            );
            return statement(Status::False, "ExternalTrafficPolicyCluster", message);
        }
    }
    match masquerade_all {
        Some(_) => statement(
            Status::True,
            "Preserved",
            "nothing is known to replace the client's address".to_owned(),
        ),
        None => statement(
            Status::Unknown,
            "KubeProxyUnknown",
            "kube-proxy's configuration could not be read: masqueradeAll would hide clients"
                .to_owned(),
        ),
    }
}

/// Whether a rule may be about a Service: about all, unless it names some.
fn is_meant(service: &Service, spec: &IsolationRuleSpec) -> bool {
    let named = spec.ports.iter().map(|port| port.service_port.as_deref());
    let mut named = named.map(|text| text.and_then(|t| t.split_once('/')).map(|(name, _)| name));
    spec.ports.is_empty() || named.any(|name| name.is_none_or(|n| *n == *service.key.name))
}

fn hides_clients(service: &Service) -> bool {
    let external = matches!(
        service.service_type,
        ServiceType::NodePort | ServiceType::LoadBalancer
    );
    external && service.external_traffic_policy == TrafficPolicy::Cluster
}

/// Whether the peer's own policies let the traffic of a rule pass, and which rule to add
/// if not. `None` for addresses, and for a namespace that is not there.
pub fn peer_allows(
    snapshot: &Snapshot,
    namespace: &str,
    spec: &IsolationRuleSpec,
) -> Option<Statement> {
    let service = spec.peer.service.as_ref().map(|s| s.namespace.as_str());
    let peer = spec.peer.namespace.as_deref().or(service)?;
    snapshot.namespaces.get(peer)?;
    let (theirs, word, advice) = match spec.direction {
        Direction::Ingress => (model::Direction::Egress, "out", "Egress"),
        Direction::Egress => (model::Direction::Ingress, "in", "Ingress"),
    };
    let own = labels(snapshot, namespace);
    let all = || of_namespace(snapshot, peer).filter(|policy| policy.rules(theirs).is_some());
    let isolates = all().any(|policy| !policy.allow_only);
    let admits = |rule: &Rule| {
        rule.peers.is_empty()
            || rule.peers.iter().any(|peer| match peer {
                // Pods may have any address.
                Peer::Block(_) => true,
                Peer::Pods { namespaces, .. } => match namespaces {
                    NamespaceMatch::Own => false,
                    NamespaceMatch::Labels(selector) => selector.matches(&own),
                },
            })
    };
    // Companions only add to what their authors' policies allow.
    let restricted = isolates && peer != namespace;
    let let_through =
        all().any(|policy| policy.rules(theirs).unwrap_or_default().iter().any(admits));
    let (status, reason, message) = if restricted && !let_through {
        let message = format!(
            "policies of namespace {peer} let nothing {word} for this rule; add there an \
             IsolationRule with direction {advice} and peer.namespace {namespace}"
        );
        (Status::False, "PeerDenies", message)
    } else {
        let message = "the peer's own policies are not in the way".to_owned();
        (Status::True, "PeerAllows", message)
    };
    Some(Statement::new(
        Condition::PeerAllows,
        status,
        reason,
        message,
    ))
}

/// The labels of a namespace; who does not know the namespace knows its name.
fn labels(snapshot: &Snapshot, namespace: &str) -> Labels {
    let known = snapshot.namespaces.get(namespace);
    known.map_or_else(
        || Labels::new([(NAMESPACE_NAME, namespace)]),
        |known| known.labels.clone(),
    )
}

fn of_namespace<'a>(
    snapshot: &'a Snapshot,
    namespace: &'a str,
) -> impl Iterator<Item = &'a Arc<Policy>> {
    let all = snapshot.policies.range(ObjectKey::new(namespace, "")..);
    all.take_while(move |(key, _)| *key.namespace == *namespace)
        .map(|(_, policy)| policy)
}

fn services<'a>(
    snapshot: &'a Snapshot,
    namespace: &'a str,
) -> impl Iterator<Item = &'a Arc<Service>> {
    let all = snapshot.services.range(ObjectKey::new(namespace, "")..);
    all.take_while(move |(key, _)| *key.namespace == *namespace)
        .map(|(_, service)| service)
}

/// Some names, and how many more.
fn listed(names: &[&str]) -> String {
    let shown = names[..names.len().min(NAMES)].join(", ");
    match names.len().saturating_sub(NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
