//! A netlink socket for one exchange.
//!
//! Opened anew for every exchange (microseconds): an answer that comes after its time
//! limit can then never be taken for the answer to another question.

use super::{Message, Request};
use crate::system::Error;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// `NLMSG_ERROR`: also an acknowledgement, with code 0.
const ERROR: u16 = 2;
/// `NFNL_MSG_BATCH_BEGIN`
const BATCH_BEGIN: u16 = 0x10;
/// `NFNL_MSG_BATCH_END`
const BATCH_END: u16 = 0x11;
/// `NLMSG_DONE`
const DONE: u16 = 3;
/// `NLM_F_MULTI`
const MULTI: u16 = 0x2;
/// `NLM_F_DUMP_INTR`
const DUMP_INTERRUPTED: u16 = 0x10;
/// The kernel fills at most 32 KiB at once.
const BUFFER: usize = 64 * 1024;
/// So many requests go out in one datagram; their answers fit a default receive buffer.
const BATCH: usize = 64;

/// Which part of the kernel answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::system) enum Protocol {
    /// Links, addresses, routes.
    Route,
    /// conntrack, nftables.
    Netfilter,
}

/// Is told (type, payload) of every answer; an error ends the exchange.
pub(in crate::system) type Answer<'a> = dyn FnMut(u16, &[u8]) -> Result<(), Error> + 'a;

/// A socket, and what it is used for (for errors).
pub(in crate::system) struct Socket {
    fd: OwnedFd,
    what: &'static str,
    buffer: Vec<u8>,
}

impl Socket {
    /// A socket in the network namespace of the calling thread.
    pub fn open(protocol: Protocol, timeout: Duration, what: &'static str) -> Result<Self, Error> {
        let protocol = match protocol {
            Protocol::Route => SockProtocol::NetlinkRoute,
            Protocol::Netfilter => SockProtocol::NetlinkNetFilter,
        };
        let open = || {
            let fd = socket(
                AddressFamily::Netlink,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                protocol,
            )?;
            let seconds = i64::try_from(timeout.as_secs().max(1)).unwrap_or(i64::MAX);
            setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(seconds, 0))?;
            Ok(fd)
        };
        let fd = open().map_err(|errno: Errno| failed(what, errno))?;
        Ok(Self {
            fd,
            what,
            buffer: vec![0; BUFFER],
        })
    }

    /// Sends one request and tells `each` (type, payload) of its answers. True when the
    /// kernel says that the dump is not consistent, or could not deliver all of it.
    pub fn exchange(mut self, request: Request, each: &mut Answer<'_>) -> Result<bool, Error> {
        self.send(&request.finish(1))?;
        let mut interrupted = false;
        loop {
            let length = match self.receive() {
                // The receive buffer overflowed: parts of the dump are lost.
                Err(Errno::ENOBUFS) => return Ok(true),
                other => other.map_err(|errno| failed(self.what, errno))?,
            };
            let mut datagram = &self.buffer[..length];
            while let Some(message) = Message::next(&mut datagram) {
                let message = message.map_err(|found| self.unexpected(&found))?;
                interrupted |= message.flags & DUMP_INTERRUPTED != 0;
                match message.kind {
                    ERROR | DONE => {
                        return match code(message.payload) {
                            0 => Ok(interrupted),
                            code => Err(failed(self.what, Errno::from_raw(code))),
                        };
                    }
                    kind => each(kind, message.payload)?,
                }
                if message.flags & MULTI == 0 {
                    return Ok(interrupted);
                }
            }
        }
    }

    /// Sends requests that ask for an acknowledgement and tells `each` the kernel's
    /// answer to every one, in order.
    pub fn acknowledged(
        mut self,
        requests: impl IntoIterator<Item = Request>,
        each: &mut dyn FnMut(Result<(), Errno>),
    ) -> Result<(), Error> {
        let mut requests = requests.into_iter();
        let mut sequence: u32 = 0;
        loop {
            let first = sequence;
            let mut bytes = Vec::new();
            for request in requests.by_ref().take(BATCH) {
                sequence = sequence.wrapping_add(1);
                bytes.extend_from_slice(&request.finish(sequence));
            }
            if bytes.is_empty() {
                return Ok(());
            }
            self.send(&bytes)?;
            let mut answered = first;
            while answered != sequence {
                let length = self.receive().map_err(|errno| failed(self.what, errno))?;
                let mut datagram = &self.buffer[..length];
                while let Some(message) = Message::next(&mut datagram) {
                    let message = message.map_err(|found| self.unexpected(&found))?;
                    if message.kind == ERROR {
                        answered = message.sequence;
                        each(match code(message.payload) {
                            0 => Ok(()),
                            code => Err(Errno::from_raw(code)),
                        });
                    }
                }
            }
        }
    }

    /// Sends requests that ask for an acknowledgement as one netfilter transaction of
    /// `subsystem`: all or none.
    pub fn transaction(
        mut self,
        subsystem: u16,
        requests: impl IntoIterator<Item = Request>,
    ) -> Result<(), Error> {
        let [high, low] = subsystem.to_be_bytes();
        let fixed = [0, 0, high, low];
        let mut bytes = Request::new(BATCH_BEGIN, 0, &fixed).finish(1);
        let mut last = 1;
        for request in requests {
            last += 1;
            bytes.extend_from_slice(&request.finish(last));
        }
        bytes.extend_from_slice(&Request::new(BATCH_END, 0, &fixed).finish(last + 1));
        self.send(&bytes)?;
        let mut answered = 1;
        while answered < last {
            let length = self.receive().map_err(|errno| failed(self.what, errno))?;
            let mut datagram = &self.buffer[..length];
            while let Some(message) = Message::next(&mut datagram) {
                let message = message.map_err(|found| self.unexpected(&found))?;
                if message.kind == ERROR {
                    match code(message.payload) {
                        0 => answered = message.sequence,
                        code => return Err(failed(self.what, Errno::from_raw(code))),
                    }
                }
            }
        }
        Ok(())
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Error> {
        let kernel = NetlinkAddr::new(0, 0);
        loop {
            match sendto(self.fd.as_raw_fd(), bytes, &kernel, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(failed(self.what, errno)),
                Ok(_) => return Ok(()),
            }
        }
    }

    fn receive(&mut self) -> Result<usize, Errno> {
        loop {
            match recv(self.fd.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_TRUNC) {
                Err(Errno::EINTR) => {}
                // What blocking sockets say when the time limit is over.
                Err(Errno::EAGAIN) => return Err(Errno::ETIMEDOUT),
                Ok(length) if length > self.buffer.len() => return Err(Errno::EMSGSIZE),
                other => return other,
            }
        }
    }

    fn unexpected(&self, found: &impl ToString) -> Error {
        Error::Unexpected {
            what: format!("netlink, {}", self.what),
            found: found.to_string(),
        }
    }
}

/// The errno in the payload of an ERROR or DONE message; a DONE may have none.
fn code(payload: &[u8]) -> i32 {
    payload
        .first_chunk()
        .map_or(0, |b| i32::from_ne_bytes(*b).wrapping_neg())
}

fn failed(what: &'static str, errno: Errno) -> Error {
    Error::Netlink {
        what,
        source: io::Error::from(errno),
    }
}
