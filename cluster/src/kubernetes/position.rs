//! Where a watch stands, and what to ask for next. Pure.

use ringfence_policy::snapshot::Kind;
use std::time::Duration;

/// Waiting times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Wait before the first retry; doubles with every failure in a row.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// A connection that says nothing for this long is given up. The server sends a
    /// bookmark a minute, so this is what finds a peer that died without a word.
    pub silence: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(400),
            longest: Duration::from_secs(30),
            silence: Duration::from_secs(90),
        }
    }
}

impl Pace {
    /// The wait after the n-th failure in a row (from 1). `jitter` lies in 0..1 and takes
    /// up to half of it away, so that 5,000 nodes do not come back in step.
    pub(super) fn delay(&self, failures: u32, jitter: f64) -> Duration {
        let doubled = self
            .first
            .saturating_mul(1 << failures.saturating_sub(1).min(16));
        doubled.min(self.longest).mul_f64(1.0 - jitter / 2.0)
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The server closed the watch, as it does every few minutes, or was silent.
    Ended,
    /// 410: what we know is older than what the server remembers.
    Gone,
    /// The server knows no streaming lists.
    NoStreaming,
    /// Anything else, with the seconds that the server asks us to wait.
    Failed {
        /// `retryAfterSeconds`, or 0.
        retry_after: u32,
    },
}

/// What to ask the server for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// A watch that sends everything first (`sendInitialEvents`).
    StreamingList,
    /// A list in pages.
    PagedList,
    /// A watch from a version on.
    Watch(Box<str>),
}

/// The state of one kind's watch.
#[derive(Clone, Debug)]
pub(super) struct Position {
    /// The last version seen, once a list was complete.
    pub(super) version: Option<Box<str>>,
    streaming: bool,
    failures: u32,
}

impl Default for Position {
    fn default() -> Self {
        Self {
            version: None,
            streaming: true,
            failures: 0,
        }
    }
}

impl Position {
    /// The next request.
    pub(super) fn request(&self) -> Request {
        match &self.version {
            Some(version) => Request::Watch(version.clone()),
            None if self.streaming => Request::StreamingList,
            None => Request::PagedList,
        }
    }

    /// The server said something useful: failures are no longer in a row.
    pub(super) fn alive(&mut self) {
        self.failures = 0;
    }

    /// Takes in how a request ended; returns how long to wait before the next.
    pub(super) fn after(&mut self, outcome: Outcome, pace: &Pace, jitter: f64) -> Duration {
        let retry_after = match outcome {
            Outcome::NoStreaming => {
                self.streaming = false;
                return Duration::ZERO;
            }
            Outcome::Gone => {
                self.version = None;
                0
            }
            Outcome::Ended => 0,
            Outcome::Failed { retry_after } => retry_after,
        };
        self.failures = self.failures.saturating_add(1);
        // The first end after a sign of life is the ordinary one: resume at once.
        let prompt = !matches!(outcome, Outcome::Failed { .. }) && self.failures == 1;
        let delay = if prompt {
            Duration::ZERO
        } else {
            pace.delay(self.failures, jitter)
        };
        let asked = Duration::from_secs(retry_after.into()).mul_f64(1.0 + jitter / 2.0);
        delay.max(asked.min(pace.longest))
    }
}

/// The path of a kind's collection.
pub(super) fn path(kind: Kind) -> String {
    match group(kind) {
        "" => format!("/api/v1/{}", kind.plural()),
        group => format!("/apis/{group}/v1/{}", kind.plural()),
    }
}

/// The API group of a kind.
pub(super) fn group(kind: Kind) -> &'static str {
    match kind {
        Kind::NetworkPolicy => "networking.k8s.io",
        Kind::Pod | Kind::Namespace | Kind::Node | Kind::Service => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    const PACE: Pace = Pace {
        first: Duration::from_millis(400),
        longest: Duration::from_secs(30),
        silence: Duration::from_secs(90),
    };

    #[test_case(1, 0.0, 400; "first")]
    #[test_case(2, 0.0, 800; "doubles")]
    #[test_case(1, 1.0, 200; "jitter takes up to half")]
    #[test_case(60, 0.0, 30_000; "bounded")]
    fn delay(failures: u32, jitter: f64, millis: u64) {
        assert_eq!(PACE.delay(failures, jitter), Duration::from_millis(millis));
    }

    #[test]
    fn an_ordinary_end_resumes_at_once_but_a_server_that_only_hangs_up_is_not_hammered() {
        let mut position = Position {
            version: Some("7".into()),
            ..Position::default()
        };
        assert_eq!(position.after(Outcome::Ended, &PACE, 0.0), Duration::ZERO);
        assert_eq!(position.request(), Request::Watch("7".into()));
        assert_eq!(
            position.after(Outcome::Ended, &PACE, 0.0),
            Duration::from_millis(800)
        );
        position.alive();
        assert_eq!(position.after(Outcome::Ended, &PACE, 0.0), Duration::ZERO);
    }

    #[test]
    fn gone_lists_again_and_failed_keeps_the_version() {
        let mut position = Position {
            version: Some("7".into()),
            ..Position::default()
        };
        position.after(Outcome::Failed { retry_after: 0 }, &PACE, 0.0);
        assert_eq!(position.request(), Request::Watch("7".into()));
        position.after(Outcome::Gone, &PACE, 0.0);
        assert_eq!(position.request(), Request::StreamingList);
        position.after(Outcome::NoStreaming, &PACE, 0.0);
        assert_eq!(position.request(), Request::PagedList);
    }

    #[test]
    fn the_server_may_ask_for_patience_but_not_for_ever() {
        let mut position = Position::default();
        let wait = position.after(Outcome::Failed { retry_after: 7 }, &PACE, 0.0);
        assert_eq!(wait, Duration::from_secs(7));
        let wait = position.after(
            Outcome::Failed {
                retry_after: 86_400,
            },
            &PACE,
            0.0,
        );
        assert_eq!(wait, PACE.longest);
    }
}
