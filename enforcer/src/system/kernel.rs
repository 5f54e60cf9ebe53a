//! What the agent may ask of the node's kernel.

use super::conntrack::{Dump, Entry, FlowKey, MarkFilter, Marked};
use super::{BridgeReport, Bypass, Error, Rival};
use crate::netfilter::{Family, Opaque, Table};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The kernel of one node. Methods block; see the module for the time limit.
pub trait Kernel: Send + Sync + fmt::Debug {
    /// Which iptables the node's other programs use, and therefore we.
    fn flavour(&self) -> Flavour;

    /// Whether IPv6 rules can be programmed here; if not, IPv4 goes on without.
    fn ipv6(&self) -> &Ipv6;

    /// Whether the `security` table exists; without it the backstop belongs elsewhere.
    fn has_security_table(&self, family: Family) -> bool;

    /// `iptables-restore --noflush --wait` with `input` on stdin. Each table of the
    /// input commits by itself: on an error the tables before the one at fault are in.
    ///
    /// # Errors
    /// [`Error::LockHeld`] when the xtables lock was not free in [`Options::lock_wait`]
    /// (nothing of the table was changed; try again), else [`Error::Failed`] with the
    /// line of `input` at fault where the program names it.
    fn iptables_restore(&self, family: Family, input: &str) -> Result<(), Error>;

    /// `ipset -exist restore` with `input` on stdin. Idempotent: adding a member that is
    /// there, deleting one that is not, destroying a set that is not, and creating one
    /// that exists with the same type succeed; `create` with another type does not.
    /// No transaction: of the lines before the one that failed any may be in (they are
    /// sent in batches), of those after it none is.
    fn ipset_restore(&self, input: &str) -> Result<(), Error>;

    /// `ipset save` of the sets whose names begin with [`OWN_SET_PREFIX`].
    fn ipset_save(&self) -> Result<String, Error>;

    /// What the kernel holds in one table. A table that does not exist reads as an
    /// empty text.
    fn iptables_save(&self, family: Family, table: Table) -> Result<Readback, Error>;

    /// A number that changes with every change of any nftables rule of this network
    /// namespace, whoever makes it; `None` with the legacy flavour. Costs microseconds:
    /// while it stays, what was read back before still holds.
    fn generation(&self) -> Result<Option<u32>, Error>;

    /// Where our entry rules stand: for each of `entries` the position of the first rule
    /// that jumps to its target (1 is the first rule of the chain), `None` when missing.
    fn entry_positions(&self, entries: &[EntryPoint]) -> Result<Vec<Option<u32>>, Error>;

    /// Deletes rules by (chain, handle), all or none: what [`Readback::Opaque`] told of
    /// entries, which no text can name. Nft flavour only; a handle that is gone is an error.
    fn delete_rules(
        &self,
        family: Family,
        table: Table,
        rules: &[(String, u64)],
    ) -> Result<(), Error>;

    /// This node through the other flavour of iptables, when that holds chains of ours: an
    /// earlier run used it. Looking makes no table.
    fn other_flavour(&self) -> Result<Option<Arc<dyn Kernel>>, Error>;

    /// Streams every conntrack entry of both families that matches `filter` to `each`.
    /// Memory does not grow with the number of entries. An entry may be told twice;
    /// one that is confirmed meanwhile may be missed: dump again to see it.
    fn conntrack_dump(
        &self,
        filter: MarkFilter,
        each: &mut dyn FnMut(&Entry),
    ) -> Result<Dump, Error>;

    /// Sets (`on`) or clears the bits `mask` of the connmark of every flow of `flows`;
    /// no other bit is touched, no entry deleted. Flows that are gone are counted.
    fn conntrack_mark(&self, flows: &[FlowKey], mask: u32, on: bool) -> Result<Marked, Error>;

    /// Lets iptables see what bridges forward, VLAN-tagged frames too: for the bridges
    /// that carry one of `pod_ranges` by an attribute of their own, else (none can be
    /// told, or the kernel refuses) by sysctl. Idempotent, and read back.
    fn prepare_bridges(&self, pod_ranges: &[IpNet]) -> Result<BridgeReport, Error>;

    /// The same report without changing anything: the canary.
    fn check_bridges(&self, pod_ranges: &[IpNet]) -> Result<BridgeReport, Error>;

    /// Whether this node has any bridge.
    fn has_bridges(&self) -> Result<bool, Error>;

    /// The interfaces through which routed pods are reached: host routes (/32, /128)
    /// of `pods` to an interface, without gateway. Sorted; an address with host routes to
    /// several interfaces appears once for each.
    fn bindings(&self, pods: &BTreeSet<IpAddr>) -> Result<Vec<(IpAddr, String)>, Error>;

    /// Every address of this node, loopback too.
    fn local_addresses(&self) -> Result<BTreeSet<IpAddr>, Error>;

    /// Datapaths found on this node whose packets netfilter may never see.
    fn bypasses(&self) -> Result<Vec<Bypass>, Error>;

    /// Other enforcers that have chains on this node, and how many.
    fn rivals(&self) -> Result<BTreeMap<Rival, usize>, Error>;
}

/// Names of our sets begin so.
pub const OWN_SET_PREFIX: &str = "RF";
/// Names of our chains begin so.
pub const OWN_CHAIN_PREFIX: &str = "RF-";

/// The two implementations behind the name iptables. Both may hold rules at once; a
/// node should use one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// `ip_tables` of old, serialised by the xtables lock.
    Legacy,
    /// iptables syntax over nftables.
    Nft,
}

impl Flavour {
    /// The one that it is not.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Legacy => Self::Nft,
            Self::Nft => Self::Legacy,
        }
    }

    /// As in the names of the programs: `legacy` or `nft`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Nft => "nft",
        }
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether IPv6 rules can be programmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ipv6 {
    /// They can.
    Available,
    /// They cannot; the sentence says why, for the log and `/readyz`.
    Absent(String),
}

impl Ipv6 {
    /// True for [`Ipv6::Available`].
    pub fn is_available(&self) -> bool {
        matches!(self, Self::Available)
    }
}

/// What a table held when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readback {
    /// As `iptables-save -t TABLE` prints it.
    Text(String),
    /// A foreign native nftables rule makes the text of the table useless (its rules
    /// are refused or printed as something else). Compare with what was read after the
    /// last write.
    Opaque(Opaque),
}

/// A place at which packets enter our chains.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryPoint {
    /// Of which family's table.
    pub family: Family,
    /// The table.
    pub table: Table,
    /// The built-in chain, for example `FORWARD`.
    pub chain: String,
    /// Our chain that it jumps to.
    pub target: String,
}

/// How the kernel is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long a program waits for the xtables lock (legacy flavour only), in whole
    /// seconds, at least one.
    pub lock_wait: Duration,
    /// After this long a program is killed (only itself), and a netlink answer given up.
    pub timeout: Duration,
    /// Where programs are looked for, in order; empty: `PATH`, then the sbin folders.
    pub search_path: Vec<std::path::PathBuf>,
    /// Use this flavour instead of the one that is detected.
    pub flavour: Option<Flavour>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lock_wait: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            search_path: Vec::new(),
            flavour: None,
        }
    }
}
