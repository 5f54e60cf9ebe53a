//! Too many bytes at a time: HTTP 429 from `/mutate`, a denial with code 429 from
//! `/validate`, and never `Retry-After`.

use crate::{post, response, webhook};
use axum::Router;
use axum::body::{Body, Bytes};
use futures::StreamExt;
use futures::stream;
use std::io;
use tokio::task::JoinSet;

const LARGE: usize = 12 << 20;
const BEGINNING: &[u8] =
    br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u-1","#;

/// The beginning of a large body, and then nothing.
fn stuck() -> Body {
    let beginning = stream::iter([Ok::<_, io::Error>(Bytes::from_static(BEGINNING))]);
    Body::from_stream(beginning.chain(stream::pending()))
}

/// Large bodies that never come, over and over, as a hostile client would send them: there
/// is always one more that waits for its place.
fn occupy(router: &Router) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let router = router.clone();
        tasks.spawn(async move {
            loop {
                let answer = post(&router, "/validate", stuck(), LARGE).await;
                assert!([408, 200].contains(&answer.status().as_u16()));
            }
        });
    }
    tasks
}

#[tokio::test(start_paused = true)]
async fn large_bodies_that_never_come_keep_large_ones_out_and_small_ones_are_judged() {
    let (router, metrics) = webhook();
    let hostile = occupy(&router);
    tokio::task::yield_now().await;
    // At once, behind all that wait already.
    let (mutate, validate) = tokio::join!(
        post(&router, "/mutate", stuck(), LARGE),
        post(&router, "/validate", stuck(), LARGE)
    );
    assert_eq!(mutate.status(), 429);
    assert!(mutate.headers().get("retry-after").is_none());
    assert!(validate.headers().get("retry-after").is_none());
    let validate = response(validate).await;
    assert_eq!(
        (&validate["uid"], &validate["allowed"]),
        (&"u-1".into(), &false.into())
    );
    assert_eq!(validate["status"]["code"], 429);
    let small = include_str!("../seeds/create-harmless.json");
    let small = response(post(&router, "/validate", small, small.len()).await).await;
    assert_eq!(small["allowed"], true);
    assert_eq!(
        hostile.len(),
        16,
        "none of them has met anything unexpected"
    );
    let text = metrics.render().unwrap();
    let counted = "ringfence_webhook_bodies_refused_total{reason=\"overloaded\"}";
    let line = text.lines().find(|line| line.starts_with(counted)).unwrap();
    assert!(!line.ends_with(" 0"), "{line}");
}
