//! The kernel's flow table, by netlink.
//!
//! Entries are never deleted: the far end's next packet would make the entry anew in
//! the other direction, and the refused side would go on as the answering one. A flow
//! that is no longer allowed gets a bit of its connmark set, which the rules look at
//! before they look whether it is established.

mod entry;
mod wire;

pub use entry::{Dump, Entry, FlowKey, L4, MarkFilter, Marked, TcpState, Tuple};

use super::Error;
use super::netlink::{Protocol, Socket};
use nix::errno::Errno;
use std::io;
use std::time::Duration;

/// See [`super::Kernel::conntrack_dump`].
pub(super) fn dump(
    filter: MarkFilter,
    timeout: Duration,
    each: &mut dyn FnMut(&Entry),
) -> Result<Dump, Error> {
    let mut dump = Dump::default();
    let socket = Socket::open(Protocol::Netfilter, timeout, "dumping conntrack")?;
    dump.interrupted = socket.exchange(wire::dump_request(filter), &mut |kind, payload| {
        if kind == wire::NEW {
            match wire::parse(payload) {
                Ok(entry) => {
                    dump.entries += 1;
                    each(&entry);
                }
                Err(_) => dump.unreadable += 1,
            }
        }
        Ok(())
    })?;
    Ok(dump)
}

/// See [`super::Kernel::conntrack_mark`].
pub(super) fn mark(
    flows: &[FlowKey],
    mask: u32,
    on: bool,
    timeout: Duration,
) -> Result<Marked, Error> {
    const WHAT: &str = "marking a flow in conntrack";
    let mut marked = Marked::default();
    let mut refused = None;
    let value = if on { mask } else { 0 };
    Socket::open(Protocol::Netfilter, timeout, WHAT)?.acknowledged(
        flows
            .iter()
            .map(|flow| wire::mark_request(flow, value, mask)),
        &mut |answer| match answer {
            Ok(()) => marked.done += 1,
            Err(Errno::ENOENT) => marked.gone += 1,
            Err(other) => refused = Some(other),
        },
    )?;
    match refused {
        None => Ok(marked),
        Some(errno) => Err(Error::Netlink {
            what: WHAT,
            source: io::Error::from(errno),
        }),
    }
}
