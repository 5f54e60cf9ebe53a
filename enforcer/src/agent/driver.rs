//! Brings the kernel to a program and keeps it there: the planner's steps through the
//! kernel seam, read-back, canary.

use super::entries::{Entries, Held};
use super::error::DriveError;
use crate::dataplane::{self, Backstop, parse_readback};
use crate::metrics::{Drift, Metrics, Phase};
use crate::plan::{Planner, Step, Transaction};
use crate::system::{self, Family, Kernel, Opaque, Table};
use ringfence_policy::Program;
use ringfence_policy::compile::{Id, SetSpec, Update};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// The kernel and what is known of it.
#[derive(Debug)]
pub struct Driver {
    kernel: Arc<dyn Kernel>,
    metrics: Arc<Metrics>,
    planner: Planner,
    options: dataplane::Options,
    /// The kernel holds what the planner believes.
    in_step: bool,
    /// Sets that the kernel refused, and why; rules that use them are left out.
    broken: BTreeMap<Id, String>,
    entries: Entries,
    /// What could be told of tables whose rules cannot be printed, after our last write.
    opaque: BTreeMap<(Family, Table), Opaque>,
}

// === impl Driver ===

impl Driver {
    /// `options` says what the owner chose; what the node can do is filled in here.
    pub fn new(
        kernel: Arc<dyn Kernel>,
        options: dataplane::Options,
        metrics: Arc<Metrics>,
    ) -> Self {
        let ipv6 = kernel.ipv6().is_available();
        let families = if ipv6 {
            &Family::ALL[..]
        } else {
            &[Family::V4]
        };
        let security = families.iter().all(|f| kernel.has_security_table(*f));
        let options = dataplane::Options {
            ipv6,
            backstop: if security {
                Backstop::Security
            } else {
                Backstop::ManglePostrouting
            },
            ..options
        };
        Self {
            planner: Planner::new(options.clone()),
            kernel,
            metrics,
            options,
            in_step: false,
            broken: BTreeMap::new(),
            entries: Entries::default(),
            opaque: BTreeMap::new(),
        }
    }

    /// The seam itself.
    pub fn kernel(&self) -> &Arc<dyn Kernel> {
        &self.kernel
    }

    /// What the rules are rendered with.
    pub fn options(&self) -> &dataplane::Options {
        &self.options
    }

    /// Whether the kernel holds the last program that [`Self::bring`] was given.
    pub fn in_step(&self) -> bool {
        self.in_step
    }

    /// Sets that the kernel refused, and why.
    pub fn broken(&self) -> &BTreeMap<Id, String> {
        &self.broken
    }

    /// Refreshes which address belongs behind which interface, and whether there are bridges.
    /// True when that changed: the next [`Self::bring`] then compares all rules.
    pub fn rebind(&mut self, pods: &BTreeSet<IpAddr>) -> Result<bool, DriveError> {
        let bindings = self.kernel.bindings(pods)?;
        let bridges = self.kernel.has_bridges()?;
        if bindings == self.options.bindings && bridges == self.options.bridges {
            return Ok(false);
        }
        self.options.bindings = bindings;
        self.options.bridges = bridges;
        self.planner.set_options(self.options.clone());
        Ok(true)
    }

    /// Brings the kernel to `program`, to which `update` has just led. After an error
    /// nothing is taken for known: the next call reads back and compares everything, and
    /// is given the program as it is then.
    pub fn bring(&mut self, program: &Program, update: &Update) -> Result<(), DriveError> {
        loop {
            if !self.in_step {
                let readback = self.read_back()?;
                self.planner.adopt(readback);
            }
            let update = self.in_step.then_some(update);
            let transaction = self.plan(program, update)?;
            match self.run(program, transaction) {
                Ok(()) => return Ok(()),
                // Bounded: every round leaves one more set out.
                Err(Fault::Set(id, reason)) => {
                    self.broken.insert(id, reason);
                }
                Err(Fault::Other(error)) => return Err(error),
            }
        }
    }

