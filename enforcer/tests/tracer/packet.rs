//! Packets.

use ringfence_policy::model::{Flow, L4, Protocol};
use std::net::IpAddr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Forward,
    Input,
    Output,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Dropped,
    Rejected(String),
}

impl Outcome {
    pub fn passed(&self) -> bool {
        *self == Self::Passed
    }
}

/// What a TCP segment is about, by its flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// Opens.
    Syn,
    /// Resets.
    Rst,
    /// Anything in the middle.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp(Segment),
    Udp,
    Sctp,
    Icmp(u8),
    Other(u8),
}

#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub transport: Transport,
    pub sport: u16,
    pub dport: u16,
    pub ctstate: &'static str,
    pub dnat: bool,
    pub connmark: u32,
    pub mark: u32,
    pub bridged: bool,
    pub pkttype: &'static str,
    pub in_iface: &'static str,
    pub src_local: bool,
}

impl Packet {
    /// The first packet of a flow.
    pub fn first_of(flow: &Flow) -> Self {
        let (transport, sport, dport) = match flow.l4 {
            L4::Ports {
                protocol: Protocol::Tcp,
                src,
                dst,
            } => (Transport::Tcp(Segment::Syn), src, dst),
            L4::Ports {
                protocol: Protocol::Udp,
                src,
                dst,
            } => (Transport::Udp, src, dst),
            L4::Ports {
                protocol: Protocol::Sctp,
                src,
                dst,
            } => (Transport::Sctp, src, dst),
            L4::Icmp { kind } => (Transport::Icmp(kind), 0, 0),
            L4::Other(number) => (Transport::Other(number), 0, 0),
        };
        // The kernel does not track neighbour discovery.
        let discovery = matches!(
            flow.l4,
            L4::Icmp {
                kind: 130..=137 | 143
            }
        ) && flow.dst.is_ipv6();
        Self {
            src: flow.src,
            dst: flow.dst,
            transport,
            sport,
            dport,
            ctstate: if discovery { "UNTRACKED" } else { "NEW" },
            dnat: false,
            connmark: 0,
            // Whatever was there before must not matter.
            mark: 0x1000,
            bridged: false,
            pkttype: "unicast",
            in_iface: "eth0",
            src_local: false,
        }
    }

    pub fn v4(&self) -> bool {
        self.dst.is_ipv4()
    }

    /// The protocol as `-p` names it.
    pub fn protocol(&self) -> &'static str {
        match self.transport {
            Transport::Tcp(_) => "tcp",
            Transport::Udp => "udp",
            Transport::Sctp => "sctp",
            Transport::Icmp(_) => {
                if self.v4() {
                    "icmp"
                } else {
                    "ipv6-icmp"
                }
            }
            Transport::Other(_) => "other",
        }
    }
}
