//! Plays cases and keeps what came of them.

use super::diagnose::diagnose;
use super::expect::{Expect, cells};
use super::stage::{ObjectsKind, Setup, Stage};
use super::streams::Flow;
use super::{Case, Step, policy};
use crate::fabric::{Placement, PodKind, Topology};
use crate::probe::{Outcome, tcp};
use crate::truth::{Row, Table};
use anyhow::{Context, Result};
use ringfence_policy::evaluate::Evaluator;
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How cases are played.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The enforcer's binary; `None` for the self-test, in which every deny must fail.
    pub enforcer: Option<PathBuf>,
    /// Where objects come from.
    pub objects: ObjectsKind,
    /// Where the control plane's programs are.
    pub controlplane: Option<PathBuf>,
    /// Only this kind of pod.
    pub kind: Option<PodKind>,
}

/// One thing that was wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// Whose fault it is.
    pub fault: Fault,
    /// In one line.
    pub summary: String,
    /// Everything that may help.
    pub detail: String,
}

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// A packet did what it must not: whoever enforces.
    Packet,
    /// The case's text and the oracle disagree: one of the two is wrong.
    Truth,
    /// The case could not be played.
    Play,
}

/// What came of a case.
#[derive(Clone, Debug)]
pub enum Status {
    /// Everything was as it must be.
    Passed,
    /// It was not.
    Failed(Vec<Failure>),
    /// It was not played, and why.
    NotRun(String),
}

/// A case that was played.
#[derive(Clone, Debug)]
pub struct CaseResult {
    /// `case/placement-kind`
    pub name: String,
    /// Where the case comes from.
    pub source: &'static str,
    /// What came of it.
    pub status: Status,
    /// How long it took, without building the world.
    pub took: Duration,
    /// How much of that was waiting for enforcers.
    pub waited: Duration,
    /// What was seen besides: flips, how flows ended.
    pub notes: Vec<String>,
    /// Every matrix, with its title.
    pub tables: Vec<(String, Vec<Row>)>,
}

/// One way to play a case.
#[derive(Clone, Debug)]
pub struct Variant<'a> {
    /// The case.
    pub case: &'a Case,
    /// `case/placement-kind`
    pub name: String,
    /// The world it needs.
    pub topology: Topology,
}

impl Variant<'_> {
    /// Whether both can be played on one stage.
    pub fn shares_world(&self, other: &Self) -> bool {
        self.topology == other.topology && self.case.flags == other.case.flags
    }
}

/// Plays one case after another, on the same stage as long as the world is the same.
pub struct Runner {
    options: Options,
    stage: Option<((Topology, Vec<&'static str>), Stage)>,
    /// The stage on which the last case failed.
    failed: Option<Stage>,
}

impl Runner {
    /// A runner without a stage.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            stage: None,
            failed: None,
        }
    }

    /// All ways to play `cases`; those with the same world beside each other.
    pub fn variants<'a>(&self, cases: impl IntoIterator<Item = &'a Case>) -> Vec<Variant<'a>> {
        let mut all: Vec<Variant> = Vec::new();
        for case in cases {
            for kind in &case.kinds {
                for placement in &case.placements {
                    if self.options.kind.is_none_or(|only| only == *kind) {
                        all.push(variant(case, *kind, *placement));
                    }
                }
            }
        }
        let mut sorted: Vec<Variant> = Vec::with_capacity(all.len());
        while let Some(first) = all.first() {
            let first = first.clone();
            let (same, rest) = all.into_iter().partition(|v| v.shares_world(&first));
            sorted.extend::<Vec<Variant>>(same);
            all = rest;
        }
        sorted
    }

    /// Plays one.
    pub fn play(&mut self, variant: &Variant) -> CaseResult {
        let mut result = CaseResult {
            name: variant.name.clone(),
            source: variant.case.source,
            status: Status::Passed,
            took: Duration::ZERO,
            waited: Duration::ZERO,
            notes: Vec::new(),
            tables: Vec::new(),
        };
        if let Some(reason) = self.hindrance(variant.case) {
            result.status = Status::NotRun(reason);
            return result;
        }
        self.failed = None;
        let key = (variant.topology.clone(), variant.case.flags.clone());
        let staged = match self.stage.take() {
            Some((old, stage)) if old == key => Ok(stage),
            other => {
                drop(other);
                let setup = Setup {
                    enforcer: self.options.enforcer.clone(),
                    objects: self.options.objects,
                    controlplane: self.options.controlplane.clone(),
                };
                Stage::create(key.0.clone(), &key.1, &setup).context("building the world")
            }
        };
        let start = Instant::now();
        let outcome = staged.and_then(|stage| {
            let waited = stage.waited();
            let mut play = Play {
                stage,
                case: variant.case,
                result: &mut result,
                failures: Vec::new(),
            };
            let played = play.all();
            let Play {
                stage, failures, ..
            } = play;
            result.waited = stage.waited().saturating_sub(waited);
            played.map(|()| (stage, failures))
        });
        result.took = start.elapsed();
        match outcome {
            Ok((stage, failures)) if failures.is_empty() => {
                self.stage = (!stage.is_spoiled()).then_some((key, stage));
            }
            // A stage on which something went wrong is not used again.
            Ok((stage, failures)) => {
                result.status = Status::Failed(failures);
                self.failed = Some(stage);
            }
            Err(error) => {
                result.status = Status::Failed(vec![Failure {
                    fault: Fault::Play,
                    summary: error.to_string(),
                    detail: format!("{error:#}"),
                }]);
            }
        }
        result
    }

    /// Shows how to enter the world of the last failure and keeps it until a line is read
    /// from standard input.
    pub fn show_kept(&self) {
        let Some(stage) = &self.failed else {
            return;
        };
        for host in stage.world().hosts() {
            println!("{:<12} nsenter --net={}", host.name, host.netns.path());
        }
        println!("press Enter to take it down");
        let _ = std::io::stdin().read_line(&mut String::new());
    }

    fn hindrance(&self, case: &Case) -> Option<String> {
        if case.only.is_some_and(|only| only != self.options.objects) {
            return Some("needs the other source of objects".into());
        }
        if self.options.enforcer.is_none() && case.steps.iter().any(|s| matches!(s, Step::Do(..))) {
            return Some("needs an enforcer to act on".into());
        }
        None
    }
}

