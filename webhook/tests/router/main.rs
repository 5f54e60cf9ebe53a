//! The router in process: every seed to both hooks, and what it answers when there is too
//! much to do.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod judging;
mod overload;
mod seeds;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use http_body_util::BodyExt;
use ringfence_checks::{Config, Facts, Index};
use ringfence_policy::{Snapshot, parse};
use ringfence_webhook::metrics::Metrics;
use ringfence_webhook::server::router;
use ringfence_webhook::service::{Known, Service};
use ringfence_webhook::status::Status;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::watch;
use tower::ServiceExt;

/// A webhook that knows a small cluster, and its metrics.
fn webhook() -> (Router, Arc<Metrics>) {
    let mut snapshot = Snapshot::default();
    let labels = |name: &str| json!({"kubernetes.io/metadata.name": name});
    for object in [
        json!({"kind": "Namespace", "metadata": {"name": "shop", "labels": labels("shop")}}),
        json!({"kind": "Namespace", "metadata": {"name": "kube-system", "labels": labels("kube-system")}}),
        json!({"kind": "Pod", "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}}}),
        json!({"kind": "Service", "metadata": {"name": "kube-dns", "namespace": "kube-system"},
            "spec": {"clusterIP": "10.96.0.10", "selector": {"k8s-app": "kube-dns"}, "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]}}),
    ] {
        snapshot.apply(parse::object(&object).unwrap().0);
    }
    let metrics = Arc::new(Metrics::default());
    let service = Service {
        known: Known {
            index: watch::channel(Some(Arc::new(Index::new(snapshot)))).1,
            facts: watch::channel(Arc::new(Facts::default())).1,
            config: watch::channel(Arc::new(Config::default())).1,
            fences: watch::channel(Some(Arc::default())).1,
        },
        metrics: Arc::clone(&metrics),
    };
    (router(service, Arc::new(Status::default())), metrics)
}

async fn post(router: &Router, path: &str, body: impl Into<Body>, length: usize) -> Response<Body> {
    let request = Request::post(path)
        .header("content-length", length)
        .body(body.into())
        .unwrap();
    router.clone().oneshot(request).await.unwrap()
}

/// `response` of the answer.
async fn response(answer: Response<Body>) -> Value {
    assert_eq!(answer.status(), 200);
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(review["apiVersion"], "admission.k8s.io/v1");
    review["response"].clone()
}
