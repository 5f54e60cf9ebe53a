//! Cases that a random world does not come to.

use super::{Hook, Kernel, Outcome, Packet, Transport, contents, loaded, readback};
use ringfence_enforcer::dataplane::{Backstop, DenyAction, Family, Options};
use ringfence_enforcer::plan::{PlanError, Planner, Step, Transaction, cleanup};
use ringfence_policy::Program;
use ringfence_policy::compile::{
    Chain, ChainRule, Element, Endpoint, Id, PeerMatch, PortTest, SetSpec, Signature, Structure,
    Update,
};
use ringfence_policy::model::{Direction, Flow, ObjectKey, Protocol};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use test_case::test_case;

const CLIENTS: Id = Id(0x11);
const ISOLATED: Id = Id(0x12);
const LOCAL: Id = Id(0x13);
const CHAIN: Id = Id(0x21);
const SIGNATURE: Id = Id(0x31);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("shop", name)
}

/// A database pod that clients may reach on TCP 5432, beside a pod without policy.
fn shop() -> Program {
    let mut structure = Structure::default();
    structure.sets.insert(CLIENTS, Arc::new(pods("client")));
    structure
        .sets
        .insert(ISOLATED, Arc::new(SetSpec::IsolatedPods));
    structure.sets.insert(LOCAL, Arc::new(SetSpec::LocalPods));
    let rule = ChainRule {
        index: 0,
        peers: vec![PeerMatch::Set(CLIENTS)],
        ports: vec![PortTest::Ranges(Protocol::Tcp, vec![(5432, 5432)])],
    };
    let chain = Chain {
        policy: key("db"),
        direction: Direction::Ingress,
        rules: vec![rule],
    };
    structure.chains.insert(CHAIN, Arc::new(chain));
    let signature = Signature {
        direction: Direction::Ingress,
        chains: vec![CHAIN],
    };
    structure.signatures.insert(SIGNATURE, signature);
    let mut program = Program::default();
    for (pod, addresses, isolated) in [
        ("db-0", ["10.1.1.5", "fd00:1::5"], true),
        ("web-0", ["10.1.1.6", "fd00:1::6"], false),
    ] {
        for address in addresses.map(ip) {
            let ingress = if isolated {
                vec![SIGNATURE]
            } else {
                Vec::new()
            };
            let endpoint = Endpoint {
                pods: vec![key(pod)],
                ingress,
                egress: Vec::new(),
            };
            structure.endpoints.insert(address, endpoint);
            let member = |id| (id, Element::Address(address));
            let sets = [Some(member(LOCAL)), isolated.then_some(member(ISOLATED))];
            for (id, element) in sets.into_iter().flatten() {
                program.members.entry(id).or_default().insert(element);
            }
        }
    }
    let clients = ["10.1.2.7", "fd00:2::7"].map(|a| Element::Address(ip(a)));
    program.members.insert(CLIENTS, clients.into());
    program.structure = Arc::new(structure);
    program
}

fn pods(app: &str) -> SetSpec {
    use ringfence_policy::compile::{PodSet, PodSetNamespaces};
    use ringfence_policy::model::Selector;
    SetSpec::Pods(PodSet {
        namespaces: PodSetNamespaces::Named("shop".into()),
        pods: Selector::labels([("app", app)]),
    })
}

fn edit(program: &Program, change: impl FnOnce(&mut Structure)) -> Program {
    let mut structure = (*program.structure).clone();
    change(&mut structure);
    Program {
        structure: Arc::new(structure),
        members: program.members.clone(),
    }
}

fn tcp(from: &str, to: &str, port: u16) -> Packet {
    Packet::first_of(&Flow::new(Protocol::Tcp, ip(from), ip(to), port))
}

fn reset() -> Outcome {
    Outcome::Rejected("tcp-reset".into())
}

// === What becomes of packets ===

#[test]
fn the_layout_is_the_golden_one() {
    let rendered = ringfence_enforcer::dataplane::render_full(&shop(), &Options::default());
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
        include_str!("layout.txt"),
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
    answer.transport = Transport::Tcp { syn: false };
    assert_eq!(
        kernel.trace(Hook::Forward, &answer),
        Outcome::Passed,
        "db's egress is open"
    );
    answer.transport = Transport::Tcp { syn: true };
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
        s.endpoints.values_mut().for_each(|e| e.ingress.clear())
    });
    let open = loaded(&open, &Options::default());
    assert_eq!(
        open.trace(Hook::Forward, &multicast),
        Outcome::Passed,
        "nobody is isolated"
    );
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

// === Transactions ===

fn none() -> BTreeSet<Id> {
    BTreeSet::new()
}

