//! Plays cases of the suite on a program that was changed by hand.

use super::kernel::{hold, release};
use super::mutations::{ALL, Mutation};
use crate::case::{
    self, Case, CaseResult, Failure, Fault, Kinds, ObjectsKind, Options, Runner, Status, Step,
    Variant,
};
use crate::cases;
use crate::truth::Row;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

/// What became of a mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catch {
    /// The mutation.
    pub mutation: &'static str,
    /// What it changes.
    pub what: &'static str,
    /// The variant that was red; `None`: nothing was.
    pub by: Option<String>,
    /// The first thing that was wrong there, or why nothing was.
    pub saw: String,
}

/// Plays every mutation. Returns what became of each, in the order of the list, and the
/// cases that were asked; of these, passed are those that caught something.
pub fn play(
    options: &Options,
    workers: usize,
    tell: impl Fn(&CaseResult) + Sync,
) -> (Vec<Catch>, Vec<CaseResult>) {
    let options = Options {
        objects: ObjectsKind::Folder,
        kinds: Kinds::All,
        ..options.clone()
    };
    let suite = cases::all();
    let listed = Runner::new(options.clone()).variants(&suite);
    let catches: Mutex<BTreeMap<&str, Catch>> = Mutex::default();
    let mut results = Vec::new();
    let most = ALL.iter().map(|m| m.asks.len()).max().unwrap_or_default();
    // Most are caught by the first case that is asked.
    for round in 0..most {
        let asked: Vec<(&Mutation, &Variant, Case)> = ALL
            .iter()
            .filter(|mutation| !is_caught(&catches, mutation))
            .filter_map(|mutation| {
                let name = *mutation.asks.get(round)?;
                let variant = listed.iter().find(|v| v.name == name)?;
                Some((mutation, variant, mutated(variant.case, mutation)))
            })
            .collect();
        let variants: Vec<Variant> = asked
            .iter()
            .map(|(mutation, variant, case)| Variant {
                case,
                name: format!("mutation {} of {}", mutation.name, variant.name),
                topology: variant.topology.clone(),
            })
            .collect();
        let judged = |played: &Variant, result: &mut CaseResult, _: &Runner| {
            let mut asked = asked.iter();
            if let Some((mutation, variant, _)) = asked.find(|(.., c)| std::ptr::eq(c, played.case))
            {
                let catch = judge(mutation, &variant.name, result);
                result.notes.push(catch.saw.clone());
                result.status = status(&catch, &result.status);
                tell(result);
                let mut catches = catches.lock().unwrap_or_else(PoisonError::into_inner);
                catches.insert(mutation.name, catch);
            }
            ControlFlow::Continue(())
        };
        results.extend(case::play(&variants, &options, workers, judged));
    }
    let mut catches = catches.into_inner().unwrap_or_else(PoisonError::into_inner);
    let in_order = ALL.iter().filter_map(|m| catches.remove(m.name));
    (in_order.collect(), results)
}

fn is_caught(catches: &Mutex<BTreeMap<&str, Catch>>, mutation: &Mutation) -> bool {
    let catches = catches.lock().unwrap_or_else(PoisonError::into_inner);
    catches
        .get(mutation.name)
        .is_some_and(|catch| catch.by.is_some())
}

/// The case up to its last look at packets, with the program changed before that look and
/// nobody to mend it.
fn mutated(case: &Case, mutation: &Mutation) -> Case {
    let looks = |step: &Step| {
        matches!(
            step,
            Step::Expect(_) | Step::Cut(_) | Step::Kept(_) | Step::Do(..)
        )
    };
    let mut case = case.clone();
    // What follows a cut in the same breath only says which flows are left.
    let cut = case
        .steps
        .iter()
        .rposition(|step| matches!(step, Step::Cut(_)));
    let look = cut.or_else(|| case.steps.iter().rposition(looks));
    let end = look.map_or(case.steps.len(), |look| look + 1);
    case.steps.truncate(end);
    case.steps
        .insert(end.saturating_sub(1), Step::Do("hold the enforcers", hold));
    case.steps
        .insert(end, Step::Do(mutation.what, mutation.apply));
    case.act("let the enforcers go on", release)
}

fn judge(mutation: &Mutation, name: &str, result: &CaseResult) -> Catch {
    let (by, saw) = match noticed(result) {
        Ok(saw) => (Some(name.to_owned()), saw),
        Err(why) => (None, why),
    };
    Catch {
        mutation: mutation.name,
        what: mutation.what,
        by,
        saw,
    }
}

