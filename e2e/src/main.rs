//! `ringfence-e2e`: plays cases with real packets and says whether the policies held.

use anyhow::Result;
use clap::{Parser, Subcommand};
use ringfence_e2e::command::{Join, Play, Repeat, Selection, SelfTest};
use ringfence_e2e::probe::agent;
use ringfence_e2e::{bench, binaries, demo, sandbox};
use std::path::PathBuf;
use std::process::ExitCode;

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
    Run(Play),
    /// Plays cases many times, and says which did not end alike each time.
    Repeat(Repeat),
    /// Sees that the harness notices: without an enforcer every deny must fail, and with
    /// a rule changed by hand a case must.
    SelfTest(SelfTest),
    /// Puts the results of several runs on one page.
    Report(Join),
    /// Shows the product in half a minute: a shop, its policies, who reaches whom.
    Demo {
        /// The enforcer; default: beside this program.
        #[arg(long, env = "RINGFENCE_ENFORCER", value_name = "FILE")]
        enforcer: Option<PathBuf>,
    },
    /// Measures what enforcement costs and how fast it is (`make bench`).
    Bench(bench::Command),
    /// In a pod of `--fabric kind`: servers and probes, told by standard input what to do.
    #[command(hide = true)]
    Agent {
        /// Do nothing but keep the pod alive.
        #[arg(long)]
        hold: bool,
    },
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
    match command {
        Command::Agent { hold: true } => loop {
            std::thread::park();
        },
        Command::Agent { hold: false } => agent::serve().map(|()| true),
        Command::Bench(command) => {
            logging();
            command.run().map(|()| true)
        }
        Command::List(selection) => {
            for case in selection.cases()? {
                let tags = case.tags.join(" ");
                println!("{:<44} {tags:<40} {}", case.name, case.source);
            }
            Ok(true)
        }
        Command::Demo { enforcer } => {
            let enforcer = binaries::enforcer(enforcer.as_deref())?;
            sandbox::enter()?;
            logging();
            demo::run(enforcer)
        }
        Command::Run(command) => command.run(logging),
        Command::Repeat(command) => command.run(logging),
        Command::SelfTest(command) => command.run(logging),
        Command::Report(command) => command.run(),
    }
}

/// Not before the sandbox is entered, as writing a log may start a thread.
fn logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("RINGFENCE_E2E_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
