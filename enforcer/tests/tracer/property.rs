//! What stands over everything: a packet that walks through the rendered text fares as
//! `evaluate` says, and on the way from one state to the next nothing passes that both
//! deny.

use super::world::{self, Edit, NODES};
use super::{Hook, Kernel, Packet, Segment, Transport, contents, loaded, readback};
use proptest::prelude::*;
use ringfence_enforcer::dataplane::Options;
use ringfence_enforcer::plan::Planner;
use ringfence_policy::evaluate::Evaluator;
use ringfence_policy::model::{Flow, L4, Name, Protocol};
use ringfence_policy::snapshot::{Settings, Snapshot};
use ringfence_policy::{Compiler, compile};
use std::collections::BTreeSet;

/// The hook at which a node sees a packet.
fn hook(snapshot: &Snapshot, node: &str, packet: &mut Packet) -> Hook {
    let addresses = &snapshot.nodes[&Name::from(node)].addresses;
    packet.src_local = addresses.contains(&packet.src);
    if packet.src_local {
        Hook::Output
    } else if addresses.contains(&packet.dst) {
        Hook::Input
    } else {
        Hook::Forward
    }
}

fn passes(kernel: &Kernel, snapshot: &Snapshot, node: &str, mut packet: Packet) -> bool {
    let hook = hook(snapshot, node, &mut packet);
    kernel.trace(hook, &packet).passed()
}

fn settings() -> impl Strategy<Value = Settings> {
    (any::<bool>(), any::<bool>()).prop_map(|(enforce_node_traffic, drop_unknown_pods)| Settings {
        enforce_node_traffic,
        drop_unknown_pods,
    })
}

fn flows(count: usize) -> impl Strategy<Value = Vec<Flow>> {
    prop::collection::vec(world::flow(), count)
}

