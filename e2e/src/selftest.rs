//! Does the harness notice? A suite that cannot go red proves nothing.

use crate::case::{
    Case, CaseResult, Failure, Fault, Options, Runner, Stage, Status, Step, matrix, play,
};
use crate::fabric::PodKind;
use crate::probe::tcp;
use anyhow::{Context, Result};
use std::ops::ControlFlow;
use std::time::Instant;

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

/// With the enforcer's entry rules taken out by hand, a deny must be seen to leak.
pub fn with_a_rule_missing(options: &Options) -> CaseResult {
    let case = Case::new(
        "self-test: a rule taken out by hand",
        "scenarios.md, self-tests",
    )
    .kinds(&[PodKind::Bridge])
    .policy("x/deny", "{podSelector: {}, policyTypes: [Ingress]}")
    .expect(matrix(&[tcp(80)]))
    .act("take the entry rules out", take_entry_rules_out)
    .expect(matrix(&[tcp(80)]));
    let start = Instant::now();
    let mut runner = Runner::new(options.clone());
    let variants = runner.variants([&case]);
    let Some(variant) = variants.first() else {
        return not_run(&case, "no variant of it was asked for");
    };
    let mut result = runner.play(variant);
    let leaks = |title: usize| {
        result
            .tables
            .get(title)
            .map_or(0, |(_, rows)| rows.iter().filter(|r| !r.is_right()).count())
    };
    // Tables: all open before the case, denied, denied with the rules gone.
    result.status = match (&result.status, leaks(1), leaks(2)) {
        (Status::Failed(_), 0, 1..) => Status::Passed,
        (Status::Failed(failures), ..) => Status::Failed(failures.clone()),
        (Status::NotRun(reason), ..) => Status::NotRun(reason.clone()),
        (Status::Passed, ..) => Status::Failed(vec![Failure {
            fault: Fault::Play,
            summary: "nothing was noticed although the entry rules were gone".into(),
            detail: String::new(),
        }]),
    };
    result.took = start.elapsed();
    result
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

/// Removes every jump from a built-in chain into one of Ringfence's. The enforcer is
/// stopped first, or it would mend that at once.
pub fn take_entry_rules_out(stage: &mut Stage) -> Result<()> {
    for name in stage.node_names() {
        stage.kill_enforcer(&name)?;
        let node = stage.world().node(&name)?;
        for tables in ["iptables", "ip6tables"] {
            for table in ["mangle", "filter", "security"] {
                let rules = node.exec(&format!("{tables}-save"), &["-t", table], "")?;
                for rule in rules.lines().filter(|rule| is_entry(rule)) {
                    let delete = rule.replacen("-A", "-D", 1);
                    let script = format!("*{table}\n{delete}\nCOMMIT\n");
                    node.exec(
                        &format!("{tables}-restore"),
                        &["--noflush", "-w", "5"],
                        &script,
                    )
                    .context("removing a rule by hand")?;
                }
            }
        }
    }
    Ok(())
}

/// `-A FORWARD ... -j RF-...`
fn is_entry(rule: &str) -> bool {
    rule.starts_with("-A ") && !rule.starts_with("-A RF-") && rule.contains("-j RF-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::policy;

    #[test]
    fn entry_rules_are_jumps_from_built_in_chains() {
        assert!(is_entry("-A FORWARD -m comment --comment x -j RF-FORWARD"));
        assert!(!is_entry("-A RF-FORWARD -j RF-X"));
        assert!(!is_entry("-A FORWARD -j KUBE-FORWARD"));
    }

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
