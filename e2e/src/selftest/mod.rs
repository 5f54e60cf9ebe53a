//! Does the harness notice? A suite that cannot go red proves nothing.
//!
//! ```text
//!  without_enforcer   every deny of every case must fail
//!  mutate             mutations (what) -> kernel (how): a case must turn red
//!  faults             the harness' own: error, never pass
//!  proof              docs/proof.md
//! ```

pub mod faults;
mod kernel;
pub mod mutate;
mod mutations;
pub mod proof;

use crate::case::{Case, CaseResult, Failure, Fault, Options, Runner, Status, Step, play};
use std::ops::ControlFlow;

/// With the enforcer off every deny must fail and nothing else may. Returns one result
/// for each case: passed when the harness noticed.
pub fn without_enforcer(
    cases: &[Case],
    options: &Options,
    workers: usize,
    tell: impl Fn(&CaseResult) + Sync,
) -> Vec<CaseResult> {
    let options = Options {
        enforcer: None,
        ..options.clone()
    };
    let variants = Runner::new(options.clone()).variants(cases);
    play(&variants, &options, workers, |variant, result, _| {
        result.status = turned(variant.case, result);
        tell(result);
        ControlFlow::Continue(())
    })
}

/// The judgement of a case that was played without an enforcer.
fn turned(case: &Case, result: &CaseResult) -> Status {
    let rows = || result.tables.iter().flat_map(|(_, rows)| rows);
    let unnoticed: Vec<String> = rows()
        .filter(|row| row.is_right() == row.expected.is_denied_by_policy())
        .map(|row| {
            format!(
                "{}: expected {}, observed {}",
                row.cell, row.expected.outcome, row.observed.outcome
            )
        })
        .collect();
    let denies = rows().any(|row| row.expected.is_denied_by_policy())
        || case.steps.iter().any(|step| matches!(step, Step::Cut(_)));
    let failed = |summary, detail| {
        Status::Failed(vec![Failure {
            fault: Fault::Play,
            summary,
            detail,
        }])
    };
    match &result.status {
        Status::NotRun(reason) => Status::NotRun(reason.clone()),
        _ if !unnoticed.is_empty() => failed(
            format!(
                "{} cells are not what they are without an enforcer",
                unnoticed.len()
            ),
            unnoticed.join("\n"),
        ),
        Status::Passed if denies => failed(
            "passes although nobody enforces anything".into(),
            String::new(),
        ),
        Status::Failed(failures)
            if !denies || failures.iter().any(|f| f.fault != Fault::Packet) =>
        {
            Status::Failed(failures.clone())
        }
        _ => Status::Passed,
    }
}

fn not_run(case: &Case, reason: &str) -> CaseResult {
    CaseResult {
        name: case.name.into(),
        source: case.source,
        status: Status::NotRun(reason.into()),
        took: std::time::Duration::ZERO,
        waited: std::time::Duration::ZERO,
        notes: Vec::new(),
        tables: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::policy;

    #[test]
    fn a_case_without_denies_is_not_expected_to_fail() {
        let case = Case::new("open", "").policy("x/a", "{podSelector: {}}");
        let result = not_run(&case, "x");
        let passed = CaseResult {
            status: Status::Passed,
            ..result
        };
        assert!(matches!(turned(&case, &passed), Status::Passed));
        let case = case.cut(&["flow"]);
        assert!(matches!(turned(&case, &passed), Status::Failed(_)));
        assert!(policy("x/a", "{}").contains("namespace: x"));
    }
}
