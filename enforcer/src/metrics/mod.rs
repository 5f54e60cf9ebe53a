//! What the agent counts. Names begin with `ringfence_enforcer_`; label values come from
//! enums or constants, never from objects, so that the number of series is bounded.

mod labels;

pub use labels::{Drift, Phase, Trouble};

use crate::plan::Step;
use crate::plan::Transaction;
use crate::system::{Flavour, Rival};
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

type Label = [(&'static str, &'static str); 1];

/// All metrics. Cheap to update from any thread.
pub struct Metrics {
    registry: Registry,
    event_to_kernel: Histogram,
    sync_duration: Family<Label, Histogram, fn() -> Histogram>,
    transactions: Counter,
    transaction_bytes: Counter,
    transaction_lines: Counter,
    drift: Family<Label, Counter>,
    errors: Family<Label, Counter>,
    flows_cut: Counter,
    flows_restored: Counter,
    rivals: Family<Label, Gauge>,
    node_info: Family<Label, Gauge>,
    /// Gauges of what is programmed.
    pub programmed: Programmed,
}

/// What is in the kernel now.
#[derive(Clone, Debug, Default)]
pub struct Programmed {
    /// Rules of one address family.
    pub rules: Gauge,
    /// Chains of policies.
    pub chains: Gauge,
    /// Address sets.
    pub sets: Gauge,
    /// Members of all address sets.
    pub set_elements: Gauge,
    /// Pods of this node that policies see.
    pub pods_local: Gauge,
    /// Policies that select a pod of this node.
    pub policies_local: Gauge,
    /// Policies of the cluster that are closed because they cannot be understood.
    pub faulty_policies: Gauge,
    /// Sets that the kernel refused.
    pub broken_sets: Gauge,
    /// The last batch of events that is in the kernel.
    pub applied_generation: Gauge,
    /// The last batch of events that was received.
    pub observed_generation: Gauge,
    /// 1 while ready.
    pub ready: Gauge,
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("ringfence_enforcer");
        let event_to_kernel = Histogram::new([
            0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.1, 0.25,
            0.5, 1.0, 5.0, 30.0,
        ]);
        registry.register_with_unit(
            "event_to_kernel",
            "From the receipt of an event that changes the program to its commit",
            Unit::Seconds,
            event_to_kernel.clone(),
        );
        let sync_duration = Family::new_with_constructor(sync_buckets as fn() -> Histogram);
        registry.register_with_unit(
            "sync_duration",
            "How long one sync took, by phase",
            Unit::Seconds,
            sync_duration.clone(),
        );
        for phase in Phase::ALL {
            drop(sync_duration.get_or_create(&[("phase", phase.label())]));
        }
        let (transactions, transaction_bytes, transaction_lines) =
            (Counter::default(), Counter::default(), Counter::default());
        let (flows_cut, flows_restored) = (Counter::default(), Counter::default());
        for (name, help, counter) in [
            (
                "transactions",
                "Transactions committed to the kernel",
                &transactions,
            ),
            (
                "transaction_bytes",
                "Bytes given to the restore tools",
                &transaction_bytes,
            ),
            (
                "transaction_lines",
                "Lines given to the restore tools",
                &transaction_lines,
            ),
            (
                "flows_cut",
                "Established flows cut because policy denies them",
                &flows_cut,
            ),
            (
                "flows_restored",
                "Cut flows that policy allows again",
                &flows_restored,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        let drift = Family::<Label, Counter>::default();
        registry.register(
            "drift",
            "Changes by others that were repaired",
            drift.clone(),
        );
        for what in Drift::ALL {
            drop(drift.get_or_create(&[("what", what.label())]));
        }
        let errors = Family::<Label, Counter>::default();
        registry.register("errors", "Failures, by kind", errors.clone());
        let rivals = Family::<Label, Gauge>::default();
        registry.register(
            "foreign_enforcers",
            "Chains of other NetworkPolicy enforcers on this node, by whose they are",
            rivals.clone(),
        );
        let node_info = Family::<Label, Gauge>::default();
        registry.register(
            "node_info",
            "The flavour of iptables in use; always 1",
            node_info.clone(),
        );
        let programmed = Programmed::default();
        for (name, help, gauge) in programmed.all() {
            registry.register(name, help, gauge.clone());
        }
        Self {
            registry,
            event_to_kernel,
            sync_duration,
            transactions,
            transaction_bytes,
            transaction_lines,
            drift,
            errors,
            flows_cut,
            flows_restored,
            rivals,
            node_info,
            programmed,
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Runs `work` and records how long it took.
    pub fn time<T>(&self, phase: Phase, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.sync_duration
            .get_or_create(&[("phase", phase.label())])
            .observe(start.elapsed().as_secs_f64());
        result
    }

    /// An event is in the kernel, `after` it was received.
    pub fn in_kernel(&self, after: Duration) {
        self.event_to_kernel.observe(after.as_secs_f64());
    }

    /// Who else has chains on this node.
    pub fn found_rivals(&self, found: &BTreeMap<Rival, usize>) {
        for rival in Rival::ALL {
            let chains = found.get(&rival).copied().unwrap_or(0);
            let chains = i64::try_from(chains).unwrap_or(i64::MAX);
            let gauge = self.rivals.get_or_create(&[("name", rival.name())]);
            gauge.set(chains);
        }
    }

    /// The flavour of iptables in use.
    pub fn runs_on(&self, flavour: Flavour) {
        let other = [("flavour", flavour.other().name())];
        self.node_info.remove(&other);
        let info = self.node_info.get_or_create(&[("flavour", flavour.name())]);
        info.set(1);
    }

    /// A transaction was committed.
    pub fn committed(&self, transaction: &Transaction) {
        self.transactions.inc();
        for step in &transaction.steps {
            if let Step::Sets { input, .. } | Step::Rules { input, .. } = step {
                self.transaction_bytes.inc_by(input.len() as u64);
                self.transaction_lines.inc_by(input.lines().count() as u64);
            }
        }
    }

    /// Drift was found and repaired.
    pub fn drifted(&self, what: Drift) {
        self.drift.get_or_create(&[("what", what.label())]).inc();
    }

    /// Something failed; `kind` from [`crate::system::Error::kind`] or [`Trouble::label`].
    pub fn failed(&self, kind: &'static str) {
        self.errors.get_or_create(&[("kind", kind)]).inc();
    }

    /// Flows were cut and let go again.
    pub fn flows(&self, cut: usize, restored: usize) {
        self.flows_cut.inc_by(cut as u64);
        self.flows_restored.inc_by(restored as u64);
    }

    /// Everything in Prometheus' text format (`OpenMetrics`).
    ///
    /// # Errors
    /// Never in practice: a string takes any write.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

fn sync_buckets() -> Histogram {
    Histogram::new([
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
    ])
}

// === impl Programmed ===

impl Programmed {
    fn all(&self) -> [(&'static str, &'static str, &Gauge); 11] {
        [
            ("rules", "Rules of the policies on this node", &self.rules),
            ("chains", "Policy chains on this node", &self.chains),
            ("sets", "Address sets on this node", &self.sets),
            (
                "set_elements",
                "Members of all address sets",
                &self.set_elements,
            ),
            (
                "pods_local",
                "Pods of this node that policies see",
                &self.pods_local,
            ),
            (
                "policies_local",
                "Policies that select a pod of this node",
                &self.policies_local,
            ),
            (
                "faulty_policies",
                "Policies that cannot be understood: their pods are closed",
                &self.faulty_policies,
            ),
            (
                "broken_sets",
                "Address sets that the kernel refused",
                &self.broken_sets,
            ),
            (
                "applied_generation",
                "The last event that is in the kernel",
                &self.applied_generation,
            ),
            (
                "observed_generation",
                "The last event that was received",
                &self.observed_generation,
            ),
            (
                "ready",
                "1 when the program is in the kernel and stays there",
                &self.ready,
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_promised_names_are_there_from_the_start() {
        let text = Metrics::default().render().unwrap();
        for name in [
            "ringfence_enforcer_event_to_kernel_seconds_bucket",
            "ringfence_enforcer_sync_duration_seconds_count{phase=\"compile\"}",
            "ringfence_enforcer_sync_duration_seconds_count{phase=\"readback\"}",
            "ringfence_enforcer_transactions_total 0",
            "ringfence_enforcer_transaction_bytes_total 0",
            "ringfence_enforcer_transaction_lines_total 0",
            "ringfence_enforcer_drift_total{what=\"entry_rule\"} 0",
            "ringfence_enforcer_flows_cut_total 0",
            "ringfence_enforcer_applied_generation 0",
            "ringfence_enforcer_rules 0",
            "ringfence_enforcer_sets 0",
            "ringfence_enforcer_set_elements 0",
            "ringfence_enforcer_pods_local 0",
            "ringfence_enforcer_policies_local 0",
            "ringfence_enforcer_faulty_policies 0",
            "ringfence_enforcer_broken_sets 0",
        ] {
            assert!(text.contains(name), "{name} is missing in\n{text}");
        }
    }

    #[test]
    fn errors_are_counted_by_kind() {
        let metrics = Metrics::default();
        metrics.failed("lock_held");
        metrics.failed("lock_held");
        let text = metrics.render().unwrap();
        assert!(
            text.contains("ringfence_enforcer_errors_total{kind=\"lock_held\"} 2"),
            "{text}"
        );
    }
}
