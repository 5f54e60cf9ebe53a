//! `ringfence preview`: what a change of policies cuts and opens, before it lands.
//!
//! ```text
//!  read (files; cluster or folder) --> impact::compare, impact::ways --> table | json
//! ```

mod json;
mod read;
mod table;

use crate::args::Output;
use anyhow::Result;
use jiff::Timestamp;
use read::{Change, Input};
use ringfence_checks::impact::{Impact, Limits, Ways, compare, ways};
use ringfence_checks::{Config, Index, Occasion, World};
use std::path::PathBuf;
use std::process::ExitCode;

/// `ringfence preview`
///
/// Changes nothing: reads the manifests, and the cluster as it is. Exit codes: 0 nothing is
/// cut, 1 something is, 2 something could not be read or worked out.
#[derive(Debug, clap::Args)]
pub struct PreviewArgs {
    /// What is to be applied: a manifest, a folder of manifests, or - for standard input.
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-")]
    file: PathBuf,
    /// A folder of manifests that stands for the cluster.
    #[arg(value_name = "DIR", conflicts_with = "cluster")]
    folder: Option<PathBuf>,
    /// The cluster of --kubeconfig, which is what counts without DIR as well.
    #[arg(long)]
    cluster: bool,
    /// Path of a kubeconfig; without it $KUBECONFIG, ~/.kube/config, or the pod's own account.
    #[arg(long, value_name = "FILE", conflicts_with = "folder")]
    kubeconfig: Option<PathBuf>,
    /// The namespace of objects that name none.
    #[arg(short = 'n', long, default_value = "default")]
    namespace: String,
    /// As if the policies were deleted.
    #[arg(long)]
    delete: bool,
    /// The configuration that the webhook uses: it says where the gateways are.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// For people or for programs.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

/// What was worked out.
#[derive(Debug)]
struct Outcome {
    changes: Vec<Change>,
    impact: Impact,
    ways: Ways,
    /// Whose flows are also monitoring.
    monitoring: Vec<String>,
    /// Objects of other kinds.
    ignored: usize,
}

/// Runs the subcommand.
pub fn run(args: &PreviewArgs) -> Result<ExitCode> {
    let config = crate::lint::read_config(args.config.as_deref())?;
    let input = read::read(args)?;
    let outcome = outcome(input, &config)?;
    let text = match args.output {
        Output::Json => json::render(&outcome)?,
        Output::Text => table::render(&outcome),
    };
    print!("{text}");
    let cuts = outcome.impact.cut.count > 0 || !outcome.ways.cut.is_empty();
    Ok(ExitCode::from(u8::from(cuts)))
}

fn outcome(input: Input, config: &Config) -> Result<Outcome> {
    let index = Index::new(input.snapshot);
    let world = World {
        index: Some(&index),
        facts: &input.facts,
        config,
        now: Timestamp::now(),
        occasion: Occasion::Scan,
    };
    Ok(Outcome {
        impact: compare(&index, &input.edit, &Limits::FULL)?,
        ways: ways(&world, &index, &input.edit),
        changes: input.changes,
        monitoring: config.monitoring.iter().map(ToString::to_string).collect(),
        ignored: input.ignored,
    })
}
