//! Runs the checks over one object.

use crate::catalogue::peers::used::Used;
use crate::catalogue::{CATALOGUE, Check, words::short};
use crate::finding::{self, Finding, Level, SENTENCE, Unknown};
use crate::impact::{Edit, Ways};
use crate::inject::dns::{Fault, Target};
use crate::suppress::{Suppression, suppressions};
use crate::{Before, Index, Subject, World};
use json_patch::Patch;
use serde_json::Value;
use std::cell::{LazyCell, OnceCell};
use std::collections::HashSet;

/// What is asked of a check.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The object.
    pub subject: &'a Subject<'a>,
    /// What it was before, on an update.
    pub old: Before<'a>,
    /// Everything around it.
    pub world: &'a World<'a>,
    /// What another check has found out about the object.
    pub memo: &'a Memo<'a>,
    /// Findings are compared with others. A warning at admission is only read.
    pub compares: bool,
}

/// What several checks of one object ask for, found out once.
#[derive(Debug, Default)]
pub struct Memo<'a> {
    /// The policy's selectors.
    pub(crate) selectors: OnceCell<Vec<Used<'a>>>,
    /// Where the cluster's DNS is.
    pub(crate) dns: OnceCell<Result<Target<'a>, Fault>>,
    /// For each of the policy's selectors, in their order: whether it matches nothing.
    pub(crate) matches_nothing: OnceCell<Vec<bool>>,
    /// The object as a change of the cluster, where it is one.
    pub(crate) edit: OnceCell<Option<Edit>>,
    /// The ways that the change cuts or opens.
    pub(crate) ways: OnceCell<Ways>,
}

/// What a check answers.
#[derive(Debug, Default)]
pub struct Answers {
    drafts: Vec<Draft>,
    missing: Option<&'static str>,
}

/// A finding before levels.
#[derive(Debug)]
pub struct Draft {
    path: String,
    sentence: String,
    evidence: String,
    patch: Option<Patch>,
    at_most: Level,
}

/// What all checks answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Worst first; within a level in the order of the catalogue.
    pub findings: Vec<Finding>,
    /// The checks that could not be made.
    pub unknown: Vec<Unknown>,
}

// === impl Ask ===

impl<'a> Ask<'a> {
    /// The cluster's objects; notes in `answers` that they are not known.
    pub fn index(&self, answers: &mut Answers) -> Option<&'a Index> {
        if self.world.index.is_none() {
            answers.unknown("the cluster's objects are not known (yet)");
        }
        self.world.index
    }

    /// Where the cluster's DNS is, as far as `index` tells.
    pub fn dns(&self, index: &'a Index) -> &'a Result<Target<'a>, Fault> {
        let find = || Target::find(index, self.world.config);
        self.memo.dns.get_or_init(find)
    }

    /// Evidence that takes long to write: nothing where nobody compares it.
    pub fn evidence(&self, write: impl FnOnce() -> String) -> String {
        if self.compares {
            write()
        } else {
            String::new()
        }
    }

    /// Whether it is too early to say that something matches nothing in `namespace`:
    /// charts install policies before pods.
    pub fn is_early(&self, index: &Index, namespace: &str) -> bool {
        self.world.occasion.is_admission() && !index.is_settled(namespace)
    }
}

// === impl Answers ===

impl Answers {
    /// A finding: where, what happens to traffic (at most [`SENTENCE`] characters), and
    /// what was found, independent of its place.
    pub fn found(
        &mut self,
        path: impl Into<String>,
        sentence: impl Into<String>,
        evidence: impl Into<String>,
    ) -> &mut Draft {
        let at = self.drafts.len();
        self.drafts.push(Draft {
            path: path.into(),
            sentence: sentence.into(),
            evidence: evidence.into(),
            patch: None,
            at_most: Level::Deny,
        });
        &mut self.drafts[at]
    }

    /// The check cannot be made, for want of this.
    pub fn unknown(&mut self, missing: &'static str) {
        self.missing = Some(missing);
    }
}

// === impl Draft ===

impl Draft {
    /// The change that mends it: the operations of a JSON Patch.
    pub fn mend(&mut self, operations: Value) -> &mut Self {
        self.patch = finding::patch(operations);
        self
    }

