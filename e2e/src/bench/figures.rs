//! Figures with their spread, as a table for people and as JSON.

use super::usage;
use anyhow::{Context, Result};
use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// What a series of samples looks like.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Half of the samples are at most this.
    pub median: f64,
    /// 99 of 100 samples are at most this (nearest rank: with few samples the largest).
    pub p99: f64,
    /// The smallest sample.
    pub min: f64,
    /// The largest sample.
    pub max: f64,
    /// How many samples there are.
    pub n: usize,
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// Which benchmark.
    pub bench: &'static str,
    /// What was measured, with its parameters.
    pub name: String,
    /// The unit of [`Self::spread`].
    pub unit: &'static str,
    /// The samples.
    pub spread: Spread,
    /// What it is to be compared with, measured in the same run where it can be.
    pub beside: String,
    /// The goal, and whether it was met.
    pub goal: Option<Goal>,
}

/// A goal of the project.
#[derive(Clone, Debug, Serialize)]
pub struct Goal {
    /// For people.
    pub text: String,
    /// Whether the figure reaches it.
    pub met: bool,
}

/// All figures of a run, and where they were measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Machine, kernel and programs.
    pub machine: Vec<(&'static str, String)>,
    /// In order of measurement.
    pub figures: Vec<Figure>,
}

// === impl Spread ===

impl Spread {
    /// Of at least one sample.
    pub fn of(mut samples: Vec<f64>) -> Result<Self> {
        samples.sort_by(f64::total_cmp);
        let n = samples.len();
        let (min, max) = samples
            .first()
            .copied()
            .zip(samples.last().copied())
            .context("nothing was measured")?;
        // Nearest rank, from 1: the smallest sample that so many percent do not exceed.
        let rank = |percent: usize| samples[(n * percent).div_ceil(100).max(1) - 1];
        Ok(Self {
            median: rank(50),
            p99: rank(99),
            min,
            max,
            n,
        })
    }

    /// Of one sample.
    pub fn single(value: f64) -> Self {
        Self {
            median: value,
            p99: value,
            min: value,
            max: value,
            n: 1,
        }
    }
}

// === impl Figure ===

impl Figure {
    /// Without comparison or goal.
    pub fn new(
        bench: &'static str,
        name: impl Into<String>,
        unit: &'static str,
        spread: Spread,
    ) -> Self {
        Self {
            bench,
            name: name.into(),
            unit,
            spread,
            beside: String::new(),
            goal: None,
        }
    }

    /// With something to compare it with.
    #[must_use]
    pub fn beside(mut self, text: impl Into<String>) -> Self {
        self.beside = text.into();
        self
    }

    /// With a goal.
    #[must_use]
    pub fn goal(mut self, text: impl Into<String>, met: bool) -> Self {
        self.goal = Some(Goal {
            text: text.into(),
            met,
        });
        self
    }
}

// === impl Report ===

impl Default for Report {
    fn default() -> Self {
        Self::new()
    }
}

impl Report {
    /// Nothing measured yet, on this machine.
    pub fn new() -> Self {
        Self {
            machine: usage::machine(&[
                ("iptables", "--version"),
                ("ipset", "--version"),
                ("nginx", "-v"),
                ("ab", "-V"),
            ]),
            figures: Vec::new(),
        }
    }

    /// The table, and below it what was measured where.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN).set_header([
            "bench", "figure", "unit", "median", "p99", "min", "max", "n", "beside", "goal",
        ]);
        for figure in &self.figures {
            let Spread {
                median,
                p99,
                min,
                max,
                n,
            } = figure.spread;
            let mut row = vec![
                Cell::new(figure.bench),
                Cell::new(&figure.name),
                Cell::new(figure.unit),
            ];
            row.extend([median, p99, min, max].map(|value| right(number(value))));
            row.push(right(n.to_string()));
            row.push(Cell::new(&figure.beside));
            row.push(Cell::new(figure.goal.as_ref().map_or(
                String::new(),
                |goal| {
                    let met = if goal.met { "met" } else { "MISSED" };
                    format!("{} ({met})", goal.text)
                },
            )));
            table.add_row(row);
        }
        let mut text = table.to_string();
        for (what, value) in &self.machine {
            // A string takes any write.
            let _ = write!(text, "\n{what}: {value}");
        }
        text
    }

    /// Writes the JSON.
    pub fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        }
        let text = serde_json::to_string_pretty(self)?;
        fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))
    }
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// Three digits that count, whatever the size.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_samples() {
        let spread = Spread::of((1..=200).map(f64::from).collect()).unwrap();
        assert_eq!(
            (spread.median, spread.p99, spread.min, spread.max, spread.n),
            (100.0, 198.0, 1.0, 200.0, 200)
        );
        let few = Spread::of(vec![3.0, 1.0, 2.0]).unwrap();
        assert_eq!((few.median, few.p99), (2.0, 3.0));
        assert!(Spread::of(Vec::new()).is_err());
    }

    #[test]
    fn the_table_says_whether_a_goal_is_met() {
        let figure = Figure::new("scale", "resident memory", "MiB", Spread::single(41.25))
            .beside("kube-router 612")
            .goal("at most 60", true);
        let report = Report {
            machine: vec![("kernel", "6.1".into())],
            figures: vec![figure],
        };
        let table = report.table();
        assert!(table.contains("at most 60 (met)"), "{table}");
        assert!(table.contains(" 41.2 "), "{table}");
        assert!(table.ends_with("kernel: 6.1"), "{table}");
    }
}
