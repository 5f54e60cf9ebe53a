//! One TCP connection whose both ends the case holds: half-closes, one-sided speech,
//! segments forged from what was seen on the wire.

use crate::case::Stage;
use crate::fabric::Netns;
use anyhow::{Context, Result, bail, ensure};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// Nobody else listens there.
const PORT: u16 = 8080;
/// How long something said may take to be heard.
const ANSWER: Duration = Duration::from_secs(4);
/// How long what must not be heard is waited for; covers one retransmission.
const SILENCE: Duration = Duration::from_millis(300);

/// An open connection.
pub struct Conversation {
    /// The end that opened it.
    pub client: TcpStream,
    /// The end that accepted it.
    pub server: TcpStream,
    server_netns: Netns,
}

impl Conversation {
    /// Opens one from pod to pod over each family.
    pub fn open_both(stage: &Stage, from: &str, to: &str) -> Result<Vec<Self>> {
        let targets = stage.world()?.host(to)?.addresses.iter();
        targets
            .map(|target| Self::open_to(stage, from, to, *target))
            .collect()
    }

    fn open_to(stage: &Stage, from: &str, to: &str, target: IpAddr) -> Result<Self> {
        let client = stage.world()?.host(from)?;
        let source = client.address_like(target);
        let source = source.with_context(|| format!("{from} has no address like {target}"))?;
        let client_netns = client.netns.clone();
        let server_netns = stage.world()?.host(to)?.netns.clone();
        let listener = server_netns.run(|| Ok(TcpListener::bind((target, PORT))?))?;
        let client = client_netns.run(|| {
            let target = SocketAddr::new(target, PORT);
            let domain = Domain::for_address(target);
            let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
            socket.bind(&SocketAddr::new(source, 0).into())?;
            socket.connect_timeout(&target.into(), ANSWER)?;
            Ok(TcpStream::from(socket))
        });
        let client = client.with_context(|| format!("connecting {from} to {to}"))?;
        let (server, _) = listener.accept()?;
        for end in [&client, &server] {
            end.set_nodelay(true)?;
        }
        let mut all = Self {
            client,
            server,
            server_netns,
        };
        all.both_talk().context("a new connection")?;
        Ok(all)
    }

    /// Both ends speak and are heard.
    pub fn both_talk(&mut self) -> Result<()> {
        hears(&mut self.client, &mut self.server, "the server")?;
        hears(&mut self.server, &mut self.client, "the client")
    }

    /// The server speaks and is heard: enough after the client has closed its half.
    pub fn server_talks(&mut self) -> Result<()> {
        hears(&mut self.server, &mut self.client, "the client")
    }

    /// The client says that it has nothing more to say.
    pub fn half_close(&mut self) -> Result<()> {
        self.client.shutdown(Shutdown::Write)?;
        ensure!(
            self.server.read(&mut [0; 8])? == 0,
            "the server was told more than the end"
        );
        Ok(())
    }

    /// Neither end is heard any more.
    pub fn is_dead(&mut self) -> Result<()> {
        is_unheard(&mut self.server, &mut self.client, "the client")?;
        is_unheard(&mut self.client, &mut self.server, "the server")
    }

    /// Sends, from the server's pod, a segment of this connection that lies far outside
    /// the window: conntrack calls it INVALID.
    pub fn forge_invalid(&mut self) -> Result<()> {
        let (client, server) = self.ends()?;
        let listening = self.server_netns.run(|| raw(server.ip()))?;
        hears(&mut self.client, &mut self.server, "the server")?;
        let last = Self::last_segment(&listening, client, server)?;
        let segment = Segment {
            source: server,
            target: client,
            sequence: last.acknowledged.wrapping_add(0x4000_0000),
            acknowledged: last.sequence.wrapping_add(last.length),
        };
        let packet = segment.bytes();
        let from = self.server_netns.run(|| raw(server.ip()))?;
        from.send_to(&packet, SocketAddr::new(client.ip(), 0))
            .context("sending a forged segment")?;
        Ok(())
    }

    /// Moves a listener for raw segments into the server's namespace.
    pub fn resets_seen_by_server(&self) -> Result<Resets> {
        let (client, server) = self.ends()?;
        Ok(Resets {
            socket: self.server_netns.run(|| raw(server.ip()))?,
            client,
            server,
        })
    }

    /// The addresses of client and server.
    fn ends(&self) -> Result<(SocketAddr, SocketAddr)> {
        Ok((self.client.local_addr()?, self.server.local_addr()?))
    }

    /// The next data segment from client to server.
    fn last_segment(raw: &UdpSocket, client: SocketAddr, server: SocketAddr) -> Result<Seen> {
        let deadline = Instant::now() + ANSWER;
        while Instant::now() < deadline {
            if let Some(seen) = receive(raw, client, server)?
                && seen.length > 0
            {
                return Ok(seen);
            }
        }
        bail!("no segment from {client} to {server} was seen")
    }
}

/// Counts resets that reach the server's pod.
pub struct Resets {
    socket: UdpSocket,
    client: SocketAddr,
    server: SocketAddr,
}

impl Resets {
    /// How many have come within a moment.
    pub fn count(&self) -> Result<u64> {
        let (mut resets, deadline) = (0, Instant::now() + SILENCE);
        while Instant::now() < deadline {
            resets += u64::from(
                receive(&self.socket, self.client, self.server)?.is_some_and(|s| s.reset),
            );
        }
        Ok(resets)
    }
}

