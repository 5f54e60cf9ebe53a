//! From the bytes of a request to the bytes of its answer: reads what is known now, asks
//! [`admit`], counts and logs. Synchronous, and asks nobody else.

use crate::admit::{Decision, Hook, Judged, Skip, admit};
use crate::answer;
use crate::metrics::{Metrics, Outcome};
use crate::probe;
use crate::review::{self, NoReview, Request};
use jiff::Timestamp;
use ringfence_checks::{Config, Facts, Index, Level, Occasion, World};
use ringfence_isolation::judge::{Around, Fences};
use std::sync::Arc;
use std::time::Instant;
use thiserror::Error;
use tokio::sync::watch;

/// What is known at a time; others put newer values in.
#[derive(Clone, Debug)]
pub struct Known {
    /// The cluster's objects; `None`: unknown.
    pub index: watch::Receiver<Option<Arc<Index>>>,
    /// What else is known of it.
    pub facts: watch::Receiver<Arc<Facts>>,
    /// The owner's choices.
    pub config: watch::Receiver<Arc<Config>>,
    /// Which namespaces are isolated; `None`: unknown.
    pub fences: watch::Receiver<Option<Arc<Fences>>>,
}

/// From the body of a request to that of its answer, behind everything that a server does.
pub trait Answers: Clone + Send + Sync + 'static {
    /// The answer to the body of a request.
    ///
    /// # Errors
    /// A body that cannot be answered in band.
    fn answer(&self, hook: Hook, body: &[u8]) -> Result<Vec<u8>, NoAnswer>;

    /// What is counted.
    fn metrics(&self) -> &Metrics;
}

/// Answers requests by what is known.
#[derive(Clone, Debug)]
pub struct Service {
    /// What is known.
    pub known: Known,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum NoAnswer {
    /// There is no uid to echo.
    #[error(transparent)]
    NoReview(#[from] NoReview),
    /// The answer is no JSON: a defect.
    #[error("the answer cannot be written: {0}")]
    Render(#[from] serde_json::Error),
}

// === impl Service ===

impl Answers for Service {
    fn answer(&self, hook: Hook, body: &[u8]) -> Result<Vec<u8>, NoAnswer> {
        let started = Instant::now();
        let request = review::parse(body)?;
        let decision = self.decide(hook, &request);
        tell(&self.metrics, hook, &request, &decision, started);
        Ok(answer::render(&request.uid, &decision)?)
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

impl Service {
    fn decide(&self, hook: Hook, request: &Request) -> Decision {
        let index = self.known.index.borrow().clone();
        let facts = Arc::clone(&self.known.facts.borrow());
        let config = Arc::clone(&self.known.config.borrow());
        let fences = self.known.fences.borrow().clone();
        let world = World {
            index: index.as_deref(),
            facts: &facts,
            config: &config,
            now: Timestamp::now(),
            occasion: Occasion::Create,
        };
        let around = Around {
            world: &world,
            fences: fences.as_deref(),
        };
        Decision {
            probe: probe::answer(hook, request),
            ..admit(hook, request, &around)
        }
    }
}

/// Counts and logs an answer to a request that came at `started`.
pub fn tell(
    metrics: &Metrics,
    hook: Hook,
    request: &Request,
    decision: &Decision,
    started: Instant,
) {
    let outcome = outcome(decision);
    metrics.answered(hook, Judged::of(request), outcome);
    metrics.found(&decision.findings);
    if outcome == Outcome::Patched {
        metrics.injections.inc();
    }
    if let Some(why) = &decision.withheld {
        metrics.patches_withheld.inc();
        tracing::error!(
            uid = &*request.uid,
            why,
            "a patch would do harm and is not sent"
        );
    }
    let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    tracing::info!(
        uid = &*request.uid,
        hook = hook.as_str(),
        operation = request.operation.as_str(),
        kind = &*request.kind.kind,
        namespace = &*request.namespace,
        name = &*request.name,
        user = &*request.user_info.username,
        dry_run = request.dry_run == Some(true),
        outcome = outcome.label(),
        denied = checks(decision, Level::Deny),
        warned = checks(decision, Level::Warn),
        unknown = decision.unknown.len(),
        micros,
        "admission"
    );
}

/// The ids of what was found at one level.
fn checks(decision: &Decision, level: Level) -> String {
    let mut ids: Vec<&str> = decision.of(level).map(|f| f.check).collect();
    ids.dedup();
    ids.join(",")
}

fn outcome(decision: &Decision) -> Outcome {
    match decision.skipped {
        Some(Skip::Exempt) => return Outcome::Exempt,
        Some(Skip::Kind | Skip::Operation) => return Outcome::Skipped,
        None => {}
    }
    if decision.refusal.is_some() {
        Outcome::Invalid
    } else if !decision.is_allowed() {
        Outcome::Denied
    } else if !decision.patch.is_empty() {
        Outcome::Patched
    } else if decision.notes.is_empty()
        && decision.unknown.is_empty()
        && decision.of(Level::Warn).next().is_none()
    {
        Outcome::Allowed
    } else {
        Outcome::Warned
    }
}
