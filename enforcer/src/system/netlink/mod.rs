//! Netlink without a process: messages (pure) and the socket that carries them.

mod message;
mod socket;

pub(super) use message::{Attributes, Malformed, Message, Request, be16, be32, native32, text};
pub(super) use socket::{Protocol, Socket};

/// `NLM_F_ACK`: answer, also when there is nothing to say.
pub(super) const ACK: u16 = 0x4;
/// `NLM_F_DUMP`: answer with everything that matches.
pub(super) const DUMP: u16 = 0x300;
