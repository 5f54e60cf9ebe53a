//! NetworkPolicies of others in an isolated namespace. Policies only ever add: whoever may
//! write them can open the namespace again.

use super::{Around, FOREIGN, NO_FENCES, WIDENS};
use crate::render::POLICY;
use ringfence_api::ForeignPolicies;
use ringfence_checks::catalogue::together::contains::contains;
use ringfence_checks::subject::Place;
use ringfence_checks::{Before, Index, Level, Report, Subject};
use ringfence_policy::model::{Direction, NamespaceMatch, Peer, Policy, Rule};
use std::fmt;

/// What a policy opens that another one closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// In which direction.
    pub direction: Direction,
    /// The place of the rule in its section.
    pub rule: usize,
    /// To whom.
    pub to: Whom,
}

/// A peer, without the names of namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// An empty list.
    Everyone,
    /// Addresses.
    Addresses(String),
    /// Pods of so many other namespaces, as they are labelled now.
    Namespaces(usize),
    /// The own namespace, on ports that are closed to it.
    Inside,
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everyone => f.write_str("everyone"),
            Self::Addresses(range) => f.write_str(range),
            Self::Namespaces(1) => f.write_str("another namespace"),
            Self::Namespaces(count) => write!(f, "{count} other namespaces"),
            Self::Inside => f.write_str("its own namespace"),
        }
    }
}

/// The first peer that `policy` lets pass and the isolation (`ours`, of the same namespace)
/// does not; `None` where one of our rules allows as much.
pub fn opening(ours: &Policy, policy: &Policy, index: &Index) -> Option<Opening> {
    if policy.fault.is_some() {
        return None;
    }
    let rules = [Direction::Ingress, Direction::Egress].into_iter();
    let rules = rules.flat_map(|direction| {
        let rules = policy.rules(direction).unwrap_or_default().iter();
        rules.enumerate().map(move |(index, rule)| Place {
            direction,
            index,
            rule,
        })
    });
    first(ours, rules, index)
}

fn first<'a>(
    ours: &Policy,
    mut rules: impl Iterator<Item = Place<'a>>,
    index: &Index,
) -> Option<Opening> {
    rules.find_map(|place| {
        // What isolation leaves open cannot be opened.
        let closed = ours.rules(place.direction)?;
        let to = beyond(closed, place.rule, &ours.key.namespace, index)?;
        Some(Opening {
            direction: place.direction,
            rule: place.index,
            to,
        })
    })
}

/// Whether the rules of a fence let pass all that a rule lets pass, peer by peer.
pub(crate) fn is_within(fence: &[Rule], rule: &Rule) -> bool {
    !rule.peers.is_empty() && outside(fence, rule).is_none()
}

/// The first peer of a rule that no rule of a fence lets pass on the same ports.
fn outside<'a>(fence: &[Rule], rule: &'a Rule) -> Option<&'a Peer> {
    rule.peers.iter().find(|peer| {
        let single = Rule {
            peers: vec![Peer::clone(peer)],
            ports: rule.ports.clone(),
        };
        !fence.iter().any(|ours| contains(ours, &single))
    })
}

fn beyond(closed: &[Rule], rule: &Rule, own: &str, index: &Index) -> Option<Whom> {
    if rule.peers.is_empty() {
        return Some(Whom::Everyone);
    }
    Some(match outside(closed, rule)? {
        Peer::Block(block) => Whom::Addresses(block.cidr.to_string()),
        Peer::Pods {
            namespaces: NamespaceMatch::Own,
            ..
        } => Whom::Inside,
        Peer::Pods { namespaces, .. } => {
            let others = index.namespaces(own, namespaces);
            Whom::Namespaces(others.filter(|name| ***name != *own).count())
        }
    })
}

/// What there is to say about a NetworkPolicy that somebody else than Ringfence writes.
pub fn foreign(subject: &Subject<'_>, old: Before<'_>, around: &Around) -> Report {
    if subject.policy().is_none() {
        return Report::default();
    }
    let Some(fences) = around.fences else {
        return FOREIGN.unknown(NO_FENCES);
    };
    let namespace = subject.namespace();
    if fences.of(namespace).is_none() || subject.is_deleted() {
        return Report::default();
    }
    let mut report = Report::default();
    match fences.config.foreign_policies {
        ForeignPolicies::Allow => {}
        ForeignPolicies::Deny => {
            // What was there before isolation keeps its labels and annotations editable.
            let spec = |subject: &Subject<'_>| subject.raw.get("spec").cloned();
            if old.get().map(spec) != Some(spec(subject)) {
                let text = "this namespace is isolated, and takes no NetworkPolicies of others";
                report
                    .findings
                    .push(FOREIGN.found(Level::Deny, "spec", text));
            }
        }
        ForeignPolicies::Warn => {
            let Some(index) = around.world.index else {
                return WIDENS.unknown(super::NO_CLUSTER);
            };
            let ours = index.policies(namespace).find(|p| *p.key.name == *POLICY);
            // What we have added to it ourselves is the owner's choice.
            let theirs = subject.rules().filter(|place| !subject.is_injected(place));
            if let Some(Opening {
                direction,
                rule,
                to,
            }) = ours.and_then(|ours| first(ours, theirs, index))
            {
                let text = format!("this opens the isolated namespace to {to}");
                report
                    .findings
                    .push(WIDENS.warns(format!("spec.{direction}[{rule}]"), text));
            }
        }
    }
    report
}
