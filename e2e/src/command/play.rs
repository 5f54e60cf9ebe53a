//! `run`, `repeat` and `self-test`.

use super::elsewhere::{Elsewhere, Fabric};
use super::progress::Progress;
use super::select::{Seed, Selection, shuffle};
use crate::case::{self, Case, CaseResult, Kinds, ObjectsKind, Options, Runner, Status, Variant};
use crate::fabric::PodKind;
use crate::report::Report;
use crate::{binaries, report, sandbox, selftest};
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use std::collections::BTreeMap;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

/// Flags of what plays cases.
#[derive(Args, Clone, Debug)]
pub struct Play {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    elsewhere: Elsewhere,
    /// What nodes and pods are made of.
    #[arg(long, value_enum, default_value_t = Fabric::Netns)]
    fabric: Fabric,
    /// How objects reach the enforcer.
    #[arg(long, value_enum, default_value_t = ObjectsKind::Folder)]
    objects: ObjectsKind,
    /// Where the control plane's programs are (`make controlplane`).
    #[arg(long, value_name = "FOLDER")]
    controlplane: Option<PathBuf>,
    /// The enforcer to judge; default: beside this program.
    #[arg(long, env = "RINGFENCE_ENFORCER", value_name = "FILE")]
    enforcer: Option<PathBuf>,
    /// Nobody enforces: every case that denies something must fail.
    #[arg(long)]
    without_enforcer: bool,
    /// Which kinds of pod.
    #[arg(long, value_enum, default_value_t = Pods::All)]
    pods: Pods,
    /// How many cases are played at once, each in a world of its own; default: two for
    /// each core, as most of a case is waiting.
    #[arg(long, value_name = "NUMBER")]
    parallel: Option<NonZero<usize>>,
    /// Stop at the first failure and keep its world until Enter is pressed.
    #[arg(long)]
    keep: bool,
    /// Play in an order drawn from this seed; `random` draws a seed and prints it.
    #[arg(long, value_name = "SEED")]
    shuffle: Option<Seed>,
    /// Where the results go, as a page, JSON, `JUnit` and TAP.
    #[arg(long, default_value = "report", value_name = "FOLDER")]
    report: PathBuf,
}

/// `repeat`
#[derive(Args, Clone, Debug)]
pub struct Repeat {
    /// How many times.
    #[arg(value_name = "TIMES")]
    times: NonZero<u32>,
    #[command(flatten)]
    play: Play,
}

/// `self-test`
#[derive(Args, Clone, Debug)]
pub struct SelfTest {
    #[command(flatten)]
    play: Play,
    /// Writes what caught each mutation into this file, between the marks for it.
    #[arg(long, value_name = "FILE", num_args = 0..=1,
          require_equals = true, default_missing_value = "docs/proof.md")]
    write_docs: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Pods {
    /// Every case with all kinds that it names.
    All,
    /// Every placement of a case with one kind, in turn: half the time.
    InTurn,
    /// Ports of a bridge.
    Bridge,
    /// Host routes.
    Routed,
}

// === impl Play ===

impl Play {
    /// Plays the cases once. Call it first thing in `main`: it enters the sandbox.
    pub fn run(&self, ready: impl FnOnce()) -> Result<bool> {
        self.times(1, ready)
    }

