//! `ringfence doctor`: is the cluster fit, and does isolation work?
//!
//! `gather` asks and `probe` sends packets; the rest judges what came: pure, and tested
//! without a cluster.

mod cluster;
mod facts;
mod gather;
mod isolation;
mod line;
mod nodes;
mod probe;
#[cfg(test)]
mod tests;
mod webhook;

use crate::args::Output;
use anyhow::{Context, Result};
use facts::{Asked, Facts};
use isolation::Isolation;
use kube::Client;
use line::Line;
use ringfence_cluster::Kubernetes;
use std::path::PathBuf;
use std::process::ExitCode;

/// Flags of `doctor`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing has to be mended, 1 something has, or could not be seen, 2 no cluster, or interrupted."
)]
pub struct DoctorArgs {
    /// Path of a kubeconfig; without it $KUBECONFIG, ~/.kube/config, or the pod's own account.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Where Ringfence is installed.
    #[arg(short = 'n', long, default_value = "ringfence-system")]
    pub namespace: String,
    /// Send no packets: change nothing in the cluster. By default two pods are started on
    /// every node, in a namespace that is removed afterwards.
    #[arg(long)]
    pub no_probe: bool,
    /// The image of these pods; by default the probe beside the enforcer's image.
    #[arg(long, value_name = "IMAGE", conflicts_with = "no_probe")]
    pub probe_image: Option<String>,
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
        let client = kubernetes.client();
        let mut facts = Box::pin(gather::facts(client, &args.namespace)).await;
        if !args.no_probe {
            facts.isolation = Some(Box::pin(probed(client, args, &facts)).await?);
        }
        anyhow::Ok(facts)
    })?;
    let lines = judge(&facts);
    match args.output {
        Output::Text => print!("{}", line::text(&lines)),
        Output::Json => println!("{}", serde_json::to_string_pretty(&lines)?),
    }
    Ok(ExitCode::from(u8::from(!line::is_healthy(&lines))))
}

/// Sends packets, unless it is clear beforehand that none can be sent.
async fn probed(client: &Client, args: &DoctorArgs, facts: &Facts) -> Result<Asked<Isolation>> {
    let nodes = match &facts.nodes {
        Ok(nodes) => nodes,
        Err(why) => return Ok(Err(format!("nodes: {why}"))),
    };
    let image = match (&args.probe_image, &facts.daemon_sets) {
        (Some(image), _) => Ok(image.clone()),
        (None, Ok(sets)) => isolation::image_beside(&args.namespace, sets),
        (None, Err(why)) => Err(format!("DaemonSets: {why}")),
    };
    match image {
        Ok(image) => probe::run(client, nodes, &image).await,
        Err(why) => Ok(Err(why)),
    }
}

fn judge(facts: &Facts) -> Vec<Line> {
    [
        nodes::lines(facts),
        cluster::lines(facts),
        webhook::lines(facts),
        isolation::lines(facts),
    ]
    .concat()
}
