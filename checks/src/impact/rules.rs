//! Policies that isolate the same workloads, and their rules before a change and after it:
//! what both have is looked at once, and only where the rest makes a difference.

use super::bits::Bits;
use ringfence_policy::model::{Direction, Pod, Policy, PortMatch, PortSpec, Rule};
use std::borrow::Borrow;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ptr;

/// The policies that isolate a workload in one direction.
#[derive(Debug)]
pub(crate) struct Set<P> {
    /// In order of name; none: it is open.
    pub policies: Vec<P>,
    /// Some rule names a port: what it allows depends on the receiver.
    pub names_ports: bool,
    direction: Direction,
}

/// Rules with the same ports.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    pub ports: &'a [PortMatch],
    /// Each with its policy.
    pub rules: Vec<(&'a Policy, &'a Rule)>,
    /// Whom they name, as soon as somebody has asked.
    pub named: OnceCell<Bits>,
}

/// The rules of two sets.
#[derive(Debug)]
pub(super) struct Split<'a> {
    pub common: Vec<Piece<'a>>,
    /// Those of the one and of the other only.
    pub only: [Vec<Piece<'a>>; 2],
}

// === impl Set ===

impl<P: Borrow<Policy>> Set<P> {
    /// Those of `policies`, of its namespace, that isolate a pod.
    pub fn of(pod: &Pod, direction: Direction, policies: impl Iterator<Item = P>) -> Self {
        let isolates = |policy: &P| {
            let policy = policy.borrow();
            policy.rules(direction).is_some() && policy.pod_selector.matches(&pod.labels)
        };
        let mut policies: Vec<P> = policies.filter(isolates).collect();
        // Those that only allow count where another one isolates.
        if policies.iter().all(|policy| policy.borrow().allow_only) {
            policies.clear();
        }
        let mut rules = policies.iter().filter_map(|p| p.borrow().rules(direction));
        let named = |p: &PortMatch| matches!(p.port, PortSpec::Named(_));
        Self {
            names_ports: rules.any(|r| r.iter().any(|rule| rule.ports.iter().any(named))),
            policies,
            direction,
        }
    }

    /// What makes it another set than others.
    pub fn identity(&self) -> (Direction, Vec<*const Policy>) {
        let addresses = self.policies.iter().map(|p| ptr::from_ref(p.borrow()));
        (self.direction, addresses.collect())
    }
}

// === impl Split ===

impl<'a> Split<'a> {
    /// Of two sets for workloads of one namespace. Unless `steady`, equal rules may mean
    /// something else.
    pub fn new(sets: [&[&'a Policy]; 2], direction: Direction, steady: bool) -> Self {
        let rules = |policy: &'a Policy| policy.rules(direction).unwrap_or_default();
        let [before, after] = sets;
        let mut new: BTreeMap<&str, &'a Policy> =
            after.iter().map(|p| (&*p.key.name, *p)).collect();
        let (mut common, mut only) = (Vec::new(), [Vec::new(), Vec::new()]);
        for old in before.iter().copied() {
            let then = if steady {
                new.remove(&*old.key.name)
            } else {
                None
            };
            let ends = then.map_or((0, 0), |then| equal_ends(rules(old), rules(then)));
            let middle = |policy: &'a Policy| &rules(policy)[ends.0..rules(policy).len() - ends.1];
            let (first, rest) = rules(old).split_at(ends.0);
            let last = &rest[rest.len() - ends.1..];
            common.extend(first.iter().chain(last).map(|rule| (old, rule)));
            only[0].extend(middle(old).iter().map(|rule| (old, rule)));
            let middle = then
                .into_iter()
                .flat_map(|then| middle(then).iter().map(move |rule| (then, rule)));
            only[1].extend(middle);
        }
        for then in new.into_values() {
            only[1].extend(rules(then).iter().map(|rule| (then, rule)));
        }
        Self {
            common: pieces(common),
            only: only.map(pieces),
        }
    }
}

/// How many rules are the same at the beginning, and how many of the others at the end.
fn equal_ends(before: &[Rule], after: &[Rule]) -> (usize, usize) {
    if ptr::eq(before, after) {
        return (before.len(), 0);
    }
    let first = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let rest = before[first..]
        .iter()
        .rev()
        .zip(after[first..].iter().rev());
    (first, rest.take_while(|(a, b)| a == b).count())
}

fn pieces<'a>(rules: Vec<(&'a Policy, &'a Rule)>) -> Vec<Piece<'a>> {
    let mut by_ports: BTreeMap<&[PortMatch], Vec<_>> = BTreeMap::new();
    for (policy, rule) in rules {
        by_ports
            .entry(&rule.ports)
            .or_default()
            .push((policy, rule));
    }
    let pieces = by_ports.into_iter().map(|(ports, rules)| Piece {
        ports,
        rules,
        named: OnceCell::new(),
    });
    pieces.collect()
}
