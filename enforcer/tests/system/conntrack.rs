//! conntrack: what is dumped, what marking changes.

use super::kernel;
use super::namespace::{private, sh};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};
use ringfence_enforcer::system::conntrack::{Entry, FlowKey, L4, MarkFilter};
use ringfence_enforcer::system::{Flavour, Kernel, LinuxKernel};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;

const BIT: u32 = 0x1000;

/// conntrack looks at packets only where a rule asks for it.
fn tracking() -> LinuxKernel {
    sh(
        "nft add table inet t; nft add chain inet t c '{ type filter hook output priority 0; }'; nft add rule inet t c ct state invalid drop",
    );
    kernel(Flavour::Nft)
}

fn entries(kernel: &LinuxKernel, filter: MarkFilter) -> Vec<Entry> {
    let mut found = Vec::new();
    let dump = kernel
        .conntrack_dump(filter, &mut |entry| found.push(*entry))
        .unwrap();
    assert_eq!((dump.unreadable, dump.interrupted), (0, false));
    assert_eq!(dump.entries, found.len() as u64);
    found
}

fn port(entry: &Entry) -> u16 {
    match entry.key.original.l4 {
        L4::Ports { dst, .. } => dst,
        _ => 0,
    }
}

/// A connection to a listener of its own: (client, server).
fn connection(address: &str) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(address).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// One echo request to loopback.
fn ping() {
    let raw = socket(
        AddressFamily::Inet,
        SockType::Raw,
        SockFlag::empty(),
        SockProtocol::Icmp,
    )
    .unwrap();
    let request = [8, 0, 0xf7, 0xf7, 0, 7, 0, 1];
    let to = SockaddrIn::new(127, 0, 0, 1, 0);
    sendto(raw.as_raw_fd(), &request, &to, MsgFlags::empty()).unwrap();
}

fn say((from, to): (&mut TcpStream, &mut TcpStream)) {
    from.write_all(b"x").unwrap();
    to.read_exact(&mut [0]).unwrap();
}

