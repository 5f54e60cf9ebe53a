//! The kernel's flow table, by netlink.

mod entry;

pub use entry::{Dump, Entry, FlowKey, L4, MarkFilter, Marked, TcpState, Tuple};
