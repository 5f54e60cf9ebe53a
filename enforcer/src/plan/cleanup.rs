//! Takes everything of ours out of the kernel.

use super::{RulesState, Stats, Step, Transaction, rules, shared};
use crate::dataplane::{Family, Readback, Ruleset};

/// Removes exactly what carries our prefix: entry rules, chains, sets.
pub fn cleanup(readback: &Readback) -> Transaction {
    let mut stats = Stats::default();
    let mut steps = Vec::new();
    for family in Family::ALL {
        let mut present = RulesState::default();
        if let Some(saved) = readback.rules.get(&family) {
            present.chains = shared(saved.chains.clone());
            present.entries.clone_from(&saved.entries);
        }
        let unreadable = readback.unreadable.iter();
        for ((_, table), opaque) in unreadable.filter(|((f, _), _)| *f == family) {
            present.cannot_read(*table, opaque.clone());
        }
        // Entries first: then nothing leads into the chains any more.
        steps.extend(rules::superseded(family, &present));
        present.unreadable.clear();
        steps.extend(rules::step(
            family,
            &present,
            &Ruleset::default(),
            &mut stats,
        ));
    }
    let mut input = String::new();
    for name in readback.sets.keys() {
        input.extend(["destroy ", name, "\n"]);
    }
    if !input.is_empty() {
        steps.push(Step::Sets {
            input,
            lines: vec![None; readback.sets.len()],
        });
    }
    stats.bytes = steps.iter().map(Step::bytes).sum();
    Transaction {
        steps,
        stats,
        next: None,
    }
}
