//! The annotations that name what was injected.
//!
//! They let a later change of DNS replace the injected rule and leave the author's alone.
//! The mutating hook writes them anew each time, and the validating hook refuses one that
//! names a rule which is not there. A forger gains nothing: a named rule can only be
//! replaced or removed, on the forger's own policy.

use super::{Part, rule};
use crate::finding::{Finding, Level};
use crate::{Before, Subject};
use ringfence_policy::model::Rule;

/// The id of the findings of [`forged`]. Not in the catalogue: neither configuration nor
/// annotations switch it off.
pub const FORGED: &str = "injected-annotation";

/// The places of the rules that count as injected, in order: those that `old` had on
/// record (also when the annotation was taken away), and those on record that `offers`
/// knows (also when the annotation is new). Each must still be in the spec.
pub(super) fn accepted(
    part: Part,
    subject: &Subject,
    old: Option<&Subject>,
    rules: &[Rule],
    offers: impl Fn(&Rule) -> bool,
) -> Vec<usize> {
    let vetted = old.map_or_else(Vec::new, |old| hashes(part, old));
    let claimed = hashes(part, subject);
    if vetted.is_empty() && claimed.is_empty() {
        return Vec::new();
    }
    let mut places: Vec<usize> = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    // From the end, where we add: an author's rule of the same meaning stands before ours.
    for (at, candidate) in rules.iter().enumerate().rev() {
        let hash = rule::hash(part.direction(), candidate);
        let is_vetted = vetted.contains(&&*hash);
        let is_claimed = claimed.contains(&&*hash) && offers(candidate);
        if (is_vetted || is_claimed) && !seen.contains(&hash) {
            places.push(at);
            seen.push(hash);
        }
    }
    places.reverse();
    places
}

fn hashes<'a>(part: Part, subject: &Subject<'a>) -> Vec<&'a str> {
    let value = subject.annotation(part.record());
    value.and_then(rule::recorded).unwrap_or_default()
}

/// For the validating hook: annotations that are new or changed and name a rule that is
/// not in the spec.
pub fn forged(subject: &Subject, old: Before) -> Vec<Finding> {
    if subject.is_deleted() {
        return Vec::new();
    }
    let Some(policy) = subject.policy() else {
        return Vec::new();
    };
    let finding = |part: Part| {
        let key = part.record();
        let value = subject.raw.get("metadata")?.get("annotations")?.get(key)?;
        let before = old.get().and_then(|old| old.annotation(key));
        if value.as_str().is_some() && value.as_str() == before {
            return None;
        }
        let rules = policy.rules(part.direction()).unwrap_or_default();
        let there = |hash: &&str| {
            let mut rules = rules.iter();
            rules.any(|r| rule::hash(part.direction(), r) == **hash)
        };
        let named = value.as_str().and_then(rule::recorded);
        if named.is_some_and(|hashes| hashes.iter().all(there)) {
            return None;
        }
        Some(Finding {
            check: FORGED,
            level: Level::Deny,
            path: format!("metadata.annotations[{key:?}]"),
            sentence: format!("{key} names a rule that is not in spec; only the webhook writes it"),
            evidence: value.to_string(),
            patch: None,
            softened: None,
        })
    };
    Part::ALL.into_iter().filter_map(finding).collect()
}
