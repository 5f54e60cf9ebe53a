//! Reads `ipset save` and `iptables-save` back.

use super::names::{CHAIN_PREFIX, SET_PREFIXES};
use super::ruleset::ChainKey;
use super::{Family, Opaque, Table, sets};
use std::collections::{BTreeMap, BTreeSet};

/// What the kernel holds of ours: chains and sets with our prefix, and the rules in
/// other chains that jump to ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readback {
    pub(crate) sets: BTreeMap<String, SavedSet>,
    pub(crate) rules: BTreeMap<Family, SavedRules>,
    /// Tables of which the tool could not print the rules (iptables-nft beside foreign
    /// native rules): unless unchanged, everything of ours in them is written anew.
    pub unreadable: BTreeMap<(Family, Table), Opaque>,
    /// Those of `unreadable` in which nothing has changed since our last write.
    pub unchanged: BTreeSet<(Family, Table)>,
}

impl Readback {
    /// The sets.
    pub fn set_names(&self) -> Vec<String> {
        self.sets.keys().cloned().collect()
    }
}

/// A set of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SavedSet {
    pub kind: String,
    pub maxelem: usize,
    pub members: BTreeSet<String>,
}

/// Our rules of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SavedRules {
    pub chains: BTreeMap<ChainKey, Vec<String>>,
    /// Rules in other chains that enter ours: place in that chain (0 is the first),
    /// and text.
    pub entries: BTreeMap<ChainKey, Vec<(usize, String)>>,
}

/// Text that is not what `ipset save` or `iptables-save` print.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{tool} line {line}: {reason}: {text:?}")]
pub struct ParseError {
    /// `ipset save`, `iptables-save` or `ip6tables-save`.
    pub tool: &'static str,
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: &'static str,
    /// The line.
    pub text: String,
}

/// Reads the output of `ipset save` and of `iptables-save` / `ip6tables-save` (all
/// tables, or ours one after another). Foreign sets, chains and rules are skipped.
pub fn parse_readback(
    ipset_save: &str,
    iptables_save: &[(Family, &str)],
) -> Result<Readback, ParseError> {
    let mut readback = Readback {
        sets: parse_sets(ipset_save)?,
        ..Readback::default()
    };
    for (family, text) in iptables_save {
        let mut reader = RulesReader {
            family: *family,
            table: None,
            places: BTreeMap::new(),
        };
        for (index, line) in text.lines().enumerate() {
            reader
                .line(line, &mut readback)
                .map_err(|reason| ParseError {
                    tool: save_tool(*family),
                    line: index + 1,
                    reason,
                    text: line.to_owned(),
                })?;
        }
    }
    Ok(readback)
}

fn save_tool(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables-save",
        Family::V6 => "ip6tables-save",
    }
}

fn parse_sets(text: &str) -> Result<BTreeMap<String, SavedSet>, ParseError> {
    let mut all: BTreeMap<String, SavedSet> = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let fail = |reason| ParseError {
            tool: "ipset save",
            line: index + 1,
            reason,
            text: line.to_owned(),
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        let ours = words
            .get(1)
            .is_some_and(|name| SET_PREFIXES.iter().any(|p| name.starts_with(p)));
        if !ours {
            continue;
        }
        match words.as_slice() {
            ["create", name, kind, options @ ..] => {
                let maxelem = match options.iter().position(|o| *o == "maxelem") {
                    None => 0,
                    Some(at) => options
                        .get(at + 1)
                        .and_then(|n| n.parse().ok())
                        .ok_or_else(|| fail("maxelem is no number"))?,
                };
                let set = SavedSet {
                    kind: (*kind).to_owned(),
                    maxelem,
                    ..SavedSet::default()
                };
                all.insert((*name).to_owned(), set);
            }
            ["add", name, member, ..] => {
                let set = all
                    .get_mut(*name)
                    .ok_or_else(|| fail("adds to a set not created before"))?;
                set.members.insert(sets::canonical(member));
            }
            _ => return Err(fail("neither create nor add")),
        }
    }
    Ok(all)
}

struct RulesReader {
    family: Family,
    table: Option<Table>,
    /// How many rules each chain of the table has had so far.
    places: BTreeMap<String, usize>,
}

impl RulesReader {
    fn line(&mut self, line: &str, readback: &mut Readback) -> Result<(), &'static str> {
        let rules = readback.rules.entry(self.family).or_default();
        if let Some(comment) = line.strip_prefix('#') {
            // `# Table `mangle' is incompatible, use 'nft' tool.`
            if comment.contains("is incompatible") {
                let table = Table::ALL.into_iter().find(|t| comment.contains(t.name()));
                readback
                    .unreadable
                    .extend(table.map(|t| ((self.family, t), Opaque::default())));
            }
        } else if let Some(name) = line.strip_prefix('*') {
            self.table = Table::ALL.into_iter().find(|t| t.name() == name.trim());
            self.places.clear();
        } else if let (Some(table), Some(chain)) = (self.table, line.strip_prefix(':')) {
            let name = chain.split(' ').next().ok_or("a chain without a name")?;
            if name.starts_with(CHAIN_PREFIX) {
                rules.chains.entry((table, name.to_owned())).or_default();
            }
        } else if let (Some(table), Some(rule)) = (self.table, line.strip_prefix("-A ")) {
            let (chain, rule) = rule.split_once(' ').unwrap_or((rule, ""));
            let key = (table, chain.to_owned());
            let place = self.places.entry(chain.to_owned()).or_default();
            if chain.starts_with(CHAIN_PREFIX) {
                let chain = rules
                    .chains
                    .get_mut(&key)
                    .ok_or("a rule in a chain not declared before")?;
                chain.push(rule.to_owned());
            } else if enters_ours(rule) {
                rules
                    .entries
                    .entry(key)
                    .or_default()
                    .push((*place, rule.to_owned()));
            }
            *place += 1;
        } else if self.table.is_some() && !line.is_empty() && line != "COMMIT" {
            return Err("neither a table, a chain, a rule nor COMMIT");
        }
        Ok(())
    }
}

/// Whether the rule's target is a chain of ours.
fn enters_ours(rule: &str) -> bool {
    let mut words = rule.split(' ').rev();
    let target = words.next().unwrap_or_default();
    // A quote would be the end of a comment that only talks of a chain of ours.
    target.starts_with(CHAIN_PREFIX)
        && !target.contains('"')
        && matches!(words.next(), Some("-j" | "-g"))
}
