//! Events in, kernel out: synchronous, on a thread of its own, on instants that are
//! passed in.
//!
//! ```text
//!  take(event) -> Store -> pending changes
//!  tick(now):   open the kernel, restore   (once)
//!               compile -> bring -> flows -> applied   (a batch, or a retry)
//!               canary, read-back, save    (by the clock)
//! ```

use super::clock::{self, Backoff, Contest};
use super::driver::Driver;
use super::error::DriveError;
use super::flows::Due;
use super::judge::gauge;
use super::keep::{self, Keeper};
use super::report::Reporter;
use crate::config::Settings;
use crate::dataplane;
use crate::events::Notices;
use crate::health::{Concern, Position, Status};
use crate::metrics::{Metrics, Phase, Trouble};
use crate::state::StateDir;
use crate::system::{self, Kernel};
use anyhow::bail;
use ipnet::IpNet;
use ringfence_cluster::{Event, Store};
use ringfence_policy::compile::Update;
use ringfence_policy::snapshot::Kind;
use ringfence_policy::{Change, Compiler};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

/// What policies depend on. Services are for explanations, not for rules.
pub const KINDS: [Kind; 4] = [Kind::Pod, Kind::Namespace, Kind::NetworkPolicy, Kind::Node];

/// Opens the kernel; tried again when it fails.
pub type Opener = Box<dyn Fn() -> Result<Arc<dyn Kernel>, system::Error> + Send>;

/// The agent without its threads.
pub struct Engine {
    pub(super) settings: Settings,
    pub(super) status: Arc<Status>,
    pub(super) metrics: Arc<Metrics>,
    open: Opener,
    pub(super) driver: Option<Driver>,
    pub(super) store: Store,
    pub(super) compiler: Compiler,
    pub(super) reporter: Reporter,
    pub(super) keeper: Keeper,
    /// Events handled, changes that are not compiled, events that are not in the kernel.
    pub(super) handled: u64,
    pub(super) pending: Vec<Change>,
    waiting: Vec<Instant>,
    /// When the next batch is due, and when the last one that wrote began.
    batch: Option<Instant>,
    last_batch: Option<Instant>,
    caches_by: Instant,
    pub(super) compiled: bool,
    pub(super) retry: Option<Instant>,
    pub(super) backoff: Backoff,
    pub(super) canary: Instant,
    pub(super) resync: Instant,
    /// About the first place in foreign chains.
    pub(super) contest: Contest,
    /// An earlier run may have used the other flavour of iptables.
    pub(super) other_flavour: bool,
    pub(super) due: Due,
    /// Passes over the flows are kept to a tenth of the time.
    pub(super) flows_from: Instant,
    pub(super) look_again: Option<(Instant, Due)>,
    pub(super) marked: usize,
    /// A mark that an earlier run used and we do not.
    pub(super) stale_mark: Option<u32>,
    pub(super) ranges: Option<Vec<IpNet>>,
    pub(super) bridges_ready: bool,
    /// Remarks about the node that were logged.
    pub(super) told: BTreeSet<String>,
}

// === impl Engine ===

impl Engine {
    /// Nothing is done before the first [`Self::tick`].
    pub fn new(
        settings: Settings,
        open: Opener,
        status: Arc<Status>,
        metrics: Arc<Metrics>,
        notices: Notices,
        now: Instant,
    ) -> Self {
        let folder = StateDir::new(&settings.common.state_dir);
        Self {
            store: Store::new(KINDS),
            compiler: Compiler::new(Arc::clone(&settings.node), settings.verdicts),
            reporter: Reporter::new(notices),
            keeper: Keeper::new(folder, Arc::clone(&metrics)),
            caches_by: now + settings.cache_sync_timeout,
            resync: now + clock::jittered(settings.sync_period, 0.1),
            settings,
            status,
            metrics,
            open,
            driver: None,
            handled: 0,
            pending: Vec::new(),
            waiting: Vec::new(),
            batch: None,
            last_batch: None,
            compiled: false,
            retry: Some(now),
            backoff: Backoff::default(),
            canary: now + clock::CANARY,
            contest: Contest::default(),
            other_flavour: true,
            due: Due::All,
            flows_from: now,
            look_again: None,
            marked: 0,
            stale_mark: None,
            ranges: None,
            bridges_ready: false,
            told: BTreeSet::new(),
        }
    }

