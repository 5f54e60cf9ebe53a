//! What others do to our rules and sets, and how it is repaired.

use crate::fake::{FakeKernel, Fault};
use crate::rig::{Rig, running, shop};
use ringfence_enforcer::cleanup;
use ringfence_enforcer::system::{Family, Kernel, Table};
use std::sync::Arc;
use std::time::Duration;

const MANGLE: (Family, Table) = (Family::V4, Table::Mangle);

/// IPv4's FORWARD in `mangle`.
fn forward(kernel: &FakeKernel, change: impl FnOnce(&mut Vec<String>)) -> Vec<String> {
    let mut state = kernel.state();
    let chains = state.tables.get_mut(&MANGLE).unwrap();
    let rules = chains.get_mut("FORWARD").unwrap();
    change(rules);
    rules.clone()
}

#[test]
fn an_entry_rule_that_is_gone_is_back_with_the_next_canary() {
    let (mut rig, _folder) = running();
    let held = rig.kernel.held();
    let key = (Family::V4, Table::Mangle);
    rig.kernel
        .state()
        .tables
        .get_mut(&key)
        .unwrap()
        .get_mut("FORWARD")
        .unwrap()
        .clear();
    rig.pass(Duration::from_secs(2));
    assert_eq!(rig.kernel.held(), held);
    assert!((rig.metric("drift_total{what=\"entry_rule\"}") - 1.0).abs() < 0.1);
}

#[test]
fn a_node_is_asked_about_frames_of_bridges_while_it_has_any() {
    let (mut rig, _folder) = running();
    let asks = |rig: &Rig| {
        let state = rig.kernel.state();
        let rules = &state.tables[&MANGLE]["RF-FORWARD"];
        rules.iter().any(|rule| rule.contains("physdev"))
    };
    assert!(asks(&rig));
    rig.kernel.state().without_bridges = true;
    rig.pass(Duration::from_secs(2));
    assert!(!asks(&rig));
    rig.kernel.state().without_bridges = false;
    rig.pass(Duration::from_secs(2));
    assert!(asks(&rig));
}

#[test]
fn a_rule_put_before_ours_is_noticed() {
    let (mut rig, _folder) = running();
    let key = (Family::V4, Table::Mangle);
    let accept = "-j ACCEPT".to_owned();
    let forward = |rig: &Rig| rig.kernel.state().tables[&key]["FORWARD"].clone();
    rig.kernel
        .state()
        .tables
        .get_mut(&key)
        .unwrap()
        .get_mut("FORWARD")
        .unwrap()
        .insert(0, accept.clone());
    rig.pass(Duration::from_secs(2));
    let rules = forward(&rig);
    assert!(rules[0].contains("RF-FORWARD"), "{rules:?}");
    assert!(
        rules.contains(&accept),
        "a foreign rule is left alone: {rules:?}"
    );
    // And no fight: nothing is written any more.
    let writes = rig.kernel.state().writes;
    rig.pass(Duration::from_secs(20));
    assert_eq!(rig.kernel.state().writes, writes);
}

#[test]
fn drift_in_sets_and_chains_is_repaired_by_the_read_back() {
    let (mut rig, _folder) = running();
    let held = rig.kernel.held();
    {
        let mut state = rig.kernel.state();
        for members in state.sets.values_mut() {
            members.insert("10.2.0.6".to_owned());
        }
        for rules in state
            .tables
            .get_mut(&(Family::V4, Table::Mangle))
            .unwrap()
            .values_mut()
        {
            rules.retain(|rule| rule.contains("RF-FORWARD"));
        }
    }
    rig.pass(Duration::from_secs(340));
    assert_eq!(rig.kernel.held(), held);
    assert!(rig.metric("drift_total{what=\"sets\"}") > 0.5);
    assert!(rig.metric("drift_total{what=\"rules\"}") > 0.5);
}

#[test]
fn without_drift_nothing_is_written_or_counted() {
    let (mut rig, _folder) = running();
    let writes = rig.kernel.state().writes;
    rig.pass(Duration::from_mins(20));
    assert_eq!(rig.kernel.state().writes, writes);
    for what in ["sets", "rules", "entry_rule", "bridge"] {
        assert!(
            rig.metric(&format!("drift_total{{what=\"{what}\"}}")) < 0.5,
            "{what}"
        );
    }
}

#[test]
fn a_look_that_fails_is_followed_by_a_read_back() {
    let (mut rig, _folder) = running();
    let held = rig.kernel.held();
    for members in rig.kernel.state().sets.values_mut() {
        members.insert("10.2.0.6".to_owned());
    }
    rig.kernel.fail(Fault::Look);
    rig.pass(Duration::from_secs(4));
    assert_eq!(rig.kernel.held(), held);
    assert_eq!(rig.status.unready(), None);
}

