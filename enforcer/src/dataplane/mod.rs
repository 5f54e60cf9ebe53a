//! The iptables + ipset dataplane as text: pure, no process is run here.
//!
//! ```text
//! Structure --chains/tree/entry--> Ruleset (per family) --\
//! members   --sets---------------> set lines ------------- plan::Planner --> Transaction
//! ipset save, iptables-save ------> Readback --------------/
//! ```
//!
//! `mangle` decides and marks what is denied, `filter` refuses what carries the mark,
//! and a backstop drops what a foreign rule accepted in between. Allowed packets
//! RETURN: denials are added, nothing is accepted past another firewall.

mod bindings;
mod entry;
mod full;
mod names;
mod policies;
mod readback;
mod ruleset;
mod sets;
mod tree;

pub use full::{Rendered, render_full};
pub use readback::{ParseError, Readback, parse_readback};

pub(crate) use bindings::sets as binding_sets;
pub(crate) use ruleset::{ChainKey, Ruleset, render};
pub(crate) use sets::{KernelSet, element, maxelem, members, of_spec};

use std::net::IpAddr;

/// An address family: each has its own tables and its own sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4: `iptables`, sets named `RF4-*`.
    V4,
    /// IPv6: `ip6tables`, sets named `RF6-*`.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }

    /// The length of an address.
    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// The tool that prints the rules.
    pub(crate) fn save_tool(self) -> &'static str {
        match self {
            Self::V4 => "iptables-save",
            Self::V6 => "ip6tables-save",
        }
    }
}

/// The tables that are used. Each commits by itself; this is the order in which they
/// are written: who refuses a mark is there before anything is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Refuses what carries the mark (REJECT exists only here).
    Filter,
    /// Drops what still carries the mark.
    Security,
    /// Decides.
    Mangle,
}

impl Table {
    /// All of them, in the order in which they are written.
    pub const ALL: [Self; 3] = [Self::Filter, Self::Security, Self::Mangle];

    /// The name that `-t` and `*` lines take.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Security => "security",
            Self::Mangle => "mangle",
        }
    }

    /// What we use it for.
    pub(crate) fn purpose(self) -> &'static str {
        match self {
            Self::Filter => "refuses what carries the mark",
            Self::Security => "drops what still carries the mark",
            Self::Mangle => "decides, and marks what is denied",
        }
    }
}

/// `--deny-action`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DenyAction {
    /// A TCP reset, otherwise ICMP port unreachable.
    #[default]
    Reject,
    /// No answer.
    Drop,
}

/// Where packets are dropped that carry the mark although a foreign rule accepted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backstop {
    /// Table `security`: after every foreign `filter` rule.
    #[default]
    Security,
    /// `mangle` POSTROUTING, for kernels without table `security`.
    ManglePostrouting,
}

/// What the node's owner and the node itself decide about the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The one bit of packet mark and connection mark that means denied.
    pub mark: u32,
    /// How a denied packet is answered.
    pub deny: DenyAction,
    /// Leave established flows alone when policy changes: the connection mark is not looked at.
    pub keep_established: bool,
    /// Where the backstop is.
    pub backstop: Backstop,
    /// Pods hang on bridges whose frames pass iptables: broadcast and multicast to
    /// isolated pods are dropped there.
    pub bridges: bool,
    /// Program IPv6 (false where `ip6tables` does not exist).
    pub ipv6: bool,
    /// Which address belongs behind which interface, for routed pods only (a bridged
    /// packet shows the bridge as its interface). Empty: no source is checked.
    pub bindings: Vec<(IpAddr, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mark: 0x1000,
            deny: DenyAction::default(),
            keep_established: false,
            backstop: Backstop::default(),
            bridges: true,
            ipv6: true,
            bindings: Vec::new(),
        }
    }
}

impl Options {
    /// The families to program.
    pub fn families(&self) -> &'static [Family] {
        if self.ipv6 {
            &Family::ALL
        } else {
            &[Family::V4]
        }
    }
}
