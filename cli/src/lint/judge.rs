//! The checks over everything that was read.

use super::read::{Input, Item};
use jiff::Timestamp;
use ringfence_checks::{
    Before, Config, Finding, Index, Level, Subject, Unknown, World, judge as by_checks,
};
use ringfence_cluster::folder::Step;
use ringfence_cluster::{Cause, Place, Problem, Severity};
use ringfence_policy::model::ObjectKey;
use ringfence_policy::snapshot::Kind;

/// What was found.
#[derive(Debug)]
pub(super) struct Outcome {
    /// By object, in the order of the files.
    pub(super) objects: Vec<Judged>,
    /// What could not be read, each once.
    pub(super) problems: Vec<Problem>,
}

/// An object and what was found of it.
#[derive(Debug)]
pub(super) struct Judged {
    /// What it is.
    pub(super) kind: Kind,
    /// Its name.
    pub(super) key: ObjectKey,
    /// Where it begins; none in a cluster.
    pub(super) place: Option<Place>,
    /// Worst first, each with its line (0: not known).
    pub(super) findings: Vec<(Finding, usize)>,
    /// Checks that could not be made.
    pub(super) unknown: Vec<Unknown>,
}

impl Outcome {
    /// The worst level of all findings.
    pub(super) fn worst(&self) -> Option<Level> {
        self.findings().map(|(_, f, _)| f.level).max()
    }

    /// Every finding with its object and line.
    pub(super) fn findings(&self) -> impl Iterator<Item = (&Judged, &Finding, usize)> {
        let objects = self.objects.iter();
        objects.flat_map(|o| o.findings.iter().map(move |(f, line)| (o, f, *line)))
    }

    /// How many findings are of a level.
    pub(super) fn count(&self, level: Level) -> usize {
        self.findings().filter(|(_, f, _)| f.level == level).count()
    }
}

impl Judged {
    /// `NetworkPolicy shop/web`
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.kind.as_str(), self.key)
    }
}

/// Judges every object.
pub(super) fn judge(input: &Input, config: &Config) -> Outcome {
    let index = Index::new(input.snapshot.clone());
    let mut outcome = Outcome {
        objects: Vec::new(),
        problems: input.problems.clone(),
    };
    for item in &input.objects {
        match one(item, input, &index, config) {
            Ok(judged) => outcome.objects.push(judged),
            // Reading it for the cluster has said so, unless its version is a removed one.
            Err(problem) if outcome.problems.iter().any(|p| p.place == problem.place) => {}
            Err(problem) => outcome.problems.push(problem),
        }
    }
    outcome
}

fn world<'a>(input: &'a Input, index: &'a Index, config: &'a Config) -> World<'a> {
    World {
        index: Some(index),
        facts: &input.facts,
        config,
        now: Timestamp::now(),
        occasion: input.occasion,
    }
}

/// Judges one object.
pub(super) fn one(
    item: &Item,
    input: &Input,
    index: &Index,
    config: &Config,
) -> Result<Judged, Problem> {
    let place = item.place.as_ref().map(|(place, _)| place.clone());
    let subject = Subject::read(&item.value).map_err(|error| Problem {
        severity: Severity::Error,
        cause: Cause::Field,
        object: None,
        place: place.clone(),
        message: error.to_string(),
    })?;
    let subject = if item.implied_namespace {
        subject.with_implied_namespace()
    } else {
        subject
    };
    let report = by_checks(&subject, Before::Nothing, &world(input, index, config));
    let findings = report.findings.into_iter().map(|finding| {
        let line = line(item, input, &finding);
        (finding, line)
    });
    Ok(Judged {
        kind: subject.kind(),
        key: subject.key(),
        findings: findings.collect(),
        unknown: report.unknown,
        place,
    })
}

/// The line of a finding's field.
fn line(item: &Item, input: &Input, finding: &Finding) -> usize {
    let Some((place, at)) = &item.place else {
        return 0;
    };
    let outline = input.outlines.get(&place.file);
    let line = outline.and_then(|outline| outline.line(at, &Step::path(&finding.path)));
    line.unwrap_or(place.line)
}
