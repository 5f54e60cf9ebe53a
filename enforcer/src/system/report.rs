//! What was found out about the node, in sentences for people.

use std::fmt;

/// Whether iptables sees what this node's bridges forward.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BridgeReport {
    /// What is in force now.
    pub active: Vec<Mechanism>,
    /// What had to be changed in this call (empty for a check): drift, when it is not
    /// the first call.
    pub changed: Vec<Mechanism>,
    /// What is needed and not in force. Not ready while this holds anything.
    pub shortfalls: Vec<Shortfall>,
}

impl BridgeReport {
    /// True when nothing is missing.
    pub fn is_complete(&self) -> bool {
        self.shortfalls.is_empty()
    }
}

/// A setting that makes bridged packets visible.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mechanism {
    /// `nf_call_iptables` and `nf_call_ip6tables` of one bridge.
    Bridge(String),
    /// A sysctl below `net.bridge`, set to 1: its last part.
    Sysctl(&'static str),
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge(name) => write!(f, "bridge {name} nf_call_iptables, nf_call_ip6tables"),
            Self::Sysctl(name) => write!(f, "sysctl net.bridge.{name}"),
        }
    }
}

/// A setting that is needed and not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// Which.
    pub mechanism: Mechanism,
    /// Why not, and what to do.
    pub reason: String,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.mechanism, self.reason)
    }
}

/// A datapath whose packets netfilter may never see.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bypass {
    /// The link that gives it away.
    pub link: String,
    /// What it is and why policies cannot be enforced there.
    pub reason: String,
    /// True where it carries the pods' main interface, so that nothing can be enforced:
    /// not ready. False where it may only serve some pods, or none: say so.
    pub blocking: bool,
}

impl fmt::Display for Bypass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.link, self.reason)
    }
}
