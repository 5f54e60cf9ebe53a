//! Before the first program, and what a restart finds.

use crate::fake::FakeKernel;
use crate::rig::{Rig, namespace, node, pod, policy, running, shop, web_addresses};
use ringfence_cluster::{Event, Reason};
use ringfence_enforcer::health::Concern;
use ringfence_enforcer::system::{BridgeReport, Bypass, Mechanism, Rival, Shortfall, Table};
use ringfence_policy::snapshot::{Kind, Object};
use std::fs;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use test_case::test_case;

fn kernel() -> Arc<FakeKernel> {
    Arc::default()
}

#[test]
fn nothing_is_changed_before_every_kind_is_there() {
    let (kernel, folder) = (kernel(), tempfile::tempdir().unwrap());
    let mut rig = Rig::new(&kernel, folder.path());
    rig.tick();
    rig.event(Event::ListStarted(Kind::Pod));
    let event = Event::Apply(rig.decoded(pod("db", "10.1.0.5")));
    rig.event(event);
    rig.event(Event::ListDone {
        kind: Kind::Pod,
        resource_version: "7".into(),
    });
    rig.pass(Duration::from_secs(10));
    assert_eq!(kernel.state().writes, 0);
    let reasons = rig.status.unready().unwrap();
    assert!(reasons.contains("waiting for"), "{reasons}");
    assert!(reasons.contains("networkpolicies"), "{reasons}");
    assert!(!reasons.contains("pods:"), "{reasons}");
}

#[test]
fn the_first_program_makes_it_ready() {
    let (kernel, folder) = (kernel(), tempfile::tempdir().unwrap());
    let mut rig = Rig::new(&kernel, folder.path());
    rig.list(shop());
    assert_eq!(rig.status.unready(), None);
    assert!(rig.is_applied());
    assert_eq!(web_addresses(&kernel), ["10.2.0.5"]);
    assert_eq!(
        rig.progress()["programmed"]["resourceVersions"]["pods"],
        "100"
    );
    assert!((rig.metric("pods_local") - 1.0).abs() < 0.1);
    let text = rig.engine.describe();
    assert!(
        text.contains("shop/db") && text.contains("Unknown pods: drop"),
        "{text}"
    );
}