/// The packet, and what it would be in the middle of a flow or of nothing.
fn variants(packet: &Packet) -> Vec<Packet> {
    let mut all = vec![packet.clone()];
    if matches!(packet.transport, Transport::Tcp(_)) {
        all.push(Packet {
            transport: Transport::Tcp(Segment::Other),
            ..packet.clone()
        });
    }
    all.push(Packet {
        ctstate: "INVALID",
        ..packet.clone()
    });
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rendered_text_does_what_evaluate_says(
        snapshot in world::snapshot(), settings in settings(), flows in flows(150),
    ) {
        let options = Options::default();
        let evaluator = Evaluator::new(&snapshot, settings);
        let kernels = NODES.map(|n| (n, loaded(&compile(&snapshot, &n.into(), settings), &options)));
        for flow in &flows {
            let verdict = evaluator.judge(flow);
            let passed = kernels
                .iter()
                .all(|(node, kernel)| passes(kernel, &snapshot, node, Packet::first_of(flow)));
            prop_assert_eq!(passed, verdict.allowed(), "{}: {:?}", flow, verdict);
        }
    }

    /// TCP that is picked up in the middle passes a node when it is allowed in either
    /// direction there.
    #[test]
    fn picked_up_tcp_is_judged_both_ways(snapshot in world::snapshot(), flows in flows(150)) {
        let (settings, options) = (Settings::default(), Options::default());
        let evaluator = Evaluator::new(&snapshot, settings);
        let kernels = NODES.map(|n| (n, loaded(&compile(&snapshot, &n.into(), settings), &options)));
        for flow in &flows {
            let L4::Ports { protocol: Protocol::Tcp, src, dst } = flow.l4 else { continue };
            let l4 = L4::Ports { protocol: Protocol::Tcp, src: dst, dst: src };
            let answer = Flow { src: flow.dst, dst: flow.src, l4 };
            for (node, kernel) in &kernels {
                let mut packet = Packet::first_of(flow);
                packet.transport = Transport::Tcp(Segment::Other);
                if hook(&snapshot, node, &mut packet) != Hook::Forward {
                    continue;
                }
                // What this node alone has to say: its own pods' side of the verdict.
                let home = |ip| {
                    let nodes: BTreeSet<&Name> = evaluator.claimants(ip).map(|pod| &pod.node).collect();
                    nodes
                };
                let ends = [home(flow.src), home(flow.dst)];
                if ends.iter().any(|nodes| nodes.len() > 1) {
                    continue;
                }
                let here = ends.map(|nodes| nodes.iter().any(|n| &***n == *node));
                let judged = |flow: &Flow, src_here: bool, dst_here: bool| {
                    let verdict = evaluator.judge(flow);
                    (!src_here || verdict.egress.allowed()) && (!dst_here || verdict.ingress.allowed())
                };
                let expected = judged(flow, here[0], here[1]) || judged(&answer, here[1], here[0]);
                prop_assert_eq!(kernel.trace(Hook::Forward, &packet).passed(), expected, "{} on {}", flow, node);
            }
        }
    }

    #[test]
    fn no_moment_of_a_change_allows_what_both_states_deny(
        snapshot in world::snapshot(), batches in world::batches(), settings in settings(), flows in flows(40),
        kill_at in 0..12usize,
    ) {
        let mut snapshot = snapshot;
        let options = Options::default();
        let mut compiler = Compiler::new(NODES[0].into(), settings);
        let mut planner = Planner::new(options.clone());
        let mut kernel = Kernel::new();
        let none = BTreeSet::new();
        let update = compiler.rebuild(&snapshot);
        planner.adopt(readback(&kernel));
        let transaction = planner.plan(compiler.program(), Some(&update), &none).unwrap();
        kernel.run(&transaction, |_, _| {}).unwrap();
        planner.committed(transaction);
        for batch in batches {
            let mut changes = Vec::new();
            for edit in batch {
                changes.extend(match edit {
                    Edit::Put(object) => snapshot.apply(object),
                    Edit::Remove(kind, key) => snapshot.remove(kind, &key),
                });
            }
            let update = compiler.update(&snapshot, &changes);
            let transaction = planner.plan(compiler.program(), Some(&update), &none).unwrap();
            let wanted = loaded(compiler.program(), &options);
            let packets: Vec<(Packet, Hook)> = flows
                .iter()
                .flat_map(|flow| variants(&Packet::first_of(flow)))
                .map(|mut packet| {
                    let hook = hook(&snapshot, NODES[0], &mut packet);
                    (packet, hook)
                })
                .filter(|(p, hook)| !kernel.trace(*hook, p).passed() && !wanted.trace(*hook, p).passed())
                .collect();
            let before = kernel.clone();
            let stays_shut = |now: &Kernel, moment: &str| {
                for (packet, hook) in &packets {
                    assert!(
                        !now.trace(*hook, packet).passed(),
                        "passes after {moment}\n{packet:?}\nof {transaction:#?}\nbefore {before:#?}"
                    );
                }
            };
            let (mut moments, mut killed) = (0, kernel.clone());
            kernel
                .run(&transaction, |now, line| {
                    stays_shut(now, line);
                    if moments == kill_at {
                        killed = now.clone();
                    }
                    moments += 1;
                })
                .unwrap();
            // Killed in the middle and started again: it reads back and goes on.
            let mut restarted = Planner::new(options.clone());
            restarted.adopt(readback(&killed));
            let rest = restarted.plan(compiler.program(), None, &none).unwrap();
            killed.run(&rest, |now, line| stays_shut(now, line)).unwrap();
            prop_assert_eq!(&contents(&killed), &contents(&wanted));
            planner.committed(transaction);
            prop_assert_eq!(&contents(&kernel), &contents(&wanted));
            // What is read back is what was written: no false drift.
            let mut reader = Planner::new(options.clone());
            reader.adopt(readback(&kernel));
            let again = reader.plan(compiler.program(), None, &none).unwrap();
            prop_assert!(again.is_empty(), "{:#?}", again.steps);
        }
    }
}
