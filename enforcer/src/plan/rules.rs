//! Rules: only chains that differ are written.

use super::{RulesState, Stats, Step};
use crate::dataplane::{ChainKey, Family, Ruleset, Table};
use std::collections::BTreeMap;

/// The step from `present` to `wanted`, if there is a difference.
pub(super) fn step(
    family: Family,
    present: &RulesState,
    wanted: &Ruleset,
    stats: &mut Stats,
) -> Option<Step> {
    let mut input = String::new();
    for table in Table::ALL {
        section(table, present, wanted, stats, &mut input);
    }
    (!input.is_empty()).then_some(Step::Rules { family, input })
}

/// Deletes what leads into our chains of tables that cannot be read: after the new entry
/// rules are in, so that packets enter at every moment.
pub(super) fn superseded(family: Family, present: &RulesState) -> impl Iterator<Item = Step> {
    let led = present.unreadable.iter();
    led.filter(|(_, entries)| !entries.is_empty())
        .map(move |(table, entries)| Step::Entries {
            family,
            table: *table,
            rules: entries
                .iter()
                .map(|entry| (entry.chain.clone(), entry.handle))
                .collect(),
        })
}

/// Writes what has to change in one table, all of it at once.
fn section(
    table: Table,
    present: &RulesState,
    wanted: &Ruleset,
    stats: &mut Stats,
    input: &mut String,
) {
    let unreadable = present.unreadable.contains_key(&table);
    let changed: Vec<_> = in_table(&wanted.chains, table)
        .filter(|(key, rules)| unreadable || present.chains.get(*key) != Some(*rules))
        .collect();
    let stale: Vec<&String> = in_table(&present.chains, table)
        .filter(|(key, _)| !wanted.chains.contains_key(*key))
        .map(|((_, name), _)| name)
        .collect();
    let mut entries = String::new();
    for ((_, chain), found) in in_table(&present.entries, table) {
        if in_place(found, wanted.entries.get(&(table, chain.clone()))) {
            continue;
        }
        for (_, rule) in found {
            put(&mut entries, &["-D", chain, rule]);
        }
    }
    for (key, rule) in in_table(&wanted.entries, table) {
        let found = present
            .entries
            .get(key)
            .map(Vec::as_slice)
            .unwrap_or_default();
        if !in_place(found, Some(rule)) {
            put(&mut entries, &["-I", &key.1, "1", rule]);
        }
    }
    if changed.is_empty() && stale.is_empty() && entries.is_empty() {
        return;
    }
    stats.chains += changed.len() + stale.len();
    input.extend(["*", table.name(), "\n"]);
    for ((_, name), _) in &changed {
        // Makes the chain, or empties it.
        input.extend([":", name, " - [0:0]\n"]);
    }
    for ((_, name), rules) in &changed {
        stats.rules += rules.len();
        for rule in rules.iter() {
            put(input, &["-A", name, rule]);
        }
    }
    input.push_str(&entries);
    // Emptied first, all of them, so that none refers to another when it goes.
    // What cannot be read may still be led into: it is emptied only.
    let commands = if unreadable {
        &["-F"][..]
    } else {
        &["-F", "-X"]
    };
    for command in commands {
        for name in &stale {
            put(input, &[command, name]);
        }
    }
    input.push_str("COMMIT\n");
}

fn in_table<V>(map: &BTreeMap<ChainKey, V>, table: Table) -> impl Iterator<Item = (&ChainKey, &V)> {
    map.iter().filter(move |((t, _), _)| *t == table)
}

/// Whether the built-in chain has our rule, once, before every other.
fn in_place(found: &[(usize, String)], wanted: Option<&String>) -> bool {
    match (found, wanted) {
        ([], None) => true,
        ([(0, rule)], Some(wanted)) => rule == wanted,
        _ => false,
    }
}

fn put(out: &mut String, words: &[&str]) {
    out.push_str(&words.join(" "));
    out.push('\n');
}
