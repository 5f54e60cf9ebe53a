//! What is judged: the first packet of a flow.

use super::Protocol;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The first packet of a flow as a node's FORWARD hook sees it: after DNAT, before SNAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Protocol and ports.
    pub l4: L4,
}

/// The transport part of a [`Flow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum L4 {
    /// A protocol with ports.
    Ports {
        /// TCP, UDP or SCTP.
        protocol: Protocol,
        /// Source port; no policy looks at it.
        src: u16,
        /// Destination port.
        dst: u16,
    },
    /// ICMP or ICMPv6 (by the addresses' family) with its type.
    Icmp {
        /// The message type, for example 8 for an IPv4 echo request.
        kind: u8,
    },
    /// Any other protocol number.
    Other(u8),
}

impl Flow {
    /// A flow with ports; the source port is a fixed ephemeral one.
    pub fn new(protocol: Protocol, src: IpAddr, dst: IpAddr, dst_port: u16) -> Self {
        Self {
            src,
            dst,
            l4: L4::Ports {
                protocol,
                src: 40_000,
                dst: dst_port,
            },
        }
    }

    /// An echo request.
    pub fn ping(src: IpAddr, dst: IpAddr) -> Self {
        let kind = if dst.is_ipv4() { 8 } else { 128 };
        Self {
            src,
            dst,
            l4: L4::Icmp { kind },
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.l4 {
            L4::Ports { protocol, dst, .. } => {
                write!(
                    f,
                    "{protocol} {} -> {}",
                    self.src,
                    SocketAddr::new(self.dst, dst)
                )
            }
            L4::Icmp { kind } => write!(f, "ICMP type {kind} {} -> {}", self.src, self.dst),
            L4::Other(number) => write!(f, "protocol {number} {} -> {}", self.src, self.dst),
        }
    }
}
