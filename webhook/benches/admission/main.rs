//! What the webhook costs, over TLS, with a large cluster cached.
//!
//! `cargo bench -p ringfence-webhook`. The load generator shares the machine with the
//! server: absolute figures are theirs together, ratios are taken in one run.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod api;
mod cluster;
mod load;
mod server;
mod yardstick;

use load::{Load, Target};
use server::Server;
use std::time::Duration;

/// What is promised.
const READY: Duration = Duration::from_secs(2);
const P99: Duration = Duration::from_millis(5);
const SHARE: f64 = 0.7;
const AT_REST: f64 = 80.0;
const UNDER_LOAD: f64 = 160.0;

/// How often each server has its turn.
const TURNS: u32 = 6;

fn main() {
    let mut arguments = std::env::args().skip_while(|a| a != "--yardstick").skip(1);
    if let Some(what) = arguments.next() {
        return yardstick::serve(&what, &arguments.next().unwrap());
    }
    // `cargo test` runs benches too, without the flag; they have nothing to test.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(bench());
}

async fn bench() {
    let folder = tempfile::tempdir().unwrap();
    let trust = server::certificates(folder.path());
    api::serve(cluster::objects(), &folder.path().join("kubeconfig")).await;
    let (server, ready) = Server::webhook(folder.path()).await;
    report(
        "ready after start",
        ready.as_secs_f64(),
        "s",
        ready <= READY,
    );
    let target = |server: &Server, path: &'static str| Target {
        address: server.address,
        path,
        trust: trust.clone(),
    };
    // The caches are warm, the first index is made, and what that took is given back.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let rest = server.resident();
    report("resident at rest", rest, "MiB", rest <= AT_REST);

    let small = cluster::SMALL.body();
    let bodies = [
        ("4 KB", small.clone()),
        ("34 KB", cluster::MIDDLE.body()),
        ("4 KB, eight warnings", cluster::WRONG.body()),
    ];
    let lengths = bodies.iter().map(|(_, body)| body.len());
    println!("bodies of {:?} bytes", lengths.collect::<Vec<_>>());
    for path in ["/validate", "/mutate"] {
        let load = Load::paced(
            &target(&server, path),
            &small,
            1000,
            Duration::from_secs(10),
        )
        .await;
        let name = format!("{path}, 1,000 requests/s of 4 KB: p99");
        let p99 = load.percentile(0.99);
        report(&name, p99.as_secs_f64() * 1e3, "ms", p99 <= P99);
        println!(
            "    p50 {:?}, p99.9 {:?}, longest {:?}, {} requests",
            load.percentile(0.5),
            load.percentile(0.999),
            load.percentile(1.0),
            load.requests()
        );
    }
    let read = Server::yardstick(folder.path(), "read").await;
    let parse = Server::yardstick(folder.path(), "parse").await;
    let echo = Server::yardstick(folder.path(), "echo").await;
    for (name, body) in &bodies {
        let mut sums = [0.0; 4];
        let mut processor = [0.0; 4];
        let mut requests = [0; 4];
        // In turn, so that what else the machine does falls on all of them.
        for _ in 0..TURNS {
            for (at, server) in [&server, &read, &parse, &echo].into_iter().enumerate() {
                let target = target(server, "/validate");
                let before = server.processor();
                let load = Load::closed(&target, body, Duration::from_secs(2)).await;
                sums[at] += load.rate() / f64::from(TURNS);
                processor[at] += server.processor().saturating_sub(before).as_secs_f64() * 1e6;
                requests[at] += load.requests();
            }
        }
        let [judge, read, parse, echo] = sums;
        println!(
            "{name}: judged {judge:.0}/s, read as policies {read:.0}/s, parsed as JSON \
             {parse:.0}/s, echoed {echo:.0}/s"
        );
        // What else runs on the machine delays a server, but uses none of its time.
        #[allow(clippy::cast_precision_loss)]
        let each = [0, 1, 2, 3].map(|at| processor[at] / requests[at] as f64);
        println!(
            "    processor time of the server for each: {:.0}, {:.0}, {:.0}, {:.0} us",
            each[0], each[1], each[2], each[3]
        );
        for (what, other) in [("read as policies", read), ("parsed as JSON", parse)] {
            let share = judge / other;
            let name = format!("{name}: judged / {what}");
            report(&name, share, "", share >= SHARE);
        }
        println!(
            "    judged / echoed {:.2}, parsed / echoed {:.2}",
            judge / echo,
            parse / echo
        );
    }
    let huge = cluster::HUGE.body();
    server.forget_peak();
    let answers = Load::burst(&target(&server, "/validate"), &huge, 20).await;
    let peak = server.peak();
    println!("20 bodies of {} bytes at once: {answers:?}", huge.len());
    report(
        "resident meanwhile, at most",
        peak,
        "MiB",
        peak <= UNDER_LOAD,
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!("    resident afterwards {:.1} MiB", server.resident());
    println!(
        "load of the machine: {}",
        std::fs::read_to_string("/proc/loadavg").unwrap().trim()
    );
}

fn report(name: &str, value: f64, unit: &str, holds: bool) {
    let verdict = if holds { "ok" } else { "MISSED" };
    println!("{name:<50} {value:>9.2} {unit:<4} {verdict}");
}