    /// Reads everything back and repairs what others changed; sets that were refused are
    /// tried again. Returns what had changed.
    pub fn resync(&mut self, program: &Program) -> Result<Vec<Drift>, DriveError> {
        let judge_drift = self.in_step && self.broken.is_empty();
        self.in_step = false;
        self.broken.clear();
        let before: BTreeSet<_> = self.opaque.keys().copied().collect();
        let readback = self.read_back()?;
        let newly_opaque = readback.unreadable.keys().any(|key| !before.contains(key));
        self.planner.adopt(readback);
        let transaction = self.plan(program, None)?;
        let mut drift = Vec::new();
        for step in &transaction.steps {
            let what = match step {
                Step::Sets { .. } => Drift::Sets,
                // All of a table is written anew when it can no longer be printed.
                Step::Rules { .. } | Step::Entries { .. } if newly_opaque => continue,
                Step::Rules { .. } | Step::Entries { .. } => Drift::Rules,
            };
            if judge_drift && !drift.contains(&what) {
                drift.push(what);
            }
        }
        match self.run(program, transaction) {
            Ok(()) => {}
            Err(Fault::Set(id, reason)) => {
                self.broken.insert(id, reason);
                self.bring(program, &Update::default())?;
            }
            Err(Fault::Other(error)) => return Err(error),
        }
        Ok(drift)
    }

    /// Whether packets still enter our chains where they should. Cheap.
    pub fn entries_hold(&mut self) -> Result<Held, DriveError> {
        Ok(self.entries.hold(&*self.kernel)?)
    }

    /// What the kernel holds is no longer taken for known: the next [`Self::bring`] reads
    /// it back.
    pub fn distrust(&mut self) {
        self.in_step = false;
    }

    /// What of ours the kernel holds.
    pub fn read_back(&mut self) -> Result<dataplane::Readback, DriveError> {
        let metrics = Arc::clone(&self.metrics);
        metrics.time(Phase::Readback, || {
            let sets = self.kernel.ipset_save()?;
            let mut texts = Vec::new();
            let mut opaque = BTreeMap::new();
            for family in families(&*self.kernel) {
                for table in Table::ALL {
                    match self.kernel.iptables_save(*family, table)? {
                        system::Readback::Text(text) => texts.push((*family, text)),
                        system::Readback::Opaque(found) => {
                            opaque.insert((*family, table), found);
                        }
                    }
                }
            }
            // One text a family: places of rules are counted per table.
            let texts: Vec<(dataplane::Family, &str)> = texts
                .iter()
                .map(|(family, text)| (*family, text.as_str()))
                .collect();
            let mut readback = parse_readback(&sets, &texts)?;
            let before = std::mem::replace(&mut self.opaque, opaque.clone());
            let unchanged = opaque
                .iter()
                .filter(|(key, found)| before.get(*key) == Some(found));
            readback.unchanged = unchanged.map(|(key, _)| *key).collect();
            readback.unreadable.extend(opaque);
            self.entries.adopt(&readback);
            Ok(readback)
        })
    }

    /// Runs the steps of a transaction that the planner need not learn of (restore, cleanup).
    pub fn run_steps(&self, steps: &[Step]) -> Result<(), system::Error> {
        steps.iter().try_for_each(|step| self.run_step(step))
    }

    fn forget(&mut self) {
        self.in_step = false;
        self.planner.forget();
    }

    fn plan(
        &mut self,
        program: &Program,
        update: Option<&Update>,
    ) -> Result<Transaction, DriveError> {
        let broken: BTreeSet<Id> = self.broken.keys().copied().collect();
        let metrics = Arc::clone(&self.metrics);
        let planned = metrics.time(Phase::Plan, || self.planner.plan(program, update, &broken));
        if planned.is_err() {
            self.forget();
        }
        Ok(planned?)
    }

    fn run(&mut self, program: &Program, transaction: Transaction) -> Result<(), Fault> {
        for step in &transaction.steps {
            let Err(error) = self.run_step(step) else {
                continue;
            };
            self.forget();
            return Err(match self.refused_set(program, step, &error) {
                Some(id) => {
                    self.metrics.failed(error.kind());
                    Fault::Set(id, error.to_string())
                }
                None => Fault::Other(error.into()),
            });
        }
        if !transaction.is_empty() {
            self.metrics.committed(&transaction);
            for step in &transaction.steps {
                if let Step::Rules { family, input } = step {
                    self.entries.wrote(*family, input);
                }
            }
            self.planner.committed(transaction);
            self.look_at_opaque();
            // Best effort: without it the next canary looks once more.
            self.entries.settle(&*self.kernel);
        }
        self.in_step = true;
        Ok(())
    }

