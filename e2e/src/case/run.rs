//! Plays cases and keeps what came of them.

mod elsewhere;
mod play;

use self::play::Play;
use super::stage::{ObjectsKind, Setup, Stage};
use super::{Case, Step};
use crate::fabric::{Lab, Placement, PodKind, Topology, World};
use crate::probe::has_sctp;
use crate::truth::Row;
use anyhow::Context;
use ringfence_policy::model::Protocol;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
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
    /// With which kinds of pod.
    pub kinds: Kinds,
    /// The cluster to play on, instead of namespaces of this machine.
    pub cluster: Option<Arc<Lab>>,
}

/// With which kinds of pod cases are played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kinds {
    /// All that a case names.
    #[default]
    All,
    /// Only this one.
    Only(PodKind),
    /// Each placement of a case with one of them, in turn: half the time, and still
    /// every case on one node and on two.
    InTurn,
}

impl Kinds {
    /// The kinds with which a placement of a case, the `turn`-th of all, is played.
    fn of(self, case: &Case, turn: usize) -> Vec<PodKind> {
        match self {
            Self::All => case.kinds.clone(),
            Self::Only(only) if case.any_kind || case.kinds.contains(&only) => vec![only],
            Self::Only(_) => Vec::new(),
            Self::InTurn => {
                let chosen = case.kinds.iter().cycle().nth(turn);
                chosen.into_iter().copied().collect()
            }
        }
    }
}

/// One thing that was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whose fault it is.
    pub fault: Fault,
    /// In one line.
    pub summary: String,
    /// Everything that may help.
    pub detail: String,
}

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// A packet did what it must not: whoever enforces.
    Packet,
    /// The case's text and the oracle disagree: one of the two is wrong.
    Truth,
    /// The webhook answered something else than was recorded.
    Answer,
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
    pub fn shares_stage(&self, other: &Self) -> bool {
        self.needs() == other.needs()
    }

    /// Whether a stage for the one becomes one for the other with other enforcers.
    pub fn shares_world(&self, other: &Self) -> bool {
        self.needs().world == other.needs().world
    }

    /// About how long it takes, in lengths of the shortest: who types, or acts otherwise, waits
    /// for more than packets.
    pub fn length(&self) -> usize {
        let acts = self.case.steps.iter().any(|s| matches!(s, Step::Do(..)));
        if acts || self.case.webhook { 3 } else { 1 }
    }

    fn needs(&self) -> Needs {
        Needs {
            world: (self.topology.clone(), self.case.webhook),
            flags: self.case.flags.clone(),
        }
    }
}

/// What decides whether a stage can be used again.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Needs {
    /// And whether there is a webhook in it.
    world: (Topology, bool),
    /// The enforcers'.
    flags: Vec<&'static str>,
}

/// Plays one case after another, on the same stage as long as the world is the same.
pub struct Runner {
    options: Options,
    stage: Option<(Needs, Stage)>,
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
        for (number, case) in cases.into_iter().enumerate() {
            for (turn, placement) in case.placements.iter().enumerate() {
                let kinds = self.options.kinds.of(case, number + turn).into_iter();
                all.extend(kinds.map(|kind| variant(case, kind, *placement)));
            }
        }
        let mut sorted: Vec<Variant> = Vec::with_capacity(all.len());
        while let Some(first) = all.first() {
            let first = first.clone();
            let (same, rest) = all.into_iter().partition(|v| v.shares_stage(&first));
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
        let case = variant.case;
        let needs = variant.needs();
        let staged = self.staged(&needs);
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
                self.stage = (!stage.is_spoiled()).then_some((needs, stage));
            }
            // A stage on which something went wrong is not used again.
            Ok((stage, failures)) => {
                result.status = Status::Failed(failures);
                self.failed = Some(stage);
            }
            Err(error) => {
                let refused = self.options.cluster.is_some() && !case.webhook;
                if refused && let Some(reason) = elsewhere::refusal(&error) {
                    result.status = Status::NotRun(reason);
                    return result;
                }
                result.status = Status::Failed(vec![Failure {
                    fault: Fault::Play,
                    summary: error.to_string(),
                    detail: format!("{error:#}"),
                }]);
            }
        }
        result
    }

    /// The stage of the case before, as it is or with other enforcers; else a new one.
    fn staged(&mut self, needs: &Needs) -> anyhow::Result<Stage> {
        let (topology, webhook) = &needs.world;
        match self.stage.take() {
            Some((old, stage)) if old == *needs => return Ok(stage),
            Some((old, mut stage)) if old.world == needs.world => {
                stage
                    .reinstall(&needs.flags)
                    .context("replacing the enforcers of the world")?;
                return Ok(stage);
            }
            // The old world goes before the new one comes.
            other => drop(other),
        }
        let setup = Setup {
            enforcer: self.options.enforcer.clone(),
            objects: self.options.objects,
            controlplane: self.options.controlplane.clone(),
            webhook: *webhook,
            cluster: self.options.cluster.clone(),
        };
        Stage::create(topology.clone(), &needs.flags, &setup).context("building the world")
    }

    /// Shows how to enter the world of the last failure and keeps it until a line is read
    /// from standard input.
    pub fn show_kept(&self) {
        let Some(stage) = &self.failed else {
            return;
        };
        let hosts = stage.world().into_iter().flat_map(World::hosts);
        for host in hosts {
            println!("{:<12} nsenter --net={}", host.name, host.netns.path());
        }
        println!("press Enter to take it down");
        let _ = std::io::stdin().read_line(&mut String::new());
    }

    fn hindrance(&self, case: &Case) -> Option<String> {
        if let Some(lab) = &self.options.cluster {
            return elsewhere::hindrance(lab, case);
        }
        if case.only.is_some_and(|only| only != self.options.objects) {
            return Some("needs the other source of objects".into());
        }
        if self.options.enforcer.is_none() && case.steps.iter().any(|s| matches!(s, Step::Do(..))) {
            return Some("needs an enforcer to act on".into());
        }
        let sctp = |s: &Step| matches!(s, Step::Expect(e) if e.sends(Protocol::Sctp));
        if case.steps.iter().any(sctp) && !has_sctp() {
            return Some("this kernel has no SCTP sockets".into());
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
