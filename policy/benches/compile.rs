//! What compiling costs: from nothing, and one change at a time.

#![allow(missing_docs, clippy::expect_used)]

mod scale;

use criterion::{Criterion, criterion_group, criterion_main};
use ringfence_policy::model::{Labels, Name, Pod};
use ringfence_policy::snapshot::Object;
use ringfence_policy::{Compiler, Settings, Snapshot, compile};
use scale::{LARGE, NODE};
use std::hint::black_box;

fn full(c: &mut Criterion) {
    let snapshot = LARGE.snapshot();
    let node = Name::from(NODE);
    c.bench_function("compile/10,000 pods from nothing", |b| {
        b.iter(|| compile(black_box(&snapshot), &node, Settings::default()));
    });
}

/// Puts two versions of an object in turn, one update each.
fn in_turn(c: &mut Criterion, name: &str, versions: &[Object; 2]) {
    let mut snapshot = LARGE.snapshot();
    let mut compiler = Compiler::new(NODE.into(), Settings::default());
    compiler.rebuild(&snapshot);
    let mut turn = versions.iter().cycle();
    c.bench_function(name, |b| {
        b.iter(|| {
            let object = turn.next().expect("a cycle").clone();
            let change = snapshot.apply(object).expect("another version");
            black_box(compiler.update(&snapshot, &[change]))
        });
    });
}

fn pod_in_turn(c: &mut Criterion, name: &str, pod: &Pod) {
    let mut other = pod.clone();
    other.labels = Labels::new([("app", "app-3"), ("tier", "back")]);
    in_turn(c, name, &[Object::Pod(other), Object::Pod(pod.clone())]);
}

fn one_change(c: &mut Criterion) {
    pod_in_turn(c, "update/a remote pod's labels", &LARGE.pod(4711));
    pod_in_turn(c, "update/a local pod's labels", &LARGE.pod(0));

    let mut gone = LARGE.pod(4711);
    gone.ips.clear();
    let versions = [gone, LARGE.pod(4711)].map(Object::Pod);
    in_turn(c, "update/a remote pod's address", &versions);
    let mut gone = LARGE.pod(0);
    gone.ips.clear();
    let versions = [gone, LARGE.pod(0)].map(Object::Pod);
    in_turn(c, "update/a local pod's address", &versions);

    let mut other = scale::namespace(7);
    other.labels = Labels::new([("team", "team-3")]);
    let versions = [other, scale::namespace(7)].map(Object::Namespace);
    in_turn(c, "update/a namespace's labels", &versions);

    let mut other = LARGE.policy(200);
    other.ingress = Some(vec![]);
    let versions = [other, LARGE.policy(200)].map(Object::Policy);
    in_turn(c, "update/a policy's rules", &versions);
}

/// Pods come and go while the program follows: what a busy cluster costs.
fn churn(c: &mut Criterion) {
    let mut snapshot: Snapshot = LARGE.snapshot();
    let mut compiler = Compiler::new(NODE.into(), Settings::default());
    compiler.rebuild(&snapshot);
    let mut number = 0;
    c.bench_function("update/100 pods replaced in one batch", |b| {
        b.iter(|| {
            let changes: Vec<_> = (0..100)
                .filter_map(|_| {
                    number = (number + 97) % LARGE.pods;
                    let mut pod = LARGE.pod(number);
                    let known = snapshot.pods.get(&pod.key);
                    pod.terminating = known.is_some_and(|pod| !pod.terminating);
                    snapshot.apply(Object::Pod(pod))
                })
                .collect();
            black_box(compiler.update(&snapshot, &changes))
        });
    });
}

criterion_group!(benches, full, one_change, churn);
criterion_main!(benches);
