//! When what is due: pure, on instants that are passed in.

use std::time::{Duration, Instant};

/// Under load, batches are this far apart: one exec a batch and not one an event.
pub const BATCH: Duration = Duration::from_millis(40);
/// Between two canary reads.
pub const CANARY: Duration = Duration::from_millis(1500);
/// After a change of rules, until it is on disk.
pub const SAVE_RULES: Duration = Duration::from_secs(1);
/// After a change of set members alone.
pub const SAVE_MEMBERS: Duration = Duration::from_secs(10);
/// After a pass over the flows, until entries confirmed meanwhile are looked for.
pub const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Repairs in a row that do not wait.
const QUICK_REPAIRS: u32 = 5;
/// After this long without a repair, the next is the first again.
const FORGOTTEN: Duration = Duration::from_mins(1);
const FIRST_CONTEST: Duration = Duration::from_secs(10);
const LAST_CONTEST: Duration = Duration::from_mins(5);
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Waiting times between failed attempts: doubled each time, up to half a minute.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    next: Duration,
}

// === impl Backoff ===

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST_RETRY }
    }
}

impl Backoff {
    /// How long to wait now.
    pub fn failed(&mut self) -> Duration {
        let wait = jittered(self.next, 0.2);
        self.next = (self.next * 2).min(LAST_RETRY);
        wait
    }

    /// It worked.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }
}

/// Repairs of what another program undoes each time: a few at once (kube-proxy puts its
/// rules first whenever it starts or syncs from scratch, and nobody is to wait for that),
/// then ever further apart, so that two programs that both insist do not keep each other
/// busy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Contest {
    /// The last repair, and how long the next has to wait after it.
    last: Option<(Instant, Duration)>,
    /// Repairs that did not wait.
    quick: u32,
}

// === impl Contest ===

impl Contest {
    /// Whether a repair may be made now; then it is taken to be made.
    pub fn repair(&mut self, now: Instant) -> bool {
        let wait = match self.last {
            Some((at, wait)) if now < at + wait => return false,
            // Undone soon after it was allowed again: the other side is still at it.
            Some((at, wait)) if now < at + FORGOTTEN.max(2 * wait) => 2 * wait,
            _ => {
                self.quick = 0;
                Duration::ZERO
            }
        };
        self.quick += 1;
        let wait = if self.quick <= QUICK_REPAIRS {
            Duration::ZERO
        } else {
            wait.clamp(FIRST_CONTEST, LAST_CONTEST)
        };
        self.last = Some((now, wait));
        true
    }

    /// How long the next repair has to wait.
    pub fn wait(&self) -> Option<Duration> {
        self.last.map(|(_, wait)| wait)
    }
}

/// `mean`, more or less: a thousand nodes do not do it at once.
pub fn jittered(mean: Duration, share: f64) -> Duration {
    mean.mul_f64(1.0 + share * (2.0 * fastrand::f64() - 1.0))
}

/// When a batch that begins `now` is to be carried out: at once when idle, else in step
/// with the batch before.
pub fn batch_at(now: Instant, last: Option<Instant>) -> Instant {
    last.map_or(now, |last| now.max(last + BATCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_events_do_not_wait() {
        let now = Instant::now();
        assert_eq!(batch_at(now, None), now);
        assert_eq!(batch_at(now + 2 * BATCH, Some(now)), now + 2 * BATCH);
    }

    #[test]
    fn events_under_load_share_a_batch() {
        let now = Instant::now();
        let soon = now + Duration::from_millis(10);
        assert_eq!(batch_at(soon, Some(now)), now + BATCH);
    }

    #[test]
    fn a_contest_slows_down_and_is_forgotten() {
        let (mut contest, mut now) = (Contest::default(), Instant::now());
        let mut repairs = 0;
        for _ in 0..1200 {
            repairs += u32::from(contest.repair(now));
            now += CANARY;
        }
        assert!((12..20).contains(&repairs), "{repairs} in half an hour");
        now += 2 * LAST_CONTEST;
        assert!(contest.repair(now));
        assert_eq!(contest.wait(), Some(Duration::ZERO));
    }

    #[test]
    fn a_program_that_restarts_a_few_times_is_repaired_at_once() {
        let (mut contest, now) = (Contest::default(), Instant::now());
        let repairs: Vec<bool> = (0..6).map(|n| contest.repair(now + n * CANARY)).collect();
        assert_eq!(repairs, [true, true, true, true, true, true]);
        assert!(!contest.repair(now + 6 * CANARY));
        assert!(contest.repair(now + 5 * CANARY + FIRST_CONTEST));
    }

    #[test]
    fn retries_slow_down_and_start_over() {
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = (0..20).map(|_| backoff.failed()).collect();
        assert!(waits[0] <= Duration::from_millis(240), "{waits:?}");
        assert!(waits[19] >= Duration::from_secs(24) && waits[19] <= Duration::from_secs(36));
        backoff.succeeded();
        assert!(backoff.failed() <= Duration::from_millis(240));
    }
}
