//! `ringfence-e2e`: plays cases with real packets and says whether the policies held.

use anyhow::{Result, bail, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use ringfence_e2e::case::{
    self, Case, CaseResult, Kinds, ObjectsKind, Options, Runner, Status, Variant,
};
use ringfence_e2e::fabric::PodKind;
use ringfence_e2e::{bench, binaries, cases, demo, report, sandbox, selftest};
use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Real packets between pods on several nodes, compared with what the policies say.
#[derive(Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 all is well, 1 a case failed, 2 the run itself went wrong."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists the cases, their tags and where they come from.
    List(Selection),
    /// Plays cases.
    Run(Run),
    /// Sees that the harness notices: without an enforcer every deny must fail, and with
    /// a rule taken out by hand a deny must leak.
    SelfTest(Run),
    /// Shows the product in half a minute: a shop, its policies, who reaches whom.
    Demo {
        /// The enforcer; default: beside this program.
        #[arg(long, env = "RINGFENCE_ENFORCER", value_name = "FILE")]
        enforcer: Option<PathBuf>,
    },
    /// Measures what enforcement costs and how fast it is (`make bench`).
    Bench(bench::Command),
}

#[derive(Args)]
struct Selection {
    /// Names, beginnings of names, or tags; none: all.
    cases: Vec<String>,
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    selection: Selection,
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
    /// How many cases are played at once, each in a world of its own; default: one for
    /// each core, at least 2.
    #[arg(long, value_name = "NUMBER")]
    parallel: Option<NonZero<usize>>,
    /// Stop at the first failure and keep its world until Enter is pressed.
    #[arg(long)]
    keep: bool,
    /// Play everything this many times.
    #[arg(long, default_value_t = 1, value_name = "TIMES")]
    repeat: u32,
    /// Play in an order drawn from this seed.
    #[arg(long, value_name = "SEED")]
    shuffle: Option<u64>,
    /// Where the results go, as JSON, `JUnit` and TAP.
    #[arg(long, default_value = "report", value_name = "FOLDER")]
    report: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Fabric {
    /// Network namespaces of this machine.
    Netns,
}

#[derive(Clone, Copy, ValueEnum)]
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

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<bool> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("RINGFENCE_E2E_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let logging = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match command {
        Command::Bench(command) => {
            logging.init();
            command.run().map(|()| true)
        }
        Command::List(selection) => {
            for case in select(&selection)? {
                println!(
                    "{:<44} {:<40} {}",
                    case.name,
                    case.tags.join(" "),
                    case.source
                );
            }
            Ok(true)
        }
        Command::Demo { enforcer } => {
            let enforcer = binaries::enforcer(enforcer.as_deref())?;
            sandbox::enter()?;
            logging.init();
            demo::run(enforcer)
        }
        Command::Run(run) => {
            let cases = select(&run.selection)?;
            let options = run.options()?;
            sandbox::enter()?;
            logging.init();
            run.play(&cases, &options)
        }
        Command::SelfTest(run) => {
            let cases = select(&run.selection)?;
            let options = run.options()?;
            sandbox::enter()?;
            logging.init();
            self_test(&cases, &options, &run)
        }
    }
}

/// Cases by name, beginning of a name, `name/variant` or tag.
fn select(selection: &Selection) -> Result<Vec<Case>> {
    let all = cases::all();
    for word in &selection.cases {
        ensure!(
            all.iter().any(|case| is_meant(case, word)),
            "no case is called {word:?} or has that tag; see `ringfence-e2e list`"
        );
    }
    let chosen = |case: &Case| {
        selection.cases.is_empty() || selection.cases.iter().any(|word| is_meant(case, word))
    };
    Ok(all.into_iter().filter(chosen).collect())
}

fn is_meant(case: &Case, word: &str) -> bool {
    let name = word.split_once('/').map_or(word, |(name, _)| name);
    case.name.starts_with(name) || case.tags.contains(&word)
}

impl Run {
    fn options(&self) -> Result<Options> {
        let Fabric::Netns = self.fabric;
        Ok(Options {
            enforcer: if self.without_enforcer {
                None
            } else {
                Some(binaries::enforcer(self.enforcer.as_deref())?)
            },
            objects: self.objects,
            controlplane: self.controlplane.clone(),
            kinds: match self.pods {
                Pods::All => Kinds::All,
                Pods::InTurn => Kinds::InTurn,
                Pods::Bridge => Kinds::Only(PodKind::Bridge),
                Pods::Routed => Kinds::Only(PodKind::Routed),
            },
        })
    }

    fn play(&self, cases: &[Case], options: &Options) -> Result<bool> {
        let start = Instant::now();
        let mut variants = Runner::new(options.clone()).variants(cases);
        let exact: Vec<&String> = self
            .selection
            .cases
            .iter()
            .filter(|w| w.contains('/'))
            .collect();
        if !exact.is_empty() {
            variants.retain(|variant| exact.iter().any(|word| variant.name.starts_with(*word)));
        }
        if let Some(seed) = self.shuffle {
            fastrand::Rng::with_seed(seed).shuffle(&mut variants);
        }
        if variants.is_empty() {
            bail!("nothing to play: no variant of these cases was asked for");
        }
        let all: Vec<Variant> = (0..self.repeat).flat_map(|_| variants.clone()).collect();
        let tell = |_: &Variant, result: &mut CaseResult, runner: &Runner| {
            let mut text = report::line(result);
            let failed = matches!(result.status, Status::Failed(_));
            if failed {
                text.push('\n');
                text.push_str(&report::failure(result, &self.repeat_command(&result.name)));
            }
            println!("{text}");
            if failed && self.keep {
                runner.show_kept();
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        let results = case::play(&all, options, self.workers(), tell);
        report::write(&results, &self.report)?;
        println!(
            "{} cases in {:.1} s",
            results.len(),
            start.elapsed().as_secs_f64()
        );
        println!("{}", report::summary(&results));
        Ok(!results
            .iter()
            .any(|r| matches!(r.status, Status::Failed(_))))
    }

    /// Much of a case is waiting: two workers are faster even on one core.
    fn workers(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        self.parallel.map_or(cores.max(2), NonZero::get)
    }

    fn repeat_command(&self, name: &str) -> String {
        let program = std::env::args()
            .next()
            .unwrap_or_else(|| "ringfence-e2e".into());
        let mut words = vec![program, "run".into(), name.to_owned()];
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

fn self_test(cases: &[Case], options: &Options, run: &Run) -> Result<bool> {
    let tell = |result: &CaseResult| println!("{}", report::line(result));
    let mut results = selftest::without_enforcer(cases, options, run.workers(), tell);
    if options.enforcer.is_some() {
        results.push(selftest::with_a_rule_missing(options));
        results.last().into_iter().for_each(tell);
    }
    for result in results
        .iter()
        .filter(|r| matches!(r.status, Status::Failed(_)))
    {
        println!("{}", report::failure(result, "ringfence-e2e self-test"));
    }
    report::write(&results, &run.report.join("self-test"))?;
    println!("{}", report::summary(&results));
    Ok(!results
        .iter()
        .any(|r| matches!(r.status, Status::Failed(_))))
}
