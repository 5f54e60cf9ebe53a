//! What the controller counts. Names begin with `ringfence_controller_`; label values come
//! from enums, so that the number of series is bounded.

use crate::hooks::Hook;
use crate::rotation::Step;
use crate::scan;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::fmt;

type Label = [(&'static str, &'static str); 1];

/// All metrics. Cheap to update from any thread.
pub struct Metrics {
    registry: Registry,
    /// 1 while this replica leads.
    pub leader: Gauge,
    /// Seconds since 1970 at which the served certificate expires.
    pub certificate_expiry: Gauge,
    /// Namespaces with a `NamespaceIsolation`.
    pub isolated: Gauge,
    /// What the scan counts.
    pub scan: scan::Metrics,
    policies: Family<Label, Counter>,
    steps: Family<Label, Counter>,
    repairs: Family<Label, Counter>,
    probed: Family<Label, Gauge>,
    fails_closed: Family<Label, Gauge>,
    errors: Family<Label, Counter>,
}

/// What can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A list or watch.
    Watch,
    /// Writing the Secret.
    Secret,
    /// Writing a configuration.
    Configuration,
    /// Asking the API server to call the webhook.
    Probe,
    /// Writing an isolated namespace's policy, or a status.
    Isolation,
    /// Reading the scan's configuration, or writing a report.
    Scan,
    /// Writing a companion policy.
    Companion,
}

/// What was written to isolate a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolated {
    /// A new policy.
    Enabled,
    /// A policy that rules or the cluster changed.
    Changed,
    /// A policy that somebody else had changed.
    Repaired,
    /// A policy is deleted.
    Disabled,
}

// === impl Isolated ===

impl Isolated {
    const ALL: [Self; 4] = [Self::Enabled, Self::Changed, Self::Repaired, Self::Disabled];

    fn label(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Changed => "changed",
            Self::Repaired => "repaired",
            Self::Disabled => "disabled",
        }
    }
}

// === impl Trouble ===

impl Trouble {
    const ALL: [Self; 7] = [
        Self::Watch,
        Self::Secret,
        Self::Configuration,
        Self::Probe,
        Self::Isolation,
        Self::Scan,
        Self::Companion,
    ];

    /// The value of a label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Secret => "secret",
            Self::Configuration => "configuration",
            Self::Probe => "probe",
            Self::Isolation => "isolation",
            Self::Scan => "scan",
            Self::Companion => "companion",
        }
    }
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("ringfence_controller");
        let (leader, certificate_expiry) = (Gauge::default(), Gauge::default());
        registry.register("leader", "1 while this replica leads", leader.clone());
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When the served certificate expires; 0 while unknown",
            certificate_expiry.clone(),
        );
        let (steps, repairs, errors) = (Family::default(), Family::default(), Family::default());
        let (probed, fails_closed) = (Family::default(), Family::default());
        registry.register("rotation_steps", "Steps of rotation taken", steps.clone());
        registry.register(
            "repairs",
            "Configurations written, by hook",
            repairs.clone(),
        );
        registry.register("errors", "Failures, by what failed", errors.clone());
        registry.register(
            "probe_passed",
            "1 when the last probe reached this hook",
            probed.clone(),
        );
        registry.register(
            "fails_closed",
            "1 while a marked entry of this hook is Fail",
            fails_closed.clone(),
        );
        let (isolated, policies) = (Gauge::default(), Family::default());
        registry.register(
            "isolated_namespaces",
            "Namespaces with a NamespaceIsolation",
            isolated.clone(),
        );
        registry.register(
            "isolation_writes",
            "Policies of isolated namespaces written, by what happened",
            policies.clone(),
        );
        let scan = scan::Metrics::register(&mut registry);
        let metrics = Self {
            registry,
            leader,
            certificate_expiry,
            isolated,
            scan,
            policies,
            steps,
            repairs,
            probed,
            fails_closed,
            errors,
        };
        // Series exist from the start: a rate over a counter that appears is wrong.
        for step in Step::ALL {
            drop(metrics.steps.get_or_create(&[("step", step.label())]));
        }
        for hook in Hook::ALL {
            drop(metrics.repairs.get_or_create(&[("hook", hook.label())]));
            metrics.probed(hook, false);
            metrics.fails_closed(hook, false);
        }
        for what in Isolated::ALL {
            drop(metrics.policies.get_or_create(&[("what", what.label())]));
        }
        for trouble in Trouble::ALL {
            drop(metrics.errors.get_or_create(&[("what", trouble.label())]));
        }
        metrics
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// A step of rotation is in the Secret.
    pub fn stepped(&self, step: Step) {
        self.steps.get_or_create(&[("step", step.label())]).inc();
    }

    /// A configuration was written.
    pub fn repaired(&self, hook: Hook) {
        self.repairs.get_or_create(&[("hook", hook.label())]).inc();
    }

    /// What the last probe found.
    pub fn probed(&self, hook: Hook, passed: bool) {
        self.probed
            .get_or_create(&[("hook", hook.label())])
            .set(i64::from(passed));
    }

    /// Whether a marked entry is Fail.
    pub fn fails_closed(&self, hook: Hook, closed: bool) {
        self.fails_closed
            .get_or_create(&[("hook", hook.label())])
            .set(i64::from(closed));
    }

    /// A policy of an isolated namespace was written.
    pub fn wrote(&self, what: Isolated) {
        self.policies.get_or_create(&[("what", what.label())]).inc();
    }

    /// Something failed.
    pub fn failed(&self, what: Trouble) {
        self.errors.get_or_create(&[("what", what.label())]).inc();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_promised_names_are_there_from_the_start() {
        let metrics = Metrics::default();
        metrics.stepped(Step::Renew);
        let text = metrics.render().unwrap();
        for line in [
            "ringfence_controller_leader 0",
            "ringfence_controller_certificate_expiry_timestamp_seconds 0",
            "ringfence_controller_rotation_steps_total{step=\"renew\"} 1",
            "ringfence_controller_repairs_total{hook=\"validate\"} 0",
            "ringfence_controller_probe_passed{hook=\"mutate\"} 0",
            "ringfence_controller_fails_closed{hook=\"validate\"} 0",
            "ringfence_controller_errors_total{what=\"secret\"} 0",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
