//! The source ports of clients.

use socket2::Socket;
use std::io::{Error, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

/// The first that the kernel itself would choose.
const FIRST: u16 = 32_768;
/// How many it has.
const COUNT: u16 = 28_232;
/// So many in a row may be in use.
const TRIES: usize = 1_000;

/// Hands them out in turn. The kernel draws them by chance, and now and then a probe would
/// have the port of an earlier one: conntrack takes it for a packet of that flow, which
/// may be established, and what a policy then does to it is another thing.
#[derive(Debug)]
pub(super) struct Ports(AtomicU16);

impl Default for Ports {
    fn default() -> Self {
        // Two runs beside each other on one cluster should not go hand in hand.
        Self(AtomicU16::new(fastrand::u16(..COUNT)))
    }
}

impl Ports {
    /// Binds to the next port that is free (of a socket for ICMP echoes: their identifier).
    pub(super) fn bind(&self, socket: &Socket, source: IpAddr) -> Result<(), Error> {
        let mut error = Error::from(ErrorKind::AddrInUse);
        for _ in 0..TRIES {
            match socket.bind(&SocketAddr::new(source, self.next()).into()) {
                Err(e) if e.kind() == ErrorKind::AddrInUse => error = e,
                done => return done,
            }
        }
        Err(error)
    }

    fn next(&self) -> u16 {
        let step = |last: u16| Some((last + 1) % COUNT);
        let last = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        FIRST + last.unwrap_or_else(|last| last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Type};
    use std::net::Ipv4Addr;

    fn bound(ports: &Ports) -> (Socket, u16) {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        ports.bind(&socket, Ipv4Addr::LOCALHOST.into()).unwrap();
        let port = socket.local_addr().unwrap().as_socket().unwrap().port();
        (socket, port)
    }

    #[test]
    fn a_port_comes_again_when_all_others_have_been() {
        let ports = Ports(AtomicU16::new(COUNT - 1));
        assert_eq!(ports.next(), 60_999);
        assert_eq!(ports.next(), FIRST);
        assert_eq!(ports.next(), FIRST + 1);
    }

    #[test]
    fn a_port_that_is_in_use_is_passed_over() {
        let ports = Ports::default();
        let (_first, taken) = bound(&ports);
        let again = Ports(AtomicU16::new(taken - FIRST));
        let (_second, next) = bound(&again);
        assert_ne!(next, taken);
    }
}
