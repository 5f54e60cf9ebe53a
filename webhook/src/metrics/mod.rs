//! What the webhook counts. Names begin with `ringfence_webhook_`; label values come from
//! enums or from the catalogue, never from objects, so that the number of series is
//! bounded.

mod labels;

pub use labels::{Loaded, Outcome, Refused};

use crate::admit::{Hook, Judged};
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use ringfence_checks::Finding;
use std::fmt;
use std::time::Duration;

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// All metrics. Cheap to update from any thread.
pub struct Metrics {
    registry: Registry,
    requests: Family<Labels<3>, Counter>,
    request_duration: Family<Labels<1>, Histogram, fn() -> Histogram>,
    findings: Family<Labels<2>, Counter>,
    bodies_refused: Family<Labels<1>, Counter>,
    reloads: Family<Labels<2>, Counter>,
    reload_failing: Family<Labels<1>, Gauge>,
    /// Patches that were sent.
    pub injections: Counter,
    /// Patches that were not sent, because they would not have applied.
    pub patches_withheld: Counter,
    /// Connections refused because there were too many.
    pub connections_refused: Counter,
    /// Connections that are open.
    pub connections: Gauge,
    /// When the certificate expires, in seconds since 1970.
    pub certificate_expiry: Gauge,
    /// 1 while the cluster's objects are known.
    pub cache_known: Gauge,
    /// Seconds since the objects were last published to the handlers.
    pub cache_age: Gauge,
    /// 1 while ready.
    pub ready: Gauge,
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("ringfence_webhook");
        let request_duration = Family::new_with_constructor(request_buckets as fn() -> Histogram);
        registry.register_with_unit(
            "request_duration",
            "From the head of a request to its answer",
            Unit::Seconds,
            request_duration.clone(),
        );
        for hook in Hook::ALL {
            drop(request_duration.get_or_create(&[("hook", hook.as_str())]));
        }
        let requests = Family::default();
        registry.register(
            "requests",
            "Admission requests, by hook, kind and outcome",
            requests.clone(),
        );
        let findings = Family::default();
        registry.register("findings", "Findings, by check and level", findings.clone());
        let bodies_refused = Family::<Labels<1>, Counter>::default();
        registry.register(
            "bodies_refused",
            "Requests that got no ordinary answer, by reason",
            bodies_refused.clone(),
        );
        for reason in Refused::ALL {
            drop(bodies_refused.get_or_create(&[("reason", reason.label())]));
        }
        let reloads = Family::<Labels<2>, Counter>::default();
        registry.register(
            "reloads",
            "Changed files that were taken or refused",
            reloads.clone(),
        );
        let reload_failing = Family::<Labels<1>, Gauge>::default();
        registry.register(
            "reload_failing",
            "1 while what is on disk is refused and the one of before is in force",
            reload_failing.clone(),
        );
        for what in Loaded::ALL {
            drop(reload_failing.get_or_create(&[("what", what.label())]));
            for result in ["taken", "refused"] {
                drop(reloads.get_or_create(&[("what", what.label()), ("result", result)]));
            }
        }
        let metrics = Self {
            registry: Registry::default(),
            requests,
            request_duration,
            findings,
            bodies_refused,
            reloads,
            reload_failing,
            injections: Counter::default(),
            patches_withheld: Counter::default(),
            connections_refused: Counter::default(),
            connections: Gauge::default(),
            certificate_expiry: Gauge::default(),
            cache_known: Gauge::default(),
            cache_age: Gauge::default(),
            ready: Gauge::default(),
        };
        for (name, help, counter) in metrics.counters() {
            registry.register(name, help, counter.clone());
        }
        for (name, help, gauge) in metrics.gauges() {
            registry.register(name, help, gauge.clone());
        }
        Self {
            registry,
            ..metrics
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// A request was answered; `kind` is `None` for kinds that are not judged.
    pub fn answered(&self, hook: Hook, kind: Option<Judged>, outcome: Outcome) {
        let kind = kind.map_or("other", Judged::as_str);
        let labels = [
            ("hook", hook.as_str()),
            ("kind", kind),
            ("outcome", outcome.label()),
        ];
        self.requests.get_or_create(&labels).inc();
    }

    /// How long a request took.
    pub fn took(&self, hook: Hook, time: Duration) {
        self.request_duration
            .get_or_create(&[("hook", hook.as_str())])
            .observe(time.as_secs_f64());
    }

    /// Something was found.
    pub fn found(&self, findings: &[Finding]) {
        // One check finds many of the same beside each other.
        let alike = |a: &Finding, b: &Finding| (a.check, a.level) == (b.check, b.level);
        for run in findings.chunk_by(alike) {
            let labels = [("check", run[0].check), ("level", run[0].level.as_str())];
            self.findings
                .get_or_create(&labels)
                .inc_by(run.len() as u64);
        }
    }

    /// A body got no ordinary answer.
    pub fn refused(&self, reason: Refused) {
        self.bodies_refused
            .get_or_create(&[("reason", reason.label())])
            .inc();
    }

    /// A changed file was taken, or was not.
    pub fn reloaded(&self, what: Loaded, taken: bool) {
        let result = if taken { "taken" } else { "refused" };
        let what = ("what", what.label());
        self.reloads
            .get_or_create(&[what, ("result", result)])
            .inc();
        self.reload_failing
            .get_or_create(&[what])
            .set(i64::from(!taken));
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

    fn counters(&self) -> [(&'static str, &'static str, &Counter); 3] {
        [
            ("injections", "Objects that were changed", &self.injections),
            (
                "patches_withheld",
                "Patches that were not sent because they would not have applied",
                &self.patches_withheld,
            ),
            (
                "connections_refused",
                "Connections closed at once because there were too many",
                &self.connections_refused,
            ),
        ]
    }

    fn gauges(&self) -> [(&'static str, &'static str, &Gauge); 5] {
        [
            ("connections", "Open connections", &self.connections),
            (
                "certificate_expiry_timestamp_seconds",
                "When the serving certificate expires, in seconds since 1970",
                &self.certificate_expiry,
            ),
            (
                "cache_known",
                "1 while the cluster's objects are known; 0: checks that need them say Unknown",
                &self.cache_known,
            ),
            (
                "cache_age_seconds",
                "Seconds since the source last said something",
                &self.cache_age,
            ),
            ("ready", "1 while ready", &self.ready),
        ]
    }
}

fn request_buckets() -> Histogram {
    Histogram::new([
        0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0,
        3.0,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_promised_names_are_there_from_the_start() {
        let text = Metrics::default().render().unwrap();
        for name in [
            "ringfence_webhook_request_duration_seconds_count{hook=\"mutate\"} 0",
            "ringfence_webhook_bodies_refused_total{reason=\"too_large\"} 0",
            "ringfence_webhook_reloads_total{what=\"tls\",result=\"refused\"} 0",
            "ringfence_webhook_reload_failing{what=\"configuration\"} 0",
            "ringfence_webhook_injections_total 0",
            "ringfence_webhook_patches_withheld_total 0",
            "ringfence_webhook_connections 0",
            "ringfence_webhook_certificate_expiry_timestamp_seconds 0",
            "ringfence_webhook_cache_age_seconds 0",
        ] {
            assert!(text.contains(name), "{name} is missing in\n{text}");
        }
    }

    #[test]
    fn requests_are_counted_by_hook_kind_and_outcome() {
        let metrics = Metrics::default();
        metrics.answered(Hook::Mutate, Some(Judged::Service), Outcome::Patched);
        let text = metrics.render().unwrap();
        let line = "ringfence_webhook_requests_total{hook=\"mutate\",kind=\"Service\",outcome=\"patched\"} 1";
        assert!(text.contains(line), "{text}");
    }
}
