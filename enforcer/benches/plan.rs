//! What rendering a program and planning its changes costs, with 10,000 pods of which 110
//! are local, 1,000 policies and 200 namespaces.

#![allow(missing_docs, clippy::expect_used)]

#[path = "../../policy/benches/scale/mod.rs"]
mod scale;

use criterion::{Criterion, criterion_group, criterion_main};
use ringfence_enforcer::dataplane::{Options, Readback, render_full};
use ringfence_enforcer::plan::Planner;
use ringfence_policy::compile::Update;
use ringfence_policy::snapshot::Object;
use ringfence_policy::{Compiler, Program, Settings, compile};
use scale::{LARGE, NODE};
use std::collections::BTreeSet;
use std::hint::black_box;

fn render(c: &mut Criterion) {
    let program = compile(&LARGE.snapshot(), &NODE.into(), Settings::default());
    let options = Options::default();
    c.bench_function("render/all, 110 local pods", |b| {
        b.iter(|| render_full(black_box(&program), &options));
    });
    c.bench_function("plan/all, onto an empty kernel", |b| {
        b.iter(|| {
            let mut planner = Planner::new(options.clone());
            planner.adopt(Readback::default());
            planner
                .plan(black_box(&program), None, &BTreeSet::new())
                .expect("a first plan")
        });
    });
}

/// A program after each of two versions of an object, and what led there.
fn in_turn(versions: [Object; 2]) -> [(Program, Update); 2] {
    let mut snapshot = LARGE.snapshot();
    let mut compiler = Compiler::new(NODE.into(), Settings::default());
    compiler.rebuild(&snapshot);
    versions.map(|object| {
        let change = snapshot.apply(object).expect("another version");
        let update = compiler.update(&snapshot, &[change]);
        (compiler.program().clone(), update)
    })
}

/// Plans two versions of an object in turn, as if each were committed.
fn change(c: &mut Criterion, name: &str, versions: [Object; 2]) {
    // The first leads away from what is there at first, the second back to it.
    let programs = in_turn(versions);
    let none = BTreeSet::new();
    let mut planner = Planner::new(Options::default());
    planner.adopt(Readback::default());
    let first = planner.plan(&programs[1].0, None, &none);
    planner.committed(first.expect("a first plan"));
    let mut turn = 0;
    c.bench_function(name, |b| {
        b.iter(|| {
            let (program, update) = &programs[turn % 2];
            turn += 1;
            let transaction = planner.plan(program, Some(update), &none);
            planner.committed(transaction.expect("a plan for a change"));
        });
    });
}

fn changes(c: &mut Criterion) {
    for (name, number) in [
        ("diff/a remote pod's address", 4711),
        ("diff/a local pod's address", 0),
    ] {
        let mut gone = LARGE.pod(number);
        gone.ips.clear();
        change(c, name, [gone, LARGE.pod(number)].map(Object::Pod));
    }
    let mut other = LARGE.policy(200);
    other.ingress = Some(vec![]);
    let versions = [other, LARGE.policy(200)].map(Object::Policy);
    change(c, "diff/a policy's rules", versions);
}

criterion_group!(benches, render, changes);
criterion_main!(benches);
