//! What must hold in a large cluster: the size of an update, not its time.

#[path = "../../benches/scale/mod.rs"]
mod cluster;

use cluster::{LARGE, NODE, Scale};
use ringfence_policy::model::{Labels, Name};
use ringfence_policy::snapshot::Object;
use ringfence_policy::{Compiler, Settings, compile};
use std::sync::Arc;

#[test]
fn a_remote_pod_leaves_the_structure_alone() {
    let mut snapshot = LARGE.snapshot();
    let node = Name::from(NODE);
    let mut compiler = Compiler::new(node.clone(), Settings::default());
    compiler.rebuild(&snapshot);
    let structure = Arc::clone(&compiler.program().structure);
    assert_eq!(structure.endpoints.len(), LARGE.local);
    assert!(structure.chains.len() < LARGE.policies);

    let mut pod = LARGE.pod(4711);
    pod.labels = Labels::new([("app", "app-3")]);
    let ip = pod.ips[0];
    let change = snapshot.apply(Object::Pod(pod)).unwrap();
    let update = compiler.update(&snapshot, &[change]);
    assert!(Arc::ptr_eq(&structure, &compiler.program().structure));
    assert!(update.previous.is_none());
    assert_eq!(update.moved.into_iter().collect::<Vec<_>>(), [ip]);
    for (removed, added) in update.members.values() {
        assert!(removed.len() + added.len() == 1);
    }
    assert_eq!(
        *compiler.program(),
        compile(&snapshot, &node, Settings::default())
    );
}

#[test]
fn a_local_pod_keeps_the_chains_of_the_others() {
    let mut snapshot = LARGE.snapshot();
    let mut compiler = Compiler::new(NODE.into(), Settings::default());
    compiler.rebuild(&snapshot);
    let before = Arc::clone(&compiler.program().structure);
    let mut pod = LARGE.pod(0);
    pod.labels = Labels::new([("app", "app-3"), ("tier", "back")]);
    let change = snapshot.apply(Object::Pod(pod)).unwrap();
    compiler.update(&snapshot, &[change]);
    let after = &compiler.program().structure;
    assert!(!Arc::ptr_eq(&before, after));
    for (id, chain) in &after.chains {
        assert!(
            before
                .chains
                .get(id)
                .is_none_or(|old| Arc::ptr_eq(old, chain))
        );
    }
    for (id, spec) in &after.sets {
        assert!(before.sets.get(id).is_none_or(|old| Arc::ptr_eq(old, spec)));
    }
}

#[test]
fn a_selector_that_matches_every_pod_of_a_huge_cluster() {
    let huge = Scale {
        pods: 150_000,
        local: 110,
        policies: 10,
        namespaces: 2,
    };
    let program = compile(&huge.snapshot(), &Name::from(NODE), Settings::default());
    let largest = program
        .members
        .values()
        .map(std::collections::BTreeSet::len)
        .max();
    assert_eq!(
        largest,
        Some(75_000),
        "every pod of one of the two namespaces"
    );
}
