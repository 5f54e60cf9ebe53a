//! `ringfence doctor`: is the cluster fit, and does isolation work?
//!
//! `gather` asks, the rest judges what came: pure, and tested without a cluster.

mod cluster;
mod facts;
mod gather;
mod line;
mod nodes;
#[cfg(test)]
mod tests;
mod webhook;

use crate::args::Output;
use anyhow::{Context, Result};
use facts::Facts;
use line::Line;
use ringfence_cluster::Kubernetes;
use std::path::PathBuf;
use std::process::ExitCode;

/// Flags of `doctor`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing has to be mended, 1 something has, or could not be seen, 2 no cluster."
)]
pub struct DoctorArgs {
    /// Path of a kubeconfig; without it $KUBECONFIG, ~/.kube/config, or the pod's own account.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Where Ringfence is installed.
    #[arg(short = 'n', long, default_value = "ringfence-system")]
    pub namespace: String,
    /// For people, or for programs.
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Output,
}

/// Looks, says what it found, and exits by it.
pub fn run(args: &DoctorArgs) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let facts = runtime.block_on(async {
        let kubernetes = Kubernetes::new(args.kubeconfig.as_deref()).await?;
        let version = kubernetes.client().apiserver_version().await;
        version.context("the API server does not answer")?;
        anyhow::Ok(Box::pin(gather::facts(kubernetes.client(), &args.namespace)).await)
    })?;
    let lines = judge(&facts);
    match args.output {
        Output::Text => print!("{}", line::text(&lines)),
        Output::Json => println!("{}", serde_json::to_string_pretty(&lines)?),
    }
    Ok(ExitCode::from(u8::from(!line::is_healthy(&lines))))
}

fn judge(facts: &Facts) -> Vec<Line> {
    [
        nodes::lines(facts),
        cluster::lines(facts),
        webhook::lines(facts),
    ]
    .concat()
}
