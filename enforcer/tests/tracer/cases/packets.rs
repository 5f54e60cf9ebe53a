//! What becomes of packets, trap by trap.

use super::super::{Hook, Outcome, Packet, Segment, Transport, loaded};
use super::{edit, ip, reset, shop, tcp};
use ringfence_enforcer::dataplane::{Backstop, DenyAction, Family, Options, render_full};
use test_case::test_case;

#[test]
fn the_layout_is_the_golden_one() {
    let rendered = render_full(&shop(), &Options::default());
    let mut text = format!("### ipset restore\n{}", rendered.ipset);
    for (family, rules) in &rendered.iptables {
        text += &format!("### {family:?}\n{rules}");
    }
    if std::env::var_os("RINGFENCE_BLESS").is_some() {
        std::fs::write(
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tracer/layout.txt"),
            &text,
        )
        .unwrap();
    }
    assert_eq!(
        text,
        include_str!("../layout.txt"),
        "RINGFENCE_BLESS=1 writes it anew"
    );
}

#[test_case("10.1.2.7", "10.1.1.5", 5432, Outcome::Passed; "a client")]
#[test_case("10.1.2.8", "10.1.1.5", 5432, reset(); "another pod")]
#[test_case("10.1.2.7", "10.1.1.5", 22, reset(); "another port")]
#[test_case("10.1.1.5", "10.1.1.5", 22, Outcome::Passed; "its own address")]
#[test_case("10.1.2.8", "10.1.1.6", 22, Outcome::Passed; "a pod without policy")]
#[test_case("fd00:2::7", "fd00:1::5", 5432, Outcome::Passed; "an IPv6 client")]
#[test_case("fd00:2::8", "fd00:1::5", 5432, reset(); "another IPv6 pod")]
fn first_packets(from: &str, to: &str, port: u16, expected: Outcome) {
    let kernel = loaded(&shop(), &Options::default());
    assert_eq!(kernel.trace(Hook::Forward, &tcp(from, to, port)), expected);
}

/// Changes the denied packet and the options; says what becomes of it.
fn denied(change: impl FnOnce(&mut Packet, &mut Options)) -> Outcome {
    let mut packet = tcp("10.1.2.8", "10.1.1.5", 5432);
    let mut options = Options::default();
    change(&mut packet, &mut options);
    loaded(&shop(), &options).trace(Hook::Forward, &packet)
}

#[test]
fn a_denied_packet_is_answered_as_its_protocol_needs() {
    let port = Outcome::Rejected("icmp-port-unreachable".into());
    assert_eq!(denied(|p, _| p.transport = Transport::Udp), port);
    assert_eq!(
        denied(|p, _| p.dnat = true),
        port,
        "trap 5: no reset behind DNAT"
    );
    assert_eq!(denied(|_, o| o.deny = DenyAction::Drop), Outcome::Dropped);
}

#[test]
fn established_goes_on_unless_the_flow_was_cut() {
    let established = |p: &mut Packet| p.ctstate = "ESTABLISHED";
    assert_eq!(denied(|p, _| established(p)), Outcome::Passed);
    let cut = |p: &mut Packet| {
        established(p);
        p.connmark = 0x1000;
    };
    assert_eq!(denied(|p, _| cut(p)), reset(), "trap 1");
    let kept = denied(|p, o| {
        cut(p);
        o.keep_established = true;
    });
    assert_eq!(kept, Outcome::Passed);
    // A cut flow stays cut even where policy would allow a new one.
    let mut packet = tcp("10.1.2.7", "10.1.1.5", 5432);
    packet.connmark = 0x1000;
    let kernel = loaded(&shop(), &Options::default());
    assert_eq!(kernel.trace(Hook::Forward, &packet), reset());
}

#[test_case("10.1.2.7", "10.1.1.5"; "to an isolated pod")]
#[test_case("10.1.1.5", "10.1.2.7"; "from an isolated pod")]
fn invalid_is_dropped_and_not_rejected(from: &str, to: &str) {
    let mut packet = tcp(from, to, 5432);
    packet.ctstate = "INVALID";
    let kernel = loaded(&shop(), &Options::default());
    assert_eq!(
        kernel.trace(Hook::Forward, &packet),
        Outcome::Dropped,
        "trap 4"
    );
    packet = tcp("10.1.2.7", "10.1.1.6", 22);
    packet.ctstate = "INVALID";
    assert_eq!(kernel.trace(Hook::Forward, &packet), Outcome::Passed);
}

#[test]
fn an_answer_that_is_picked_up_in_the_middle_passes() {
    let kernel = loaded(&shop(), &Options::default());
    // It may be the answer to a connection that db opened, which nothing forbids.
    let mut answer = tcp("10.1.2.8", "10.1.1.5", 41_000);
    answer.sport = 5432;
    answer.transport = Transport::Tcp(Segment::Other);
    assert_eq!(
        kernel.trace(Hook::Forward, &answer),
        Outcome::Passed,
        "db's egress is open"
    );
    answer.transport = Transport::Tcp(Segment::Syn);
    assert_eq!(kernel.trace(Hook::Forward, &answer), reset());
}

#[test]
fn a_foreign_accept_does_not_let_a_denied_packet_through() {
    for (backstop, deny) in [
        (Backstop::Security, "security"),
        (Backstop::ManglePostrouting, "mangle"),
    ] {
        let options = Options {
            backstop,
            ..Options::default()
        };
        let mut kernel = loaded(&shop(), &options);
        // kube-proxy, started later, puts itself first (trap 10).
        let foreign = "*filter\n-I FORWARD 1 -m mark --mark 0x0/0x0 -j ACCEPT\nCOMMIT\n";
        kernel.table(Family::V4, foreign).unwrap();
        let outcome = kernel.trace(Hook::Forward, &tcp("10.1.2.8", "10.1.1.5", 5432));
        assert_eq!(outcome, Outcome::Dropped, "{deny}");
    }
}

