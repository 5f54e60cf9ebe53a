//! For other programs.

use crate::case::{CaseResult, Failure, Status};
use anyhow::{Context, Result};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Writes `results.json`, `junit.xml` and `results.tap` into `folder`.
pub fn write(results: &[CaseResult], folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let put = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    };
    put(
        "results.json",
        serde_json::to_string_pretty(&as_json(results))?,
    )?;
    put("junit.xml", junit(results)?)?;
    put("results.tap", tap(results))
}

fn as_json(results: &[CaseResult]) -> Value {
    let cases: Vec<Value> = results
        .iter()
        .map(|result| {
            let tables: Vec<Value> = result
                .tables
                .iter()
                .map(|(title, rows)| {
                    let rows: Vec<Value> = rows
                        .iter()
                        .map(|row| {
                            json!({
                                "from": row.cell.from,
                                "to": row.cell.to,
                                "family": if row.cell.v4 { "IPv4" } else { "IPv6" },
                                "transport": row.cell.transport.to_string(),
                                "expected": row.expected.outcome.as_str(),
                                "observed": row.observed.outcome.as_str(),
                                "seen": row.observed.seen.map(|s| s.to_string()),
                            })
                        })
                        .collect();
                    json!({ "title": title, "rows": rows })
                })
                .collect();
            let (status, reason, failures): (_, _, &[Failure]) = match &result.status {
                Status::Passed => ("passed", None, &[]),
                Status::Failed(failures) => ("failed", None, failures),
                Status::NotRun(reason) => ("not run", Some(reason), &[]),
            };
            json!({
                "name": result.name,
                "source": result.source,
                "status": status,
                "reason": reason,
                "seconds": result.took.as_secs_f64(),
                "waited": result.waited.as_secs_f64(),
                "notes": result.notes,
                "failures": failures,
                "tables": tables,
            })
        })
        .collect();
    json!({ "cases": cases })
}

fn junit(results: &[CaseResult]) -> Result<String> {
    let mut suite = TestSuite::new("ringfence-e2e");
    for result in results {
        let status = match &result.status {
            Status::Passed => TestCaseStatus::success(),
            Status::Failed(failures) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                let summaries: Vec<&str> = failures.iter().map(|f| f.summary.as_str()).collect();
                let details: Vec<&str> = failures.iter().map(|f| f.detail.as_str()).collect();
                status
                    .set_message(summaries.join("\n"))
                    .set_description(details.join("\n\n"));
                status
            }
            Status::NotRun(reason) => {
                let mut status = TestCaseStatus::skipped();
                status.set_message(reason.as_str());
                status
            }
        };
        let mut case = TestCase::new(result.name.as_str(), status);
        case.set_classname(result.source).set_time(result.took);
        suite.add_test_case(case);
    }
    let mut report = Report::new("ringfence-e2e");
    report.add_test_suite(suite);
    Ok(report.to_string()?)
}

fn tap(results: &[CaseResult]) -> String {
    let mut text = format!("TAP version 14\n1..{}\n", results.len());
    for (index, result) in results.iter().enumerate() {
        let number = index + 1;
        let _ = match &result.status {
            Status::Passed => writeln!(text, "ok {number} - {}", result.name),
            Status::NotRun(reason) => {
                writeln!(text, "ok {number} - {} # SKIP {reason}", result.name)
            }
            Status::Failed(failures) => {
                let lines: String = failures
                    .iter()
                    .fold(String::new(), |all, f| all + "# " + &f.summary + "\n");
                writeln!(
                    text,
                    "not ok {number} - {}\n{}",
                    result.name,
                    lines.trim_end()
                )
            }
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Fault;
    use std::time::Duration;

    #[test]
    fn tap_and_junit_say_what_failed() {
        let failure = Failure {
            fault: Fault::Packet,
            summary: "x/a -> x/b: leak".into(),
            detail: "<rules>".into(),
        };
        let result = CaseResult {
            name: "deny/same".into(),
            source: "seed 001",
            status: Status::Failed(vec![failure]),
            took: Duration::from_millis(5),
            waited: Duration::ZERO,
            notes: vec![],
            tables: vec![],
        };
        let results = [result];
        assert_eq!(
            tap(&results),
            "TAP version 14\n1..1\nnot ok 1 - deny/same\n# x/a -> x/b: leak\n"
        );
        let xml = junit(&results).unwrap();
        assert!(
            xml.contains("x/a -&gt; x/b: leak") && xml.contains("&lt;rules&gt;"),
            "{xml}"
        );
    }
}
