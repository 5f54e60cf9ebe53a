//! `ringfence lint`: the checks of the webhook over files, or over what a cluster holds.
//!
//! ```text
//!  read (files, standard input, cluster) --> judge --> (fix) --> table | json | sarif | junit | github
//! ```

mod catalogue;
mod fix;
mod github;
mod json;
mod judge;
mod junit;
mod read;
mod sarif;
mod table;

pub use catalogue::{ChecksArgs, run as run_checks};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use judge::Outcome;
use ringfence_checks::{Config, Level};
use ringfence_cluster::Cause;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// `ringfence lint`
///
/// The other objects of the folder stand for the cluster. Exit codes: 0 nothing found,
/// 1 findings at or above --fail-on, 2 something could not be read or judged.
#[derive(Debug, clap::Args)]
pub struct LintArgs {
    /// A manifest, a folder of manifests, or - for standard input.
    #[arg(
        value_name = "FILE|DIR|-",
        required_unless_present = "cluster",
        conflicts_with = "cluster"
    )]
    path: Option<PathBuf>,
    /// What the cluster of --kubeconfig holds, in place of files.
    #[arg(long)]
    cluster: bool,
    /// Path of a kubeconfig; without it $KUBECONFIG, ~/.kube/config, or the pod's own account.
    #[arg(long, value_name = "FILE", requires = "cluster")]
    kubeconfig: Option<PathBuf>,
    /// The namespace of objects that name none (files: default when absent); with --cluster
    /// the only namespace that is judged (all when absent).
    #[arg(short = 'n', long)]
    namespace: Option<String>,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Form,
    /// The configuration that the webhook uses (docs/checks-config.md).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How strict, in place of what the configuration says.
    #[arg(long, value_enum)]
    profile: Option<Profile>,
    /// Exit with 1 for findings of this level and above.
    #[arg(long, value_enum, default_value = "warn")]
    fail_on: FailOn,
    /// Apply the suggested patches to the files; print the object where that is not possible.
    #[arg(long, conflicts_with = "cluster")]
    fix: bool,
}

/// `--output`
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// For people.
    Table,
    /// For programs: docs/lint.md describes it.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// `JUnit` XML, for CI servers.
    Junit,
    /// Annotations of a GitHub workflow.
    Github,
}

/// `--profile`
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Profile {
    /// Refuses what is surely a mistake or a hole.
    Baseline,
    /// Refuses whatever the catalogue marks as refused.
    Strict,
}

/// `--fail-on`
#[derive(Clone, Copy, Debug, ValueEnum)]
enum FailOn {
    /// Warnings and what would be refused.
    Warn,
    /// Only what would be refused.
    Deny,
}

impl From<FailOn> for Level {
    fn from(fail_on: FailOn) -> Self {
        match fail_on {
            FailOn::Warn => Self::Warn,
            FailOn::Deny => Self::Deny,
        }
    }
}

/// Runs the subcommand.
pub fn run(args: &LintArgs) -> Result<ExitCode> {
    let config = config(args)?;
    let mut input = read::read(args)?;
    let mut outcome = judge::judge(&input, &config);
    if args.fix {
        eprint!("{}", fix::fix(&mut input, &config)?);
        // What was mended in one object can be another one's finding.
        outcome = judge::judge(&read::read(args)?, &config);
    }
    let fail_on = Level::from(args.fail_on);
    let text = match args.output {
        Form::Table => table::render(&outcome),
        Form::Json => json::render(&outcome)?,
        Form::Sarif => sarif::render(&outcome)?,
        Form::Junit => junit::render(&outcome, fail_on)?,
        Form::Github => github::render(&outcome),
    };
    print!("{text}");
    Ok(exit_code(&outcome, fail_on))
}

fn exit_code(outcome: &Outcome, fail_on: Level) -> ExitCode {
    // Both objects were read and judged.
    let (twice, unread): (Vec<_>, Vec<_>) = outcome
        .problems
        .iter()
        .partition(|p| p.cause == Cause::Duplicate);
    let worst = outcome
        .worst()
        .max((!twice.is_empty()).then_some(Level::Warn));
    if !unread.is_empty() {
        ExitCode::from(2)
    } else if worst >= Some(fail_on) {
        ExitCode::from(1)
    } else {
        ExitCode::SUCCESS
    }
}

/// The configuration in a file; without one, the default.
pub(crate) fn read_config(path: Option<&Path>) -> Result<Config> {
    let Some(path) = path else {
        return Ok(Config::default());
    };
    let about = || format!("--config {}", path.display());
    let text = fs::read_to_string(path).with_context(about)?;
    let value = serde_saphyr::from_str(&text).with_context(about)?;
    Config::from_value(&value).with_context(about)
}

fn config(args: &LintArgs) -> Result<Config> {
    let mut config = read_config(args.config.as_deref())?;
    match args.profile {
        Some(Profile::Baseline) => config.profile = ringfence_checks::config::Profile::Baseline,
        Some(Profile::Strict) => config.profile = ringfence_checks::config::Profile::Strict,
        None => {}
    }
    if args.fix && args.path.as_ref().is_some_and(|p| p.as_os_str() == "-") {
        bail!("--fix changes files; name a file or folder in place of -");
    }
    Ok(config)
}
