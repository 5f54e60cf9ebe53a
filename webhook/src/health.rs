//! `/livez`, `/readyz`, `/generation` and `/metrics`, on a port of their own and without TLS.

use crate::metrics::Metrics;
use crate::status::Status;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;

/// What the handlers need.
#[derive(Clone, Debug)]
pub struct Health {
    /// Readiness.
    pub status: Arc<Status>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

// === impl Health ===

impl Health {
    /// The four paths.
    pub fn router(self) -> Router {
        Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/generation", get(generation))
            .route("/metrics", get(metrics))
            .with_state(self)
    }
}

async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(health): State<Health>) -> Response {
    let (ready, text) = health.status.readiness();
    let code = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, text).into_response()
}

async fn generation(State(health): State<Health>) -> Response {
    match health.status.progress() {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn metrics(State(health): State<Health>) -> Response {
    const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let (ready, _) = health.status.readiness();
    health.metrics.ready.set(i64::from(ready));
    match health.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
