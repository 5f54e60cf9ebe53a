//! What the scan counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use ringfence_checks::Level;
use std::collections::BTreeMap;

/// Of the scan; names begin with `ringfence_controller_scan_`.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Findings that there are, by check and level: both are from lists that do not grow.
    findings: Family<[(&'static str, &'static str); 2], Gauge>,
    /// Objects that are looked after.
    pub objects: Gauge,
    /// Objects that were judged, again and again.
    pub judged: Counter,
    /// Reports that were written or deleted.
    pub written: Counter,
    /// 1 while reports can be written.
    pub reports_available: Gauge,
    /// Seconds since 1970 of the last pass.
    pub last: Gauge,
}

// === impl Metrics ===

impl Metrics {
    /// The metrics, in a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("scan");
        registry.register(
            "findings",
            "What the checks find in the cluster now, by check and level",
            metrics.findings.clone(),
        );
        registry.register(
            "objects",
            "Objects that the scan looks after",
            metrics.objects.clone(),
        );
        registry.register("judged", "Objects judged", metrics.judged.clone());
        registry.register(
            "reports_written",
            "Reports written or deleted",
            metrics.written.clone(),
        );
        registry.register(
            "reports_available",
            "1 while reports can be written",
            metrics.reports_available.clone(),
        );
        registry.register(
            "last_timestamp_seconds",
            "When the scan last judged something; 0 while it has not",
            metrics.last.clone(),
        );
        metrics
    }

    /// What there is now.
    pub fn found(&self, counts: BTreeMap<(&'static str, Level), i64>) {
        // What is mended has no series any more.
        self.findings.clear();
        for ((check, level), count) in counts {
            let labels = [("check", check), ("level", level.as_str())];
            self.findings.get_or_create(&labels).set(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text;

    #[test]
    fn what_is_mended_is_not_told_any_more() {
        let mut registry = Registry::with_prefix("c");
        let metrics = Metrics::register(&mut registry);
        let told = || {
            let mut out = String::new();
            text::encode(&mut out, &registry).unwrap();
            out
        };
        metrics.found(BTreeMap::from([(("ns-all", Level::Warn), 3)]));
        assert!(told().contains("c_scan_findings{check=\"ns-all\",level=\"warn\"} 3"));
        metrics.found(BTreeMap::new());
        assert!(!told().contains("ns-all"));
    }
}
