//! What fails, drifts or breaks off: never wider than before, and it recovers.

use crate::fake::Fault;
use crate::rig::{Rig, pod, policy, running, shop, web_addresses};
use ringfence_cluster::{Cause, Event, Problem, Severity};
use ringfence_enforcer::events::Reason;
use ringfence_enforcer::system::{BridgeReport, Mechanism};
use ringfence_policy::model::ObjectKey;
use ringfence_policy::snapshot::{Kind, Object};
use std::sync::Arc;
use std::time::Duration;
use test_case::test_case;

#[test_case(0; "first write")]
#[test_case(1; "second write")]
#[test_case(2; "third write")]
#[test_case(3; "fourth write")]
fn a_write_that_fails_is_repeated_from_what_is_there(nth: usize) {
    let (mut rig, _folder) = running();
    rig.kernel.fail(Fault::NthWrite(nth));
    rig.apply(policy("other", &["web"]));
    rig.apply(pod("cache", "10.1.0.9"));
    rig.apply(policy("cache", &["other"]));
    rig.apply(policy("db", &["other"]));
    rig.pass(Duration::from_mins(1));
    assert_eq!(rig.status.unready(), None);
    assert!(rig.is_applied());

    let fresh = tempfile::tempdir().unwrap();
    let mut expected = Rig::new(&Arc::default(), fresh.path());
    let mut objects = shop();
    objects.extend([policy("other", &["web"]), pod("cache", "10.1.0.9")]);
    objects.extend([policy("cache", &["other"]), policy("db", &["other"])]);
    expected.list(objects);
    assert_eq!(rig.kernel.held(), expected.kernel.held());
}

#[test]
fn a_held_lock_is_waited_for() {
    let (mut rig, _folder) = running();
    rig.kernel.fail(Fault::LockHeld(4));
    rig.apply(policy("db", &["other"]));
    let reasons = rig.status.unready().unwrap();
    assert!(reasons.contains("xtables lock"), "{reasons}");
    assert!(!rig.is_applied());
    rig.pass(Duration::from_mins(1));
    assert_eq!(rig.status.unready(), None);
    assert!(rig.is_applied());
    assert!((rig.metric("errors_total{kind=\"lock_held\"}") - 4.0).abs() < 0.1);
    assert_eq!(web_addresses(&rig.kernel), ["10.2.0.6"]);
}

#[test]
fn retries_slow_down() {
    let (mut rig, _folder) = running();
    rig.kernel.fail(Fault::LockHeld(usize::MAX));
    rig.apply(policy("db", &["other"]));
    rig.pass(Duration::from_mins(2));
    let attempts = rig.metric("errors_total{kind=\"lock_held\"}");
    assert!((6.0..15.0).contains(&attempts), "{attempts}");
}

#[test]
fn a_set_that_is_refused_closes_its_policy_only() {
    let (mut rig, _folder) = running();
    rig.kernel.fail(Fault::Line("10.2.0.6".to_owned()));
    rig.apply(pod("cache", "10.1.0.9"));
    rig.apply(policy("cache", &["other"]));
    // The rest goes on, and the node is ready.
    rig.apply(pod("web", "10.2.0.77"));
    assert_eq!(web_addresses(&rig.kernel), ["10.2.0.77"]);
    assert_eq!(rig.status.unready(), None);
    assert!((rig.metric("broken_sets") - 1.0).abs() < 0.1);
    let notice = rig.notices.try_recv().unwrap();
    assert_eq!(notice.reason, Reason::PolicyNotProgrammed);
    assert_eq!(notice.policy, ObjectKey::new("shop", "cache"));
    assert!(notice.note.contains("refused"), "{}", notice.note);
    assert!(rig.notices.try_recv().is_err(), "told once");
    // Tried again with each full read-back.
    rig.kernel.heal();
    rig.pass(Duration::from_secs(400));
    assert!(rig.metric("broken_sets") < 0.5);
    assert_eq!(web_addresses(&rig.kernel), ["10.2.0.6", "10.2.0.77"]);
}