    /// Counts for no more than this, whatever the configuration says.
    pub fn at_most(&mut self, level: Level) -> &mut Self {
        self.at_most = level;
        self
    }
}

/// Judges an object.
///
/// *Ratchet*: what `old` had already is not newly denied, and nothing is denied of an
/// object that is being deleted; otherwise every object that exists would freeze, and
/// finalizers deadlock.
pub fn judge<'a>(subject: &'a Subject<'a>, old: Before<'a>, world: &'a World<'a>) -> Report {
    judge_by(CATALOGUE, subject, old, world)
}

/// The same by some checks only.
pub(crate) fn judge_by<'a>(
    checks: &[&'static Check],
    subject: &'a Subject<'a>,
    old: Before<'a>,
    world: &'a World<'a>,
) -> Report {
    let rules = world.rules(subject.namespace());
    let suppressions = suppressions(subject);
    let memo = Memo::default();
    let mut report = Report::default();
    for check in checks.iter().copied() {
        let level = rules.level(check);
        if level == Level::Off || !check.kinds.contains(&subject.kind()) {
            continue;
        }
        let mut answers = Answers::default();
        let ask = Ask {
            subject,
            old,
            world,
            memo: &memo,
            compares: level == Level::Deny || !world.occasion.is_admission(),
        };
        (check.run)(&ask, &mut answers);
        report
            .unknown
            .extend(answers.missing.map(|missing| Unknown {
                check: check.id,
                missing,
            }));
        if answers.drafts.is_empty() {
            continue;
        }
        // Only a denial asks what there was before.
        let before = LazyCell::new(|| evidence(check, old, world));
        for draft in answers.drafts {
            let mut finding = draft.finish(check, level);
            ratchet(&mut finding, subject, |evidence| before.contains(evidence));
            silence(&mut finding, &suppressions, world);
            report.findings.push(finding);
        }
    }
    report.findings.sort_by_key(|f| std::cmp::Reverse(f.level));
    report
}

/// What a check finds in the object as it was before.
fn evidence<'a>(check: &Check, old: Before<'a>, world: &'a World<'a>) -> HashSet<String> {
    let Some(subject) = old.get() else {
        return HashSet::new();
    };
    let mut answers = Answers::default();
    let ask = Ask {
        subject,
        old: Before::Nothing,
        world,
        memo: &Memo::default(),
        compares: true,
    };
    (check.run)(&ask, &mut answers);
    answers.drafts.into_iter().map(|d| d.evidence).collect()
}

impl Draft {
    fn finish(self, check: &'static Check, level: Level) -> Finding {
        let sentence = if self.sentence.len() <= SENTENCE {
            self.sentence
        } else {
            short(&self.sentence, SENTENCE)
        };
        Finding {
            check: check.id,
            level: level.min(self.at_most),
            path: self.path,
            sentence,
            evidence: self.evidence,
            patch: self.patch,
            softened: None,
        }
    }
}

fn ratchet(finding: &mut Finding, subject: &Subject, was_there: impl Fn(&str) -> bool) {
    if finding.level != Level::Deny {
        return;
    }
    if subject.is_deleted() {
        finding.level = Level::Warn;
        finding.softened = Some("the object is being deleted".to_owned());
    } else if was_there(&finding.evidence) {
        finding.level = Level::Warn;
        finding.softened = Some("it was so before this change".to_owned());
    }
}

fn silence(finding: &mut Finding, suppressions: &[Suppression], world: &World) {
    if finding.level <= Level::Audit || !world.config.may_suppress(finding.check) {
        return;
    }
    let silencer = suppressions
        .iter()
        .find(|s| s.silences(finding.check, world.now));
    if let Some(Ok((until, reason))) = silencer.map(|s| &s.terms) {
        finding.level = Level::Audit;
        finding.softened = Some(format!("suppressed until {until}: {reason}"));
    }
}

impl Report {
    /// The findings of one level.
    pub fn of(&self, level: Level) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |f| f.level == level)
    }
}

#[cfg(test)]
mod tests;
