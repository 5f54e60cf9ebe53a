//! Packets between hosts of a world, and what became of them.
//!
//! The process owns sockets in every namespace (a socket stays where it was made), so
//! servers and clients of all pods are tasks of one runtime and a whole matrix is probed
//! at once.

pub mod agent;
mod client;
mod ports;
mod server;
mod stream;

pub use client::{Call, Shot, has_sctp};
pub use server::{Net, PORTS, everywhere};
pub use stream::{Hearing, Side, Stream};

use ringfence_policy::model::Protocol;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// What became of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The nonce came back.
    Allowed,
    /// ICMP unreachable or RST although somebody listens there: a policy's answer.
    Rejected,
    /// Nothing came back in time.
    Dropped,
    /// RST or ICMP unreachable where nobody listens.
    Refused,
    /// The probe itself went wrong. Never counts as a deny.
    Error,
}

impl Outcome {
    /// The word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Rejected => "rejected",
            Self::Dropped => "dropped",
            Self::Refused => "refused",
            Self::Error => "error",
        }
    }

    /// One letter for matrices.
    pub fn letter(self) -> char {
        match self {
            Self::Allowed => '.',
            Self::Rejected => 'R',
            Self::Dropped => 'D',
            Self::Refused => 'c',
            Self::Error => '!',
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a probe sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Transport {
    /// To a port.
    Port(Protocol, u16),
    /// An echo request.
    Icmp,
}

/// TCP to `port`.
pub const fn tcp(port: u16) -> Transport {
    Transport::Port(Protocol::Tcp, port)
}

/// UDP to `port`.
pub const fn udp(port: u16) -> Transport {
    Transport::Port(Protocol::Udp, port)
}

/// SCTP to `port`. Few kernels come with its sockets: see [`has_sctp`].
pub const fn sctp(port: u16) -> Transport {
    Transport::Port(Protocol::Sctp, port)
}

/// An echo request.
pub const fn icmp() -> Transport {
    Transport::Icmp
}

impl From<Transport> for String {
    fn from(transport: Transport) -> Self {
        transport.to_string()
    }
}

impl TryFrom<String> for Transport {
    type Error = anyhow::Error;

    fn try_from(text: String) -> anyhow::Result<Self> {
        match text.split_once(' ') {
            Some(("ICMP", _)) => Ok(Self::Icmp),
            Some((name, port)) => Ok(Self::Port(agent::protocol(name)?, port.parse()?)),
            None => anyhow::bail!("{text:?} is no transport"),
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(protocol, port) => write!(f, "{protocol} {port}"),
            Self::Icmp => f.write_str("ICMP echo"),
        }
    }
}

/// The result of one probe.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Observation {
    /// What became of it.
    pub outcome: Outcome,
    /// The client's address and port as the server saw them.
    pub seen: Option<SocketAddr>,
    /// The host that answered.
    pub answered_by: Option<String>,
    /// The system's words, when there are any.
    pub detail: String,
    /// How long it took.
    pub took: Duration,
}

impl Observation {
    fn new(outcome: Outcome, detail: impl Into<String>) -> Self {
        Self {
            outcome,
            seen: None,
            answered_by: None,
            detail: detail.into(),
            took: Duration::ZERO,
        }
    }
}