#[test]
fn the_node_itself_may_carry_our_mark() {
    for backstop in [Backstop::Security, Backstop::ManglePostrouting] {
        let kernel = loaded(
            &shop(),
            &Options {
                backstop,
                ..Options::default()
            },
        );
        let mut packet = tcp("192.168.0.1", "10.1.1.5", 22);
        packet.src_local = true; // trap 11: SO_MARK
        assert_eq!(kernel.trace(Hook::Output, &packet), Outcome::Passed);
        assert_eq!(kernel.trace(Hook::Input, &packet), Outcome::Passed);
    }
}

#[test]
fn service_traffic_in_output_is_judged() {
    let kernel = loaded(&shop(), &Options::default());
    let denied = tcp("10.1.2.8", "10.1.1.5", 5432);
    assert_eq!(
        kernel.trace(Hook::Input, &denied),
        Outcome::Passed,
        "still the Service's address"
    );
    assert_eq!(kernel.trace(Hook::Output, &denied), reset());
    assert_eq!(
        kernel.trace(Hook::Output, &tcp("10.1.2.7", "10.1.1.5", 5432)),
        Outcome::Passed
    );
}

#[test]
fn our_own_resets_of_a_cut_flow_get_out() {
    let kernel = loaded(&shop(), &Options::default());
    let mut reset = tcp("10.1.1.5", "10.1.2.8", 40_000);
    reset.transport = Transport::Tcp(Segment::Other);
    (reset.ctstate, reset.connmark) = ("ESTABLISHED", 0x1000);
    assert!(
        !kernel.trace(Hook::Output, &reset).passed(),
        "data of a cut flow"
    );
    // The mark comes along with net.ipv4.fwmark_reflect (trap 11).
    (reset.transport, reset.mark) = (Transport::Tcp(Segment::Rst), 0x1000);
    assert_eq!(kernel.trace(Hook::Output, &reset), Outcome::Passed);
    assert!(
        !kernel.trace(Hook::Forward, &reset).passed(),
        "a pod's own reset"
    );
}

#[test]
fn what_a_bridge_floods_does_not_reach_isolated_pods() {
    let kernel = loaded(&shop(), &Options::default());
    let mut multicast = tcp("10.1.1.6", "224.0.0.251", 5353);
    (multicast.transport, multicast.ctstate) = (Transport::Udp, "ESTABLISHED");
    assert_eq!(
        kernel.trace(Hook::Forward, &multicast),
        Outcome::Passed,
        "routed"
    );
    multicast.bridged = true;
    assert_eq!(kernel.trace(Hook::Forward, &multicast), Outcome::Dropped);
    let mut broadcast = tcp("10.1.1.6", "255.255.255.255", 67);
    (broadcast.bridged, broadcast.pkttype) = (true, "broadcast");
    assert_eq!(kernel.trace(Hook::Forward, &broadcast), Outcome::Dropped);
    let mut v6 = tcp("fd00:1::6", "ff02::fb", 5353);
    v6.bridged = true;
    assert_eq!(kernel.trace(Hook::Forward, &v6), Outcome::Dropped);
    v6.transport = Transport::Icmp(135);
    assert_eq!(kernel.trace(Hook::Forward, &v6), Outcome::Passed, "trap 6");
    let open = edit(&shop(), |s| {
        s.endpoints.values_mut().for_each(|e| e.ingress.clear());
    });
    let open = loaded(&open, &Options::default());
    assert_eq!(
        open.trace(Hook::Forward, &multicast),
        Outcome::Passed,
        "nobody is isolated"
    );
    let without = Options {
        bridges: false,
        ..Options::default()
    };
    let rules = loaded(&shop(), &without).iptables_save(Family::V4);
    assert!(!rules.contains("physdev"), "no bridge, no rule: {rules}");
}

#[test]
fn a_source_is_bound_to_its_interface() {
    let bindings = [
        ("10.1.1.5", "veth5"),
        ("10.1.1.6", "veth6"),
        ("fd00:1::5", "veth5"),
    ];
    let bindings = bindings.map(|(a, i)| (ip(a), i.to_owned())).to_vec();
    let options = Options {
        bindings,
        ..Options::default()
    };
    let kernel = loaded(&shop(), &options);
    let from = |src: &str, dst: &str, iface: &'static str| {
        let mut packet = tcp(src, dst, 80);
        (packet.in_iface, packet.ctstate) = (iface, "ESTABLISHED");
        kernel.trace(Hook::Forward, &packet)
    };
    assert_eq!(from("10.1.1.5", "10.1.2.7", "veth5"), Outcome::Passed);
    assert_eq!(
        from("10.1.1.5", "10.1.2.7", "veth6"),
        Outcome::Dropped,
        "another pod's address"
    );
    assert_eq!(
        from("10.1.1.5", "10.1.2.7", "eth0"),
        Outcome::Dropped,
        "from the wire"
    );
    assert_eq!(
        from("10.1.2.7", "10.1.2.9", "veth6"),
        Outcome::Dropped,
        "a whitelisted pod's"
    );
    assert_eq!(from("10.1.2.7", "10.1.1.6", "eth0"), Outcome::Passed);
    assert_eq!(
        from("fd00:2::7", "fd00:2::9", "veth6"),
        Outcome::Dropped,
        "no IPv6 address at all"
    );
    assert_eq!(from("fe80::1", "fd00:2::9", "veth6"), Outcome::Passed);
}
