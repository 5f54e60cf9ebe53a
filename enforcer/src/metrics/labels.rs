//! The values that labels take.

/// A part of a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// From changes to the program.
    Compile,
    /// From the program to a transaction.
    Plan,
    /// `ipset restore`
    Sets,
    /// `iptables-restore`
    Rules,
    /// Flows that are no longer allowed are cut.
    Conntrack,
    /// The kernel is read back.
    Readback,
}

/// What was found changed by someone else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    /// A rule that leads packets to our chains is gone or stands elsewhere.
    EntryRule,
    /// Another program puts a rule before ours, over and over.
    FirstPlace,
    /// Our chains.
    Rules,
    /// Our sets.
    Sets,
    /// The settings that make bridged packets visible.
    Bridge,
}

/// What went wrong outside of the kernel seam (whose errors have kinds of their own).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The API server or the folder cannot be read.
    Source,
    /// The kernel's text could not be understood.
    Parse,
    /// The saved program could not be read or written.
    State,
    /// An Event could not be posted.
    Event,
}

// === impl Phase ===

impl Phase {
    pub(super) const ALL: [Self; 6] = [
        Self::Compile,
        Self::Plan,
        Self::Sets,
        Self::Rules,
        Self::Conntrack,
        Self::Readback,
    ];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Compile => "compile",
            Self::Plan => "plan",
            Self::Sets => "sets",
            Self::Rules => "rules",
            Self::Conntrack => "conntrack",
            Self::Readback => "readback",
        }
    }
}

// === impl Drift ===

impl Drift {
    pub(super) const ALL: [Self; 5] = [
        Self::EntryRule,
        Self::FirstPlace,
        Self::Rules,
        Self::Sets,
        Self::Bridge,
    ];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::EntryRule => "entry_rule",
            Self::FirstPlace => "first_place",
            Self::Rules => "rules",
            Self::Sets => "sets",
            Self::Bridge => "bridge",
        }
    }
}

// === impl Trouble ===

impl Trouble {
    /// The label value.
    pub fn label(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Parse => "parse",
            Self::State => "state",
            Self::Event => "event",
        }
    }
}
