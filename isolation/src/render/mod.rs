//! From the objects of isolation to one NetworkPolicy.
//!
//! ```text
//!  inside    the namespace or its tenant, the configured namespaces    ports   ports of rules
//!  rule      one IsolationRule                                         dns     where names are asked
//!  object    the policy as the API knows it
//! ```
//!
//! Whatever cannot be rendered is left out, never widened: a list of peers or ports of
//! which nothing is left makes no rule, because an empty list means everyone.

mod dns;
mod inside;
mod object;
mod ports;
mod rule;

pub use dns::Dns;
pub use object::{EGRESS, INGRESS, MANAGED_BY, POLICY};
pub use ports::{PortFault, service_port};
pub use rule::{Outcome, peer_text};

use crate::{Condition, Statement, Status};
use jiff::Timestamp;
use ringfence_api::{
    Direction, Egress, IsolationConfigSpec, IsolationRule, NamespaceIsolationSpec,
};
use ringfence_checks::inject::rule::to_json;
use ringfence_policy::Snapshot;
use ringfence_policy::model::{self, Name, ObjectKey, Peer, Policy, Rule, Selector};
use ringfence_policy::parse;
use serde_json::json;
use std::collections::BTreeMap;

/// Everything that decides about the policy of one namespace.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Its name.
    pub namespace: &'a str,
    /// The cluster's settings.
    pub config: &'a IsolationConfigSpec,
    /// How the namespace is isolated.
    pub isolation: &'a NamespaceIsolationSpec,
    /// The rules of this namespace, by name.
    pub rules: &'a BTreeMap<Name, &'a IsolationRule>,
    /// Namespaces with their labels, and Services.
    pub snapshot: &'a Snapshot,
    /// As [`Dns::find`] found it.
    pub dns: &'a Dns,
    /// Rules that end at this moment or before have ended.
    pub now: Timestamp,
}

/// A namespace's policy, and what there is to say about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// The policy as every enforcer understands it; see [`Rendered::object`].
    pub policy: Policy,
    /// Where each rule of `policy.ingress` comes from: `inside`,
    /// `allowedIngressNamespaces`, `gatewayNamespaces` or `rule/NAME`.
    pub ingress: Vec<String>,
    /// Where each rule of `policy.egress` comes from: `inside`, `dns` or `rule/NAME`.
    pub egress: Vec<String>,
    /// What became of each rule.
    pub rules: BTreeMap<Name, Outcome>,
    /// `PeersResolved` and `EgressRestricted` of the `NamespaceIsolation`.
    pub statements: Vec<Statement>,
    /// When a rule ends next.
    pub next_expiry: Option<Timestamp>,
}

/// One section while it grows.
#[derive(Debug, Default)]
struct Section {
    rules: Vec<Rule>,
    sources: Vec<String>,
}

impl Section {
    fn add(&mut self, rule: Rule, source: impl Into<String>) {
        // No peers would mean everyone.
        if !rule.peers.is_empty() {
            self.rules.push(rule);
            self.sources.push(source.into());
        }
    }
}

/// What the objects mean now.
pub fn render(input: &Input) -> Rendered {
    let restricted = is_restricted(input);
    let (mut ingress, mut egress) = (Section::default(), Section::default());
    let mut faults = Vec::new();
    let inside = inside::peers(input, &mut faults);
    ingress.add(everything(inside.clone()), "inside");
    let config = input.config;
    for (field, names) in [
        (
            "allowedIngressNamespaces",
            &config.allowed_ingress_namespaces,
        ),
        ("gatewayNamespaces", &config.gateway_namespaces),
    ] {
        let peers = inside::configured(input, field, names, &mut faults);
        ingress.add(everything(peers), field);
    }
    if restricted {
        egress.add(everything(inside), "inside");
        for rule in &input.dns.rules {
            egress.add(rule.clone(), "dns");
        }
    }
    let mut outcomes = BTreeMap::new();
    for (name, object) in input.rules {
        let outcome = rule::translate(input, &object.spec, restricted);
        if let Some(rule) = &outcome.rule {
            let section = match object.spec.direction {
                Direction::Ingress => &mut ingress,
                Direction::Egress => &mut egress,
            };
            section.add(rule.clone(), format!("rule/{name}"));
        }
        outcomes.insert(Name::clone(name), outcome);
    }
    let ends = input
        .rules
        .values()
        .filter_map(|r| r.spec.expires_at.as_ref());
    let next_expiry = ends.map(|end| end.0).filter(|end| *end > input.now).min();
    Rendered {
        policy: Policy {
            key: ObjectKey::new(input.namespace, POLICY),
            pod_selector: Selector::everything(),
            ingress: Some(ingress.rules),
            egress: restricted.then_some(egress.rules),
            fault: None,
            allow_only: false,
        },
        ingress: ingress.sources,
        egress: egress.sources,
        statements: vec![
            peers_resolved(faults, &outcomes),
            egress_restricted(input, restricted),
        ],
        rules: outcomes,
        next_expiry,
    }
}

/// Whether egress is restricted. A rule that has ended, or that cannot be rendered, still
/// counts: the end of a permission must not open everything.
fn is_restricted(input: &Input) -> bool {
    match input.isolation.egress {
        Egress::Open => false,
        Egress::Restricted => true,
        Egress::Auto => {
            let mut rules = input.rules.values();
            rules.any(|rule| rule.spec.direction == Direction::Egress)
        }
    }
}

fn peers_resolved(mut faults: Vec<String>, outcomes: &BTreeMap<Name, Outcome>) -> Statement {
    let unresolved = |outcome: &&Outcome| outcome.is_unresolved();
    let rules = outcomes.values().filter(unresolved).count();
    if rules > 0 {
        faults.push(format!(
            "{rules} of {} rules could not be resolved; see their status",
            outcomes.len()
        ));
    }
    if faults.is_empty() {
        let message = "every peer and port was found";
        return Statement::new(Condition::PeersResolved, Status::True, "Resolved", message);
    }
    let message = faults.join("; ");
    Statement::new(
        Condition::PeersResolved,
        Status::False,
        "Unresolved",
        message,
    )
}

fn egress_restricted(input: &Input, restricted: bool) -> Statement {
    let (status, reason, message) = match (restricted, &input.dns.fault) {
        (false, _) => (
            Status::False,
            "Open",
            "pods may connect to everyone".to_owned(),
        ),
        (true, None) => (
            Status::True,
            "Restricted",
            "pods connect to the inside, to DNS, and where rules let them".to_owned(),
        ),
        (true, Some(fault)) => (
            Status::True,
            "WithoutDNS",
            format!(
                "pods connect to the inside and where rules let them; names cannot be \
                 resolved: {fault} (IsolationConfig spec.dns)"
            ),
        ),
    };
    Statement::new(Condition::EgressRestricted, status, reason, message)
}

/// A rule for every protocol and port.
fn everything(peers: Vec<Peer>) -> Rule {
    Rule {
        peers,
        ports: Vec::new(),
    }
}

/// What the enforcer's own parser, which is as strict as the API server, says about a
/// rule. One that the API server refuses would keep the whole policy from being written.
fn faults_of(rule: &Rule) -> Option<String> {
    let policy = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": "n", "name": POLICY},
        "spec": {
            "podSelector": {},
            "policyTypes": ["Egress"],
            "egress": [to_json(model::Direction::Egress, rule)],
        },
    });
    let errors = match parse::policy(&policy) {
        Ok(parsed) => parsed.errors,
        Err(error) => vec![error],
    };
    let first = errors.first()?;
    Some(format!("found {}; {}", first.found, first.remedy))
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
