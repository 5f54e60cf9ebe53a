//! What the enforcer says about itself, read from `/metrics` before and after.

use super::lab::Lab;
use anyhow::Result;
use std::collections::BTreeMap;

/// Samples by name and labels, as they are written.
#[derive(Clone, Debug, Default)]
pub struct Page(BTreeMap<String, f64>);

// === impl Page ===

impl Page {
    /// The enforcer's page now.
    pub fn read(lab: &Lab) -> Result<Self> {
        Ok(Self::parse(&lab.page("/metrics")?))
    }

    fn parse(text: &str) -> Self {
        let samples = text.lines().filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(samples.collect())
    }

    fn since(&self, before: &Self, name: &str) -> f64 {
        let value = |page: &Self| page.0.get(name).copied().unwrap_or_default();
        value(self) - value(before)
    }

    /// The enforcer's own word on the latency of events: upper bounds in milliseconds, as
    /// a histogram has them.
    pub fn event_to_kernel_since(&self, before: &Self) -> String {
        const BUCKET: &str = "ringfence_enforcer_event_to_kernel_seconds_bucket{le=\"";
        let mut buckets: Vec<(f64, f64)> = self
            .0
            .keys()
            .filter_map(|name| {
                let bound = name.strip_prefix(BUCKET)?.strip_suffix("\"}")?;
                let bound = bound.replace("+Inf", "inf").parse().ok()?;
                Some((bound, self.since(before, name)))
            })
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let all = buckets.last().map_or(0.0, |(_, count)| *count);
        let bound = |share: f64| {
            let found = buckets.iter().find(|(_, count)| *count >= share * all);
            found.map_or(f64::INFINITY, |(bound, _)| bound * 1e3)
        };
        format!(
            "its own histogram: median at most {}, p99 at most {} ms ({all} events)",
            bound(0.5),
            bound(0.99)
        )
    }

    /// How often it ran the restore programs.
    pub fn runs_since(&self, before: &Self) -> String {
        let runs = |phase: &str| {
            let name =
                format!("ringfence_enforcer_sync_duration_seconds_count{{phase=\"{phase}\"}}");
            self.since(before, &name)
        };
        format!("{} ipset and {} iptables runs", runs("sets"), runs("rules"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_bounds_of_what_came_between() {
        let page = |counts: [u32; 4]| {
            let [a, b, c, runs] = counts;
            Page::parse(&format!(
                "# TYPE x histogram\n\
                 ringfence_enforcer_event_to_kernel_seconds_bucket{{le=\"0.001\"}} {a}\n\
                 ringfence_enforcer_event_to_kernel_seconds_bucket{{le=\"0.01\"}} {b}\n\
                 ringfence_enforcer_event_to_kernel_seconds_bucket{{le=\"+Inf\"}} {c}\n\
                 ringfence_enforcer_sync_duration_seconds_count{{phase=\"sets\"}} {runs}\n"
            ))
        };
        let (before, after) = (page([5, 5, 5, 2]), page([65, 105, 105, 9]));
        let text = after.event_to_kernel_since(&before);
        assert!(
            text.contains("median at most 1, p99 at most 10 ms (100 events)"),
            "{text}"
        );
        assert_eq!(after.runs_since(&before), "7 ipset and 0 iptables runs");
    }
}
