//! What is said about an object in its status.

use std::fmt;

/// A condition without its times, which whoever writes it adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// `type`
    pub condition: Condition,
    /// `status`
    pub status: Status,
    /// `reason`, in camel case.
    pub reason: &'static str,
    /// `message`, in whole sentences.
    pub message: String,
}

/// The types of conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Condition {
    /// What the object asks for is in the cluster.
    Ready,
    /// Every peer and every port could be looked up.
    PeersResolved,
    /// Addresses arrive as the rules name them.
    SourceIPPreserved,
    /// Only what a rule names gets out.
    EgressRestricted,
    /// The other end lets the traffic pass, too.
    PeerAllows,
    /// A policy that somebody else wrote opens what isolation closes.
    WidenedByForeignPolicy,
    /// Nodes carry it out.
    Enforced,
    /// The rule's time is over.
    Expired,
}

/// `status` of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody knows; the message says why.
    Unknown,
}

// === impl Statement ===

impl Statement {
    /// A statement.
    pub fn new(
        condition: Condition,
        status: Status,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            condition,
            status,
            reason,
            message: message.into(),
        }
    }
}

// === impl Condition ===

impl Condition {
    /// As it is written in `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::PeersResolved => "PeersResolved",
            Self::SourceIPPreserved => "SourceIPPreserved",
            Self::EgressRestricted => "EgressRestricted",
            Self::PeerAllows => "PeerAllows",
            Self::WidenedByForeignPolicy => "WidenedByForeignPolicy",
            Self::Enforced => "Enforced",
            Self::Expired => "Expired",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Status ===

impl Status {
    /// As it is written in `status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Status {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}