#[test]
fn caches_that_do_not_fill_end_the_process_with_the_reason() {
    let (kernel, folder) = (kernel(), tempfile::tempdir().unwrap());
    let mut rig = Rig::new(&kernel, folder.path());
    rig.event(Event::Unavailable {
        kind: Kind::NetworkPolicy,
        reason: Reason::Forbidden {
            group: "networking.k8s.io",
            resource: "networkpolicies",
            message: "no".to_owned(),
        },
    });
    rig.try_tick_after(Duration::from_secs(59)).unwrap();
    let error = rig
        .try_tick_after(Duration::from_secs(2))
        .unwrap_err()
        .to_string();
    for part in [
        "--cache-sync-timeout",
        "networkpolicies",
        "ClusterRole",
        "pods",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(kernel.state().writes, 0);
}

#[test]
fn a_bookmark_moves_what_is_applied() {
    let (kernel, folder) = (kernel(), tempfile::tempdir().unwrap());
    let mut rig = Rig::new(&kernel, folder.path());
    rig.list(shop());
    let writes = kernel.state().writes;
    rig.event(Event::Bookmark {
        kind: Kind::Pod,
        resource_version: "555".into(),
    });
    rig.pass(Duration::from_millis(50));
    assert_eq!(
        rig.progress()["programmed"]["resourceVersions"]["pods"],
        "555"
    );
    assert_eq!(kernel.state().writes, writes);
}

/// A pod is created without an address; the event that brings it must not wait for the
/// next batch. Two events that both write are a batch apart.
#[test]
fn what_wrote_nothing_delays_nothing() {
    let (mut rig, _folder) = running();
    rig.pass(Duration::from_secs(1));
    let addressed = |rig: &mut Rig, address: Option<&str>| {
        let Object::Pod(mut web) = pod("web", "10.2.0.5") else {
            panic!("a pod");
        };
        (web.key.name, web.ips) = ("web-9".into(), Vec::new());
        web.ips
            .extend(address.map(|a| a.parse::<IpAddr>().unwrap()));
        let decoded = rig.decoded(Object::Pod(web));
        rig.event(Event::Apply(decoded));
        rig.tick();
        web_addresses(&rig.kernel).len()
    };
    let before = addressed(&mut rig, None);
    let after = addressed(&mut rig, Some("10.2.0.77"));
    assert_eq!(after, before + 1, "the address waits for a batch");
    let soon = addressed(&mut rig, None);
    assert_eq!(soon, after, "two writes are a batch apart");
    rig.pass(Duration::from_millis(50));
    assert_eq!(web_addresses(&rig.kernel).len(), before);
}

#[test]
fn chains_of_another_enforcer_are_counted_and_do_not_stop_us() {
    let (kernel, folder) = (kernel(), tempfile::tempdir().unwrap());
    kernel.state().rivals.insert(Rival::KubeRouter, 12);
    let mut rig = Rig::new(&kernel, folder.path());
    rig.list(shop());
    assert_eq!(rig.status.unready(), None);
    let series = "foreign_enforcers{name=\"kube-router\"}";
    assert!((rig.metric(series) - 12.0).abs() < 0.5);
    // It is gone by the next read-back.
    kernel.state().rivals.clear();
    rig.pass(Duration::from_mins(6));
    assert!(rig.metric(series).abs() < 0.5);
}

#[test]
fn a_folder_is_waited_for_by_its_digest() {
    let (kernel, folder) = (kernel(), tempfile::tempdir().unwrap());
    let mut rig = Rig::with_flags(&kernel, folder.path(), &["--source=folder:/x"]);
    rig.folder(shop(), "abc");
    assert_eq!(rig.progress()["programmed"]["digest"], "abc");
}

#[test]
fn a_list_under_way_is_not_programmed() {
    let (kernel, folder) = (kernel(), tempfile::tempdir().unwrap());
    let mut rig = Rig::new(&kernel, folder.path());
    rig.list(shop());
    rig.event(Event::ListStarted(Kind::Pod));
    // web's address has gone to another pod; web's deletion comes with the list's end.
    let event = Event::Apply(rig.decoded(pod("new", "10.2.0.5")));
    rig.event(event);
    rig.pass(Duration::from_secs(1));
    assert!(!rig.is_applied());
    rig.event(Event::ListDone {
        kind: Kind::Pod,
        resource_version: "200".into(),
    });
    rig.pass(Duration::from_millis(50));
    assert!(rig.is_applied());
    assert!(web_addresses(&kernel).is_empty());
}

#[test]
fn after_a_reboot_the_last_program_is_there_before_the_lists() {
    let folder = tempfile::tempdir().unwrap();
    let before = kernel();
    let mut rig = Rig::new(&before, folder.path());
    rig.list(shop());
    rig.pass(Duration::from_secs(2));
    rig.engine.finish();
    let rebooted = kernel();
    let mut rig = Rig::new(&rebooted, folder.path());
    rig.tick();
    assert_eq!(rebooted.state().sets, before.state().sets);
    assert_eq!(rebooted.held(), before.held());
    // The bridges that carried the pods are made visible at once.
    assert_eq!(
        rebooted.state().prepared[0],
        ["10.1.0.0/24".parse().unwrap()]
    );
    assert!(rig.status.unready().is_some());
    rig.list(shop());
    assert_eq!(rig.status.unready(), None);
}

#[test]
fn what_the_kernel_holds_is_newer_than_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let kernel = kernel();
    let mut rig = Rig::new(&kernel, folder.path());
    rig.list(shop());
    rig.pass(Duration::from_secs(2));
    rig.engine.finish();
    // Not saved: the process is killed at once.
    rig.delete(Kind::Pod, "shop", "web");
    let held = kernel.held();
    let mut rig = Rig::new(&kernel, folder.path());
    rig.tick();
    assert_eq!(kernel.held(), held);
    rig.pass(Duration::from_secs(1));
    assert_eq!(kernel.held(), held);
}

#[test]
fn a_damaged_file_is_ignored() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("program"),
        "ringfence-program 1 sha256=00\nmark 1\n",
    )
    .unwrap();
    let kernel = kernel();
    let mut rig = Rig::new(&kernel, folder.path());
    rig.tick();
    assert_eq!(kernel.state().writes, 0);
    assert!(rig.metric("errors_total{kind=\"state\"}") > 0.5);
    rig.list(shop());
    assert_eq!(rig.status.unready(), None);
    rig.pass(Duration::from_secs(2));
    rig.engine.finish();
    let text = fs::read_to_string(folder.path().join("program")).unwrap();
    assert!(text.contains("10.2.0.5"), "it is written anew: {text}");
}