#[test]
fn flows_of_both_families_are_dumped() {
    private(|| {
        let kernel = tracking();
        let _tcp = connection("127.0.0.1:7001");
        let _tcp6 = connection("[::1]:7002");
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let silent = UdpSocket::bind("127.0.0.1:7003").unwrap();
        udp.send_to(b"x", silent.local_addr().unwrap()).unwrap();
        ping();

        let mut found = entries(&kernel, MarkFilter::ALL);
        found.sort_by_key(|entry| (entry.key.original.l4.protocol(), port(entry)));
        let seen: Vec<_> = found
            .iter()
            .map(|e| {
                (
                    e.key.original.l4.protocol(),
                    port(e),
                    e.tcp.map(|tcp| tcp.state),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                (1, 0, None),
                (6, 7001, Some(3)),
                (6, 7002, Some(3)),
                (17, 7003, None)
            ]
        );
        for entry in &found {
            assert_eq!(entry.reply.src, entry.key.original.dst, "no NAT here");
            assert_ne!(entry.id, 0);
            assert!(!entry.picked_up());
        }
        let answered = |port_wanted| {
            let entry = found
                .iter()
                .find(|entry| port(entry) == port_wanted)
                .unwrap();
            entry.status & Entry::SEEN_REPLY != 0
        };
        assert!(answered(7001) && !answered(7003));
    });
}

#[test]
fn nat_shows_in_the_reply_tuple() {
    private(|| {
        let kernel = tracking();
        sh(
            "iptables-nft -t nat -A OUTPUT -d 192.0.2.1 -p tcp --dport 80 -j DNAT --to 127.0.0.1:7001; ip addr add 10.0.0.1/8 dev lo; ip route add 192.0.2.0/24 dev lo src 127.0.0.1",
        );
        let listener = TcpListener::bind("127.0.0.1:7001").unwrap();
        let _client = TcpStream::connect("192.0.2.1:80").unwrap();
        let _server = listener.accept().unwrap();
        let found = entries(&kernel, MarkFilter::ALL);
        let entry = found.iter().find(|entry| port(entry) == 80).unwrap();
        assert_eq!(entry.reply.src.to_string(), "127.0.0.1");
        assert!(
            matches!(entry.reply.l4, L4::Ports { src: 7001, .. }),
            "{entry:?}"
        );
        assert_ne!(entry.status & Entry::DST_NAT, 0);
    });
}

/// Trap 1: the bit is set, cleared, and nothing else of the mark is touched.
#[test]
fn marking_touches_one_bit() {
    private(|| {
        let kernel = tracking();
        // Marks of somebody else's, set by a rule of his.
        sh(
            "nft add rule inet t c ct state new tcp dport 7001 ct mark set 0xabc00001; nft add rule inet t c ct state new tcp dport 7002 ct mark set 2",
        );
        let mut connections = [connection("127.0.0.1:7001"), connection("[::1]:7002")];
        let marks = |filter| {
            let mut found: Vec<_> = entries(&kernel, filter)
                .iter()
                .filter(|e| port(e) > 7000)
                .map(|e| (port(e), e.mark))
                .collect();
            found.sort_unstable();
            found
        };
        let before = marks(MarkFilter::ALL);
        assert_eq!(before, [(7001, 0xabc0_0001), (7002, 2)]);
        let keys: Vec<FlowKey> = entries(&kernel, MarkFilter::ALL)
            .iter()
            .map(|e| e.key)
            .collect();
        let denied: Vec<FlowKey> = keys.clone();

        let marked = kernel.conntrack_mark(&denied, BIT, true).unwrap();
        assert_eq!((marked.done, marked.gone), (keys.len(), 0));
        assert_eq!(
            marks(MarkFilter::ALL),
            [(7001, 0xabc0_1001), (7002, 0x1002)]
        );
        assert_eq!(marks(MarkFilter::with(BIT)).len(), 2, "the kernel filters");
        for (client, server) in &mut connections {
            say((client, server));
        }
        kernel.conntrack_mark(&denied, BIT, true).unwrap();
        assert_eq!(
            marks(MarkFilter::with(BIT)).len(),
            2,
            "setting twice is setting once"
        );

        kernel.conntrack_mark(&denied, BIT, false).unwrap();
        assert_eq!(marks(MarkFilter::ALL), before);
        assert_eq!(marks(MarkFilter::with(BIT)), []);
    });
}

#[test]
fn a_flow_that_has_ended_is_counted_and_not_made_anew() {
    private(|| {
        let kernel = tracking();
        let _tcp = connection("127.0.0.1:7001");
        let keys: Vec<FlowKey> = entries(&kernel, MarkFilter::ALL)
            .iter()
            .map(|e| e.key)
            .collect();
        sh("conntrack -F");
        let marked = kernel.conntrack_mark(&keys, BIT, true).unwrap();
        assert_eq!((marked.done, marked.gone), (0, keys.len()));
        assert_eq!(entries(&kernel, MarkFilter::ALL), []);
        assert_eq!(kernel.conntrack_mark(&[], BIT, true).unwrap().done, 0);
    });
}

#[test]
fn a_zone_belongs_to_the_name_of_a_flow() {
    private(|| {
        let kernel = tracking();
        sh("iptables-nft -t raw -A OUTPUT -p tcp --dport 7001 -j CT --zone 5; iptables-nft -t raw -A PREROUTING -p tcp --dport 7001 -j CT --zone 5
            iptables-nft -t raw -A OUTPUT -p tcp --sport 7001 -j CT --zone 5; iptables-nft -t raw -A PREROUTING -p tcp --sport 7001 -j CT --zone 5");
        let _tcp = connection("127.0.0.1:7001");
        let found = entries(&kernel, MarkFilter::ALL);
        assert_eq!(found[0].key.zone, 5);
        assert_eq!(
            kernel
                .conntrack_mark(&[found[0].key], BIT, true)
                .unwrap()
                .done,
            1
        );
        let elsewhere = FlowKey {
            zone: 0,
            ..found[0].key
        };
        assert_eq!(
            kernel.conntrack_mark(&[elsewhere], BIT, true).unwrap().gone,
            1
        );
    });
}

/// Trap 3: after the table was emptied, the first packet to come makes the entry, here
/// the server's; "original" is then the answering side, and the entry says so.
#[test]
fn a_flow_picked_up_in_its_middle_is_told_apart() {
    private(|| {
        let kernel = tracking();
        let (mut client, mut server) = connection("127.0.0.1:7001");
        say((&mut client, &mut server));
        let [entry] = entries(&kernel, MarkFilter::ALL)[..] else {
            panic!("one entry");
        };
        assert!(!entry.picked_up() && port(&entry) == 7001, "{entry:?}");

        sh("conntrack -F");
        say((&mut server, &mut client));
        say((&mut client, &mut server));
        let [entry] = entries(&kernel, MarkFilter::ALL)[..] else {
            panic!("one entry");
        };
        assert!(entry.picked_up(), "{entry:?}");
        assert!(
            matches!(entry.key.original.l4, L4::Ports { src: 7001, .. }),
            "reversed: {entry:?}"
        );
        assert_eq!(
            kernel.conntrack_mark(&[entry.key], BIT, true).unwrap().done,
            1
        );
    });
}

/// Several datagrams of the kernel, several batches of ours.
#[test]
fn many_flows() {
    private(|| {
        let kernel = tracking();
        let sink = UdpSocket::bind("127.0.0.1:7003").unwrap();
        let sources: Vec<UdpSocket> = (0..800)
            .map(|_| {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket.send_to(b"x", sink.local_addr().unwrap()).unwrap();
                socket
            })
            .collect();
        let found = entries(&kernel, MarkFilter::ALL);
        assert_eq!(found.len(), sources.len());
        let keys: Vec<FlowKey> = found.iter().map(|entry| entry.key).collect();
        assert_eq!(
            kernel.conntrack_mark(&keys, BIT, true).unwrap().done,
            keys.len()
        );
        assert_eq!(entries(&kernel, MarkFilter::with(BIT)).len(), keys.len());
    });
}
