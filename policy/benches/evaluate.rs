//! What the oracle costs.

#![allow(missing_docs, clippy::expect_used)]

mod scale;

use criterion::{Criterion, criterion_group, criterion_main};
use ringfence_policy::Settings;
use ringfence_policy::evaluate::Evaluator;
use ringfence_policy::model::{Flow, Protocol};
use scale::LARGE;
use std::hint::black_box;

fn evaluate(c: &mut Criterion) {
    let snapshot = LARGE.snapshot();
    c.bench_function("evaluate/an evaluator for 10,000 pods", |b| {
        b.iter(|| Evaluator::new(black_box(&snapshot), Settings::default()));
    });

    let evaluator = Evaluator::new(&snapshot, Settings::default());
    let mut number = 0;
    let mut next = || {
        number = (number + 4231) % LARGE.pods;
        LARGE.pod(number).ips[0]
    };
    let flows: Vec<Flow> = (0..1000)
        .map(|_| Flow::new(Protocol::Tcp, next(), next(), 8080))
        .collect();
    let mut flows = flows.iter().cycle();
    c.bench_function("evaluate/one flow", |b| {
        b.iter(|| evaluator.judge(black_box(flows.next().expect("a cycle"))));
    });
}

criterion_group!(benches, evaluate);
criterion_main!(benches);