    fn run_step(&self, step: &Step) -> Result<(), system::Error> {
        match step {
            Step::Sets { input, .. } => self.metrics.time(Phase::Sets, || self.write_sets(input)),
            Step::Rules { family, input } => self.metrics.time(Phase::Rules, || {
                self.kernel.iptables_restore(*family, input)
            }),
            Step::Entries {
                family,
                table,
                rules,
            } => self.metrics.time(Phase::Rules, || {
                self.kernel.delete_rules(*family, *table, rules)
            }),
        }
    }

    /// What our own write has made of the tables that cannot be printed. One that cannot
    /// be looked at now is written anew by the next read-back.
    fn look_at_opaque(&mut self) {
        let Self { kernel, opaque, .. } = self;
        opaque.retain(
            |(family, table), known| match kernel.iptables_save(*family, *table) {
                Ok(system::Readback::Opaque(found)) => {
                    *known = found;
                    true
                }
                Ok(system::Readback::Text(_)) | Err(_) => false,
            },
        );
    }

    /// One set that someone else's rule refers to must not stop all others: it cannot be
    /// destroyed, so it is emptied and stays.
    fn write_sets(&self, input: &str) -> Result<(), system::Error> {
        let mut input = Cow::Borrowed(input);
        // Bounded: every round leaves one line less that destroys.
        loop {
            let Err(error) = self.kernel.ipset_restore(&input) else {
                return Ok(());
            };
            let Some(without) = emptied_instead(&input, &error) else {
                return Err(error);
            };
            self.metrics.failed(error.kind());
            tracing::warn!(%error, "a set of ours cannot be destroyed; it is emptied and stays");
            input = Cow::Owned(without);
        }
    }

    /// The set that can be left out so that the rest goes on: one that peers or named
    /// ports are matched with, never one that the entry rules stand on.
    fn refused_set(&self, program: &Program, step: &Step, error: &system::Error) -> Option<Id> {
        let (
            Step::Sets { lines, .. },
            system::Error::Failed {
                line: Some(line), ..
            },
        ) = (step, error)
        else {
            return None;
        };
        let id = (*lines.get(line.checked_sub(1)?)?)?;
        let optional = matches!(
            &**program.structure.sets.get(&id)?,
            SetSpec::Pods(_) | SetSpec::Cidrs(_) | SetSpec::NamedPort { .. }
        );
        (optional && !self.broken.contains_key(&id)).then_some(id)
    }
}

/// The input with `flush` in the place of the `destroy` that failed. Emptied, because the
/// set may be wanted again and would then have members of former times.
fn emptied_instead(input: &str, error: &system::Error) -> Option<String> {
    let system::Error::Failed {
        line: Some(line), ..
    } = error
    else {
        return None;
    };
    let mut lines: Vec<Cow<str>> = input.lines().map(Cow::Borrowed).collect();
    let failed = lines.get_mut(line.checked_sub(1)?)?;
    *failed = Cow::Owned(format!("flush {}", failed.strip_prefix("destroy ")?));
    Some(lines.join("\n") + "\n")
}

/// How a transaction failed.
enum Fault {
    /// The kernel refused this set; the rest can do without.
    Set(Id, String),
    /// Try again later.
    Other(DriveError),
}

/// The families that can be programmed here.
pub fn families(kernel: &dyn Kernel) -> &'static [Family] {
    if kernel.ipv6().is_available() {
        &Family::ALL
    } else {
        &[Family::V4]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(line: usize) -> system::Error {
        system::Error::Failed {
            program: "ipset -exist restore".to_owned(),
            status: "exit status: 1".to_owned(),
            stderr: "Set cannot be destroyed: it is in use by a kernel component".to_owned(),
            line: Some(line),
            text: None,
        }
    }

    #[test]
    fn a_set_that_cannot_be_destroyed_is_emptied() {
        let input = "del RF4-a 10.0.0.1\ndestroy RF4-b\ndestroy RF4-c\n";
        assert_eq!(
            emptied_instead(input, &failed(2)).as_deref(),
            Some("del RF4-a 10.0.0.1\nflush RF4-b\ndestroy RF4-c\n"),
        );
        assert_eq!(emptied_instead(input, &failed(1)), None, "no destroy");
        assert_eq!(emptied_instead(input, &failed(9)), None, "no such line");
    }
}