    fn times(&self, times: u32, ready: impl FnOnce()) -> Result<bool> {
        let cases = self.selection.cases()?;
        let mut options = self.options()?;
        let variants = self.variants(&cases, &options)?;
        if self.fabric == Fabric::Netns {
            sandbox::enter()?;
        }
        ready();
        options.cluster = self.elsewhere.connect(self.fabric)?;
        let all: Vec<Variant> = (0..times).flat_map(|_| variants.clone()).collect();
        if let Some(Seed(seed)) = self.shuffle {
            println!("shuffled: --shuffle {seed} gives this order again");
        }
        let (began, start) = (jiff::Timestamp::now(), Instant::now());
        let progress = Progress::new(all.len());
        let tell = |_: &Variant, result: &mut CaseResult, runner: &Runner| {
            let mut text = report::line(result);
            let failed = matches!(result.status, Status::Failed(_));
            if failed {
                text.push('\n');
                text.push_str(&report::failure(result, &self.repeat_command(&result.name)));
            }
            progress.tell(&text);
            if failed && self.keep {
                progress.finish();
                runner.show_kept();
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        let results = case::play(&all, &options, self.workers(), tell);
        progress.finish();
        self.elsewhere.leave(options.cluster.as_ref())?;
        let took = start.elapsed();
        let run = report::Run {
            version: env!("CARGO_PKG_VERSION").into(),
            command: std::env::args().collect::<Vec<_>>().join(" "),
            began: began.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            seconds: took.as_secs_f64(),
            fabric: self.fabric(),
            shuffle: self.shuffle.map(|Seed(seed)| seed),
        };
        let repeat = |name: &str| self.repeat_command(name);
        let report = Report::new(run, &variants, &results, repeat);
        report::write(&report, &self.report)?;
        println!("{} cases in {:.1} s", results.len(), took.as_secs_f64());
        println!("{}", self.report.join(report::PAGE).display());
        if times > 1 {
            print!("{}", unsteady(&results, times));
        }
        println!("{}", report::summary(&report));
        Ok(!report.has_failed())
    }

    fn options(&self) -> Result<Options> {
        Ok(Options {
            cluster: None,
            // A cluster has its own.
            enforcer: if self.without_enforcer || self.fabric != Fabric::Netns {
                None
            } else {
                Some(binaries::enforcer(self.enforcer.as_deref())?)
            },
            objects: self.objects,
            controlplane: self.controlplane.clone(),
            kinds: match self.pods {
                // A cluster plugs all its pods in alike.
                Pods::All | Pods::InTurn if self.fabric != Fabric::Netns => {
                    Kinds::Only(PodKind::Routed)
                }
                Pods::All => Kinds::All,
                Pods::InTurn => Kinds::InTurn,
                Pods::Bridge => Kinds::Only(PodKind::Bridge),
                Pods::Routed => Kinds::Only(PodKind::Routed),
            },
        })
    }

    fn variants<'a>(&self, cases: &'a [Case], options: &Options) -> Result<Vec<Variant<'a>>> {
        let mut variants = Runner::new(options.clone()).variants(cases);
        self.selection.narrow(&mut variants);
        if variants.is_empty() {
            bail!("nothing to play: no variant of these cases was asked for");
        }
        Ok(match self.shuffle {
            Some(seed) => shuffle(&variants, seed),
            None => variants,
        })
    }

    /// As reports call it.
    fn fabric(&self) -> String {
        match (self.fabric, self.objects) {
            (Fabric::Netns, ObjectsKind::Folder) => "netns, folder".into(),
            (Fabric::Netns, ObjectsKind::Apiserver) => "netns, API server".into(),
            (Fabric::Kind, _) => "kind".into(),
            (Fabric::Kubeconfig, _) => "kubeconfig".into(),
        }
    }

    /// Three quarters of a case is waiting: two workers for each core keep it busy.
    fn workers(&self) -> usize {
        if self.fabric != Fabric::Netns {
            // One cluster is one world.
            return 1;
        }
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        self.parallel.map_or(2 * cores, NonZero::get)
    }

    fn repeat_command(&self, name: &str) -> String {
        let program = std::env::args()
            .next()
            .unwrap_or_else(|| "ringfence-e2e".into());
        let mut words = vec![program, "run".into(), name.to_owned()];
        match self.fabric {
            Fabric::Netns => {}
            Fabric::Kind => words.extend(["--fabric".into(), "kind".into()]),
            Fabric::Kubeconfig => words.extend(["--fabric".into(), "kubeconfig".into()]),
        }
        if self.objects == ObjectsKind::Apiserver {
            words.extend(["--objects".into(), "apiserver".into()]);
        }
        for (flag, path) in [
            ("--controlplane", &self.controlplane),
            ("--enforcer", &self.enforcer),
        ] {
            if let Some(path) = path {
                words.extend([flag.to_owned(), path.display().to_string()]);
            }
        }
        words.join(" ")
    }
}