/// A planner and a kernel that hold `program`.
fn programmed(program: &Program) -> (Planner, Kernel) {
    let mut planner = Planner::new(Options::default());
    let mut kernel = Kernel::new();
    planner.adopt(readback(&kernel));
    let transaction = planner.plan(program, None, &none()).unwrap();
    kernel.run(&transaction, |_, _| {}).unwrap();
    planner.committed(transaction);
    assert_eq!(
        contents(&kernel),
        contents(&loaded(program, &Options::default()))
    );
    (planner, kernel)
}

fn lines(transaction: &Transaction) -> Vec<&str> {
    let inputs = transaction.steps.iter().map(|step| match step {
        Step::Sets { input, .. } | Step::Rules { input, .. } => input,
    });
    inputs.flat_map(|input| input.lines()).collect()
}

fn update_of(before: &Program, after: &Program) -> Update {
    let mut update = Update {
        previous: (before.structure != after.structure).then(|| Arc::clone(&before.structure)),
        structure: Arc::clone(&after.structure),
        ..Update::default()
    };
    for (id, now) in &after.members {
        let Some(was) = before.members.get(id) else {
            continue;
        };
        let removed: BTreeSet<_> = was.difference(now).copied().collect();
        let added: BTreeSet<_> = now.difference(was).copied().collect();
        if !(removed.is_empty() && added.is_empty()) {
            update.members.insert(*id, (removed, added));
        }
    }
    update
}

#[test]
fn a_remote_pod_is_one_line() {
    let before = shop();
    let (mut planner, mut kernel) = programmed(&before);
    let mut after = before.clone();
    after
        .members
        .get_mut(&CLIENTS)
        .unwrap()
        .insert(Element::Address(ip("10.1.2.9")));
    let update = update_of(&before, &after);
    let transaction = planner.plan(&after, Some(&update), &none()).unwrap();
    assert_eq!(lines(&transaction), ["add RF4-0000000000000011 10.1.2.9"]);
    assert_eq!(transaction.stats.elements, 1);
    let Step::Sets { lines, .. } = &transaction.steps[0] else {
        panic!()
    };
    assert_eq!(lines, &[Some(CLIENTS)]);
    kernel.run(&transaction, |_, _| {}).unwrap();
    assert_eq!(
        contents(&kernel),
        contents(&loaded(&after, &Options::default()))
    );
}

#[test]
fn one_local_pod_among_250_rewrites_few_chains() {
    let many = edit(&shop(), |s| {
        for host in 2..=251 {
            let endpoint = Endpoint {
                pods: vec![key("db")],
                ingress: vec![SIGNATURE],
                egress: vec![],
            };
            s.endpoints.insert(ip(&format!("10.1.1.{host}")), endpoint);
        }
    });
    let fewer = edit(&many, |s| {
        s.endpoints.remove(&ip("10.1.1.77"));
    });
    let (mut planner, mut kernel) = programmed(&fewer);
    let update = update_of(&fewer, &many);
    let transaction = planner.plan(&many, Some(&update), &none()).unwrap();
    // The leaf's chain, forward and mirrored; a split would add one to each.
    assert!(transaction.stats.chains <= 4, "{:#?}", transaction.steps);
    assert!(transaction.stats.rules <= 32, "{:?}", transaction.stats);
    kernel.run(&transaction, |_, _| {}).unwrap();
    assert_eq!(
        contents(&kernel),
        contents(&loaded(&many, &Options::default()))
    );
}

#[test]
fn an_unknown_state_has_to_be_read_back() {
    let (mut planner, kernel) = programmed(&shop());
    planner.forget();
    assert_eq!(
        planner.plan(&shop(), None, &none()).unwrap_err(),
        PlanError::NeedsReadback
    );
    planner.adopt(readback(&kernel));
    assert!(planner.plan(&shop(), None, &none()).unwrap().is_empty());
}

#[test_case("-F RF-REFUSE"; "a chain emptied")]
#[test_case("-A RF-REFUSE -j ACCEPT"; "a rule appended")]
#[test_case("-D FORWARD -m mark --mark 0x1000/0x1000 -m comment --comment \"ringfence: refuse\" -j RF-REFUSE"; "an entry deleted")]
#[test_case("-I FORWARD 1 -p tcp -j ACCEPT"; "another rule before ours")]
#[test_case("-I FORWARD 1 -j RF-REFUSE"; "another rule into our chain")]
#[test_case(":RF-STRAY - [0:0]"; "a chain that is none of ours now")]
fn drift_is_found_and_repaired(damage: &str) {
    let (mut planner, mut kernel) = programmed(&shop());
    kernel
        .table(Family::V4, &format!("*filter\n{damage}\nCOMMIT\n"))
        .unwrap();
    planner.adopt(readback(&kernel));
    let transaction = planner.plan(&shop(), None, &none()).unwrap();
    assert!(!transaction.is_empty());
    kernel.run(&transaction, |_, _| {}).unwrap();
    planner.committed(transaction);
    planner.adopt(readback(&kernel));
    assert!(planner.plan(&shop(), None, &none()).unwrap().is_empty());
}

