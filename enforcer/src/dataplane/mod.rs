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
pub(crate) use policies::Cache;
pub(crate) use ruleset::{ChainKey, Ruleset, render};
pub(crate) use sets::{KernelSet, element, maxelem, members, of_spec};

pub use crate::netfilter::{Entering, Family, Opaque, Table};

use std::net::IpAddr;

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
    /// The node has bridges, whose frames pass iptables: broadcast and multicast to
    /// isolated pods are dropped there. Where there are none no packet is asked for it.
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