// === impl Repeat ===

impl Repeat {
    /// Plays the cases again and again, as [`Play::run`].
    pub fn run(&self, ready: impl FnOnce()) -> Result<bool> {
        self.play.times(self.times.get(), ready)
    }
}

/// The cases that did not end alike each time.
fn unsteady(results: &[CaseResult], times: u32) -> String {
    let mut failed: BTreeMap<&str, u32> = BTreeMap::new();
    let mut flips: BTreeMap<&str, usize> = BTreeMap::new();
    for result in results {
        let wrong = matches!(result.status, Status::Failed(_));
        *failed.entry(&result.name).or_default() += u32::from(wrong);
        let flaky = result.notes.iter().filter(|n| n.starts_with("flaky"));
        *flips.entry(&result.name).or_default() += flaky.count();
    }
    let mut lines: Vec<String> = failed
        .iter()
        .filter(|(_, count)| **count > 0 && **count < times)
        .map(|(name, count)| format!("flaky: {name} failed {count} of {times} times\n"))
        .collect();
    let flipped = flips.iter().filter(|(_, count)| **count > 0);
    lines.extend(flipped.map(|(name, count)| format!("flaky: {name}: {count} probes flipped\n")));
    if lines.is_empty() {
        lines.push(format!("{times} times, not one flake\n"));
    }
    lines.concat()
}

// === impl SelfTest ===

impl SelfTest {
    /// Sees that the harness notices. Call it first thing in `main`: it enters the sandbox.
    pub fn run(&self, ready: impl FnOnce()) -> Result<bool> {
        let play = &self.play;
        let cases = play.selection.cases()?;
        let options = play.options()?;
        sandbox::enter()?;
        ready();
        let (began, start) = (jiff::Timestamp::now(), Instant::now());
        let tell = |result: &CaseResult| println!("{}", report::line(result));
        let mut results = selftest::without_enforcer(&cases, &options, play.workers(), tell);
        if options.enforcer.is_some() {
            results.extend(selftest::faults::play(&options, tell));
            let (catches, played) = selftest::mutate::play(&options, play.workers(), tell);
            results.extend(played);
            for catch in &catches {
                let by = catch.by.as_deref().unwrap_or("nothing");
                println!("{}: caught by {by}: {}", catch.mutation, catch.saw);
            }
            if let Some(file) = &self.write_docs {
                selftest::proof::write(&catches, file)?;
            }
        }
        for result in results
            .iter()
            .filter(|r| matches!(r.status, Status::Failed(_)))
        {
            println!("{}", report::failure(result, "ringfence-e2e self-test"));
        }
        let run = report::Run {
            version: env!("CARGO_PKG_VERSION").into(),
            command: std::env::args().collect::<Vec<_>>().join(" "),
            began: began.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            seconds: start.elapsed().as_secs_f64(),
            fabric: play.fabric(),
            shuffle: None,
        };
        let report = Report::new(run, &[], &results, |_| "ringfence-e2e self-test".into());
        report::write(&report, &play.report.join("self-test"))?;
        println!("{}", report::summary(&report));
        Ok(!report.has_failed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_fails_at_times_is_named() {
        let result = |name: &str, status, notes: &[&str]| CaseResult {
            name: name.into(),
            source: "",
            status,
            took: Duration::ZERO,
            waited: Duration::ZERO,
            notes: notes.iter().map(|n| (*n).to_owned()).collect(),
            tables: vec![],
        };
        let failed = || Status::Failed(vec![]);
        let results = [
            result("a", failed(), &[]),
            result("a", Status::Passed, &[]),
            result("b", failed(), &[]),
            result("b", failed(), &[]),
            result("c", Status::Passed, &["flaky: x"]),
            result("c", Status::Passed, &[]),
        ];
        assert_eq!(
            unsteady(&results, 2),
            "flaky: a failed 1 of 2 times\nflaky: c: 1 probes flipped\n"
        );
        assert_eq!(unsteady(&results[2..4], 2), "2 times, not one flake\n");
    }
}