    /// Takes in one event, received at `at`. Cheap: the work is in the next tick.
    pub fn take(&mut self, event: Event, at: Instant) {
        if let Event::Unavailable { kind, reason } = &event {
            self.metrics.failed(Trouble::Source.label());
            tracing::warn!(kind = kind.plural(), %reason, "cannot read a kind; what is known stands");
        }
        let changes = self.store.handle(event);
        self.handled += 1;
        if !changes.is_empty() && self.compiled {
            self.pending.extend(changes);
            self.waiting.push(at);
        }
        self.batch
            .get_or_insert_with(|| clock::batch_at(at, self.last_batch));
    }

    /// When the next tick is due at the latest.
    pub fn deadline(&self) -> Instant {
        let caches = (!self.store.is_synced()).then_some(self.caches_by);
        let flows = self.flows_wait().then_some(self.flows_from);
        let save = self.keeper.due().filter(|_| self.retry.is_none());
        let timed = self.driver.is_some() && self.compiled;
        let regular = timed.then_some(self.canary.min(self.resync));
        [
            self.batch,
            caches,
            self.retry,
            flows,
            self.look_again.as_ref().map(|(at, _)| *at),
            save,
            regular,
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(self.canary)
    }

    /// Does what is due.
    ///
    /// # Errors
    /// Only when the caches do not fill in time: names the kinds that are missing, and why.
    pub fn tick(&mut self, now: Instant) -> anyhow::Result<()> {
        if self.driver.is_none() && self.retry.is_some_and(|at| at <= now) {
            self.open(now);
        }
        if self.batch.is_some_and(|at| at <= now) {
            self.batch = None;
            self.batch(now);
        } else if self.retry.is_some_and(|at| at <= now) {
            self.bring(&Update::default(), now);
        }
        if !self.store.is_synced() {
            self.wait_for_caches(now)?;
            return Ok(());
        }
        self.by_the_clock(now);
        Ok(())
    }

    /// What is programmed, for people.
    pub fn describe(&self) -> String {
        let structure = &self.compiler.program().structure;
        let mut text = format!("Node {}\n", self.settings.node);
        let unknown = self.unknown_pods(structure);
        let _ = writeln!(text, "Unknown pods: {unknown}");
        match &self.driver {
            None => text.push_str("The kernel cannot be programmed yet.\n"),
            Some(driver) => {
                let _ = writeln!(text, "iptables: {}", driver.kernel().flavour());
                let held = if driver.in_step() {
                    "holds"
                } else {
                    "does not hold yet"
                };
                let _ = writeln!(text, "The kernel {held} the following.\n");
                for (id, reason) in driver.broken() {
                    let _ = writeln!(text, "Refused by the kernel: set {id}: {reason}");
                }
            }
        }
        text + &self.compiler.program().summary()
    }

    /// Before the end: what is on its way to the disk gets there. Rules stay.
    pub fn finish(&mut self) {
        if self.keeper.due().is_some() {
            self.save();
        }
        self.keeper.finish();
    }

    // === Start ===

    fn open(&mut self, now: Instant) {
        let kernel = match (self.open)() {
            Ok(kernel) => kernel,
            Err(error) => return self.failed(&error.into(), now),
        };
        if let system::Ipv6::Absent(reason) = kernel.ipv6() {
            tracing::warn!(reason, "IPv6 is not programmed");
        }
        tracing::info!(flavour = %kernel.flavour(), "the kernel can be programmed");
        let options = dataplane::Options {
            mark: self.settings.common.mark.bits(),
            deny: self.settings.deny,
            keep_established: self.settings.keep_established,
            ..dataplane::Options::default()
        };
        let mut driver = Driver::new(kernel, options, Arc::clone(&self.metrics));
        if let Some(saved) = self.keeper.load() {
            self.stale_mark = Some(saved.mark).filter(|mark| *mark != driver.options().mark);
            match keep::restore(&mut driver, &saved) {
                Ok(true) => tracing::info!("restored the last program from --state-dir"),
                Ok(false) => tracing::info!("the kernel holds rules of an earlier run; they stay"),
                Err(error) => return self.failed(&error, now),
            }
        }
        self.driver = Some(driver);
        self.retry = self.compiled.then_some(now);
        self.backoff.succeeded();
        if !self.compiled {
            self.status.settle(Concern::Kernel);
        }
        self.check_datapath();
        self.check_rivals();
        self.prepare_bridges();
    }

    fn wait_for_caches(&mut self, now: Instant) -> anyhow::Result<()> {
        let missing: Vec<String> = self
            .store
            .missing()
            .iter()
            .map(ToString::to_string)
            .collect();
        let text = missing.join("; ");
        if now >= self.caches_by {
            bail!(
                "--cache-sync-timeout: after {}s there is still no complete list of {text}. \
                 Rules that are in the kernel stay",
                self.settings.cache_sync_timeout.as_secs()
            );
        }
        self.status
            .raise(Concern::Caches, format!("waiting for {text}"));
        Ok(())
    }

    // === A batch ===

    fn batch(&mut self, now: Instant) {
        let position = Position {
            number: self.handled,
            store: self.store.position(),
        };
        self.metrics
            .programmed
            .observed_generation
            .set(gauge(position.number));
        self.status.observed(position, self.store.is_synced());
        // A list that is under way is a mixture of old and new: wait for its end.
        if !self.store.is_synced() || !self.store.is_settled() {
            return;
        }
        if self.status.settle(Concern::Caches) {
            tracing::info!("all lists are complete");
        }
        let changes = std::mem::take(&mut self.pending);
        let snapshot = self.store.snapshot();
        let update = self
            .metrics
            .time(Phase::Compile, || self.compiler.update(snapshot, &changes));
        let first = !std::mem::replace(&mut self.compiled, true);
        self.due = std::mem::take(&mut self.due).and(Due::after(&update, self.marked));
        if first
            || changes
                .iter()
                .any(|change| matches!(change, Change::Node(..)))
        {
            self.node_changed();
        }
        self.reporter.problems(&self.store, &update.structure);
        if !update.is_empty() {
            self.keeper.changed(update.previous.is_some(), now);
        }
        self.bring(&update, now);
    }

    /// Brings the kernel to the program, then judges flows, then says so.
    fn bring(&mut self, update: &Update, now: Instant) {
        let program = self.compiler.program();
        let Some(driver) = self.driver.as_mut().filter(|_| self.compiled) else {
            return;
        };
        // After a failure the waiting time is kept, whatever else arrives.
        if self.retry.is_some_and(|at| at > now) {
            return;
        }
        let structural = update.previous.is_some() || !driver.in_step();
        // What costs nothing delays nothing: a pod is created without an address, and the
        // event that brings the address must not wait for the next batch.
        if structural || !update.is_empty() {
            self.last_batch = Some(now);
        }
        let brought = if structural {
            let pods = program.structure.endpoints.keys().copied().collect();
            driver
                .rebind(&pods)
                .and_then(|_| driver.bring(program, update))
        } else if update.is_empty() {
            Ok(())
        } else {
            driver.bring(program, update)
        };
        if let Err(error) = brought {
            return self.failed(&error, now);
        }
        self.reporter.broken(driver.broken(), &program.structure);
        self.retry = None;
        self.backoff.succeeded();
        if self.status.settle(Concern::Kernel) {
            tracing::info!("the kernel holds the program again");
        }
        self.leave_other_flavour();
        for received in self.waiting.drain(..) {
            self.metrics.in_kernel(received.elapsed());
        }
        self.count();
        self.judge_flows(now);
    }

    pub(super) fn failed(&mut self, error: &DriveError, now: Instant) {
        let wait = self.backoff.failed();
        self.retry = Some(now + wait);
        self.metrics.failed(error.kind());
        let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(%error, retry_in_ms = milliseconds, "cannot program the kernel; what it holds stays");
        self.status.raise(
            Concern::Kernel,
            format!("cannot program the kernel: {error}"),
        );
    }
}