#[test_case("del RF4-0000000000000011 10.1.2.7"; "a member deleted")]
#[test_case("add RF4-0000000000000011 10.9.9.9"; "a member added")]
#[test_case("create RF4-stray hash:ip family inet hashsize 64 maxelem 65536"; "a set that is none of ours now")]
#[test_case("create RF4-0000000000000011-T hash:ip family inet hashsize 64 maxelem 65536"; "a half-made set")]
fn drift_of_sets_is_repaired(damage: &str) {
    let (mut planner, mut kernel) = programmed(&shop());
    kernel.ipset(damage).unwrap();
    planner.adopt(readback(&kernel));
    let transaction = planner.plan(&shop(), None, &none()).unwrap();
    kernel.run(&transaction, |_, _| {}).unwrap();
    assert_eq!(
        contents(&kernel),
        contents(&loaded(&shop(), &Options::default()))
    );
}

#[test]
fn a_table_that_cannot_be_read_is_written_anew() {
    let (mut planner, mut kernel) = programmed(&shop());
    // iptables-nft beside a foreign native rule (trap 13).
    let text = "# Table `mangle' is incompatible, use 'nft' tool.\n";
    let rules = kernel
        .iptables_save(Family::V4)
        .replace("*mangle", "*ignored");
    let v4 = format!("{text}{rules}");
    let v6 = kernel.iptables_save(Family::V6);
    let saved = [(Family::V4, v4.as_str()), (Family::V6, v6.as_str())];
    let readback =
        ringfence_enforcer::dataplane::parse_readback(&kernel.ipset_save(), &saved).unwrap();
    assert_eq!(readback.unreadable.len(), 1);
    planner.adopt(readback);
    let transaction = planner.plan(&shop(), None, &none()).unwrap();
    kernel.run(&transaction, |_, _| {}).unwrap();
    let fresh = loaded(&shop(), &Options::default());
    let mangle = |kernel: &Kernel| {
        let mut chains = kernel.tables[&(Family::V4, "mangle".to_owned())].clone();
        chains.retain(|name, _| name.starts_with("RF-"));
        chains
    };
    assert_eq!(mangle(&kernel), mangle(&fresh));
    let denied = tcp("10.1.2.8", "10.1.1.5", 5432);
    assert_eq!(kernel.trace(Hook::Forward, &denied), reset());
}

#[test]
fn cleanup_takes_ours_and_nothing_else() {
    let (_, mut kernel) = programmed(&shop());
    let mut foreign = Kernel::new();
    for kernel in [&mut kernel, &mut foreign] {
        kernel
            .ipset("create KUBE-X hash:ip family inet hashsize 64 maxelem 65536")
            .unwrap();
        let rules = "*filter\n:KUBE-FORWARD - [0:0]\n-A KUBE-FORWARD -m set --match-set KUBE-X src -m comment --comment \"not -j RF-REFUSE\"\n-A FORWARD -j KUBE-FORWARD\nCOMMIT\n";
        kernel.table(Family::V4, rules).unwrap();
    }
    kernel.run(&cleanup(&readback(&kernel)), |_, _| {}).unwrap();
    assert_eq!(kernel, foreign);
    assert!(cleanup(&readback(&kernel)).is_empty());
}

#[test]
fn a_set_that_could_not_be_made_closes_the_rules_that_use_it() {
    let mut planner = Planner::new(Options::default());
    let mut kernel = Kernel::new();
    planner.adopt(readback(&kernel));
    let broken = BTreeSet::from([CLIENTS]);
    let transaction = planner.plan(&shop(), None, &broken).unwrap();
    kernel.run(&transaction, |_, _| {}).unwrap();
    planner.committed(transaction);
    let client = tcp("10.1.2.7", "10.1.1.5", 5432);
    assert_eq!(kernel.trace(Hook::Forward, &client), reset());
    assert!(
        kernel
            .iptables_save(Family::V4)
            .contains("left out, its set 0000000000000011")
    );
    // It can be made again: no change of the program is needed for that.
    let transaction = planner
        .plan(&shop(), Some(&Update::default()), &none())
        .unwrap();
    kernel.run(&transaction, |_, _| {}).unwrap();
    assert_eq!(
        contents(&kernel),
        contents(&loaded(&shop(), &Options::default()))
    );
}

