//! Feeds the review and everything behind it with requests gone wrong, and panics where
//! they do. Ten minutes by default: `cargo run --release -p ringfence-webhook --example
//! fuzz -- SECONDS [SEED]`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

#[path = "../tests/fuzz/mutate.rs"]
mod mutate;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments
        .next()
        .map_or(600, |s| s.parse().expect("SECONDS"));
    let seed = arguments.next().map_or(0, |s| s.parse().expect("SEED"));
    let until = Instant::now() + Duration::from_secs(seconds);
    let done = mutate::run(seed, |_| Instant::now() < until);
    println!("{done} requests in {seconds} s from seed {seed}, no panic");
}
