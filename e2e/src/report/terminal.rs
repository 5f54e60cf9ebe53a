//! For people at a terminal. Pure: everything is returned as text.

use super::model::{Report, Word};
use crate::case::{CaseResult, Status};
use crate::truth::Row;
use comfy_table::{Table, presets};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Lines of detail shown in the terminal for one failure; the files have all.
const DETAIL: usize = 60;
/// Failures of one case shown in full.
const FAILURES: usize = 5;

/// One line for a case.
pub fn line(result: &CaseResult) -> String {
    let (word, why) = match &result.status {
        Status::Passed => ("ok", String::new()),
        Status::Failed(failures) => ("FAIL", format!("  {} wrong", failures.len())),
        Status::NotRun(reason) => ("skip", format!("  not run: {reason}")),
    };
    let flaky = result
        .notes
        .iter()
        .filter(|n| n.starts_with("flaky"))
        .count();
    let flaky = if flaky == 0 {
        String::new()
    } else {
        format!("  {flaky} flaky")
    };
    let (took, waited) = (result.took.as_secs_f64(), result.waited.as_secs_f64());
    format!(
        "{word:<5}{:<56}{took:>6.2} s ({waited:.2} enforcer){why}{flaky}",
        result.name
    )
}

/// Everything about a failure; `repeat` is the command that plays the case alone.
pub fn failure(result: &CaseResult, repeat: &str) -> String {
    let Status::Failed(failures) = &result.status else {
        return String::new();
    };
    let mut text = format!("{} (from {})\n", result.name, result.source);
    for (title, rows) in &result.tables {
        if rows.iter().any(|row| !row.is_right()) {
            let _ = writeln!(text, "{title}\n{}", matrix(rows));
        }
    }
    for failure in failures.iter().take(FAILURES) {
        let _ = writeln!(text, "  {}", failure.summary);
        for line in failure.detail.lines().take(DETAIL) {
            let _ = writeln!(text, "      {line}");
        }
    }
    if failures.len() > FAILURES {
        let _ = writeln!(text, "  and {} more, in report/", failures.len() - FAILURES);
    }
    let _ = writeln!(text, "  repeat: {repeat}");
    text
}

/// Who (rows) reached whom (columns). A cell has one letter for each probe: `.` allowed,
/// `R` rejected, `D` dropped, `c` nobody listens, `!` error. A cell with anything wrong
/// shows expected and observed: `R>.` was to be rejected and passed.
pub fn matrix(rows: &[Row]) -> String {
    let mut cells: BTreeMap<(&str, &str), Vec<&Row>> = BTreeMap::new();
    for row in rows {
        cells
            .entry((&row.cell.from, &row.cell.to))
            .or_default()
            .push(row);
    }
    let sources: BTreeSet<&str> = cells.keys().map(|(from, _)| *from).collect();
    let targets: BTreeSet<&str> = cells.keys().map(|(_, to)| *to).collect();
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(std::iter::once("from \\ to").chain(targets.iter().copied()));
    for from in sources {
        let line = targets.iter().map(|to| {
            cells
                .get(&(from, *to))
                .map_or(String::new(), |r| letters(r))
        });
        table.add_row(std::iter::once(from.to_owned()).chain(line));
    }
    table.to_string()
}

/// Equal letters once, in the order of the probes.
fn letters(rows: &[&Row]) -> String {
    let observed = |row: &Row| row.observed.outcome.letter();
    let expected: String = rows
        .iter()
        .map(|row| row.expected.outcome.letter())
        .collect();
    let seen: String = rows.iter().map(|row| observed(row)).collect();
    if rows.iter().all(|row| row.is_right()) {
        short(&seen)
    } else {
        format!("{}>{}", short(&expected), short(&seen))
    }
}

fn short(letters: &str) -> String {
    let first = letters.chars().next();
    match first {
        Some(letter) if letters.chars().all(|c| c == letter) => letter.to_string(),
        _ => letters.to_owned(),
    }
}

/// The last lines: why what was not run was not, and the counts.
pub fn summary(report: &Report) -> String {
    let (mut passed, mut failed) = (0, 0);
    let mut skipped: BTreeMap<&str, usize> = BTreeMap::new();
    for case in &report.cases {
        match case.status {
            Word::Passed => passed += 1,
            Word::Failed => failed += 1,
            Word::NotRun => {
                let reason = case.reason.as_deref().unwrap_or_default();
                *skipped.entry(reason).or_default() += 1;
            }
        }
    }
    let mut text = String::new();
    for (reason, count) in &skipped {
        let _ = writeln!(text, "{count} not run: {reason}");
    }
    let _ = write!(text, "{passed} passed, {failed} failed");
    let skipped: usize = skipped.values().sum();
    if skipped > 0 {
        let _ = write!(text, ", {skipped} skipped");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::CaseReport;
    use test_case::test_case;

    #[test_case("...." => "."; "all alike")]
    #[test_case(".R" => ".R"; "not alike")]
    fn letters_are_short(letters: &str) -> String {
        short(letters)
    }

    #[test]
    fn the_closing_line_counts() {
        let case = |status| {
            let result = CaseResult {
                name: "a".into(),
                source: "",
                status,
                took: std::time::Duration::ZERO,
                waited: std::time::Duration::ZERO,
                notes: vec![],
                tables: vec![],
            };
            CaseReport::from(&result)
        };
        let mut report = Report {
            runs: vec![],
            cases: vec![
                case(Status::Passed),
                case(Status::Failed(vec![])),
                case(Status::NotRun("no SCTP sockets".into())),
            ],
        };
        assert_eq!(
            summary(&report),
            "1 not run: no SCTP sockets\n1 passed, 1 failed, 1 skipped"
        );
        report.cases.truncate(1);
        assert_eq!(summary(&report), "1 passed, 0 failed");
    }
}