#[test]
fn a_restart_changes_nothing_when_nothing_changed() {
    let folder = tempfile::tempdir().unwrap();
    let kernel = kernel();
    Rig::new(&kernel, folder.path()).list(shop());
    let (held, writes) = (kernel.held(), kernel.state().writes);
    let mut rig = Rig::new(&kernel, folder.path());
    rig.list(shop());
    assert_eq!(rig.status.unready(), None);
    assert_eq!((kernel.held(), kernel.state().writes), (held, writes));
}

#[test]
fn missing_tools_are_named_and_waited_for() {
    let (kernel, folder) = (kernel(), tempfile::tempdir().unwrap());
    let mut rig = Rig::new(&kernel, folder.path());
    rig.tools_missing.store(true, Ordering::Relaxed);
    rig.list(shop());
    rig.pass(Duration::from_secs(5));
    let reasons = rig.status.unready().unwrap();
    assert!(reasons.contains("ipset is not installed"), "{reasons}");
    rig.tools_missing.store(false, Ordering::Relaxed);
    rig.pass(Duration::from_mins(1));
    assert_eq!(rig.status.unready(), None);
    assert_eq!(web_addresses(&kernel), ["10.2.0.5"]);
}

#[test]
fn bridges_that_cannot_be_seen_make_it_unready() {
    let (kernel, folder) = (kernel(), tempfile::tempdir().unwrap());
    kernel.state().bridges = BridgeReport {
        shortfalls: vec![Shortfall {
            mechanism: Mechanism::Sysctl("bridge-nf-call-iptables"),
            reason: "is 0: load br_netfilter".to_owned(),
        }],
        ..BridgeReport::default()
    };
    let mut rig = Rig::new(&kernel, folder.path());
    rig.list(shop());
    let reasons = rig.status.unready().unwrap();
    assert!(reasons.contains("bridge-nf-call-iptables"), "{reasons}");
    kernel.state().bridges = BridgeReport::default();
    rig.pass(Duration::from_secs(3));
    assert_eq!(rig.status.unready(), None);
}

#[test_case(true; "where it carries all pods")]
#[test_case(false; "not where it may serve some")]
fn a_datapath_that_bypasses_netfilter_makes_it_unready(blocking: bool) {
    let (kernel, folder) = (kernel(), tempfile::tempdir().unwrap());
    kernel.state().bypasses = vec![Bypass {
        link: "cilium_host".to_owned(),
        reason: "eBPF".to_owned(),
        blocking,
    }];
    let mut rig = Rig::new(&kernel, folder.path());
    rig.list(shop());
    let reasons = rig.status.unready().unwrap_or_default();
    assert_eq!(reasons.contains("cilium_host: eBPF"), blocking, "{reasons}");
}

#[test]
fn a_node_name_that_the_cluster_does_not_know_makes_it_unready() {
    let (kernel, folder) = (kernel(), tempfile::tempdir().unwrap());
    let mut rig = Rig::new(&kernel, folder.path());
    rig.list(vec![
        namespace("shop"),
        pod("db", "10.1.0.5"),
        policy("db", &[]),
    ]);
    let reasons = rig.status.unready().unwrap();
    assert!(reasons.contains("no node named \"n1\""), "{reasons}");
    rig.apply(node());
    assert!(rig.status.unready().is_none());
    assert!(!rig.status.settle(Concern::Node));
}

#[test]
fn another_mark_than_saved_is_taken_off_old_flows() {
    let folder = tempfile::tempdir().unwrap();
    let kernel = kernel();
    let mut rig = Rig::new(&kernel, folder.path());
    rig.list(shop());
    rig.pass(Duration::from_secs(2));
    rig.engine.finish();
    let flow = crate::flows::flow("10.2.0.6", "10.1.0.5", 80);
    kernel.state().flows = vec![ringfence_enforcer::system::conntrack::Entry {
        mark: 0x1001,
        ..flow
    }];
    let mut rig = Rig::with_flags(&kernel, folder.path(), &["--mark=0x40"]);
    rig.list(shop());
    assert_eq!(
        kernel.state().flows[0].mark,
        0x41,
        "ours moved, theirs stays"
    );
    let mangle = &kernel.state().tables[&(ringfence_enforcer::system::Family::V4, Table::Mangle)];
    assert!(!format!("{mangle:?}").contains("0x1000"));
}
