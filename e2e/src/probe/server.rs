//! Servers on every address of a world.
//!
//! A request is one line (TCP) or datagram (UDP):
//! `ring NONCE` is answered with `NONCE CLIENT-ADDRESS HOST`, `flow ID ...` hands the
//! server's end of a long-lived flow to whoever opened it ([`super::Stream`]).

use super::ports::Ports;
use super::{Transport, has_sctp};
use crate::fabric::{Netns, World};
use anyhow::{Context, Result};
use ringfence_policy::model::Protocol;
use socket2::{Domain, Protocol as Ip, Socket, Type};
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

/// The ports on which every pod, node and external address listens: TCP, UDP and, where
/// the kernel has it, SCTP.
pub const PORTS: [u16; 2] = [80, 81];

/// [`PORTS`] with the protocols that this kernel has.
pub fn everywhere() -> Vec<(Protocol, u16)> {
    let mut protocols = vec![Protocol::Tcp, Protocol::Udp];
    if has_sctp() {
        protocols.push(Protocol::Sctp);
    }
    let ports = |protocol: Protocol| PORTS.map(|port| (protocol, port));
    protocols.into_iter().flat_map(ports).collect()
}

/// The server's end of a flow, as it reaches the opener.
pub(super) enum Accepted {
    /// A connection, after its first line.
    Tcp(TcpStream),
    /// The first datagram: where answers go.
    Udp(Arc<UdpSocket>, SocketAddr),
    /// Another datagram of the same flow.
    Datagram,
}

type Waiting = Arc<Mutex<HashMap<u64, mpsc::UnboundedSender<Accepted>>>>;

/// The servers of a world and the runtime in which all probes run.
pub struct Net {
    pub(super) runtime: Runtime,
    pub(super) ports: Ports,
    listening: BTreeSet<(IpAddr, Protocol, u16)>,
    waiting: Waiting,
}

impl Net {
    /// A runtime, and no servers.
    pub fn empty() -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("starting the probes' runtime")?;
        Ok(Self {
            runtime,
            ports: Ports::default(),
            listening: BTreeSet::new(),
            waiting: Waiting::default(),
        })
    }

    /// Servers on every address of `world`.
    pub fn start(world: &World) -> Result<Self> {
        let mut net = Self::empty()?;
        let ports = everywhere();
        for host in world.hosts() {
            net.listen(&host.name, &host.netns, &host.addresses, &ports)?;
        }
        Ok(net)
    }

    /// More servers of a host. A port that is served already is left alone.
    pub fn listen(
        &mut self,
        host: &str,
        netns: &Netns,
        addresses: &[IpAddr],
        ports: &[(Protocol, u16)],
    ) -> Result<()> {
        let wanted: Vec<(IpAddr, Protocol, u16)> = addresses
            .iter()
            .flat_map(|a| {
                ports
                    .iter()
                    .map(move |(protocol, port)| (*a, *protocol, *port))
            })
            .filter(|key| !self.listening.contains(key))
            .collect();
        let sockets = netns.run(|| {
            wanted
                .iter()
                .map(|key| bind(*key))
                .collect::<Result<Vec<_>>>()
        });
        let name: Arc<str> = host.into();
        let _guard = self.runtime.enter();
        for socket in sockets.with_context(|| format!("starting the servers of {host}"))? {
            let (name, waiting) = (Arc::clone(&name), Arc::clone(&self.waiting));
            match socket {
                Bound::Tcp(socket) => {
                    let listener = TcpListener::from_std(socket)?;
                    self.runtime.spawn(serve_tcp(listener, name, waiting));
                }
                Bound::Udp(socket) => {
                    let socket = UdpSocket::from_std(socket)?;
                    self.runtime
                        .spawn(serve_udp(Arc::new(socket), name, waiting));
                }
            }
        }
        self.listening.extend(wanted);
        Ok(())
    }

    /// Whether somebody answers there. Echo requests always have an answer.
    pub fn is_listening(&self, address: IpAddr, transport: Transport) -> bool {
        match transport {
            Transport::Icmp => true,
            Transport::Port(protocol, port) => self.listening.contains(&(address, protocol, port)),
        }
    }

    /// Announces a flow; its server end and datagrams arrive at the receiver.
    pub(super) fn await_flow(&self, id: u64) -> mpsc::UnboundedReceiver<Accepted> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, sender);
        receiver
    }
}

