//! Judging is done apart from the connections: whatever one body takes, others come through.

use crate::post;
use ringfence_webhook::admit::Hook;
use ringfence_webhook::metrics::Metrics;
use ringfence_webhook::server::router;
use ringfence_webhook::service::{Answers, NoAnswer};
use ringfence_webhook::status::Status;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Answers `first` only after `second`, and nothing else.
#[derive(Clone)]
struct Judge {
    second: Sender<()>,
    first: Arc<Mutex<Receiver<()>>>,
    metrics: Arc<Metrics>,
}

impl Answers for Judge {
    fn answer(&self, _: Hook, body: &[u8]) -> Result<Vec<u8>, NoAnswer> {
        match body {
            b"first" => {
                let first = self.first.lock().unwrap();
                first.recv_timeout(Duration::from_secs(20)).unwrap();
            }
            b"second" => self.second.send(()).unwrap(),
            _ => panic!("a defect, on purpose"),
        }
        Ok(body.to_vec())
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

#[tokio::test]
async fn a_small_body_that_takes_long_or_fails_holds_nobody_up() {
    let (second, first) = channel();
    let judge = Judge {
        second,
        first: Arc::new(Mutex::new(first)),
        metrics: Arc::new(Metrics::default()),
    };
    let router = router(judge, Arc::new(Status::default()));
    let ask = |body: &'static str| post(&router, "/validate", body, body.len());
    let answers = tokio::join!(ask("first"), ask("defect"), ask("second"));
    let answers = [answers.0, answers.1, answers.2].map(|answer| answer.status().as_u16());
    assert_eq!(answers, [200, 500, 200]);
}