#[test]
fn bindings_come_and_go() {
    let (mut planner, mut kernel) = programmed(&shop());
    for bindings in [
        vec![("10.1.1.5", "veth5")],
        vec![("10.1.1.5", "veth7"), ("10.1.1.6", "veth6")],
        vec![],
    ] {
        let bindings = bindings
            .into_iter()
            .map(|(a, i)| (ip(a), i.to_owned()))
            .collect();
        let options = Options {
            bindings,
            ..Options::default()
        };
        planner.set_options(options.clone());
        let transaction = planner
            .plan(&shop(), Some(&Update::default()), &none())
            .unwrap();
        kernel.run(&transaction, |_, _| {}).unwrap();
        planner.committed(transaction);
        assert_eq!(contents(&kernel), contents(&loaded(&shop(), &options)));
    }
}

// === Sizes ===

fn addresses(count: u32) -> BTreeSet<Element> {
    let address = |n: u32| Element::Address(std::net::Ipv4Addr::from(0x0a80_0000 + n).into());
    (0..count).map(address).collect()
}

#[test]
fn a_set_that_outgrows_its_capacity_is_exchanged() {
    let mut before = shop();
    before.members.insert(CLIENTS, addresses(30_000));
    let (mut planner, mut kernel) = programmed(&before);
    let mut after = before.clone();
    after.members.insert(CLIENTS, addresses(150_000));
    let update = update_of(&before, &after);
    let transaction = planner.plan(&after, Some(&update), &none()).unwrap();
    kernel.run(&transaction, |_, _| {}).unwrap();
    planner.committed(transaction);
    assert_eq!(
        contents(&kernel),
        contents(&loaded(&after, &Options::default()))
    );
    // And there is room again.
    let mut more = after.clone();
    more.members
        .get_mut(&CLIENTS)
        .unwrap()
        .insert(Element::Address(ip("10.200.0.1")));
    let transaction = planner
        .plan(&more, Some(&update_of(&after, &more)), &none())
        .unwrap();
    assert_eq!(lines(&transaction).len(), 1);
}

#[test]
fn a_thousand_ports_and_many_peers_are_no_product() {
    let ports: Vec<(u16, u16)> = (0..1000).map(|n| (n * 3 + 1, n * 3 + 1 + n % 2)).collect();
    let program = edit(&shop(), |s| {
        s.sets.insert(Id(0x14), Arc::new(pods("other")));
        let chain = Arc::make_mut(s.chains.get_mut(&CHAIN).unwrap());
        chain.policy = ObjectKey::new("n".repeat(63), "p".repeat(253));
        chain.rules[0].peers.push(PeerMatch::Set(Id(0x14)));
        chain.rules[0].ports = vec![PortTest::Ranges(Protocol::Tcp, ports.clone())];
    });
    let kernel = loaded(&program, &Options::default());
    let count = kernel.iptables_save(Family::V4).matches("--dports").count();
    assert_eq!(count, 100, "1,500 slots, 15 a rule");
    for (port, passed) in [
        (1, true),
        (4, true),
        (5, true),
        (2, false),
        (6, false),
        (2999, true),
        (3000, false),
    ] {
        let outcome = kernel.trace(Hook::Forward, &tcp("10.1.2.7", "10.1.1.5", port));
        assert_eq!(outcome.passed(), passed, "{port}");
    }
}

#[test]
fn ten_thousand_networks() {
    let nets: Vec<_> = (0..10_000u32)
        .map(|n| {
            ipnet::Ipv4Net::new((0x0b00_0000 + n * 512).into(), 24)
                .unwrap()
                .into()
        })
        .collect();
    let mut program = edit(&shop(), |s| {
        s.sets
            .insert(CLIENTS, Arc::new(SetSpec::Cidrs(nets.clone())));
    });
    let members: BTreeMap<_, _> = [(CLIENTS, nets.into_iter().map(Element::Net).collect())].into();
    program.members.extend(members);
    let kernel = loaded(&program, &Options::default());
    assert_eq!(
        kernel.trace(Hook::Forward, &tcp("11.0.2.9", "10.1.1.5", 5432)),
        Outcome::Passed
    );
    assert_eq!(
        kernel.trace(Hook::Forward, &tcp("11.0.1.9", "10.1.1.5", 5432)),
        reset()
    );
    assert!(
        !kernel.sets.contains_key("RF6-0000000000000011"),
        "no network of that family"
    );
    assert_eq!(
        kernel.trace(Hook::Forward, &tcp("fd00:2::7", "fd00:1::5", 5432)),
        reset()
    );
}
