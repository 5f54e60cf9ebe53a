//! SIGTERM under load: readiness falls, everybody is served and sent away, then the end.

use crate::binary::Binary;
use crate::{client, reviews};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_fails_no_request() {
    let mut first = Binary::start().await.ready().await;
    let second = Binary::start().await.ready().await;
    // What a Service does: new connections go where readiness is.
    let moved = Arc::new(AtomicBool::new(false));
    let ended = Arc::new(AtomicBool::new(false));
    let (sent, sent_away) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        let places = [
            (first.address, Arc::clone(&first.trust)),
            (second.address, Arc::clone(&second.trust)),
        ];
        let (moved, ended) = (Arc::clone(&moved), Arc::clone(&ended));
        let (sent, sent_away) = (Arc::clone(&sent), Arc::clone(&sent_away));
        clients.spawn(async move {
            let body = reviews::harmless();
            let mut kept = None;
            while !ended.load(Ordering::Relaxed) {
                let mut tls = if let Some(tls) = kept.take() {
                    tls
                } else {
                    let (address, trust) = &places[usize::from(moved.load(Ordering::Relaxed))];
                    client::connect(*address, trust).await.unwrap()
                };
                client::send(&mut tls, "/validate", &body).await.unwrap();
                let answer = client::receive(&mut tls).await.unwrap();
                assert_eq!(answer.response()["allowed"], true);
                sent.fetch_add(1, Ordering::Relaxed);
                if answer.closes() {
                    sent_away.fetch_add(1, Ordering::Relaxed);
                } else {
                    kept = Some(tls);
                }
            }
        });
    }
    first
        .until("requests arrive", async |_| {
            sent.load(Ordering::Relaxed) > 50
        })
        .await;
    first.terminate();
    first
        .until("readiness falls", async |b| b.get("/readyz").await.0 == 503)
        .await;
    first
        .until("it still serves, and sends away", async |_| {
            sent_away.load(Ordering::Relaxed) > 8
        })
        .await;
    moved.store(true, Ordering::Relaxed);
    assert!(first.ended().await.success());
    let before = sent.load(Ordering::Relaxed);
    second
        .until("requests go on", async |_| {
            sent.load(Ordering::Relaxed) > before + 20
        })
        .await;
    ended.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
}