fn hears(speaker: &mut TcpStream, hearer: &mut TcpStream, who: &str) -> Result<()> {
    speaker
        .write_all(b"hello\n")
        .with_context(|| format!("{who} can be told nothing"))?;
    hearer.set_read_timeout(Some(ANSWER))?;
    let mut buffer = [0; 6];
    hearer
        .read_exact(&mut buffer)
        .with_context(|| format!("{who} hears nothing"))?;
    Ok(())
}

fn is_unheard(speaker: &mut TcpStream, hearer: &mut TcpStream, who: &str) -> Result<()> {
    // A connection that was reset cannot be written to: that is dead as well.
    let _ = speaker.write_all(b"leak\n");
    hearer.set_read_timeout(Some(SILENCE))?;
    match hearer.read(&mut [0; 8]) {
        Ok(0) | Err(_) => Ok(()),
        Ok(_) => bail!("{who} still hears what the far end says"),
    }
}

/// A raw TCP socket of the calling thread's namespace, at one of its addresses. To the
/// standard library it is a datagram socket like another.
fn raw(address: IpAddr) -> Result<UdpSocket> {
    let address = SocketAddr::new(address, 0);
    let socket = Socket::new(Domain::for_address(address), Type::RAW, Some(Protocol::TCP))
        .context("a raw socket")?;
    socket.bind(&address.into())?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    Ok(socket.into())
}

struct Seen {
    source: u16,
    target: u16,
    sequence: u32,
    acknowledged: u32,
    length: u32,
    reset: bool,
}

/// The next packet, when it is a segment from `source` to `target`.
fn receive(raw: &UdpSocket, source: SocketAddr, target: SocketAddr) -> Result<Option<Seen>> {
    let mut buffer = [0; 2048];
    let (length, from) = match raw.recv_from(&mut buffer) {
        Ok(received) => received,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            return Ok(None);
        }
        Err(error) => return Err(error).context("reading raw segments"),
    };
    let mut segment = &buffer[..length];
    // Raw sockets of IPv4 show its header, those of IPv6 do not.
    if from.is_ipv4() {
        let header = usize::from(segment.first().copied().unwrap_or_default() & 15) * 4;
        segment = segment.get(header..).unwrap_or_default();
    }
    let ports = (source.port(), target.port());
    Ok(parse(segment)
        .filter(|seen| from.ip() == source.ip() && (seen.source, seen.target) == ports))
}

fn parse(tcp: &[u8]) -> Option<Seen> {
    let short = |at: usize| Some(u16::from_be_bytes(tcp.get(at..at + 2)?.try_into().ok()?));
    let long = |at: usize| Some(u32::from_be_bytes(tcp.get(at..at + 4)?.try_into().ok()?));
    let data = tcp.len().checked_sub(usize::from(tcp.get(12)? >> 4) * 4)?;
    Some(Seen {
        source: short(0)?,
        target: short(2)?,
        sequence: long(4)?,
        acknowledged: long(8)?,
        length: u32::try_from(data).ok()?,
        reset: tcp.get(13)? & 4 != 0,
    })
}

/// An ACK without data.
struct Segment {
    source: SocketAddr,
    target: SocketAddr,
    sequence: u32,
    acknowledged: u32,
}

impl Segment {
    /// With its checksum.
    fn bytes(&self) -> Vec<u8> {
        let mut tcp = Vec::with_capacity(20);
        tcp.extend(self.source.port().to_be_bytes());
        tcp.extend(self.target.port().to_be_bytes());
        tcp.extend(self.sequence.to_be_bytes());
        tcp.extend(self.acknowledged.to_be_bytes());
        // Header of five words; ACK; window; no checksum yet; not urgent.
        tcp.extend([0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
        let checksum = transport_checksum(self.source.ip(), self.target.ip(), 6, &tcp);
        tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
        tcp
    }
}

/// The checksum of a segment or datagram (of an even number of bytes) with its addresses
/// and protocol; RFC 8200's longer form of what goes before it has the same sum as IPv4's.
pub fn transport_checksum(source: IpAddr, target: IpAddr, protocol: u8, bytes: &[u8]) -> u16 {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let length = u16::try_from(bytes.len()).unwrap_or_default();
    let mut all = [octets(source), octets(target), vec![0, protocol]].concat();
    all.extend(length.to_be_bytes());
    checksum(all.into_iter().chain(bytes.iter().copied()))
}

/// The Internet checksum of an even number of bytes.
pub fn checksum(bytes: impl Iterator<Item = u8>) -> u16 {
    let mut sum: u32 = 0;
    for (index, byte) in bytes.enumerate() {
        sum += if index % 2 == 0 {
            u32::from(byte) << 8
        } else {
            u32::from(byte)
        };
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case("10.0.0.1:80", "10.0.0.2:4000"; "IPv4")]
    #[test_case("[fd00::1]:80", "[fd00::2]:4000"; "IPv6")]
    fn a_forged_segment_checks_out(source: &str, target: &str) {
        let segment = Segment {
            source: source.parse().unwrap(),
            target: target.parse().unwrap(),
            sequence: 7,
            acknowledged: 9,
        };
        let bytes = segment.bytes();
        let (from, to) = (segment.source.ip(), segment.target.ip());
        assert_eq!(
            transport_checksum(from, to, 6, &bytes),
            0,
            "a sum over its own checksum is nothing"
        );
        let seen = parse(&bytes).unwrap();
        assert_eq!((seen.source, seen.target), (80, 4000));
        assert_eq!((seen.sequence, seen.length), (7, 0));
    }
}
