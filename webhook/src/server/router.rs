//! The two paths of the webhook: HTTP in, whoever [`Answers`] behind.

use super::body::{Bodies, NoBody, Received, SMALL_BODY};
use crate::admit::{Decision, Hook};
use crate::answer;
use crate::metrics::{Metrics, Refused};
use crate::review::uid_of_beginning;
use crate::service::{Answers, NoAnswer};
use crate::status::{Concern, Status};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// A body above this size has the heavy lane for itself.
const HUGE_BODY: usize = 1 << 20;
/// The heavy lane: so many bodies that are not small are judged at a time.
pub(super) const HEAVY: u32 = 2;
/// A body has to arrive within this time once there is room for it.
const BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// What the handlers need.
#[derive(Clone, Debug)]
pub struct Gate<A> {
    service: A,
    status: Arc<Status>,
    bodies: Bodies,
    heavy: Arc<Semaphore>,
}

/// The webhook's paths.
pub fn router<A: Answers>(service: A, status: Arc<Status>) -> Router {
    let gate = Gate {
        service,
        status,
        bodies: Bodies::default(),
        heavy: Arc::new(Semaphore::new(HEAVY as usize)),
    };
    Router::new()
        .route("/mutate", post(mutate::<A>))
        .route("/validate", post(validate::<A>))
        .with_state(gate)
}

async fn mutate<A: Answers>(State(gate): State<Gate<A>>, request: Request) -> Response {
    gate.handle(Hook::Mutate, request).await
}

async fn validate<A: Answers>(State(gate): State<Gate<A>>, request: Request) -> Response {
    gate.handle(Hook::Validate, request).await
}

/// The API server's `timeoutSeconds` is 2 for `/mutate` and 3 for `/validate`; the answer
/// has to be there before.
fn deadline(hook: Hook) -> Duration {
    match hook {
        Hook::Mutate => Duration::from_millis(1700),
        Hook::Validate => Duration::from_millis(2700),
    }
}

// === impl Gate ===

impl<A: Answers> Gate<A> {
    async fn handle(&self, hook: Hook, request: Request) -> Response {
        let started = Instant::now();
        let mut response = self.respond(hook, request, started).await;
        if self.status.has(Concern::Draining) {
            close(&mut response);
        }
        self.metrics().took(hook, started.elapsed());
        response
    }

    async fn respond(&self, hook: Hook, request: Request, started: Instant) -> Response {
        let left = || deadline(hook).saturating_sub(started.elapsed());
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|l| l.to_str().ok()?.parse().ok());
        let body = request.into_body();
        let patience = left().min(BODY_TIMEOUT);
        let received = self
            .bodies
            .receive(body, length, left() / 2, patience)
            .await;
        let Received { bytes, share } = match received {
            Ok(received) => received,
            Err(no_body) => return self.no_body(hook, &no_body),
        };
        // A small body needs no lane.
        let lanes = if bytes.len() > HUGE_BODY {
            HEAVY
        } else {
            u32::from(bytes.len() > SMALL_BODY)
        };
        let lane = Arc::clone(&self.heavy).acquire_many_owned(lanes);
        let Ok(Ok(lane)) = timeout(left(), lane).await else {
            return self.overloaded(hook, &bytes);
        };
        let uid = uid_of_beginning(&bytes).map(str::to_owned);
        let service = self.service.clone();
        // Apart from TLS and HTTP: on a thread that judges one after the other, each finds
        // in the processor's caches what the one before it needed.
        let work = tokio::task::spawn_blocking(move || {
            let answer = service.answer(hook, &bytes);
            drop((bytes, share, lane));
            answer
        });
        match (timeout(left(), work).await, uid) {
            (Ok(Ok(answer)), _) => self.finish(hook, answer),
            // The work goes on and keeps its lane, so that no more is started beside it.
            (Err(_), Some(uid)) => self.overrun(&uid),
            (Err(_), None) => self.text(
                Refused::Overrun,
                StatusCode::GATEWAY_TIMEOUT,
                "not judged in time",
            ),
            (Ok(Err(panic)), _) => {
                tracing::error!(%panic, "judging ended early");
                (StatusCode::INTERNAL_SERVER_ERROR, "a defect; see the log\n").into_response()
            }
        }
    }

    fn finish(&self, hook: Hook, answer: Result<Vec<u8>, NoAnswer>) -> Response {
        match answer {
            Ok(json) => in_band(json),
            Err(NoAnswer::NoReview(error)) => {
                tracing::warn!(hook = hook.as_str(), %error, "a body is no AdmissionReview");
                self.text(
                    Refused::NoReview,
                    StatusCode::BAD_REQUEST,
                    &error.to_string(),
                )
            }
            Err(error @ NoAnswer::Render(_)) => {
                tracing::error!(%error, "no answer");
                (StatusCode::INTERNAL_SERVER_ERROR, "a defect; see the log\n").into_response()
            }
        }
    }

    fn no_body(&self, hook: Hook, no_body: &NoBody) -> Response {
        match no_body {
            NoBody::TooLarge => {
                let text = format!("at most {} MiB are read", super::body::LARGEST_BODY >> 20);
                tracing::warn!(hook = hook.as_str(), "a body is too large");
                let mut response =
                    self.text(Refused::TooLarge, StatusCode::PAYLOAD_TOO_LARGE, &text);
                // The rest of the body stands before the next request.
                close(&mut response);
                response
            }
            NoBody::Overloaded(beginning) => {
                let mut response = self.overloaded(hook, beginning);
                close(&mut response);
                response
            }
            NoBody::Slow => {
                let text = "the body did not arrive in time";
                let mut response = self.text(Refused::Slow, StatusCode::REQUEST_TIMEOUT, text);
                close(&mut response);
                response
            }
            NoBody::Broken => self.text(
                Refused::Broken,
                StatusCode::BAD_REQUEST,
                "the body was cut off",
            ),
        }
    }

    /// `/mutate` can be skipped; `/validate` says no in words that the author sees. Never
    /// with `Retry-After`, which the API server obeys ten times.
    fn overloaded(&self, hook: Hook, bytes: &[u8]) -> Response {
        let uid = uid_of_beginning(bytes);
        tracing::warn!(hook = hook.as_str(), uid, "overloaded");
        if let (Hook::Validate, Some(uid)) = (hook, uid)
            && let Ok(json) = answer::overloaded(uid)
        {
            self.metrics().refused(Refused::Overloaded);
            return in_band(json);
        }
        let text = "too much to do; try again";
        self.text(Refused::Overloaded, StatusCode::TOO_MANY_REQUESTS, text)
    }

    /// The result is not known in time: that warns and never denies.
    fn overrun(&self, uid: &str) -> Response {
        tracing::warn!(uid, "judging takes longer than the API server waits");
        self.metrics().refused(Refused::Overrun);
        let decision = Decision::unjudged(
            "not judged by Ringfence: it takes longer than the API server waits; split the object",
        );
        match answer::render(uid, &decision) {
            Ok(json) => in_band(json),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    }

    fn text(&self, reason: Refused, code: StatusCode, text: &str) -> Response {
        self.metrics().refused(reason);
        (code, format!("{text}\n")).into_response()
    }

    fn metrics(&self) -> &Metrics {
        self.service.metrics()
    }
}

fn in_band(json: Vec<u8>) -> Response {
    let json_type = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json_type)], Body::from(json)).into_response()
}

fn close(response: &mut Response) {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
}
