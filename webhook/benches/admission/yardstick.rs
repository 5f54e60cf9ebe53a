//! The same server doing less: behind its bounds, its log and its metrics one reads both
//! objects as policies and allows, and one only reads their JSON and allows. Beside them one
//! that only echoes, with nothing but TLS and HTTP.

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::response::Response;
use axum::routing::post;
use axum_server::tls_rustls::RustlsConfig;
use clap::Parser;
use ringfence_policy::parse;
use ringfence_webhook::admit::{Decision, Hook};
use ringfence_webhook::config::{Cli, start_logging};
use ringfence_webhook::metrics::Metrics;
use ringfence_webhook::server::{Server, router, runtime};
use ringfence_webhook::service::{Answers, NoAnswer, tell};
use ringfence_webhook::status::Status;
use ringfence_webhook::tls::Pair;
use ringfence_webhook::{answer, review};
use serde_json::Value;
use serde_json::value::RawValue;
use std::fs;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// Reads the objects of a request, and allows it.
#[derive(Clone)]
struct Reader {
    read: fn(&RawValue),
    metrics: Arc<Metrics>,
}

/// Serves until it is killed. `place`: `PORT:FOLDER`.
pub fn serve(what: &str, place: &str) {
    let (port, folder) = place.split_once(':').unwrap();
    let read = |name: &str| fs::read(format!("{folder}/{name}")).unwrap();
    let pair = Pair::read(&read("tls.crt"), &read("tls.key"), None).unwrap();
    start_logging(&Cli::parse_from(["ringfence-webhook"])).unwrap();
    let metrics = Arc::new(Metrics::default());
    let reader = |read| {
        let metrics = Arc::clone(&metrics);
        router(Reader { read, metrics }, Arc::new(Status::default()))
    };
    let router = match what {
        "read" => reader(as_policy),
        "parse" => reader(as_json),
        _ => Router::new()
            .route("/validate", post(echo))
            .layer(DefaultBodyLimit::disable()),
    };
    let address = SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()));
    runtime(2).unwrap().block_on(async {
        let tls = RustlsConfig::from_config(pair.config);
        let server = Server::start(address, tls, router, metrics).unwrap();
        std::future::pending::<()>().await;
        drop(server);
    });
}

impl Answers for Reader {
    fn answer(&self, hook: Hook, body: &[u8]) -> Result<Vec<u8>, NoAnswer> {
        let started = Instant::now();
        let request = review::parse(body)?;
        request.object.into_iter().for_each(self.read);
        request.old_object.into_iter().for_each(self.read);
        let decision = Decision::default();
        tell(&self.metrics, hook, &request, &decision, started);
        Ok(answer::render(&request.uid, &decision)?)
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

fn as_json(raw: &RawValue) {
    black_box(serde_json::from_str::<Value>(raw.get()).unwrap());
}

fn as_policy(raw: &RawValue) {
    let tree: Value = serde_json::from_str(raw.get()).unwrap();
    black_box(parse::policy(&tree).unwrap());
}

async fn echo(body: Bytes) -> Response {
    Response::new(body.into())
}
