//! Established flows: cut within the update that denies them, let go when allowed again.

use crate::fake::FakeKernel;
use crate::rig::{Rig, pod, policy, shop};
use ringfence_enforcer::system::conntrack::{Entry, FlowKey, L4, TcpState, Tuple};
use ringfence_policy::snapshot::Kind;
use std::sync::Arc;
use std::time::Duration;
use test_case::test_case;

const MARK: u32 = 0x1000;

/// An established TCP flow without NAT.
pub fn flow(src: &str, dst: &str, port: u16) -> Entry {
    let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
    let tuple = |src, dst, from, to| Tuple {
        src,
        dst,
        l4: L4::Ports {
            protocol: 6,
            src: from,
            dst: to,
        },
        zone: None,
    };
    Entry {
        key: FlowKey {
            original: tuple(src, dst, 40_000, port),
            zone: 0,
        },
        reply: tuple(dst, src, port, 40_000),
        mark: 0,
        id: 1,
        status: Entry::SEEN_REPLY,
        tcp: Some(TcpState {
            state: 3,
            picked_up: false,
        }),
    }
}

fn udp(entry: Entry) -> Entry {
    let change = |tuple: Tuple| match tuple.l4 {
        L4::Ports { src, dst, .. } => Tuple {
            l4: L4::Ports {
                protocol: 17,
                src,
                dst,
            },
            ..tuple
        },
        _ => tuple,
    };
    Entry {
        key: FlowKey {
            original: change(entry.key.original),
            ..entry.key
        },
        reply: change(entry.reply),
        tcp: None,
        ..entry
    }
}

fn running(flows: Vec<Entry>, flags: &[&str]) -> (Rig, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let kernel: Arc<FakeKernel> = Arc::default();
    kernel.state().flows = flows;
    kernel.state().own = ["192.168.0.1", "10.1.0.1"]
        .map(|ip| ip.parse().unwrap())
        .into();
    let mut rig = Rig::with_flags(&kernel, folder.path(), flags);
    rig.list(shop());
    rig.pass(Duration::from_secs(1));
    (rig, folder)
}

fn marks(rig: &Rig) -> Vec<u32> {
    rig.kernel
        .state()
        .flows
        .iter()
        .map(|flow| flow.mark)
        .collect()
}

#[test]
fn the_first_program_judges_what_exists() {
    let flows = vec![
        flow("10.2.0.5", "10.1.0.5", 80),
        flow("10.2.0.6", "10.1.0.5", 80),
        flow("10.2.0.5", "10.1.0.5", 81),
        udp(flow("10.2.0.6", "10.1.0.5", 53)),
        flow("10.2.0.5", "10.2.0.6", 80),
    ];
    let (rig, _folder) = running(flows, &[]);
    assert_eq!(marks(&rig), [0, MARK, MARK, MARK, 0]);
    assert!((rig.metric("flows_cut_total") - 3.0).abs() < 0.1);
}

#[test]
fn a_policy_that_narrows_cuts_before_it_is_applied() {
    let (mut rig, _folder) = running(vec![flow("10.2.0.5", "10.1.0.5", 80)], &[]);
    assert_eq!(marks(&rig), [0]);
    rig.apply(policy("db", &["other"]));
    assert_eq!(marks(&rig), [MARK]);
    assert!(rig.is_applied());
}

#[test]
fn what_is_allowed_again_goes_on() {
    let (mut rig, _folder) = running(vec![flow("10.2.0.6", "10.1.0.5", 80)], &[]);
    assert_eq!(marks(&rig), [MARK]);
    rig.apply(policy("db", &["web", "other"]));
    assert_eq!(marks(&rig), [0]);
}

#[test]
fn the_marks_of_others_are_left_alone() {
    let mut entry = flow("10.2.0.6", "10.1.0.5", 80);
    entry.mark = 0x40;
    let (mut rig, _folder) = running(vec![entry], &[]);
    assert_eq!(marks(&rig), [MARK | 0x40]);
    rig.delete(Kind::NetworkPolicy, "shop", "db");
    assert_eq!(marks(&rig), [0x40]);
}

#[test]
fn a_pod_that_leaves_a_set_loses_its_flows() {
    let (mut rig, _folder) = running(vec![flow("10.2.0.5", "10.1.0.5", 80)], &[]);
    rig.delete(Kind::Pod, "shop", "web");
    assert_eq!(marks(&rig), [MARK]);
}