#[test]
fn two_programs_that_want_the_first_place_do_not_keep_each_other_busy() {
    let (mut rig, _folder) = running();
    let writes = rig.kernel.state().writes;
    let accept = || "-j ACCEPT".to_owned();
    for _ in 0..200 {
        forward(&rig.kernel, |rules| {
            rules.retain(|rule| *rule != accept());
            rules.insert(0, accept());
        });
        rig.pass(Duration::from_millis(1500));
    }
    let repairs = rig.kernel.state().writes - writes;
    // Five at once, then ten seconds apart and ever more.
    assert!((6..=12).contains(&repairs), "{repairs} in five minutes");
    assert!(rig.metric("drift_total{what=\"first_place\"}") > 100.0);
    assert!(rig.metric("drift_total{what=\"entry_rule\"}") < 0.5);
    // An entry rule that is gone is no such contest.
    forward(&rig.kernel, |rules| rules.retain(|rule| *rule == accept()));
    rig.pass(Duration::from_secs(2));
    let rules = forward(&rig.kernel, |_| {});
    assert!(rules[0].contains("RF-FORWARD"), "{rules:?}");
}

#[test]
fn a_set_that_others_use_is_named_by_cleanup() {
    let (rig, _folder) = running();
    let set = {
        let mut state = rig.kernel.state();
        let set = state.sets.keys().next_back().unwrap().clone();
        let rule = format!("-m set --match-set {set} src -j ACCEPT");
        let chains = state.tables.get_mut(&MANGLE).unwrap();
        chains.insert("FOREIGN".to_owned(), vec![rule]);
        set
    };
    let kernel: Arc<dyn Kernel> = rig.kernel.clone();
    let removed = cleanup::clean(&[kernel], 0x1000).unwrap();
    assert_eq!(removed.kept, [set.as_str()]);
    let state = rig.kernel.state();
    assert_eq!(state.sets.len(), 1);
    assert!(state.sets[&set].is_empty(), "emptied");
    assert_eq!(state.tables[&MANGLE]["FOREIGN"].len(), 1);
}

#[test]
fn what_the_other_flavour_held_goes_when_the_program_is_in() {
    let (rig, folder) = running();
    let before = Arc::clone(&rig.kernel);
    drop(rig);
    let kernel = Arc::new(FakeKernel::default());
    kernel.state().other = Some(Arc::clone(&before));
    let held = before.held();
    let mut rig = Rig::new(&kernel, folder.path());
    rig.tick();
    assert_eq!(before.held(), held, "nothing goes before the program is in");
    assert_eq!(
        kernel.state().writes,
        0,
        "what stands there is newer than any file"
    );
    rig.list(shop());
    assert_eq!(rig.status.unready(), None);
    assert!(!kernel.is_empty());
    let ours = format!("{:?}", before.state().tables);
    assert!(!ours.contains("RF-"), "{ours}");
}

#[test]
fn another_deny_action_is_programmed_at_the_start() {
    let (rig, folder) = running();
    let kernel = Arc::clone(&rig.kernel);
    drop(rig);
    let mut rig = Rig::with_flags(&kernel, folder.path(), &["--deny-action=drop"]);
    rig.list(shop());
    let state = kernel.state();
    let refuse = &state.tables[&(Family::V4, Table::Filter)]["RF-REFUSE"];
    assert_eq!(refuse, &["-j DROP"]);
}

#[test]
fn cleanup_takes_all_of_ours_and_nothing_else() {
    let (rig, _folder) = running();
    {
        let mut state = rig.kernel.state();
        let filter = state.tables.get_mut(&(Family::V4, Table::Filter)).unwrap();
        filter.insert("KUBE-FORWARD".to_owned(), vec!["-j ACCEPT".to_owned()]);
        filter
            .get_mut("FORWARD")
            .unwrap()
            .push("-j KUBE-FORWARD".to_owned());
        let mut flow = crate::flows::flow("10.2.0.6", "10.1.0.5", 80);
        flow.mark = 0x1004;
        state.flows.push(flow);
    }
    let foreign = "create KUBE-FOO hash:ip family inet\nadd KUBE-FOO 10.0.0.1\n";
    rig.kernel.ipset_restore(foreign).unwrap();
    let kernel: Arc<dyn Kernel> = rig.kernel.clone();
    let removed = cleanup::clean(&[Arc::clone(&kernel)], 0x1000).unwrap();
    assert_eq!((removed.sets, removed.flows), (1, 1));
    assert!(rig.kernel.is_empty(), "{}", rig.kernel.held());
    let state = rig.kernel.state();
    assert_eq!(state.flows[0].mark, 4);
    let filter = &state.tables[&(Family::V4, Table::Filter)];
    assert_eq!(filter["FORWARD"], ["-j KUBE-FORWARD"]);
    assert_eq!(state.sets.keys().collect::<Vec<_>>(), ["KUBE-FOO"]);
    drop(state);
    let again = cleanup::clean(&[kernel], 0x1000).unwrap();
    assert_eq!(again, cleanup::Removed::default());
}
