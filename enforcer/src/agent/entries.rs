//! The rules in foreign chains that lead packets into ours, and whether they still stand
//! where they stood.

use crate::dataplane::Readback;
use crate::system::{EntryPoint, Error, Family, Kernel, OWN_CHAIN_PREFIX, Table};
use std::collections::BTreeSet;

/// What became of the entry rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// All of them stand where they stood.
    InPlace,
    /// All are there, and another rule came before one of them (or left).
    Moved,
    /// One of them is not there.
    Gone,
}

/// What we know of the entry rules.
#[derive(Debug, Default)]
pub struct Entries {
    points: BTreeSet<EntryPoint>,
    /// Where they stood when we last wrote or repaired them.
    places: Option<Vec<Option<u32>>>,
    /// While this number stays, so do the rules.
    generation: Option<u32>,
}

// === impl Entries ===

impl Entries {
    /// Takes over what was read back. What leads into our chains in a table that cannot be
    /// read and is written anew is not wanted any more.
    pub fn adopt(&mut self, readback: &Readback) {
        self.points.clear();
        self.places = None;
        self.generation = None;
        for (family, rules) in &readback.rules {
            for ((table, chain), entries) in &rules.entries {
                for (_, rule) in entries {
                    self.points.extend(point(*family, *table, chain, rule));
                }
            }
        }
        for key @ (family, table) in &readback.unchanged {
            for entry in readback
                .unreadable
                .get(key)
                .into_iter()
                .flat_map(|o| &o.entries)
            {
                self.points.insert(EntryPoint {
                    family: *family,
                    table: *table,
                    chain: entry.chain.clone(),
                    target: entry.target.clone(),
                });
            }
        }
    }

    /// Takes in what was given to `iptables-restore`.
    pub fn wrote(&mut self, family: Family, input: &str) {
        let mut table = None;
        for line in input.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = Table::ALL.into_iter().find(|t| t.name() == name.trim());
            }
            let Some(table) = table else { continue };
            let mut words = line.splitn(3, ' ');
            let (Some(command), Some(chain), Some(rule)) =
                (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let Some(point) = point(family, table, chain, rule) else {
                continue;
            };
            match command {
                "-A" | "-I" => {
                    self.points.insert(point);
                }
                "-D" => {
                    self.points.remove(&point);
                }
                _ => {}
            }
        }
    }

    /// The rules are as they should be now: remembers where they stand.
    pub fn settle(&mut self, kernel: &dyn Kernel) {
        self.generation = None;
        self.places = None;
        let points: Vec<EntryPoint> = self.points.iter().cloned().collect();
        // The number first: a change in between is then looked at once more.
        if let Ok(generation) = kernel.generation() {
            self.places = kernel.entry_positions(&points).ok();
            self.generation = generation;
        }
    }

    /// Whether all of them stand where they stood.
    pub fn hold(&mut self, kernel: &dyn Kernel) -> Result<Held, Error> {
        let generation = kernel.generation()?;
        if generation.is_some() && generation == self.generation {
            return Ok(Held::InPlace);
        }
        let points: Vec<EntryPoint> = self.points.iter().cloned().collect();
        let places = kernel.entry_positions(&points)?;
        if places.contains(&None) {
            return Ok(Held::Gone);
        }
        if self.places.as_ref().is_some_and(|before| *before != places) {
            return Ok(Held::Moved);
        }
        self.places = Some(places);
        self.generation = generation;
        Ok(Held::InPlace)
    }
}

/// The entry point of a rule, when `chain` is foreign and the target ours.
fn point(family: Family, table: Table, chain: &str, rule: &str) -> Option<EntryPoint> {
    let mut words = rule.split_whitespace().rev();
    let target = words.next()?;
    let jumps = matches!(words.next()?, "-j" | "-g");
    let enters = !chain.starts_with(OWN_CHAIN_PREFIX) && target.starts_with(OWN_CHAIN_PREFIX);
    (jumps && enters).then(|| EntryPoint {
        family,
        table,
        chain: chain.to_owned(),
        target: target.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_what_is_written() {
        let mut entries = Entries::default();
        entries.wrote(
            Family::V4,
            "*mangle\n:RF-FORWARD - [0:0]\n-A RF-FORWARD -g RF-JUDGE\n-I FORWARD 1 -j RF-FORWARD\nCOMMIT\n\
             *filter\n-A FORWARD -m mark --mark 0x1000/0x1000 -j RF-REFUSE\nCOMMIT\n",
        );
        let found: Vec<_> = entries
            .points
            .iter()
            .map(|p| (p.table, p.target.as_str()))
            .collect();
        assert_eq!(
            found,
            [(Table::Filter, "RF-REFUSE"), (Table::Mangle, "RF-FORWARD")]
        );
        entries.wrote(Family::V4, "*mangle\n-D FORWARD -j RF-FORWARD\nCOMMIT\n");
        assert_eq!(entries.points.len(), 1);
    }

    #[test]
    fn foreign_rules_are_no_entries() {
        for rule in [
            "-j KUBE-FORWARD",
            "-j ACCEPT",
            "-m comment --comment \"-j RF-X\"",
            "",
        ] {
            assert_eq!(
                point(Family::V4, Table::Filter, "FORWARD", rule),
                None,
                "{rule}"
            );
        }
    }
}
