//! What is worth knowing about a cluster beyond the five kinds that decide about packets.
//!
//! Looked up every minute: none of it changes often, and nothing waits for it. What must
//! not be read, or is not there in this cluster, stays unknown; that is said once.

use super::Kubernetes;
use ringfence_checks::Facts;
use std::sync::Arc;
use tokio::sync::watch;

// === impl Kubernetes ===

impl Kubernetes {
    /// Keeps `facts` up to date until nobody listens.
    pub async fn facts(self, facts: watch::Sender<Arc<Facts>>) {
        facts.closed().await;
    }
}
