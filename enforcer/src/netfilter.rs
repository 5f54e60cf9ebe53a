//! Netfilter's words that both the text (`dataplane`) and the seam (`system`) speak.

use std::collections::BTreeMap;
use std::fmt;
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

    /// How nft names the family: `ip` or `ip6`.
    pub fn nft_name(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    /// The length of an address.
    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// What the programs' names begin with: `iptables` or `ip6tables`.
    pub(crate) fn stem(self) -> &'static str {
        match self {
            Self::V4 => "iptables",
            Self::V6 => "ip6tables",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
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
    pub fn name(self) -> &'static str {
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

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What can be told of a table whose rules the tools cannot print (iptables-nft beside
/// foreign native rules). As long as it is equal to what was found after our last write,
/// our rules are what they were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opaque {
    /// Rule handles of our own chains, in order, by chain name.
    pub chains: BTreeMap<String, Vec<u64>>,
    /// Rules in foreign chains that lead into ours.
    pub entries: Vec<Entering>,
}

/// A rule in a foreign chain that leads into one of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entering {
    /// The foreign chain.
    pub chain: String,
    /// Its place there; 0 is the first.
    pub place: usize,
    /// Unique in its table; never used twice.
    pub handle: u64,
    /// Our chain.
    pub target: String,
}
