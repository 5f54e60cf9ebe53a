//! What a report says: the content of `results.json`, from which the other forms are made.
//! It can be read again, so that several runs make one page.

use crate::case::{CaseResult, Failure, Status, Variant};
use crate::probe::Outcome;
use crate::truth::Row;
use serde::{Deserialize, Serialize};

/// One run, or several put together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The runs, in order.
    pub runs: Vec<Run>,
    /// Every case of them.
    pub cases: Vec<CaseReport>,
}

/// How a run was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The harness' version.
    pub version: String,
    /// What was typed.
    pub command: String,
    /// When it began, RFC 3339.
    pub began: String,
    /// How long it took.
    pub seconds: f64,
    /// What nodes and pods were made of, and where objects came from: `netns, apiserver`.
    pub fabric: String,
    /// The seed of the order; none: as listed.
    pub shuffle: Option<u64>,
}

/// A case that was played, or why it was not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseReport {
    /// `case/placement-kind`
    pub name: String,
    /// The document, trap or suite that it comes from.
    pub source: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// That of its run.
    pub fabric: String,
    /// What came of it.
    pub status: Word,
    /// Why it was not run.
    pub reason: Option<String>,
    /// How long it took, without building the world.
    pub seconds: f64,
    /// Of these, waiting for enforcers.
    pub waited: f64,
    /// The command that plays it alone.
    pub repeat: String,
    /// Flips, how flows ended, what caught a mutation.
    pub notes: Vec<String>,
    /// What was wrong.
    pub failures: Vec<Failure>,
    /// Every matrix.
    pub tables: Vec<TableReport>,
}

/// What came of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// Everything was as it must be.
    Passed,
    /// It was not.
    Failed,
    /// It was not played.
    NotRun,
}

/// A matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableReport {
    /// What was asked, and when.
    pub title: String,
    /// The answers.
    pub rows: Vec<RowReport>,
}

/// One probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowReport {
    /// Who sent.
    pub from: String,
    /// Who was called.
    pub to: String,
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// `TCP 80`
    pub transport: String,
    /// What should have become of it.
    pub expected: Outcome,
    /// What did.
    pub observed: Outcome,
    /// Whether that will do: of two ways to refuse, either may.
    pub right: bool,
    /// What decided at the source.
    pub egress: Option<String>,
    /// What decided at the destination.
    pub ingress: Option<String>,
    /// The client as the server saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
    /// The system's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub words: String,
}

impl Report {
    /// What a run's results say. `repeat` gives the command that plays a case alone.
    pub fn new(
        run: Run,
        variants: &[Variant],
        results: &[CaseResult],
        repeat: impl Fn(&str) -> String,
    ) -> Self {
        let tags = |name: &str| {
            let played = variants.iter().find(|v| v.name == name);
            played.map_or(Vec::new(), |v| v.case.tags.clone())
        };
        let cases = results
            .iter()
            .map(|result| {
                let tags = tags(&result.name);
                CaseReport {
                    tags: tags.into_iter().map(str::to_owned).collect(),
                    fabric: run.fabric.clone(),
                    repeat: repeat(&result.name),
                    ..result.into()
                }
            })
            .collect();
        Self {
            runs: vec![run],
            cases,
        }
    }

    /// Whether a case failed.
    pub fn has_failed(&self) -> bool {
        self.cases.iter().any(|case| case.status == Word::Failed)
    }

    /// Appends another report.
    pub fn append(&mut self, other: Self) {
        self.runs.extend(other.runs);
        self.cases.extend(other.cases);
    }
}

impl From<&CaseResult> for CaseReport {
    fn from(result: &CaseResult) -> Self {
        let (status, reason, failures) = match &result.status {
            Status::Passed => (Word::Passed, None, Vec::new()),
            Status::Failed(failures) => (Word::Failed, None, failures.clone()),
            Status::NotRun(reason) => (Word::NotRun, Some(reason.clone()), Vec::new()),
        };
        let tables = result.tables.iter().map(|(title, rows)| TableReport {
            title: title.clone(),
            rows: rows.iter().map(RowReport::from).collect(),
        });
        Self {
            name: result.name.clone(),
            source: result.source.into(),
            tags: Vec::new(),
            fabric: String::new(),
            status,
            reason,
            seconds: result.took.as_secs_f64(),
            waited: result.waited.as_secs_f64(),
            repeat: String::new(),
            notes: result.notes.clone(),
            failures,
            tables: tables.collect(),
        }
    }
}

impl From<&Row> for RowReport {
    fn from(row: &Row) -> Self {
        let verdict = row.expected.verdict.as_ref();
        Self {
            from: row.cell.from.clone(),
            to: row.cell.to.clone(),
            family: if row.cell.v4 { "IPv4" } else { "IPv6" }.into(),
            transport: row.cell.transport.to_string(),
            expected: row.expected.outcome,
            observed: row.observed.outcome,
            right: row.is_right(),
            egress: verdict.map(|v| v.egress.to_string()),
            ingress: verdict.map(|v| v.ingress.to_string()),
            seen: row.observed.seen.map(|peer| peer.to_string()),
            words: row.observed.detail.clone(),
        }
    }
}