/// Judged by the source before SNAT and the destination after DNAT, port too.
#[test]
fn a_flow_through_a_service_is_judged_at_the_pod() {
    let mut allowed = flow("10.2.0.5", "10.1.0.5", 80);
    allowed.key.original.dst = "10.96.0.1".parse().unwrap();
    allowed.key.original.l4 = L4::Ports {
        protocol: 6,
        src: 40_000,
        dst: 8080,
    };
    let mut denied = allowed;
    denied.key.original.src = "10.2.0.6".parse().unwrap();
    denied.reply.dst = "192.168.0.1".parse().unwrap();
    let (rig, _folder) = running(vec![allowed, denied], &[]);
    assert_eq!(marks(&rig), [0, MARK]);
}

/// Trap 3: the direction of a flow that was picked up in its middle says nothing.
#[test_case(true, 0; "picked up, one direction is enough")]
#[test_case(false, MARK; "not picked up, its direction counts")]
fn reversed_flows(picked_up: bool, mark: u32) {
    let mut entry = flow("10.1.0.5", "10.2.0.5", 40_000);
    entry.key.original.l4 = L4::Ports {
        protocol: 6,
        src: 80,
        dst: 40_000,
    };
    entry.reply.l4 = L4::Ports {
        protocol: 6,
        src: 40_000,
        dst: 80,
    };
    entry.tcp = Some(TcpState {
        state: 3,
        picked_up,
    });
    let (mut rig, _folder) = running(vec![entry], &[]);
    // db may not send anything any more, except as answers.
    let ringfence_policy::snapshot::Object::Policy(mut shut) = policy("db", &["web"]) else {
        unreachable!()
    };
    shut.egress = Some(Vec::new());
    rig.apply(ringfence_policy::snapshot::Object::Policy(shut));
    assert_eq!(marks(&rig), [mark]);
}

#[test]
fn a_picked_up_flow_that_neither_direction_allows_is_cut() {
    let mut entry = flow("10.2.0.6", "10.1.0.5", 80);
    entry.tcp = Some(TcpState {
        state: 3,
        picked_up: true,
    });
    let (mut rig, _folder) = running(vec![entry], &[]);
    let ringfence_policy::snapshot::Object::Policy(mut shut) = policy("db", &["web"]) else {
        unreachable!()
    };
    shut.egress = Some(Vec::new());
    rig.apply(ringfence_policy::snapshot::Object::Policy(shut));
    assert_eq!(marks(&rig), [MARK]);
}

#[test]
fn what_the_node_itself_sends_is_never_cut() {
    // The bridge's address lies inside the pod range and belongs to no pod.
    let flows = vec![
        flow("192.168.0.1", "10.1.0.5", 80),
        flow("10.1.0.1", "10.1.0.5", 9000),
    ];
    let (rig, _folder) = running(flows, &[]);
    assert_eq!(marks(&rig), [0, 0]);
}

#[test]
fn flows_of_an_unknown_pod_are_cut() {
    let (rig, _folder) = running(vec![flow("10.2.0.5", "10.1.0.77", 80)], &[]);
    assert_eq!(marks(&rig), [MARK]);
    let (rig, _folder) = running(
        vec![flow("10.2.0.5", "10.1.0.77", 80)],
        &["--unknown-pods=allow"],
    );
    assert_eq!(marks(&rig), [0]);
}

#[test]
fn keep_established_cuts_nothing() {
    let flows = vec![flow("10.2.0.6", "10.1.0.5", 80)];
    let (rig, _folder) = running(flows, &["--keep-established"]);
    assert_eq!(marks(&rig), [0]);
    assert!(rig.is_applied());
    assert_eq!(rig.kernel.state().dumps, 0);
}

#[test]
fn changes_that_only_widen_dump_nothing() {
    let (mut rig, _folder) = running(Vec::new(), &[]);
    let dumps = rig.kernel.state().dumps;
    rig.apply(policy("db", &["web", "other"]));
    rig.apply(pod("third", "10.2.0.9"));
    rig.pass(Duration::from_secs(2));
    assert_eq!(rig.kernel.state().dumps, dumps);
}

/// Trap 3: an entry may be confirmed while the dump is under way.
#[test]
fn entries_that_the_dump_missed_are_found_afterwards() {
    let (mut rig, _folder) = running(Vec::new(), &[]);
    rig.apply(policy("db", &["other"]));
    rig.kernel
        .state()
        .flows
        .push(flow("10.2.0.5", "10.1.0.5", 80));
    rig.pass(Duration::from_secs(1));
    assert_eq!(marks(&rig), [MARK]);
}
