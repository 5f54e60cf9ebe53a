//! Many ports, networks, members; long names.

use super::super::{Hook, Outcome, contents, loaded};
use super::{CHAIN, CLIENTS, edit, ip, lines, none, pods, programmed, reset, shop, tcp, update_of};
use ringfence_enforcer::dataplane::{Family, Options};
use ringfence_policy::compile::{Element, Id, PeerMatch, PortTest, SetSpec};
use ringfence_policy::model::{ObjectKey, Protocol};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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
