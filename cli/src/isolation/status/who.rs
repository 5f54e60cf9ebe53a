//! One side of a namespace: its policies, told as who may pass.

use super::read::Known;
use ringfence_checks::inject::dns::NAMESPACE_NAME;
use ringfence_isolation::POLICY;
use ringfence_policy::model::{Direction, NamespaceMatch, Operator, Peer, Policy, Rule, Selector};
use serde::Serialize;

/// Who may come in, or out.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Side {
    /// Pods that policies see.
    pub pods: usize,
    /// Those that no policy isolates: everyone may pass.
    pub open_pods: usize,
    /// A policy isolates every pod, those to come too.
    pub closed: bool,
    /// Who may pass all the same.
    pub allowed: Vec<Pass>,
}

/// Somebody who may pass.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pass {
    /// Any of these.
    pub who: Vec<String>,
    /// On these ports; none: on all.
    pub ports: Vec<String>,
    /// To or from these pods only, as a label selector.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pods: String,
    /// The rule or policy that says so.
    pub because: String,
}

/// What the policies of a namespace say about one direction.
pub fn side(known: &Known, namespace: &str, direction: Direction) -> Side {
    let snapshot = &known.snapshot;
    let policies: Vec<&Policy> = snapshot
        .policies
        .values()
        .map(AsRef::as_ref)
        .filter(|policy| *policy.key.namespace == *namespace && policy.rules(direction).is_some())
        .collect();
    let pods = snapshot
        .pods
        .values()
        .filter(|pod| *pod.key.namespace == *namespace && pod.is_target() && !pod.terminating);
    let mut side = Side {
        closed: policies.iter().any(|p| p.pod_selector.is_everything()),
        ..Side::default()
    };
    for pod in pods {
        side.pods += 1;
        let isolated = policies.iter().any(|p| p.pod_selector.matches(&pod.labels));
        side.open_pods += usize::from(!isolated);
    }
    for policy in policies {
        let sources = known.sources.get(&(policy.key.clone(), direction));
        let rules = policy.rules(direction).unwrap_or_default();
        for (at, rule) in rules.iter().enumerate() {
            let source = sources.and_then(|sources| sources.get(at));
            side.allowed.push(Pass {
                who: whom(rule),
                ports: rule.ports.iter().map(ToString::to_string).collect(),
                pods: policy.pod_selector.to_string(),
                because: because(policy, source, direction, at),
            });
        }
    }
    side
}

fn because(policy: &Policy, source: Option<&String>, direction: Direction, at: usize) -> String {
    let name = &policy.key.name;
    if **name != *POLICY {
        return format!("NetworkPolicy {name}, spec.{direction}[{at}]");
    }
    match source.map(String::as_str) {
        Some("inside") => "inside of the fence".to_owned(),
        Some("dns") => "IsolationConfig, dns".to_owned(),
        Some(field @ ("allowedIngressNamespaces" | "gatewayNamespaces")) => {
            format!("IsolationConfig, {field}")
        }
        Some(other) => match other.strip_prefix("rule/") {
            Some(rule) => format!("IsolationRule {rule}"),
            None => format!("NetworkPolicy {name}, {other}"),
        },
        None => format!("NetworkPolicy {name}, spec.{direction}[{at}]"),
    }
}

fn whom(rule: &Rule) -> Vec<String> {
    if rule.peers.is_empty() {
        return vec!["everyone".to_owned()];
    }
    rule.peers.iter().map(peer).collect()
}

fn peer(peer: &Peer) -> String {
    let (namespaces, pods) = match peer {
        Peer::Block(block) if block.except.is_empty() => return block.cidr.to_string(),
        Peer::Block(block) => {
            let except: Vec<String> = block.except.iter().map(ToString::to_string).collect();
            return format!("{} except {}", block.cidr, except.join(", "));
        }
        Peer::Pods { namespaces, pods } => (namespaces, pods),
    };
    let there = match namespaces {
        NamespaceMatch::Own => "this namespace".to_owned(),
        NamespaceMatch::Labels(labels) => match by_name(labels) {
            Some(name) => format!("namespace {name}"),
            None if labels.is_everything() => "every namespace".to_owned(),
            None => format!("namespaces with {labels}"),
        },
    };
    if pods.is_everything() {
        return there;
    }
    format!("pods with {pods} of {there}")
}

/// The namespace that a selector names, if it names one.
fn by_name(labels: &Selector) -> Option<String> {
    let [only] = labels.requirements() else {
        return None;
    };
    match &only.operator {
        Operator::In(names) if *only.key == *NAMESPACE_NAME => Some(names.join(", ")),
        _ => None,
    }
}