#[test]
fn bridges_that_become_invisible_are_counted() {
    let (mut rig, _folder) = running();
    let mechanism = Mechanism::Sysctl("bridge-nf-call-iptables");
    let shortfall = ringfence_enforcer::system::Shortfall {
        mechanism: mechanism.clone(),
        reason: "is 0".to_owned(),
    };
    rig.kernel.state().bridges = BridgeReport {
        active: Vec::new(),
        changed: vec![mechanism],
        shortfalls: vec![shortfall],
    };
    rig.pass(Duration::from_secs(2));
    assert!(rig.metric("drift_total{what=\"bridge\"}") > 0.5);
}

/// The process is killed in the middle of a transaction and starts again: whatever the
/// kernel was left with, the result is the same.
#[test_case(0; "before the first write")]
#[test_case(1; "between writes")]
#[test_case(2; "in a later write")]
fn killed_in_the_middle_of_a_transaction(nth: usize) {
    let (mut rig, folder) = running();
    rig.kernel.fail(Fault::NthWrite(nth));
    rig.apply(pod("cache", "10.1.0.9"));
    rig.apply(policy("cache", &["web"]));
    let kernel = Arc::clone(&rig.kernel);
    drop(rig);
    let mut objects = shop();
    objects.extend([pod("cache", "10.1.0.9"), policy("cache", &["web"])]);
    let mut rig = Rig::new(&kernel, folder.path());
    kernel.heal();
    rig.list(objects.clone());
    assert_eq!(rig.status.unready(), None);
    let fresh = tempfile::tempdir().unwrap();
    let mut expected = Rig::new(&Arc::default(), fresh.path());
    expected.list(objects);
    assert_eq!(kernel.held(), expected.kernel.held());
}

#[test]
fn a_faulty_policy_is_told_once_and_others_go_on() {
    let (mut rig, _folder) = running();
    let Object::Policy(mut faulty) = policy("db", &[]) else {
        unreachable!()
    };
    faulty.fault = Some("spec.ingress[0]: found 7".into());
    let mut decoded = rig.decoded(Object::Policy(faulty));
    decoded.problems = vec![Problem {
        severity: Severity::Error,
        cause: Cause::Field,
        object: Some((Kind::NetworkPolicy, ObjectKey::new("shop", "db"))),
        place: None,
        message: "spec.ingress[0]: found 7; write a rule".to_owned(),
    }];
    rig.event(Event::Apply(decoded.clone()));
    rig.pass(Duration::from_millis(50));
    rig.event(Event::Apply(decoded));
    rig.pass(Duration::from_millis(50));
    let notice = rig.notices.try_recv().unwrap();
    assert_eq!(notice.reason, Reason::PolicyFaulty);
    assert!(
        notice.note.contains("closed") && notice.note.contains("found 7"),
        "{}",
        notice.note
    );
    assert!(rig.notices.try_recv().is_err(), "told once");
    assert!((rig.metric("faulty_policies") - 1.0).abs() < 0.1);
    assert!(web_addresses(&rig.kernel).is_empty(), "its pods are closed");
    assert_eq!(rig.status.unready(), None);
}

#[test]
fn events_under_load_share_writes_and_idle_ones_do_not_wait() {
    let (mut rig, _folder) = running();
    rig.pass(Duration::from_secs(1));
    let writes = rig.kernel.state().writes;
    let event = Event::Apply(rig.decoded(pod("web", "10.2.0.50")));
    rig.event(event);
    rig.tick();
    assert_eq!(web_addresses(&rig.kernel), ["10.2.0.50"], "at once");
    for last in 51..=54 {
        let event = Event::Apply(rig.decoded(pod("web", &format!("10.2.0.{last}"))));
        rig.event(event);
        rig.pass(Duration::from_millis(5));
    }
    rig.pass(Duration::from_millis(40));
    assert_eq!(web_addresses(&rig.kernel), ["10.2.0.54"]);
    assert_eq!(rig.kernel.state().writes, writes + 2);
}
