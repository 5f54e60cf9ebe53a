//! Clients: one shot each, all at once.

use super::server::{Net, read_line};
use super::{Observation, Outcome, Transport};
use crate::fabric::Netns;
use anyhow::{Context, Result};
use ringfence_policy::model::Protocol;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol as Ip, Socket, Type};
use std::io::{Error, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::timeout;

/// One probe, ready to be sent.
#[derive(Clone, Debug)]
pub struct Shot {
    /// Where the client is.
    pub netns: Netns,
    /// Its address.
    pub source: IpAddr,
    /// The address that it calls.
    pub target: IpAddr,
    /// What it sends.
    pub transport: Transport,
    /// Whether somebody listens there; tells rejected from refused.
    pub listening: bool,
    /// How long it waits before it says dropped.
    pub patience: Duration,
}

/// One probe without the place from which it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The client's address.
    pub source: IpAddr,
    /// The address that it calls.
    pub target: IpAddr,
    /// What it sends.
    pub transport: Transport,
    /// Whether somebody listens there; tells rejected from refused.
    pub listening: bool,
    /// How long it waits before it says dropped.
    pub patience: Duration,
}

impl Call {
    /// Sent from this namespace.
    pub fn inside(self, netns: Netns) -> Shot {
        let Self {
            source,
            target,
            transport,
            listening,
            patience,
        } = self;
        Shot {
            netns,
            source,
            target,
            transport,
            listening,
            patience,
        }
    }
}

impl Net {
    /// Sends all shots at once; results in the same order.
    pub fn fire(&self, shots: &[Shot]) -> Result<Vec<Observation>> {
        let mut sockets: Vec<Option<Result<Socket>>> = shots.iter().map(|_| None).collect();
        let mut left: Vec<usize> = (0..shots.len()).collect();
        // One visit to each namespace makes all its sockets.
        while let Some(first) = left.first() {
            let netns = shots[*first].netns.clone();
            let (here, others): (Vec<_>, Vec<_>) = left
                .iter()
                .partition(|i| shots[**i].netns.path() == netns.path());
            let made = netns.run(|| {
                Ok(here
                    .iter()
                    .map(|i| self.socket(&shots[*i]))
                    .collect::<Vec<_>>())
            })?;
            for (index, socket) in here.into_iter().zip(made) {
                sockets[index] = Some(socket);
            }
            left = others;
        }
        let tasks: Vec<_> = shots
            .iter()
            .cloned()
            .zip(sockets)
            .map(|(shot, socket)| {
                self.runtime.spawn(async move {
                    let start = Instant::now();
                    let mut seen = match socket {
                        Some(Ok(socket)) => ring(&shot, socket).await,
                        Some(Err(error)) => Observation::new(Outcome::Error, format!("{error:#}")),
                        None => Observation::new(Outcome::Error, "no socket was made"),
                    };
                    seen.took = start.elapsed();
                    seen
                })
            })
            .collect();
        self.runtime.block_on(async {
            let mut results = Vec::with_capacity(tasks.len());
            for task in tasks {
                results.push(task.await.context("a probe panicked")?);
            }
            Ok(results)
        })
    }

    /// A socket for the shot, bound to its source address and a port that no flow has had
    /// for long. Call it inside the namespace.
    pub(super) fn socket(&self, shot: &Shot) -> Result<Socket> {
        let domain = Domain::for_address(SocketAddr::new(shot.target, 0));
        let (kind, protocol) = match (shot.transport, shot.target) {
            (Transport::Port(Protocol::Tcp, _), _) => (Type::STREAM, Ip::TCP),
            (Transport::Port(Protocol::Udp, _), _) => (Type::DGRAM, Ip::UDP),
            (Transport::Port(Protocol::Sctp, _), _) => (Type::STREAM, Ip::SCTP),
            (Transport::Icmp, IpAddr::V4(_)) => (Type::DGRAM, Ip::ICMPV4),
            (Transport::Icmp, IpAddr::V6(_)) => (Type::DGRAM, Ip::ICMPV6),
        };
        let socket = Socket::new(domain, kind, Some(protocol)).context("making a socket")?;
        socket.set_nonblocking(true)?;
        let bound = self.ports.bind(&socket, shot.source);
        bound.with_context(|| format!("binding to {}", shot.source))?;
        Ok(socket)
    }
}

