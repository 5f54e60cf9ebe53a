//! The HTTP side: is it alive, is it ready and why not, what has it counted.

use crate::hooks::Hook;
use crate::metrics::Metrics;
use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;

/// What can stand in the way of readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Concern {
    /// The Lease cannot be used.
    Lease,
    /// The Secret cannot be seen.
    WatchSecret,
    /// A configuration cannot be seen.
    WatchConfiguration(Hook),
    /// The Secret cannot be written.
    Secret,
    /// A configuration does not exist, or cannot be written.
    Configurations,
}

/// Why the controller is not ready: a sentence for each concern.
#[derive(Debug)]
pub struct Status(Mutex<BTreeMap<Concern, String>>);

/// What the handlers need.
#[derive(Clone, Debug)]
pub struct Health {
    /// Readiness.
    pub status: Arc<Status>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

// === impl Concern ===

impl Concern {
    fn label(self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::WatchSecret => "watching the Secret",
            Self::WatchConfiguration(Hook::Mutate) => "watching the mutating configuration",
            Self::WatchConfiguration(Hook::Validate) => "watching the validating configuration",
            Self::Secret => "secret",
            Self::Configurations => "configurations",
        }
    }
}

// === impl Status ===

impl Default for Status {
    fn default() -> Self {
        let waiting = (Concern::Lease, "was not read yet".to_owned());
        Self(Mutex::new(BTreeMap::from([waiting])))
    }
}

impl Status {
    /// Sets or clears a concern.
    pub fn set(&self, concern: Concern, problem: Option<String>) {
        match problem {
            Some(problem) => self.lock().insert(concern, problem),
            None => self.lock().remove(&concern),
        };
    }

    /// Clears everything but the Lease: what stood in the way of a leader does not concern
    /// a follower.
    pub fn follow(&self) {
        self.lock().retain(|concern, _| *concern == Concern::Lease);
    }

    /// A line for each reason; `None` when ready.
    pub fn unready(&self) -> Option<String> {
        let concerns = self.lock();
        let lines = concerns
            .iter()
            .map(|(c, problem)| format!("{}: {problem}\n", c.label()));
        Some(lines.collect::<String>()).filter(|text| !text.is_empty())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Concern, String>> {
        // Nothing is left half done while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens on `address` and serves `/livez`, `/readyz` and `/metrics` in a task of its
/// own, which ends with the runtime. HTTP/1 only.
///
/// # Errors
/// The address is taken, or not ours.
pub async fn serve(address: SocketAddr, health: Health) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}: choose another --health-port or --bind-address")
    })?;
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router(health)).await {
            tracing::error!(%error, %address, "the health server ended");
        }
    });
    Ok(())
}

fn router(health: Health) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health)
}

/// A replica that waits for the Lease is ready: it takes over when it has to.
async fn readyz(State(health): State<Health>) -> Response {
    match health.status.unready() {
        None => "ok\n".into_response(),
        Some(reasons) => (StatusCode::SERVICE_UNAVAILABLE, reasons).into_response(),
    }
}

async fn metrics(State(health): State<Health>) -> Response {
    const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match health.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_told() {
        let status = Status::default();
        assert_eq!(
            status.unready().as_deref(),
            Some("lease: was not read yet\n")
        );
        status.set(Concern::Secret, Some("forbidden".into()));
        status.set(Concern::Lease, None);
        assert_eq!(status.unready().as_deref(), Some("secret: forbidden\n"));
        status.follow();
        assert_eq!(status.unready(), None);
    }
}
