//! The last program: restored before anything else, kept on disk after changes.

use super::clock::{SAVE_MEMBERS, SAVE_RULES};
use super::driver::Driver;
use super::error::DriveError;
use crate::dataplane::{Options, render_full};
use crate::metrics::{Metrics, Trouble};
use crate::plan::{Step, cleanup};
use crate::state::{Saved, StateDir, StateError};
use crate::system::Kernel;
use ipnet::IpNet;
use ringfence_policy::Program;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

/// Keeps the program on disk.
#[derive(Debug)]
pub struct Keeper {
    folder: StateDir,
    metrics: Arc<Metrics>,
    due: Option<Instant>,
    writing: Option<JoinHandle<Result<(), StateError>>>,
}

// === impl Keeper ===

impl Keeper {
    /// A keeper that has nothing to write yet.
    pub fn new(folder: StateDir, metrics: Arc<Metrics>) -> Self {
        Self {
            folder,
            metrics,
            due: None,
            writing: None,
        }
    }

    /// Reads what was kept; a damaged file is named in the log and ignored.
    pub fn load(&self) -> Option<Saved> {
        self.folder.load().unwrap_or_else(|error| {
            self.metrics.failed(Trouble::State.label());
            tracing::warn!(%error, "there is no saved program to restore");
            None
        })
    }

    /// The program has changed: its rules, or only members of its sets.
    pub fn changed(&mut self, rules: bool, now: Instant) {
        let at = now + if rules { SAVE_RULES } else { SAVE_MEMBERS };
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// When something is to be written.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Renders `program` and writes it in a thread of its own: a slow disk holds up
    /// nothing else.
    pub fn write(&mut self, program: &Program, driver: &Driver, ranges: Vec<IpNet>) {
        self.due = None;
        // At most one at a time; the time between two is long.
        self.finish();
        let saved = Saved {
            mark: driver.options().mark,
            ranges,
            rendered: render_full(program, driver.options()),
        };
        let folder = self.folder.clone();
        let spawned = std::thread::Builder::new()
            .name("save".to_owned())
            .spawn(move || folder.save(&saved));
        match spawned {
            Ok(handle) => self.writing = Some(handle),
            Err(error) => self.failed(&error),
        }
    }

    /// Waits until what is being written is on disk.
    pub fn finish(&mut self) {
        match self.writing.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => {}
            Some(Ok(Err(error))) => self.failed(&error),
            Some(Err(_)) => self.failed(&"the writing thread panicked"),
        }
    }

    fn failed(&self, error: &dyn std::fmt::Display) {
        self.metrics.failed(Trouble::State.label());
        tracing::warn!(%error, "cannot save the program: a reboot would find an older one");
    }
}

/// Rules that an earlier run made with the other flavour of iptables would judge every
/// packet once more, by an old program: they go, now that the new one is in. The sets are
/// common to both. True when there were any.
pub fn leave_other_flavour(
    kernel: &dyn Kernel,
    metrics: &Arc<Metrics>,
) -> Result<bool, DriveError> {
    let Some(other) = kernel.other_flavour()? else {
        return Ok(false);
    };
    let mut driver = Driver::new(other, Options::default(), Arc::clone(metrics));
    let mut steps = cleanup(&driver.read_back()?).steps;
    steps.retain(|step| !matches!(step, Step::Sets { .. }));
    driver.run_steps(&steps)?;
    Ok(true)
}

/// Puts `saved` into a kernel in which no packet enters a chain of ours: after a reboot.
/// What the kernel still holds is newer than any file, and stays. True when restored.
pub fn restore(driver: &mut Driver, saved: &Saved) -> Result<bool, DriveError> {
    let readback = driver.read_back()?;
    let enters = readback
        .rules
        .values()
        .any(|rules| !rules.entries.is_empty());
    let other = driver.kernel().other_flavour()?.is_some();
    if enters || other || !readback.unreadable.is_empty() || saved.rendered.iptables.is_empty() {
        return Ok(false);
    }
    // Left-overs of a start that was broken off: members of old must not mix with saved.
    driver.run_steps(&cleanup(&readback).steps)?;
    let kernel = driver.kernel();
    kernel.prepare_bridges(&saved.ranges)?;
    kernel.ipset_restore(&saved.rendered.ipset)?;
    for (family, text) in &saved.rendered.iptables {
        if super::driver::families(&**kernel).contains(family) {
            kernel.iptables_restore(*family, text)?;
        }
    }
    Ok(true)
}
