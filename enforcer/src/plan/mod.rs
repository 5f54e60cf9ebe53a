//! From what the kernel holds and what it should hold to the steps between.
//!
//! The order of the steps is what keeps every moment safe (nothing passes that both
//! the state before and the state after deny):
//! 1. members leave sets, new sets are made and filled: less is allowed than before;
//! 2. rules, table by table, each at once: what they allow now, the new state allows;
//! 3. members enter sets, unused sets go.
//!
//! Without a change of rules all of it is one step.

mod cleanup;
mod rules;
mod sets;

pub use cleanup::cleanup;

use crate::dataplane::{
    Cache, ChainKey, Entering, Family, Opaque, Options, Readback, Ruleset, Table, render,
};
use ringfence_policy::Program;
use ringfence_policy::compile::{Id, Update};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Steps that take the kernel from one state to the next, to be run in order; after
/// any of them a packet is judged by the state before or the state after.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// What to run.
    pub steps: Vec<Step>,
    /// How much it is.
    pub stats: Stats,
    /// What the kernel holds after all steps.
    next: Option<Next>,
}

impl Transaction {
    /// True when the kernel already holds what it should.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// The size of a [`Transaction`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Chains written or deleted.
    pub chains: usize,
    /// Rules written.
    pub rules: usize,
    /// Set elements added or removed.
    pub elements: usize,
    /// Bytes of all inputs.
    pub bytes: usize,
}

/// One run of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `ipset restore`
    Sets {
        /// Standard input.
        input: String,
        /// Which set each line of `input` is about (`None`: one that is no set of the
        /// program), so that "Error in line N" can be told to its policies.
        lines: Vec<Option<Id>>,
    },
    /// `iptables-restore --noflush` or `ip6tables-restore --noflush`
    Rules {
        /// Which of the two.
        family: Family,
        /// Standard input.
        input: String,
    },
    /// Rules in foreign chains that lead into ours and are not wanted, in a table that
    /// cannot be read: by (chain, handle).
    Entries {
        /// Of which family's table.
        family: Family,
        /// The table.
        table: Table,
        /// What is to be deleted.
        rules: Vec<(String, u64)>,
    },
}

/// Why there is no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Nothing is known about the kernel: read it back and [`Planner::adopt`] it first.
    #[error("the kernel's state is unknown: read it back first")]
    NeedsReadback,
}

/// What the kernel holds of ours.
#[derive(Clone, Debug, Default)]
struct State {
    rules: BTreeMap<Family, RulesState>,
    sets: BTreeMap<String, SetState>,
    /// The sets that rules had to leave out.
    broken: BTreeSet<Id>,
}

#[derive(Clone, Debug, Default)]
struct RulesState {
    chains: BTreeMap<ChainKey, Arc<Vec<String>>>,
    /// Rules in built-in chains that enter ours, with their places.
    entries: BTreeMap<ChainKey, Vec<(usize, String)>>,
    /// Tables that could not be read: all of ours in them is written anew, and then what
    /// led into it before is deleted.
    unreadable: BTreeMap<Table, Vec<Entering>>,
}

impl RulesState {
    /// Takes over what `known` says of a table.
    fn copy_table(&mut self, table: Table, known: &Self) {
        let chains = known.chains.iter().filter(|((t, _), _)| *t == table);
        self.chains
            .extend(chains.map(|(key, rules)| (key.clone(), Arc::clone(rules))));
        let entries = known.entries.iter().filter(|((t, _), _)| *t == table);
        self.entries
            .extend(entries.map(|(key, rules)| (key.clone(), rules.clone())));
    }

    /// Takes over what can be told of a table without its rules' text.
    fn cannot_read(&mut self, table: Table, opaque: Opaque) {
        let chains = opaque.chains.into_keys();
        self.chains
            .extend(chains.map(|name| ((table, name), Arc::default())));
        self.unreadable.insert(table, opaque.entries);
    }

    fn of(ruleset: Ruleset) -> Self {
        let entries = ruleset.entries.into_iter();
        Self {
            chains: ruleset.chains,
            entries: entries.map(|(key, rule)| (key, vec![(0, rule)])).collect(),
            unreadable: BTreeMap::new(),
        }
    }
}

fn shared(chains: BTreeMap<ChainKey, Vec<String>>) -> BTreeMap<ChainKey, Arc<Vec<String>>> {
    let chains = chains.into_iter();
    chains.map(|(key, rules)| (key, Arc::new(rules))).collect()
}

/// A set. Its members are kept only from an adopt to the next commit: after that the
/// updates say what changes, and 150,000 addresses need not be held twice.
#[derive(Clone, Debug, Default)]
struct SetState {
    /// As read back; `None`: made by us, so of the kind that we want.
    kind: Option<String>,
    maxelem: usize,
    count: usize,
    members: Option<BTreeSet<String>>,
}

/// How the state advances.
#[derive(Clone, Debug, Default)]
struct Next {
    rules: Option<BTreeMap<Family, RulesState>>,
    /// Sets that changed; `None`: gone.
    sets: BTreeMap<String, Option<SetState>>,
    broken: BTreeSet<Id>,
}

/// Knows what of ours the kernel holds and plans the way to what it should hold.
#[derive(Debug)]
pub struct Planner {
    options: Options,
    options_changed: bool,
    cache: Cache,
    state: Option<State>,
    /// The state was read back and nothing has been committed since.
    adopted: bool,
}

