//! `ringfence migrate`: from others' isolation to ours.

mod kubesphere;
mod read;
mod rules;

use super::write::{Made, WriteArgs};
use anyhow::Result;
use clap::Subcommand;
use std::path::PathBuf;
use std::process::ExitCode;

/// `ringfence migrate`
#[derive(Debug, clap::Args)]
pub struct MigrateArgs {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    /// KubeSphere's project and workspace network isolation. Exit code 1: something has no
    /// equal here and was left out; standard error says what.
    Kubesphere(KubesphereArgs),
}

/// `ringfence migrate kubesphere`
#[derive(Debug, clap::Args)]
struct KubesphereArgs {
    /// A folder (or file) with what KubeSphere has: namespacenetworkpolicies, Namespaces,
    /// Workspaces, ks-installer's configuration. Without it the cluster is read.
    #[arg(short = 'f', long, value_name = "PATH")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    write: WriteArgs,
}

/// What comes out.
#[derive(Debug, Default)]
struct Moved {
    objects: Vec<Made>,
    /// What will be different, and why that is better or what to do.
    differs: Vec<String>,
    /// What is not among the objects, and why.
    left_out: Vec<String>,
}

/// Runs the subcommand.
pub fn run(args: &MigrateArgs) -> Result<ExitCode> {
    let From::Kubesphere(args) = &args.from;
    let found = match &args.folder {
        Some(path) => read::folder(path)?,
        None => read::cluster(args.write.kubeconfig.as_deref())?,
    };
    let moved = kubesphere::moved(&found)?;
    for line in &moved.differs {
        eprintln!("differs: {line}");
    }
    for line in &moved.left_out {
        eprintln!("left out: {line}");
    }
    args.write.write(&moved.objects)?;
    Ok(ExitCode::from(u8::from(!moved.left_out.is_empty())))
}

#[cfg(test)]
mod tests;
