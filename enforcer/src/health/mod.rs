//! The HTTP side: is it alive, is it ready and why not, what has it programmed.

mod status;

pub use status::{Concern, Position, Status};

use crate::metrics::Metrics;
use anyhow::Context;
use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// How long `/program` waits for the agent, which may be at work.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(5);

/// A question to the agent's thread: what is programmed now?
pub type Question = oneshot::Sender<String>;

/// What the handlers need.
#[derive(Clone, Debug)]
pub struct Health {
    /// Readiness and progress.
    pub status: Arc<Status>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where to ask for the program's text.
    pub questions: mpsc::Sender<Question>,
}

// === impl Health ===

impl Health {
    /// `/livez`, `/healthz`, `/readyz`, `/generation`, `/program`, and with `metrics` also
    /// `/metrics`.
    pub fn router(self, metrics: bool) -> Router {
        let router = Router::new()
            .route("/livez", get(livez))
            // kube-router's name.
            .route("/healthz", get(livez))
            .route("/readyz", get(readyz))
            .route("/generation", get(generation))
            .route("/program", get(program));
        let router = if metrics {
            router.route("/metrics", get(render_metrics))
        } else {
            router
        };
        router.with_state(self)
    }

    /// `/metrics` alone.
    pub fn metrics_router(self) -> Router {
        Router::new()
            .route("/metrics", get(render_metrics))
            .with_state(self)
    }
}

/// Listens on `address` and serves `router` in a task of its own, which ends with the
/// runtime. HTTP/1 only.
///
/// # Errors
/// The address is taken, or not ours; `flag` is named.
pub async fn serve(address: SocketAddr, flag: &'static str, router: Router) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}: choose another {flag} or --bind-address, or 0 to turn it off")
    })?;
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, service).await {
            tracing::error!(%error, %address, "the health server ended");
        }
    });
    Ok(())
}

async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(health): State<Health>) -> Response {
    match health.status.unready() {
        None => "ok\n".into_response(),
        Some(reasons) => (StatusCode::SERVICE_UNAVAILABLE, reasons).into_response(),
    }
}

async fn generation(State(health): State<Health>) -> Response {
    match health.status.progress() {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn render_metrics(State(health): State<Health>) -> Response {
    const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    health
        .metrics
        .programmed
        .ready
        .set(i64::from(health.status.unready().is_none()));
    match health.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Names every policy and address of the node: not for everyone who can reach it.
async fn program(
    State(health): State<Health>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
) -> Response {
    if !client.ip().to_canonical().is_loopback() {
        let text = "only for clients on this node: use kubectl port-forward or kubectl exec\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    let (question, answer) = oneshot::channel();
    let asked = async {
        health.questions.send(question).await.ok()?;
        answer.await.ok()
    };
    if let Ok(Some(text)) = tokio::time::timeout(DESCRIBE_TIMEOUT, asked).await {
        return text.into_response();
    }
    let text = "the agent is busy with the kernel; ask again\n";
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}