fn variant(case: &Case, kind: PodKind, placement: Placement) -> Variant<'_> {
    Variant {
        case,
        name: format!("{}/{}-{}", case.name, placement.as_str(), kind.as_str()),
        topology: case.topology(kind, placement),
    }
}

/// One case in play.
struct Play<'a> {
    stage: Stage,
    case: &'a Case,
    result: &'a mut CaseResult,
    failures: Vec<Failure>,
}

impl Play<'_> {
    fn all(&mut self) -> Result<()> {
        self.stage.reset().context("clearing away the last case")?;
        self.stage.serve(&self.case.serves)?;
        let ring = self.ring();
        self.expect(&ring, "before the case everything is open")?;
        if !self.failures.is_empty() {
            return Ok(());
        }
        let mut steps = self.case.steps.iter().peekable();
        while let Some(step) = steps.next() {
            // Changes in a row are waited for once.
            self.stage.is_patient =
                !matches!(steps.peek(), Some(Step::Label(..) | Step::Patch(..)))
                    || !matches!(step, Step::Label(..) | Step::Patch(..));
            self.step(step)?;
        }
        self.stage.is_patient = true;
        self.stage.flows.clear();
        if self.failures.is_empty() && self.stage.is_enforced() {
            self.canary()?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Apply { yaml, namespace } => self.stage.apply(yaml, namespace),
            Step::Patch(object, patch) => self.stage.patch(object, patch),
            Step::Delete(object) => self.stage.delete(object),
            Step::Label(object, labels) => self.stage.label(object, labels),
            Step::File(name, content) => self.stage.file(name, *content),
            Step::Expect(expect) => self.expect(expect, &expect.title()),
            Step::Open {
                name,
                from,
                to,
                transport,
                v4,
            } => {
                let flow = Flow::open(&self.stage, from, to, *transport, *v4)?;
                self.stage.flows.insert(name, flow);
                Ok(())
            }
            Step::Cut(names) => self.flows(names, Flow::leaks, true),
            Step::Kept(names) => self.flows(names, Flow::losses, false),
            Step::Do(what, act) => act(&mut self.stage).with_context(|| (*what).to_owned()),
        }
    }

    fn flows(&mut self, names: &[&str], judge: fn(&Flow) -> Vec<String>, dead: bool) -> Result<()> {
        let flows = names
            .iter()
            .map(|name| {
                self.stage
                    .flows
                    .get(name)
                    .with_context(|| format!("no flow is called {name}"))
            })
            .collect::<Result<Vec<_>>>()?;
        let faults: Vec<String> = std::thread::scope(|scope| {
            let judges: Vec<_> = flows
                .iter()
                .map(|flow| scope.spawn(|| judge(flow)))
                .collect();
            judges
                .into_iter()
                .flat_map(|j| {
                    j.join()
                        .unwrap_or_else(|_| vec!["judging a flow panicked".into()])
                })
                .collect()
        });
        if dead {
            self.result
                .notes
                .extend(flows.iter().map(|flow| flow.obituary()));
        }
        let failures = faults.into_iter().map(|summary| Failure {
            fault: Fault::Packet,
            summary,
            detail: String::new(),
        });
        self.failures.extend(failures);
        Ok(())
    }

    /// Every pod to the next one: enough to see whether every pod sends and receives.
    fn ring(&self) -> Expect {
        let pods = &self.case.pods;
        let key = |pod: &'static str| pod.split_once('@').map_or(pod, |(key, _)| key);
        let pairs: Vec<(&str, &str)> = pods
            .iter()
            .zip(pods.iter().cycle().skip(1))
            .map(|(a, b)| (key(a), key(b)))
            .collect();
        cells(&[tcp(80)], &pairs)
    }

    /// Denies everything and sees that it is denied: the enforcer was awake all along.
    fn canary(&mut self) -> Result<()> {
        self.stage.clear().context("clearing away the case")?;
        let mut namespaces: Vec<&str> = self
            .case
            .pods
            .iter()
            .filter_map(|p| p.split_once('/'))
            .map(|(n, _)| n)
            .collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        let all: Vec<String> = namespaces
            .iter()
            .map(|n| {
                policy(
                    &format!("{n}/canary"),
                    "{podSelector: {}, policyTypes: [Ingress, Egress]}",
                )
            })
            .collect();
        self.stage.apply(&all.join("---\n"), "default")?;
        let ring = self.ring();
        self.expect(&ring, "after the case a deny of everything works")
    }

    fn expect(&mut self, expect: &Expect, title: &str) -> Result<()> {
        let snapshot = self.stage.snapshot()?;
        let evaluator = Evaluator::new(&snapshot, self.stage.settings());
        let asked = expect.cells(&self.stage.names())?;
        let mut table = Table::default();
        let mut wanted = Vec::with_capacity(asked.len());
        for cell in &asked {
            let expected = self.stage.expected(&evaluator, cell)?;
            if let Some(says) = expect.says(cell)
                && says == expected.is_denied()
            {
                let word = if says { "allowed" } else { "denied" };
                let reasons = expected
                    .verdict
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                self.failures.push(Failure {
                    fault: Fault::Truth,
                    summary: format!(
                        "{cell}: the case says {word}, the oracle {}",
                        expected.outcome
                    ),
                    detail: reasons,
                });
            }
            wanted.push((cell, expected.outcome));
            table.expect(cell.clone(), expected)?;
        }
        for (cell, observation) in asked.iter().zip(self.stage.probe(&wanted)?) {
            table.observe(cell, observation)?;
        }
        let mut rows = table.finish()?;
        self.second_look(&mut rows)?;
        self.clients(expect, &rows)?;
        let wrong: Vec<&Row> = rows.iter().filter(|row| !row.is_right()).collect();
        for (index, row) in wrong.iter().enumerate() {
            self.failures.push(self.describe(row, title, index < 3));
        }
        self.result.tables.push((title.to_owned(), rows));
        Ok(())
    }

    /// Whether servers saw the clients that the case says.
    fn clients(&mut self, expect: &Expect, rows: &[Row]) -> Result<()> {
        for row in rows
            .iter()
            .filter(|row| row.observed.outcome == Outcome::Allowed)
        {
            let wanted = expect.sees(&self.stage.names(), &row.cell)?;
            let seen = row.observed.seen.map(|peer| peer.ip());
            if wanted.is_some() && wanted != seen {
                self.failures.push(Failure {
                    fault: Fault::Packet,
                    summary: format!("{}: the server saw {seen:?}, not {wanted:?}", row.cell),
                    detail: String::new(),
                });
            }
        }
        Ok(())
    }

    /// A probe that should pass and did not is sent again, and a success is noted as a
    /// flip. What passed although it should not is never asked again: that is a leak.
    fn second_look(&mut self, rows: &mut [Row]) -> Result<()> {
        for row in rows {
            let lost = matches!(row.observed.outcome, Outcome::Dropped | Outcome::Error);
            if !lost || row.expected.is_denied() {
                continue;
            }
            let again = self.stage.probe(&[(&row.cell, row.expected.outcome)])?;
            for observation in again {
                if observation.outcome == row.expected.outcome {
                    self.result.notes.push(format!(
                        "flaky: {}: first {} {}, then {}",
                        row.cell, row.observed.outcome, row.observed.detail, observation.outcome
                    ));
                    row.observed = observation;
                }
            }
        }
        Ok(())
    }

    fn describe(&self, row: &Row, title: &str, closely: bool) -> Failure {
        let Row {
            cell,
            expected,
            observed,
        } = row;
        let words = if observed.detail.is_empty() {
            String::new()
        } else {
            format!(" ({})", observed.detail)
        };
        let mut detail = expected
            .verdict
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        if closely && self.stage.is_enforced() {
            detail = format!("{detail}\n{}", diagnose(&self.stage, row));
        }
        Failure {
            fault: Fault::Packet,
            summary: format!(
                "{title}: {cell}: expected {}, observed {}{words}",
                expected.outcome, observed.outcome
            ),
            detail,
        }
    }
}
