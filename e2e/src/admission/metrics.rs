//! The text format of metrics, as far as cases ask about it.

use std::collections::BTreeMap;

/// Samples by their series, `name{label="value",...}` as written.
#[derive(Clone, Debug, Default)]
pub struct Metrics(BTreeMap<String, f64>);

// === impl Metrics ===

impl Metrics {
    /// Adds the samples of a page.
    pub fn add(&mut self, page: &str) {
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            if let Some((series, value)) = line.rsplit_once(' ')
                && let Ok(value) = value.parse::<f64>()
            {
                *self.0.entry(series.to_owned()).or_default() += value;
            }
        }
    }

    /// The sum of all series of a name that have these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let series = self.0.iter().filter(|(series, _)| {
            let (found, rest) = series.split_once('{').unwrap_or((series, ""));
            let has = |(key, value): &(&str, &str)| rest.contains(&format!("{key}=\"{value}\""));
            found == name && labels.iter().all(has)
        });
        series.map(|(_, value)| value).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_by_name_and_labels() {
        let mut metrics = Metrics::default();
        let page = "# TYPE a counter\na_total{hook=\"validate\",kind=\"NetworkPolicy\"} 2\n\
                    a_total{hook=\"mutate\",kind=\"NetworkPolicy\"} 3\nb 1.5\n";
        metrics.add(page);
        metrics.add(page);
        assert!((metrics.sum("a_total", &[]) - 10.0).abs() < 1e-9);
        assert!((metrics.sum("a_total", &[("hook", "mutate")]) - 6.0).abs() < 1e-9);
        assert!((metrics.sum("b", &[]) - 3.0).abs() < 1e-9);
        assert!(metrics.sum("c", &[]).abs() < 1e-9);
    }
}
