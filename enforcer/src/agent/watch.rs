//! What the engine does by the clock: canary, read-back, flows that wait, saving.

use super::clock;
use super::engine::Engine;
use super::entries::Held;
use super::error::DriveError;
use super::flows::Due;
use crate::metrics::Drift;
use ringfence_policy::compile::Update;
use std::sync::Arc;
use std::time::Instant;

impl Engine {
    /// Does what is due.
    pub(super) fn by_the_clock(&mut self, now: Instant) {
        if self.flows_wait() && self.flows_from <= now {
            self.judge_flows(now);
        }
        if self.look_again.as_ref().is_some_and(|(at, _)| *at <= now) {
            self.look_again(now);
        }
        let idle = self.retry.is_none() && self.compiled;
        if now >= self.canary {
            self.canary = now + clock::jittered(clock::CANARY, 0.1);
            if idle && let Err(error) = self.canary(now) {
                self.lost_sight(&error, now);
            }
        }
        if now >= self.resync {
            self.resync = now + clock::jittered(self.settings.sync_period, 0.1);
            self.check_rivals();
            if idle && let Err(error) = self.resync(now) {
                self.lost_sight(&error, now);
            }
        }
        if idle && self.keeper.due().is_some_and(|at| at <= now) {
            self.save();
        }
    }

    fn canary(&mut self, now: Instant) -> Result<(), DriveError> {
        self.check_bridges();
        let program = self.compiler.program();
        let Some(driver) = self.driver.as_mut() else {
            return Ok(());
        };
        match driver.entries_hold()? {
            Held::InPlace => {}
            Held::Gone => {
                self.metrics.drifted(Drift::EntryRule);
                tracing::warn!("someone removed rules that lead packets to ours; repairing");
                return self.resync(now);
            }
            Held::Moved => {
                self.metrics.drifted(Drift::FirstPlace);
                if self.contest.repair(now) {
                    let seconds = self.contest.wait().map_or(0, |wait| wait.as_secs());
                    tracing::warn!(
                        not_again_for_s = seconds,
                        "another program puts a rule before ours; ours goes first again"
                    );
                    return self.resync(now);
                }
            }
        }
        let pods = program.structure.endpoints.keys().copied().collect();
        if driver.rebind(&pods)? {
            let update = Update {
                structure: Arc::clone(&program.structure),
                ..Update::default()
            };
            driver.bring(program, &update)?;
        }
        Ok(())
    }

    fn resync(&mut self, now: Instant) -> Result<(), DriveError> {
        self.check_datapath();
        let program = self.compiler.program();
        let Some(driver) = self.driver.as_mut() else {
            return Ok(());
        };
        for what in driver.resync(program)? {
            self.metrics.drifted(what);
            tracing::warn!(
                ?what,
                "someone changed what we had programmed; it is repaired"
            );
            // Flows may have slipped in meanwhile.
            self.due = Due::All;
        }
        self.reporter.broken(driver.broken(), &program.structure);
        self.leave_other_flavour();
        self.count();
        self.judge_flows(now);
        Ok(())
    }

    pub(super) fn save(&mut self) {
        if let Some(driver) = self.driver.as_ref().filter(|driver| driver.in_step()) {
            let ranges = self.ranges.clone().unwrap_or_default();
            self.keeper.write(self.compiler.program(), driver, ranges);
        }
    }

    /// What the kernel holds could not be seen: the retry reads all of it back.
    fn lost_sight(&mut self, error: &DriveError, now: Instant) {
        if let Some(driver) = self.driver.as_mut() {
            driver.distrust();
        }
        self.failed(error, now);
    }
}
