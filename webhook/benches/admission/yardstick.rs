//! The same server doing less: one reads both objects as policies and allows, one only reads
//! their JSON and allows, one only echoes.

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::response::Response;
use axum::routing::post;
use axum_server::tls_rustls::RustlsConfig;
use ringfence_policy::parse;
use ringfence_webhook::admit::Decision;
use ringfence_webhook::metrics::Metrics;
use ringfence_webhook::server::Server;
use ringfence_webhook::tls::Pair;
use ringfence_webhook::{answer, review};
use serde_json::Value;
use serde_json::value::RawValue;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

/// Serves until it is killed. `place`: `PORT:FOLDER`.
pub fn serve(what: &str, place: &str) {
    let (port, folder) = place.split_once(':').unwrap();
    let read = |name: &str| fs::read(format!("{folder}/{name}")).unwrap();
    let pair = Pair::read(&read("tls.crt"), &read("tls.key"), None).unwrap();
    let router = match what {
        "read" => Router::new().route("/validate", post(read_both)),
        "parse" => Router::new().route("/validate", post(parse_both)),
        _ => Router::new().route("/validate", post(echo)),
    };
    let router = router.layer(DefaultBodyLimit::disable());
    let address = SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let tls = RustlsConfig::from_config(pair.config);
        let server = Server::start(address, tls, router, Arc::new(Metrics::default())).unwrap();
        std::future::pending::<()>().await;
        drop(server);
    });
}

async fn parse_both(body: Bytes) -> Response {
    let request = review::parse(&body).unwrap();
    let tree = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).unwrap();
    let objects = (request.object.map(tree), request.old_object.map(tree));
    std::hint::black_box(&objects);
    let json = answer::render(&request.uid, &Decision::default()).unwrap();
    Response::new(json.into())
}

async fn read_both(body: Bytes) -> Response {
    let request = review::parse(&body).unwrap();
    let policy = |raw: &RawValue| {
        let tree: Value = serde_json::from_str(raw.get()).unwrap();
        parse::policy(&tree).unwrap()
    };
    let objects = (request.object.map(policy), request.old_object.map(policy));
    std::hint::black_box(&objects);
    let json = answer::render(&request.uid, &Decision::default()).unwrap();
    Response::new(json.into())
}

async fn echo(body: Bytes) -> Response {
    Response::new(body.into())
}
