//! How much is written for a change, and what is done about faults.

use super::super::{Hook, Kernel, contents, loaded, readback};
use super::{
    CLIENTS, SIGNATURE, edit, ip, key, lines, none, programmed, reset, shop, tcp, update_of,
};
use ringfence_enforcer::dataplane::{Entering, Family, Options, Readback, Table, parse_readback};
use ringfence_enforcer::plan::{PlanError, Planner, Step, cleanup};
use ringfence_policy::compile::{Element, Endpoint, Update};
use std::collections::BTreeSet;
use test_case::test_case;

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

/// Someone took the name: what it holds is no match for our members, whatever it takes.
#[test]
fn a_set_of_another_kind_is_made_anew() {
    let (_, kernel) = programmed(&shop());
    let saved = kernel.ipset_save();
    let ours = "create RF4-0000000000000011 hash:ip ";
    assert!(saved.contains(ours), "{saved}");
    let other = saved.replace(ours, "create RF4-0000000000000011 hash:net ");
    let mut planner = Planner::new(Options::default());
    let rules = Family::ALL.map(|family| (family, kernel.iptables_save(family)));
    let rules = rules
        .each_ref()
        .map(|(family, text)| (*family, text.as_str()));
    planner.adopt(parse_readback(&other, &rules).unwrap());
    let transaction = planner.plan(&shop(), None, &none()).unwrap();
    let Some(Step::Sets { input, .. }) = transaction.steps.first() else {
        panic!("{transaction:?}");
    };
    assert!(
        input.starts_with(&format!("destroy RF4-0000000000000011\n{ours}")),
        "{input}"
    );
}

/// iptables-nft beside a foreign native rule in IPv4's `mangle` (trap 13).
fn unreadable(kernel: &Kernel) -> Readback {
    let rules = kernel
        .iptables_save(Family::V4)
        .replace("*mangle", "*ignored");
    let v4 = format!("# Table `mangle' is incompatible, use 'nft' tool.\n{rules}");
    let v6 = kernel.iptables_save(Family::V6);
    let saved = [(Family::V4, v4.as_str()), (Family::V6, v6.as_str())];
    let mut readback = parse_readback(&kernel.ipset_save(), &saved).unwrap();
    let opaque = readback.unreadable.get_mut(&MANGLE).unwrap();
    opaque.entries.push(Entering {
        chain: "FORWARD".to_owned(),
        place: 0,
        handle: 7,
        target: "RF-FORWARD".to_owned(),
    });
    opaque.chains.insert("RF-OLD".to_owned(), vec![8]);
    readback
}

const MANGLE: (Family, Table) = (Family::V4, Table::Mangle);

#[test]
fn a_table_that_cannot_be_read_and_is_unchanged_stays() {
    let (mut planner, kernel) = programmed(&shop());
    let mut readback = unreadable(&kernel);
    readback.unchanged.insert(MANGLE);
    planner.adopt(readback);
    assert!(planner.plan(&shop(), None, &none()).unwrap().is_empty());
}

#[test_case(false; "changed")]
#[test_case(true; "nothing is known")]
fn a_table_that_cannot_be_read_is_written_anew(forgotten: bool) {
    let (mut planner, mut kernel) = programmed(&shop());
    let mut readback = unreadable(&kernel);
    if forgotten {
        planner.forget();
        readback.unchanged.insert(MANGLE);
    }
    planner.adopt(readback);
    let mut transaction = planner.plan(&shop(), None, &none()).unwrap();
    // Last of all, when the new entry rule is in, the old one goes.
    let Some(Step::Entries { rules, .. }) = transaction.steps.pop() else {
        panic!("{:#?}", transaction.steps);
    };
    assert_eq!(rules, [("FORWARD".to_owned(), 7)]);
    kernel
        .table(Family::V4, "*mangle\n:RF-OLD - [0:0]\nCOMMIT\n")
        .unwrap();
    kernel.run(&transaction, |_, _| {}).unwrap();
    let fresh = loaded(&shop(), &Options::default());
    let mangle = |kernel: &Kernel| {
        let mut chains = kernel.tables[&(Family::V4, "mangle".to_owned())].clone();
        chains.retain(|name, _| name.starts_with("RF-") && name != "RF-OLD");
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
