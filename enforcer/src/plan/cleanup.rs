//! Takes everything of ours out of the kernel.

use super::{RulesState, Stats, Step, Transaction, rules};
use crate::dataplane::{Readback, Ruleset};

/// Removes exactly what carries our prefix: entry rules, chains, sets.
pub fn cleanup(readback: &Readback) -> Transaction {
    let mut stats = Stats::default();
    let mut steps = Vec::new();
    for (family, saved) in &readback.rules {
        let present = RulesState {
            chains: saved.chains.clone(),
            entries: saved.entries.clone(),
            ..RulesState::default()
        };
        steps.extend(rules::step(
            *family,
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
