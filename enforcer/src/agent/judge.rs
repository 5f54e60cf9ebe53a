//! When the engine judges the flows that exist, and when it says that all is applied.

use super::clock;
use super::driver::Driver;
use super::engine::Engine;
use super::flows::{self, Due, Pass};
use crate::metrics::Phase;
use crate::system;
use std::time::{Duration, Instant};

/// How long no pass is made after one that took `took`: a tenth of the time is for passes.
/// With a hundred thousand flows a tenth would hold everything back for seconds, so that
/// they then take more. A dump walks the kernel's whole table even when it is empty (6 ms
/// at its usual size), so that while one change follows the other (`busy`) passes are as
/// rare as they may be.
fn rest(took: Duration, busy: bool) -> Duration {
    if busy {
        return LONGEST_REST;
    }
    (9 * took).min(LONGEST_REST)
}

/// What is denied goes on, and nothing is called applied, for this long at most.
const LONGEST_REST: Duration = Duration::from_millis(300);

impl Engine {
    pub(super) fn flows_wait(&self) -> bool {
        let in_step = self.driver.as_ref().is_some_and(Driver::in_step);
        self.compiled && in_step && self.retry.is_none() && self.due != Due::Nothing
    }

    /// Cuts what is denied now, then everything received so far is applied.
    pub(super) fn judge_flows(&mut self, now: Instant) {
        if self.settings.keep_established {
            self.due = Due::Nothing;
        }
        if self.due == Due::Nothing {
            return self.applied();
        }
        if now < self.flows_from || !self.flows_wait() {
            return;
        }
        let mut due = std::mem::take(&mut self.due);
        let mut look = self.look_again.take();
        let busy = look.is_some();
        if let Some((_, before)) = look.take_if(|(at, _)| *at <= now) {
            // The second look at what came before is part of this pass.
            due = due.and(before);
        }
        let start = Instant::now();
        if let Err(error) = self.pass(&due) {
            self.due = due;
            self.look_again = look;
            self.flows_from = now + self.backoff.failed();
            self.metrics.failed(error.kind());
            tracing::warn!(%error, "cannot judge the flows that exist; trying again");
            return;
        }
        let took = start.elapsed();
        self.flows_from = now + took + rest(took, busy);
        if due == Due::Cut {
            self.look_again = look;
        } else {
            // Entries that were confirmed during the dump may not have been in it. Under
            // load one look is for all passes before it; it is the next pass, if one is due.
            let (at, before) = look.unwrap_or((now + took + clock::LOOK_AGAIN, Due::Nothing));
            self.look_again = Some((at.max(self.flows_from), before.and(due)));
        }
        self.applied();
    }

    fn pass(&mut self, due: &Due) -> Result<flows::Outcome, system::Error> {
        let program = self.compiler.program();
        let Some(driver) = &self.driver else {
            return Ok(flows::Outcome::default());
        };
        let pass = Pass {
            snapshot: self.store.snapshot(),
            settings: self.settings.verdicts,
            structure: &program.structure,
            mark: driver.options().mark,
        };
        let kernel = &**driver.kernel();
        let outcome = self
            .metrics
            .time(Phase::Conntrack, || pass.run(kernel, due))?;
        if let Some(mark) = self.stale_mark {
            flows::clear_mark(kernel, mark)?;
            self.stale_mark = None;
        }
        self.marked = outcome.marked;
        self.metrics.flows(outcome.cut, outcome.restored);
        if outcome.cut + outcome.restored > 0 {
            tracing::info!(
                cut = outcome.cut,
                restored = outcome.restored,
                "judged existing flows"
            );
        }
        Ok(outcome)
    }

    /// The second look; its dump can miss entries only when it was interrupted.
    pub(super) fn look_again(&mut self, now: Instant) {
        let Some((_, due)) = self.look_again.take() else {
            return;
        };
        match self.pass(&due) {
            Ok(outcome) if outcome.interrupted => {
                self.look_again = Some((now + clock::LOOK_AGAIN, due));
            }
            Ok(_) => {}
            Err(error) => {
                self.metrics.failed(error.kind());
                tracing::warn!(%error, "cannot look at the flows again");
                self.look_again = Some((now + clock::CANARY, due));
            }
        }
    }

    fn applied(&mut self) {
        // While a list is under way, what was received is not compiled.
        if self.pending.is_empty() && self.store.is_settled() && self.retry.is_none() {
            self.metrics
                .programmed
                .applied_generation
                .set(gauge(self.handled));
            self.status.applied();
        }
    }
}

/// A count as a gauge's value.
pub(super) fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case(1, false, 9; "few flows")]
    #[test_case(20, false, 180; "twenty thousand")]
    #[test_case(130, false, 300; "a hundred thousand")]
    #[test_case(2_000, false, 300; "no table holds a change back for long")]
    #[test_case(1, true, 300; "one change after the other")]
    fn passes_rest(took: u64, busy: bool, rests: u64) {
        let rests = Duration::from_millis(rests);
        assert_eq!(rest(Duration::from_millis(took), busy), rests);
    }
}
