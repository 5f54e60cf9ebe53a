//! UDP packets, many at once, and how long the kernel takes over each.
//!
//! A veth pair hands a packet over on the sender's CPU before the send call returns, so
//! the time of the call is the time of the whole way: sender, node, receiver.

use crate::fabric::Netns;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{
    AddressFamily, MsgFlags, MultiHeaders, SockFlag, SockProtocol, SockType, SockaddrIn, sendmmsg,
    socket,
};
use std::fs;
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Packets of one call.
const BATCH: usize = 128;
/// Source ports of new flows; below are those of [`Way::open`].
const PORTS: std::ops::Range<u16> = 2_048..65_000;
/// The source port of the established flow.
const ESTABLISHED: u16 = 1_500;
/// Where the receiver listens.
const LISTEN: u16 = 9_000;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// From one host to another, with a receiver that listens.
#[derive(Debug)]
pub struct Way {
    from: Ipv4Addr,
    to: Ipv4Addr,
    raw: OwnedFd,
    receiver: UdpSocket,
    inside: (Netns, Netns),
}

/// Which packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flow {
    /// Each begins a flow.
    New,
    /// All belong to one flow that was answered.
    Established,
}

// === impl Way ===

impl Way {
    /// Opens the sockets.
    pub fn open(from: (&Netns, Ipv4Addr), to: (&Netns, Ipv4Addr)) -> Result<Self> {
        let raw = from.0.run(|| {
            socket(
                AddressFamily::Inet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                // The caller writes the IP header.
                SockProtocol::Raw,
            )
            .context("opening a raw socket")
        })?;
        let receiver = to.0.run(|| {
            let socket = UdpSocket::bind(SocketAddrV4::new(to.1, LISTEN))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        })?;
        Ok(Self {
            from: from.1,
            to: to.1,
            raw,
            receiver,
            inside: (from.0.clone(), to.0.clone()),
        })
    }

    /// Sends one datagram and has it answered, so that the flow is established.
    ///
    /// # Errors
    /// When it does not get through: then nothing on this way is worth measuring.
    pub fn establish(&self) -> Result<()> {
        let client = self.inside.0.run(|| {
            let socket = UdpSocket::bind(SocketAddrV4::new(self.from, ESTABLISHED))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        })?;
        let mut buffer = [0; 64];
        // An earlier flood has filled the receiver's buffer: there is no room for more.
        self.receiver.set_nonblocking(true)?;
        while self.receiver.recv(&mut buffer).is_ok() {}
        self.receiver.set_nonblocking(false)?;
        client.send_to(b"hello", SocketAddrV4::new(self.to, LISTEN))?;
        let (_, sender) = self
            .receiver
            .recv_from(&mut buffer)
            .with_context(|| format!("{} does not reach {}", self.from, self.to))?;
        self.receiver.send_to(b"hello", sender)?;
        client
            .recv(&mut buffer)
            .with_context(|| format!("{} gets no answer from {}", self.from, self.to))?;
        Ok(())
    }

    /// Whether a datagram gets through at all.
    pub fn is_open(&self) -> bool {
        self.establish().is_ok()
    }

    /// Nanoseconds for each of `count` packets: the median of the calls, each of
    /// [`BATCH`] packets, so that a call that was interrupted does not count.
    ///
    /// # Errors
    /// When packets were lost on the way: their cost would be missing.
    pub fn nanoseconds(&self, flow: Flow, count: usize) -> Result<f64> {
        let address = SockaddrIn::from(SocketAddrV4::new(self.to, LISTEN));
        let addresses = [Some(address); BATCH];
        let mut headers = MultiHeaders::preallocate(BATCH, None);
        let mut packets = vec![packet(self.from, self.to); BATCH];
        let mut port = PORTS.start;
        let before = self.arrived()?;
        let mut calls = Vec::new();
        for _ in 0..count.div_ceil(BATCH) {
            for packet in &mut packets {
                let source = match flow {
                    Flow::Established => ESTABLISHED,
                    Flow::New => {
                        port = if port + 1 < PORTS.end {
                            port + 1
                        } else {
                            PORTS.start
                        };
                        port
                    }
                };
                packet[20..22].copy_from_slice(&source.to_be_bytes());
            }
            let slices: Vec<[IoSlice<'_>; 1]> = packets.iter().map(|p| [IoSlice::new(p)]).collect();
            let start = Instant::now();
            let sent = sendmmsg(
                self.raw.as_raw_fd(),
                &mut headers,
                &slices,
                addresses,
                [],
                MsgFlags::empty(),
            )
            .context("sending packets")?
            .count();
            let took = start.elapsed();
            ensure!(sent == BATCH, "only {sent} of {BATCH} packets were sent");
            calls.push(took);
        }
        self.all_arrived(before, calls.len() * BATCH)?;
        calls.sort();
        let median = calls[calls.len() / 2];
        #[allow(clippy::cast_precision_loss)] // far below 2^53
        Ok(median.as_nanos() as f64 / BATCH as f64)
    }

    fn all_arrived(&self, before: u64, sent: usize) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let arrived = self.arrived()? - before;
            if arrived >= sent as u64 {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("of {sent} packets only {arrived} arrived at {}", self.to);
            }
        }
    }

    /// How many packets the receiver's interface has seen.
    fn arrived(&self) -> Result<u64> {
        let text = self
            .inside
            .1
            .run(|| Ok(fs::read_to_string("/proc/thread-self/net/dev")?))?;
        received(&text, "eth0").context("the receiver has no eth0")
    }
}

/// The packets that `interface` has received, from `/proc/net/dev`.
fn received(text: &str, interface: &str) -> Option<u64> {
    let (_, counters) = text
        .lines()
        .filter_map(|line| line.trim().split_once(':'))
        .find(|(name, _)| *name == interface)?;
    counters.split_whitespace().nth(1)?.parse().ok()
}

/// An IPv4 UDP packet; the kernel fills in length, identification and checksum, and no
/// UDP checksum is needed.
fn packet(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    const PAYLOAD: u16 = 18;
    let mut bytes = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0];
    bytes.extend(from.octets());
    bytes.extend(to.octets());
    bytes.extend([0, 0]);
    bytes.extend(LISTEN.to_be_bytes());
    bytes.extend((8 + PAYLOAD).to_be_bytes());
    bytes.extend([0; 2 + PAYLOAD as usize]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_as_long_as_they_say() {
        let bytes = packet(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        assert_eq!(bytes.len(), 46);
        assert_eq!(bytes[24..26], 26_u16.to_be_bytes());
    }

    #[test]
    fn counters_of_an_interface() {
        let text = "Inter-| Receive\n face |bytes packets\n    lo: 1 2 0\n  eth0: 840 12 0 0\n";
        assert_eq!(received(text, "eth0"), Some(12));
        assert_eq!(received(text, "eth1"), None);
    }
}
