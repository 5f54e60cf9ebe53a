//! Traps 6 to 9: what is special about bridges, and who may use which source address.

use super::{DENY_X, FROM_Y, once, trap};
use crate::case::{Case, Stage, matrix, policy};
use crate::cases::conversation::{checksum, transport_checksum};
use crate::cases::hands::{self, inside, see, see_denied, tables};
use crate::fabric::{Placement, PodKind};
use crate::probe::{Outcome, tcp, udp};
use anyhow::{Context, Result, ensure};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, sendto, socket};
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// The cases.
pub fn cases() -> Vec<Case> {
    [neighbours(), visibility(), sources()].concat()
}

/// Nobody else listens there.
const PORT: u16 = 9000;

fn neighbours() -> Vec<Case> {
    vec![
        trap("neighbour-discovery-passes-a-default-deny", "dataplane.md, trap 6")
            .policy("x/from-y", FROM_Y)
            .policy("y/to-x", "{podSelector: {}, policyTypes: [Ingress, Egress], egress: [{to: [{namespaceSelector: {matchLabels: {ns: x}}}]}]}")
            .act("forget all neighbours", |stage| {
                for pod in crate::case::NINE {
                    inside(stage, pod, "ip -6 neigh flush dev eth0")?;
                    inside(stage, pod, "ip -4 neigh flush dev eth0")?;
                }
                hands::everywhere(stage, "ip -6 neigh flush all")?;
                hands::everywhere(stage, "ip -4 neigh flush all")
            })
            .expect(matrix(&[tcp(80), udp(80)])),
    ]
}

fn visibility() -> Vec<Case> {
    let same_bridge = |name, source| {
        trap(name, source)
            .kinds(&[PodKind::Bridge])
            .placements(&[Placement::Same])
    };
    vec![
        same_bridge(
            "an-invisible-bridge-is-made-visible",
            "dataplane.md, trap 7",
        )
        .act("start while the bridge hides its packets", |stage| {
            hands::kill_all(stage)?;
            hide_bridges(stage)?;
            hands::start_all(stage)
        })
        .policy("x/deny", DENY_X)
        .expect(matrix(&[tcp(80), udp(80)]))
        .act("hide them again while it runs", |stage| {
            let before = hands::metric(stage, "node1", "drift_total{what=\"bridge\"}")?;
            hide_bridges(stage)?;
            hands::grows(stage, "node1", "drift_total{what=\"bridge\"}", before)
        })
        .expect(matrix(&[tcp(80), udp(80)])),
        same_bridge("tagged-frames-do-not-pass-by", "dataplane.md, trap 8").act(
            "send 802.1Q and 802.1ad frames",
            |stage| {
                for (name, protocol) in [("802.1Q", 0x8100), ("802.1ad", 0x88a8)] {
                    for v4 in [true, false] {
                        let what = || format!("{name} (IPv4: {v4})");
                        tagged(stage, protocol, v4).with_context(what)?;
                    }
                }
                Ok(())
            },
        ),
    ]
}

fn hide_bridges(stage: &mut Stage) -> Result<()> {
    hands::everywhere(
        stage,
        "ip link set cni0 type bridge nf_call_iptables 0 nf_call_ip6tables 0",
    )?;
    for call in ["iptables", "ip6tables"] {
        hands::sysctl(stage, &format!("bridge/bridge-nf-call-{call}"), "0")?;
    }
    Ok(())
}

/// x/a sends to x/b a datagram in a frame tagged with VLAN 0, which a receiver takes for
/// untagged.
fn tagged(stage: &mut Stage, protocol: u16, v4: bool) -> Result<()> {
    let server = listen(stage, "x/b", address(stage, "x/b", v4)?)?;
    let arrives = |stage: &Stage| -> Result<bool> {
        send_tagged(stage, protocol, v4)?;
        Ok(server.recv(&mut [0; 16]).is_ok())
    };
    ensure!(
        arrives(stage)?,
        "tagged frames do not arrive even without a policy"
    );
    stage.apply(&policy("x/deny", DENY_X), "x")?;
    ensure!(
        !arrives(stage)?,
        "a tagged frame arrived although its sender is denied"
    );
    stage.delete("NetworkPolicy x/deny")
}

fn send_tagged(stage: &Stage, protocol: u16, v4: bool) -> Result<()> {
    let (source, target) = (address(stage, "x/a", v4)?, address(stage, "x/b", v4)?);
    let mut frame = mac_of(stage, "x/b")?;
    frame.extend(mac_of(stage, "x/a")?);
    frame.extend(protocol.to_be_bytes());
    frame.extend(packet(source, target));
    stage.world()?.host("x/a")?.netns.run(|| {
        let mut links = getifaddrs()?
            .filter(|link| link.interface_name == "eth0")
            .filter_map(|link| link.address);
        let link = links
            .find_map(|address| address.as_link_addr().copied())
            .context("no eth0")?;
        let socket = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::empty(),
            None,
        )?;
        let sent = sendto(socket.as_raw_fd(), &frame, &link, MsgFlags::empty())
            .context("sending a tagged frame")?;
        ensure!(sent == frame.len(), "sent {sent} bytes of {}", frame.len());
        Ok(())
    })
}