/// The first packet that did what it must not after the change; else why this proves
/// nothing.
fn noticed(result: &CaseResult) -> Result<String, String> {
    let failures = match &result.status {
        Status::Passed => return Err("no case noticed it".into()),
        Status::NotRun(reason) => return Err(reason.clone()),
        Status::Failed(failures) => failures,
    };
    let tables = &result.tables;
    let before = tables
        .split_last()
        .map_or(&tables[..], |(_, before)| before);
    if before
        .iter()
        .any(|(_, rows)| rows.iter().any(|row| !row.is_right()))
    {
        return Err("the case was red before the change".into());
    }
    let packet = |failure: &&Failure| match failure.fault {
        Fault::Packet => true,
        // A step that probes for itself.
        Fault::Play => failure.detail.contains(", observed "),
        Fault::Truth | Fault::Answer => false,
    };
    let leaked = tables
        .last()
        .and_then(|(_, rows)| rows.iter().find(|row| !row.is_right()));
    match (leaked, failures.iter().find(packet)) {
        (Some(row), Some(_)) => Ok(in_words(row)),
        (None, Some(failure)) if failure.fault == Fault::Play => {
            let words = failure.detail.rsplit(": ").take(2).collect::<Vec<_>>();
            Ok(words.into_iter().rev().collect::<Vec<_>>().join(": "))
        }
        (None, Some(failure)) => Ok(failure.summary.clone()),
        (_, None) => Err(failures
            .first()
            .map_or_else(String::new, |f| format!("{}: {}", f.summary, f.detail))),
    }
}

fn in_words(row: &Row) -> String {
    format!(
        "{}: expected {}, observed {}",
        row.cell, row.expected.outcome, row.observed.outcome
    )
}

fn status(catch: &Catch, old: &Status) -> Status {
    match (&catch.by, old) {
        (Some(_), _) => Status::Passed,
        (None, Status::NotRun(reason)) => Status::NotRun(reason.clone()),
        (None, _) => Status::Failed(vec![Failure {
            fault: Fault::Play,
            summary: format!("nothing has caught it: {}", catch.what),
            detail: catch.saw.clone(),
        }]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::cells;
    use crate::probe::tcp;
    use std::time::Duration;

    fn result(status: Status) -> CaseResult {
        CaseResult {
            name: "mutation x".into(),
            source: "",
            status,
            took: Duration::ZERO,
            waited: Duration::ZERO,
            notes: vec![],
            tables: vec![],
        }
    }

    fn failed(fault: Fault, summary: &str, detail: &str) -> Status {
        Status::Failed(vec![Failure {
            fault,
            summary: summary.into(),
            detail: detail.into(),
        }])
    }

    #[test]
    fn only_packets_catch_a_mutation() {
        let leak = failed(Fault::Packet, "flow x/a -> x/b: still heard", "");
        assert_eq!(
            noticed(&result(leak)).unwrap(),
            "flow x/a -> x/b: still heard"
        );
        let own = failed(
            Fault::Play,
            "probe",
            "probe: y/a -> x/a TCP 80: expected a deny, observed allowed",
        );
        assert_eq!(
            noticed(&result(own)).unwrap(),
            "y/a -> x/a TCP 80: expected a deny, observed allowed"
        );
        let broken = failed(Fault::Play, "taking out a rule", "iptables: no such chain");
        assert!(
            noticed(&result(broken)).is_err(),
            "a change that could not be made"
        );
        assert!(noticed(&result(Status::Passed)).is_err());
        let lie = failed(Fault::Truth, "the case says allowed", "");
        assert!(noticed(&result(lie)).is_err());
    }

    #[test]
    fn the_change_comes_before_the_last_look() {
        let look = || cells(&[tcp(80)], &[("x/a", "x/b")]);
        let case = Case::new("a", "")
            .expect(look())
            .expect(look())
            .delete("Pod x/a");
        let steps = mutated(&case, &ALL[0]).steps;
        let words: Vec<&str> = steps
            .iter()
            .map(|step| match step {
                Step::Expect(_) => "look",
                Step::Do(what, _) => what,
                _ => "other",
            })
            .collect();
        assert_eq!(
            words,
            [
                "look",
                "hold the enforcers",
                ALL[0].what,
                "look",
                "let the enforcers go on"
            ]
        );
    }
}
