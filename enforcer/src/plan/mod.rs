//! From what the kernel holds and what it should hold to the steps between.

use crate::dataplane::{Family, Options, Readback};
use ringfence_policy::Program;
use ringfence_policy::compile::{Id, Update};
use std::collections::BTreeSet;

/// Steps that take the kernel from one state to the next, to be run in order; after
/// any of them a packet is judged by the state before or the state after.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// What to run.
    pub steps: Vec<Step>,
    /// How much it is.
    pub stats: Stats,
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
}

/// Why there is no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Nothing is known about the kernel: read it back and [`Planner::adopt`] it first.
    #[error("the kernel's state is unknown: read it back first")]
    NeedsReadback,
}

/// Knows what of ours the kernel holds and plans the way to what it should hold.
#[derive(Debug)]
pub struct Planner {
    options: Options,
    known: bool,
}

impl Planner {
    /// A planner that knows nothing about the kernel yet.
    pub fn new(options: Options) -> Self {
        Self { options, known: false }
    }

    /// Takes over what the kernel holds: after start, drift or a failed step.
    pub fn adopt(&mut self, readback: Readback) {
        let _ = readback;
        self.known = true;
    }

    /// The steps to `program`. With the `update` that led to it, and nothing adopted
    /// since the last commit, the cost is that of the change; else all is compared.
    /// Rules that use a `broken` set (one that could not be made) are left out.
    pub fn plan(
        &mut self,
        program: &Program,
        update: Option<&Update>,
        broken: &BTreeSet<Id>,
    ) -> Result<Transaction, PlanError> {
        let _ = (program, update, broken, &self.options);
        if self.known { Ok(Transaction::default()) } else { Err(PlanError::NeedsReadback) }
    }

    /// Every step has succeeded: the kernel holds what the transaction led to.
    pub fn committed(&mut self, transaction: Transaction) {
        let _ = transaction;
    }

    /// A step failed or someone else wrote: nothing is known until the next adopt.
    pub fn forget(&mut self) {
        self.known = false;
    }

    /// Changes the options (bindings come and go with pods); the next plan compares
    /// all rules.
    pub fn set_options(&mut self, options: Options) {
        self.options = options;
    }
}

/// Removes exactly what carries our prefix.
pub fn cleanup(readback: &Readback) -> Transaction {
    let _ = readback;
    Transaction::default()
}