enum Bound {
    Tcp(std::net::TcpListener),
    Udp(std::net::UdpSocket),
}

fn bind((address, protocol, port): (IpAddr, Protocol, u16)) -> Result<Bound> {
    let what = || format!("{protocol} {}", SocketAddr::new(address, port));
    Ok(match protocol {
        Protocol::Tcp => {
            let socket = std::net::TcpListener::bind((address, port)).with_context(what)?;
            socket.set_nonblocking(true)?;
            Bound::Tcp(socket)
        }
        Protocol::Udp => {
            let socket = std::net::UdpSocket::bind((address, port)).with_context(what)?;
            socket.set_nonblocking(true)?;
            Bound::Udp(socket)
        }
        // One to one, it is a stream as TCP's are.
        Protocol::Sctp => {
            let address = SocketAddr::new(address, port);
            let domain = Domain::for_address(address);
            let socket = Socket::new(domain, Type::STREAM, Some(Ip::SCTP)).with_context(what)?;
            socket.set_nonblocking(true)?;
            socket.bind(&address.into()).with_context(what)?;
            socket.listen(64).with_context(what)?;
            Bound::Tcp(socket.into())
        }
    })
}

async fn serve_tcp(listener: TcpListener, name: Arc<str>, waiting: Waiting) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(answer_tcp(
                    stream,
                    peer,
                    Arc::clone(&name),
                    Arc::clone(&waiting),
                ));
            }
            Err(error) => tracing::debug!(%name, %error, "accept failed"),
        }
    }
}

/// Reads the first line and acts on it. A client that goes away is its own witness.
async fn answer_tcp(mut stream: TcpStream, peer: SocketAddr, name: Arc<str>, waiting: Waiting) {
    let Some(line) = read_line(&mut stream).await else {
        return;
    };
    match request(&line) {
        Some(Request::Ring(nonce)) => {
            let _ = stream
                .write_all(format!("{nonce} {peer} {name}\n").as_bytes())
                .await;
        }
        Some(Request::Flow(id)) => hand_over(&waiting, id, Accepted::Tcp(stream)),
        None => {}
    }
}

/// One line of at most 128 bytes.
pub(super) async fn read_line(stream: &mut TcpStream) -> Option<String> {
    let mut line = Vec::with_capacity(64);
    while line.len() < 128 {
        match stream.read_u8().await {
            Ok(b'\n') => return String::from_utf8(line).ok(),
            Ok(byte) => line.push(byte),
            Err(_) => return None,
        }
    }
    None
}

async fn serve_udp(socket: Arc<UdpSocket>, name: Arc<str>, waiting: Waiting) {
    let mut known = BTreeSet::new();
    let mut buffer = [0; 256];
    loop {
        // An error here is an ICMP answer to something that was sent: not for us.
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let Ok(text) = std::str::from_utf8(&buffer[..length]) else {
            continue;
        };
        match request(text) {
            Some(Request::Ring(nonce)) => {
                let _ = socket
                    .send_to(format!("{nonce} {peer} {name}").as_bytes(), peer)
                    .await;
            }
            Some(Request::Flow(id)) => {
                if known.insert(id) {
                    hand_over(&waiting, id, Accepted::Udp(Arc::clone(&socket), peer));
                }
                hand_over(&waiting, id, Accepted::Datagram);
            }
            None => {}
        }
    }
}

enum Request<'a> {
    Ring(&'a str),
    Flow(u64),
}

fn request(line: &str) -> Option<Request<'_>> {
    let mut words = line.split_ascii_whitespace();
    match words.next()? {
        "ring" => Some(Request::Ring(words.next()?)),
        "flow" => Some(Request::Flow(words.next()?.parse().ok()?)),
        _ => None,
    }
}

fn hand_over(waiting: &Waiting, id: u64, accepted: Accepted) {
    let map = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(sender) = map.get(&id) {
        let _ = sender.send(accepted);
    }
}
