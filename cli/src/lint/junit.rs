//! `JUnit` XML: a suite per file, a case per object.

use super::judge::{Judged, Outcome};
use anyhow::Result;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use ringfence_checks::{Finding, Level};
use std::collections::BTreeMap;

/// The whole answer; findings at or above `fail_on` are failures.
pub(super) fn render(outcome: &Outcome, fail_on: Level) -> Result<String> {
    let mut suites: BTreeMap<String, TestSuite> = BTreeMap::new();
    let mut add = |file: Option<String>, case: TestCase| {
        let file = file.unwrap_or_else(|| "cluster".to_owned());
        let suite = suites.entry(file.clone());
        suite
            .or_insert_with(|| TestSuite::new(file))
            .add_test_case(case);
    };
    let file =
        |place: Option<&ringfence_cluster::Place>| place.map(|p| p.file.display().to_string());
    for object in &outcome.objects {
        add(file(object.place.as_ref()), case(object, fail_on));
    }
    for problem in &outcome.problems {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(problem.to_string()).set_type("problem");
        add(
            file(problem.place.as_ref()),
            TestCase::new("readable", status),
        );
    }
    let mut report = Report::new("ringfence lint");
    report.add_test_suites(suites.into_values());
    Ok(report.to_string()? + "\n")
}

fn case(object: &Judged, fail_on: Level) -> TestCase {
    let text = |(finding, line): &(Finding, usize)| {
        let Finding {
            check,
            level,
            path,
            sentence,
            ..
        } = finding;
        format!(
            "{} {check} {path} (line {line}): {sentence}",
            level.as_str()
        )
    };
    let failures = object.findings.iter().filter(|(f, _)| f.level >= fail_on);
    let failures: Vec<String> = failures.map(text).collect();
    let status = match failures.first() {
        None => TestCaseStatus::success(),
        Some(first) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(first.as_str()).set_type("finding");
            status.set_description(failures.join("\n"));
            status
        }
    };
    let mut case = TestCase::new(object.name(), status);
    case.set_classname(object.kind.as_str());
    if failures.is_empty() && !object.findings.is_empty() {
        let all: Vec<String> = object.findings.iter().map(text).collect();
        case.set_system_out(all.join("\n"));
    }
    case
}