impl Planner {
    /// A planner that knows nothing about the kernel yet.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            options_changed: true,
            cache: Cache::default(),
            state: None,
            adopted: false,
        }
    }

    /// Takes over what the kernel holds: after start, for a check, after drift or a
    /// failed step.
    ///
    /// A table that cannot be read and is unchanged is taken to hold what was known of
    /// it, unless [`Planner::forget`] came between.
    pub fn adopt(&mut self, readback: Readback) {
        let mut state = State::default();
        for (name, set) in readback.sets {
            let (count, maxelem) = (set.members.len(), set.maxelem);
            state.sets.insert(
                name,
                SetState {
                    kind: Some(set.kind),
                    maxelem,
                    count,
                    members: Some(set.members),
                },
            );
        }
        for (family, rules) in readback.rules {
            let rules = RulesState {
                chains: shared(rules.chains),
                entries: rules.entries,
                unreadable: BTreeMap::new(),
            };
            state.rules.insert(family, rules);
        }
        let known = self.state.take();
        for ((family, table), opaque) in readback.unreadable {
            let rules = state.rules.entry(family).or_default();
            let known = known.as_ref().and_then(|known| known.rules.get(&family));
            match known.filter(|_| readback.unchanged.contains(&(family, table))) {
                Some(known) => rules.copy_table(table, known),
                None => rules.cannot_read(table, opaque),
            }
        }
        self.state = Some(state);
        self.adopted = true;
    }

    /// The steps to `program`. With the `update` that led to it, and nothing adopted
    /// since the last commit, the cost is that of the change; else all is compared,
    /// which needs a fresh [`Planner::adopt`]. Rules that use a `broken` set (one that
    /// could not be made) are left out, so that they allow nothing.
    pub fn plan(
        &mut self,
        program: &Program,
        update: Option<&Update>,
        broken: &BTreeSet<Id>,
    ) -> Result<Transaction, PlanError> {
        let state = self.state.as_ref().ok_or(PlanError::NeedsReadback)?;
        let changes = match update {
            _ if self.adopted => None,
            None => return Err(PlanError::NeedsReadback),
            Some(update) => Some(update),
        };
        let same_rules = !self.options_changed
            && *broken == state.broken
            && changes.is_some_and(|update| update.previous.is_none());
        let mut transaction = Transaction::default();
        let mut next = Next {
            broken: broken.clone(),
            ..Next::default()
        };
        let mut rules_steps = Vec::new();
        if !same_rules {
            let mut all = BTreeMap::new();
            let nothing = RulesState::default();
            self.cache.begin(broken);
            for family in self.options.families().iter().copied() {
                let wanted = render(
                    family,
                    &program.structure,
                    &self.options,
                    broken,
                    &mut self.cache,
                );
                let present = state.rules.get(&family).unwrap_or(&nothing);
                rules_steps.extend(rules::step(
                    family,
                    present,
                    &wanted,
                    &mut transaction.stats,
                ));
                all.insert(family, RulesState::of(wanted));
            }
            self.cache.retain(&program.structure);
            next.rules = Some(all);
        }
        let scope = sets::Scope {
            program,
            options: &self.options,
            broken,
            state: &state.sets,
            changes,
            structure_unchanged: same_rules,
            keep_unused: state
                .rules
                .values()
                .any(|rules| !rules.unreadable.is_empty()),
        };
        let mut lines = sets::plan(&scope, &mut next.sets, &mut transaction.stats);
        if rules_steps.is_empty() {
            lines.early.append(lines.late);
            lines.late = sets::Lines::default();
        }
        transaction.steps.extend(lines.early.into_step());
        transaction.steps.append(&mut rules_steps);
        if !same_rules {
            for (family, rules) in &state.rules {
                transaction.steps.extend(rules::superseded(*family, rules));
            }
        }
        transaction.steps.extend(lines.late.into_step());
        transaction.stats.bytes = transaction.steps.iter().map(Step::bytes).sum();
        transaction.next = Some(next);
        if transaction.is_empty() {
            self.committed(transaction.clone());
        }
        Ok(transaction)
    }

    /// Every step has succeeded: the kernel holds what the transaction led to.
    pub fn committed(&mut self, transaction: Transaction) {
        let (Some(state), Some(next)) = (self.state.as_mut(), transaction.next) else {
            return;
        };
        if let Some(rules) = next.rules {
            state.rules = rules;
        }
        for (name, set) in next.sets {
            match set {
                Some(set) => state.sets.insert(name, set),
                None => state.sets.remove(&name),
            };
        }
        for set in state.sets.values_mut() {
            set.members = None;
        }
        state.broken = next.broken;
        self.adopted = false;
        self.options_changed = false;
    }

    /// A step failed or someone else wrote: nothing is known until the next adopt.
    pub fn forget(&mut self) {
        self.state = None;
    }

    /// Changes the options (bindings come and go with pods); the next plan compares
    /// all rules.
    pub fn set_options(&mut self, options: Options) {
        self.options_changed |= options != self.options;
        self.options = options;
    }
}

impl Step {
    fn bytes(&self) -> usize {
        match self {
            Self::Sets { input, .. } | Self::Rules { input, .. } => input.len(),
            Self::Entries { .. } => 0,
        }
    }
}