/// What follows the tag: priority and VLAN 0, the type of the packet, and a datagram.
fn packet(source: IpAddr, target: IpAddr) -> Vec<u8> {
    // 8 bytes of UDP header and 6 of data.
    let mut datagram: Vec<u8> = [4000, PORT, 14, 0].map(u16::to_be_bytes).concat();
    datagram.extend(b"tagged");
    let sum = transport_checksum(source, target, 17, &datagram);
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    let header = match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            let mut header = vec![0x45, 0, 0, 34, 0, 0, 0, 0, 64, 17, 0, 0];
            header.extend([source.octets(), target.octets()].concat());
            let sum = checksum(header.iter().copied());
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            [vec![0, 0, 0x08, 0x00], header].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            let header = vec![0, 0, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 14, 17, 64];
            [header, source.octets().into(), target.octets().into()].concat()
        }
        // Both are of the family that was asked for.
        _ => Vec::new(),
    };
    [header, datagram].concat()
}

/// A server that hears, on a port where nobody else listens.
fn listen(stage: &Stage, pod: &str, address: IpAddr) -> Result<UdpSocket> {
    let server = stage
        .world()?
        .host(pod)?
        .netns
        .run(|| Ok(UdpSocket::bind((address, PORT))?))?;
    server.set_read_timeout(Some(Duration::from_millis(300)))?;
    Ok(server)
}

/// A pod's address of one family.
fn address(stage: &Stage, pod: &str, v4: bool) -> Result<IpAddr> {
    let mut addresses = stage.world()?.host(pod)?.addresses.iter().copied();
    let found = addresses.find(|address| address.is_ipv4() == v4);
    found.with_context(|| format!("{pod} has no such address (IPv4: {v4})"))
}

fn mac_of(stage: &Stage, pod: &str) -> Result<Vec<u8>> {
    let text = inside(stage, pod, "ip -o link show dev eth0")?;
    let mut words = text
        .split_whitespace()
        .skip_while(|word| *word != "link/ether");
    let address = words
        .nth(1)
        .with_context(|| format!("no MAC address in {text}"))?;
    address
        .split(':')
        .map(|byte| Ok(u8::from_str_radix(byte, 16)?))
        .collect()
}

fn sources() -> Vec<Case> {
    vec![
        trap(
            "a-routed-pod-cannot-borrow-an-address",
            "dataplane.md, trap 9",
        )
        .kinds(&[PodKind::Routed])
        .policy("x/from-y", FROM_Y)
        .act("z/a sends with the address of y/a", |stage| {
            for v4 in [true, false] {
                ensure!(
                    !spoof_arrives(stage, v4)?,
                    "x/b received what z/a sent as y/a (IPv4: {v4})"
                );
            }
            // Without us it does arrive: the case can fail.
            stage.uninstall()?;
            stage.spoil();
            for v4 in [true, false] {
                ensure!(
                    spoof_arrives(stage, v4)?,
                    "nobody enforces and yet it does not arrive (IPv4: {v4})"
                );
            }
            hands::start_all(stage)
        }),
        once(trap(
            "own-marks-and-reflected-marks-pass",
            "dataplane.md, trap 11",
        ))
        .act("reflect marks", |stage| {
            hands::sysctl(stage, "ipv4/fwmark_reflect", "1")?;
            hands::sysctl(stage, "ipv6/fwmark_reflect", "1")
        })
        .policy("x/deny", DENY_X)
        .expect(matrix(&[tcp(80), udp(80)]))
        .act("the node's own packets carry the bit", |stage| {
            tables(
                stage,
                "-t mangle -A OUTPUT -j MARK --set-xmark 0x1000/0x1000",
            )?;
            let node = hands::node_of(stage, "x/a")?;
            for transport in [tcp(80), udp(80)] {
                see(stage, &node, "x/a", transport, Outcome::Allowed)?;
                see_denied(stage, "z/a", "x/a", transport)?;
            }
            tables(
                stage,
                "-t mangle -D OUTPUT -j MARK --set-xmark 0x1000/0x1000",
            )?;
            hands::sysctl(stage, "ipv4/fwmark_reflect", "0")?;
            hands::sysctl(stage, "ipv6/fwmark_reflect", "0")
        }),
    ]
}

/// Whether x/b receives a datagram that z/a sends with the address of y/a.
fn spoof_arrives(stage: &Stage, v4: bool) -> Result<bool> {
    let (borrowed, target) = (address(stage, "y/a", v4)?, address(stage, "x/b", v4)?);
    let width = if v4 { 32 } else { 128 };
    let nodad = if v4 { "" } else { " nodad" };
    inside(
        stage,
        "z/a",
        &format!("ip addr add {borrowed}/{width} dev lo{nodad}"),
    )?;
    let server = listen(stage, "x/b", target)?;
    let client = stage
        .world()?
        .host("z/a")?
        .netns
        .run(|| Ok(UdpSocket::bind((borrowed, 0))?))?;
    let arrived = eventually_received(&client, &server, (target, PORT).into());
    inside(
        stage,
        "z/a",
        &format!("ip addr del {borrowed}/{width} dev lo"),
    )?;
    arrived
}

fn eventually_received(
    client: &UdpSocket,
    server: &UdpSocket,
    target: std::net::SocketAddr,
) -> Result<bool> {
    // The first may be lost to neighbour resolution.
    for _ in 0..2 {
        client.send_to(b"borrowed", target)?;
        if server.recv(&mut [0; 16]).is_ok() {
            return Ok(true);
        }
    }
    Ok(false)
}
