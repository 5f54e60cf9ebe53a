//! A flow as conntrack knows it.

use std::net::IpAddr;

/// One direction of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tuple {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Protocol and its numbers.
    pub l4: L4,
    /// The zone of this direction alone, where it has one.
    pub zone: Option<u16>,
}

/// The transport part of a [`Tuple`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum L4 {
    /// A protocol with ports: TCP (6), UDP (17), SCTP (132), DCCP, UDP-Lite.
    Ports {
        /// IP protocol number.
        protocol: u8,
        /// Source port.
        src: u16,
        /// Destination port.
        dst: u16,
    },
    /// ICMP (1) or `ICMPv6` (58).
    Icmp {
        /// IP protocol number.
        protocol: u8,
        /// Identifier of the echo.
        id: u16,
        /// Message type.
        kind: u8,
        /// Message code.
        code: u8,
    },
    /// Any other protocol number.
    Other(u8),
}

impl L4 {
    /// The IP protocol number.
    pub fn protocol(self) -> u8 {
        match self {
            Self::Ports { protocol, .. } | Self::Icmp { protocol, .. } | Self::Other(protocol) => {
                protocol
            }
        }
    }
}

/// What names a flow to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey {
    /// The tuple of the packet that made the entry, before any NAT.
    pub original: Tuple,
    /// The zone of both directions; 0 is the default zone.
    pub zone: u16,
}

/// An entry of the flow table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub key: FlowKey,
    /// The tuple that answers carry: its source is the destination after DNAT, its
    /// destination the source after SNAT.
    pub reply: Tuple,
    /// The connmark.
    pub mark: u32,
    /// Tells an entry from a later one with the same tuples.
    pub id: u32,
    /// `IPS_*` bits (`nf_conntrack_common.h`), for example [`Entry::SEEN_REPLY`].
    pub status: u32,
    /// For TCP only.
    pub tcp: Option<TcpState>,
}

impl Entry {
    /// Packets were seen in both directions.
    pub const SEEN_REPLY: u32 = 1 << 1;
    /// The source was rewritten.
    pub const SRC_NAT: u32 = 1 << 4;
    /// The destination was rewritten.
    pub const DST_NAT: u32 = 1 << 5;

    /// A TCP flow that conntrack first saw in its middle: which end opened it is
    /// unknown, and "original" may be the answering side.
    pub fn picked_up(&self) -> bool {
        self.tcp.is_some_and(|tcp| tcp.picked_up)
    }
}

/// What conntrack knows of a TCP flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpState {
    /// `TCP_CONNTRACK_*`: 1 `SYN_SENT`, 2 `SYN_RECV`, 3 `ESTABLISHED` ... 7 `TIME_WAIT`,
    /// 8 `CLOSE`.
    pub state: u8,
    /// See [`Entry::picked_up`].
    pub picked_up: bool,
}

/// Which entries a dump tells of: those whose connmark, masked, equals the value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MarkFilter {
    /// Compared with.
    pub value: u32,
    /// Which bits; 0 matches every entry.
    pub mask: u32,
}

impl MarkFilter {
    /// Every entry.
    pub const ALL: Self = Self { value: 0, mask: 0 };

    /// Entries with all of these bits set.
    pub fn with(bits: u32) -> Self {
        Self {
            value: bits,
            mask: bits,
        }
    }
}

/// How a dump went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// Entries told.
    pub entries: u64,
    /// Entries that could not be read (a protocol or attribute unknown to us).
    pub unreadable: u64,
    /// The table changed so much meanwhile that entries may have been missed: repeat.
    pub interrupted: bool,
}

/// How marking went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marked {
    /// Flows that carry the wanted bits now.
    pub done: usize,
    /// Flows that had ended.
    pub gone: usize,
}