/// Whether this machine has SCTP sockets.
pub fn has_sctp() -> bool {
    Socket::new(Domain::IPV4, Type::STREAM, Some(Ip::SCTP)).is_ok()
}

async fn ring(shot: &Shot, socket: Socket) -> Observation {
    let nonce = format!("{:016x}", fastrand::u64(..));
    match shot.transport {
        Transport::Port(Protocol::Udp, port) => ring_udp(shot, socket, port, &nonce).await,
        Transport::Port(_, port) => ring_tcp(shot, socket, port, &nonce).await,
        Transport::Icmp => ring_icmp(shot, socket, &nonce).await,
    }
}

async fn ring_tcp(shot: &Shot, socket: Socket, port: u16, nonce: &str) -> Observation {
    let socket = TcpSocket::from_std_stream(socket.into());
    let target = SocketAddr::new(shot.target, port);
    let mut connected = false;
    let answer = timeout(shot.patience, async {
        let mut stream = socket.connect(target).await?;
        connected = true;
        stream
            .write_all(format!("ring {nonce}\n").as_bytes())
            .await?;
        read_line(&mut stream)
            .await
            .ok_or_else(|| Error::from(ErrorKind::ConnectionReset))
    });
    match answer.await {
        Ok(Ok(line)) => reply(&line, nonce),
        Ok(Err(error)) => failure(shot, &error),
        Err(_) if connected => Observation::new(Outcome::Dropped, "connected, then silence"),
        Err(_) => Observation::new(Outcome::Dropped, ""),
    }
}

/// Sends `request` up to three times (the first may be lost to neighbour resolution)
/// until something comes back.
async fn exchange(
    shot: &Shot,
    socket: Socket,
    port: u16,
    request: &[u8],
) -> Result<Vec<u8>, Observation> {
    let failed = |error: Error| failure(shot, &error);
    let socket = UdpSocket::from_std(socket.into()).map_err(failed)?;
    socket.connect((shot.target, port)).await.map_err(failed)?;
    let mut buffer = vec![0; 512];
    for _ in 0..3 {
        socket.send(request).await.map_err(failed)?;
        if let Ok(received) = timeout(shot.patience / 3, socket.recv(&mut buffer)).await {
            let length = received.map_err(failed)?;
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
    Err(Observation::new(Outcome::Dropped, ""))
}

async fn ring_udp(shot: &Shot, socket: Socket, port: u16, nonce: &str) -> Observation {
    match exchange(shot, socket, port, format!("ring {nonce}").as_bytes()).await {
        Ok(answer) => reply(&String::from_utf8_lossy(&answer), nonce),
        Err(observation) => observation,
    }
}

/// Type, code, checksum, id and sequence; the kernel fills in checksum and id.
async fn ring_icmp(shot: &Shot, socket: Socket, nonce: &str) -> Observation {
    let kind = if shot.target.is_ipv4() { 8 } else { 128 };
    let mut request = vec![kind, 0, 0, 0, 0, 0, 0, 1];
    request.extend_from_slice(nonce.as_bytes());
    match exchange(shot, socket, 0, &request).await {
        Ok(answer) if answer.ends_with(nonce.as_bytes()) => Observation::new(Outcome::Allowed, ""),
        Ok(answer) => Observation::new(Outcome::Error, format!("another answer: {answer:02x?}")),
        Err(observation) => observation,
    }
}

fn reply(line: &str, nonce: &str) -> Observation {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    match words.as_slice() {
        [echoed, seen, host] if *echoed == nonce => Observation {
            seen: seen.parse().ok(),
            answered_by: Some((*host).to_owned()),
            ..Observation::new(Outcome::Allowed, "")
        },
        _ => Observation::new(Outcome::Error, format!("another answer: {line:?}")),
    }
}

fn failure(shot: &Shot, error: &Error) -> Observation {
    let outcome = match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset if shot.listening => {
            Outcome::Rejected
        }
        ErrorKind::ConnectionRefused => Outcome::Refused,
        // ICMP administratively prohibited.
        ErrorKind::PermissionDenied => Outcome::Rejected,
        ErrorKind::TimedOut => Outcome::Dropped,
        _ => Outcome::Error,
    };
    Observation::new(outcome, error.to_string())
}
