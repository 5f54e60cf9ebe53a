//! Annotations of a GitHub workflow: one line each.

use super::judge::Outcome;
use ringfence_checks::Level;
use ringfence_cluster::Place;
use std::fmt::Write as _;

/// The whole answer.
pub(super) fn render(outcome: &Outcome) -> String {
    let mut out = String::new();
    for problem in &outcome.problems {
        let place = place(problem.place.as_ref(), None);
        let message = data(&problem.to_string());
        let _ = writeln!(out, "::error {place}title=ringfence::{message}");
    }
    for (object, finding, line) in outcome.findings() {
        let command = match finding.level {
            Level::Deny => "error",
            Level::Warn => "warning",
            Level::Audit | Level::Off => "notice",
        };
        let place = place(object.place.as_ref(), Some(line));
        let message = data(&format!("{}: {}", object.name(), finding.sentence));
        let _ = writeln!(
            out,
            "::{command} {place}title={}::{message}",
            property(finding.check)
        );
    }
    out
}

fn place(place: Option<&Place>, line: Option<usize>) -> String {
    let Some(place) = place else {
        return String::new();
    };
    let line = line.unwrap_or(place.line).max(1);
    let file = property(&place.file.display().to_string());
    format!("file={file},line={line},")
}

/// As the runner's toolkit escapes them.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
