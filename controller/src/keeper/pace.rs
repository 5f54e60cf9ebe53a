//! Not too often: pure, on instants that are passed in.

use std::time::Duration;
use tokio::time::Instant;

/// Waiting times between failed attempts: doubled each time.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    next: Duration,
}

/// Repairs of what another program undoes each time: the first at once, then ever further
/// apart, so that two programs that both insist do not keep the API server busy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Contest {
    /// The last repair, and how long the next has to wait after it.
    last: Option<(Instant, Duration)>,
}

const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(30);
const LAST_CONTEST: Duration = Duration::from_mins(1);

// === impl Retry ===

impl Default for Retry {
    fn default() -> Self {
        Self { next: FIRST_RETRY }
    }
}

impl Retry {
    /// How long to wait now.
    pub fn failed(&mut self) -> Duration {
        let wait = self.next;
        self.next = (self.next * 2).min(LAST_RETRY);
        wait
    }

    /// How long to wait, without another failure.
    pub fn pause(self) -> Duration {
        if self.next == FIRST_RETRY {
            Duration::ZERO
        } else {
            self.next / 2
        }
    }

    /// It worked.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }
}

// === impl Contest ===

impl Contest {
    /// Whether a repair may be made now; then it is taken to be made. Otherwise, how long
    /// until it may.
    pub fn repair(&mut self, now: Instant) -> Result<(), Duration> {
        let wait = match self.last {
            Some((at, wait)) if now < at + wait => return Err(at + wait - now),
            // Undone soon after: somebody insists. The first few are an ordinary
            // rollout, which may write several times.
            Some((at, wait)) if now < at + 2 * wait + Duration::from_secs(1) => {
                (2 * wait).clamp(Duration::from_millis(50), LAST_CONTEST)
            }
            _ => Duration::ZERO,
        };
        self.last = Some((now, wait));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_contest_slows_down_and_is_forgotten() {
        let (mut contest, mut now) = (Contest::default(), Instant::now());
        assert_eq!(contest.repair(now), Ok(()), "at once");
        let mut repairs = 0;
        // Undone every 10 ms for ten minutes.
        for _ in 0..60_000 {
            now += Duration::from_millis(10);
            repairs += u32::from(contest.repair(now).is_ok());
        }
        assert!((12..40).contains(&repairs), "{repairs} in ten minutes");
        now += Duration::from_mins(5);
        assert_eq!(contest.repair(now), Ok(()), "peace is forgotten");
        assert_eq!(
            contest.repair(now + Duration::from_millis(5)),
            Ok(()),
            "and again at once"
        );
    }

    #[test]
    fn retries_slow_down_and_start_over() {
        let mut retry = Retry::default();
        assert_eq!(retry.pause(), Duration::ZERO);
        let waits: Vec<Duration> = (0..10).map(|_| retry.failed()).collect();
        assert_eq!(waits[0], FIRST_RETRY);
        assert_eq!(waits[1], 2 * FIRST_RETRY);
        assert_eq!(waits[9], LAST_RETRY);
        assert!(retry.pause() >= LAST_RETRY / 2);
        retry.succeeded();
        assert_eq!(retry.failed(), FIRST_RETRY);
    }
}
