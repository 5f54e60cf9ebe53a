//! The one narrow seam through which the enforcer touches its node.
//!
//! ```text
//!   Kernel (trait; the agent is tested with a fake)
//!     `- LinuxKernel
//!          |- programs, detect,
//!          |  command             iptables, ip6tables, ipset, nft: which ones, run with a time limit
//!          |- session             one ipset that stays open, for members alone
//!          |- netlink             sockets and attributes, no process is started
//!          |    |- conntrack      dump flows, set and clear one bit of their mark
//!          |    |- links          host routes, local addresses, foreign datapaths
//!          |    `- nftables       generation and entry rules: the cheap canary
//!          `- bridges           by link attribute, else /proc/sys/net/bridge
//! ```
//!
//! Everything blocks; no program and no netlink answer is awaited longer than
//! [`Options::timeout`]. Call it from a thread of its own. Text in and out is what
//! `dataplane` renders and parses.

mod bridges;
mod command;
mod detect;
mod error;
mod kernel;
mod links;
mod linux;
mod netlink;
mod nftables;
mod programs;
mod report;
mod rivals;
mod session;
mod text;

pub mod conntrack;

pub use crate::netfilter::{Entering, Family, Opaque, Table};
pub use error::Error;
pub use kernel::{EntryPoint, Flavour, Ipv6, Kernel, Options, Readback};
pub use kernel::{OWN_CHAIN_PREFIX, OWN_SET_PREFIX};
pub use linux::LinuxKernel;
pub use report::{BridgeReport, Bypass, Mechanism, Shortfall};
pub use rivals::Rival;
