//! For other programs: JSON, `JUnit`, TAP; and the page for people.

use super::model::{Report, Word};
use super::page;
use anyhow::{Context, Result};
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Its name in a report's folder.
pub const JSON: &str = "results.json";
/// Its name in a report's folder.
pub const PAGE: &str = "report.html";

/// Writes `results.json`, `junit.xml`, `results.tap` and `report.html` into `folder`.
pub fn write(report: &Report, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let put = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    };
    put(JSON, serde_json::to_string(report)?)?;
    put("junit.xml", junit(report)?)?;
    put("results.tap", tap(report))?;
    put(PAGE, page::render(report)?)
}

/// Reads the `results.json` of a report's folder.
pub fn read(folder: &Path) -> Result<Report> {
    let path = folder.join(JSON);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| {
        format!(
            "{} is no report of this version of ringfence-e2e; run the cases again",
            path.display()
        )
    })
}

fn junit(report: &Report) -> Result<String> {
    let mut suite = TestSuite::new("ringfence-e2e");
    for case in &report.cases {
        let status = match case.status {
            Word::Passed => TestCaseStatus::success(),
            Word::Failed => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                let summaries: Vec<&str> =
                    case.failures.iter().map(|f| f.summary.as_str()).collect();
                let details: Vec<&str> = case.failures.iter().map(|f| f.detail.as_str()).collect();
                let details = format!("{}\n\nrepeat: {}", details.join("\n\n"), case.repeat);
                status
                    .set_message(summaries.join("\n"))
                    .set_description(details);
                status
            }
            Word::NotRun => {
                let mut status = TestCaseStatus::skipped();
                status.set_message(case.reason.as_deref().unwrap_or_default());
                status
            }
        };
        let mut test = TestCase::new(case.name.as_str(), status);
        test.set_classname(case.source.as_str())
            .set_time(Duration::try_from_secs_f64(case.seconds).unwrap_or_default());
        suite.add_test_case(test);
    }
    let mut junit = quick_junit::Report::new("ringfence-e2e");
    junit.add_test_suite(suite);
    Ok(junit.to_string()?)
}

fn tap(report: &Report) -> String {
    let mut text = format!("TAP version 14\n1..{}\n", report.cases.len());
    for (index, case) in report.cases.iter().enumerate() {
        let (number, name) = (index + 1, escaped(&case.name));
        let _ = match case.status {
            Word::Passed => writeln!(text, "ok {number} - {name}"),
            Word::NotRun => {
                let reason = escaped(case.reason.as_deref().unwrap_or_default());
                writeln!(text, "ok {number} - {name} # SKIP {reason}")
            }
            Word::Failed => {
                let lines = case.failures.iter().flat_map(|f| f.summary.lines());
                let lines = lines.fold(String::new(), |all, line| all + "# " + line + "\n");
                writeln!(text, "not ok {number} - {name}\n{}", lines.trim_end())
            }
        };
    }
    text
}

/// In TAP 14 a `#` begins a directive, and a description ends with its line.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('#', "\\#")
        .replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Failure, Fault};
    use crate::report::model::CaseReport;

    fn case(name: &str, status: Word) -> CaseReport {
        CaseReport {
            name: name.into(),
            source: "seed 001".into(),
            tags: vec![],
            fabric: "netns, folder".into(),
            status,
            reason: None,
            seconds: 0.005,
            waited: 0.0,
            repeat: format!("ringfence-e2e run {name}"),
            notes: vec![],
            failures: vec![],
            tables: vec![],
        }
    }

    fn report(cases: Vec<CaseReport>) -> Report {
        Report {
            cases,
            ..Report::default()
        }
    }

    #[test]
    fn tap_and_junit_say_what_failed_and_how_to_repeat_it() {
        let failure = Failure {
            fault: Fault::Packet,
            summary: "x/a -> x/b: leak".into(),
            detail: "<rules>".into(),
        };
        let failed = CaseReport {
            failures: vec![failure],
            ..case("deny/same", Word::Failed)
        };
        let report = report(vec![failed]);
        assert_eq!(
            tap(&report),
            "TAP version 14\n1..1\nnot ok 1 - deny/same\n# x/a -> x/b: leak\n"
        );
        let xml = junit(&report).unwrap();
        for part in [
            "x/a -&gt; x/b: leak",
            "&lt;rules&gt;",
            "repeat: ringfence-e2e run deny/same",
            "time=\"0.005\"",
        ] {
            assert!(xml.contains(part), "{part:?} is not in {xml}");
        }
    }

    #[test]
    fn what_was_not_run_is_skipped_with_its_reason_in_one_line() {
        let skipped = CaseReport {
            reason: Some("no SCTP\nin # this kernel".into()),
            ..case("sctp/same", Word::NotRun)
        };
        let report = report(vec![skipped]);
        assert_eq!(
            tap(&report),
            "TAP version 14\n1..1\nok 1 - sctp/same # SKIP no SCTP in \\# this kernel\n"
        );
        let xml = junit(&report).unwrap();
        assert!(xml.contains("<skipped message=\"no SCTP"), "{xml}");
    }

    #[test]
    fn what_is_written_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let report = report(vec![case("a/same", Word::Passed)]);
        write(&report, folder.path()).unwrap();
        assert_eq!(read(folder.path()).unwrap(), report);
        fs::write(folder.path().join(JSON), "{}").unwrap();
        let error = format!("{:#}", read(folder.path()).unwrap_err());
        assert!(error.contains("no report of this version"), "{error}");
    }
}
