//! Where the objects come from, and what was odd about them.

use anyhow::{Context, Result};
use ringfence_checks::Facts;
use ringfence_cluster::{Cause, Kubernetes, Problem, Severity};
use ringfence_policy::Snapshot;
use ringfence_policy::snapshot::Kind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Flags that name the source of the objects.
#[derive(Debug, clap::Args)]
pub struct SourceArgs {
    /// A folder (or file) of manifests; without it the cluster of --kubeconfig is read.
    #[arg(short = 'f', long, value_name = "PATH")]
    pub folder: Option<PathBuf>,
    /// Path of a kubeconfig; without it $KUBECONFIG, ~/.kube/config, or the pod's own account.
    #[arg(long, value_name = "FILE", conflicts_with = "folder")]
    pub kubeconfig: Option<PathBuf>,
    /// The namespace of names without one, and of objects in the folder without one.
    #[arg(short = 'n', long, default_value = "default")]
    pub namespace: String,
    /// Do not print notes about the objects (errors are always printed).
    #[arg(short, long)]
    pub quiet: bool,
}

/// What was read.
#[derive(Debug)]
pub struct Loaded {
    /// The objects.
    pub snapshot: Snapshot,
    /// How many files or objects are missing from it, because they cannot be read. (A
    /// policy with a wrong field is not missing: it is closed.)
    pub missing: usize,
}

impl Loaded {
    /// The exit code of an answer that is about everything: 2 when something is missing.
    pub fn exit_code(&self) -> ExitCode {
        if self.missing == 0 {
            return ExitCode::SUCCESS;
        }
        eprintln!(
            "ringfence: {} could not be read (see above); the answer is without that",
            self.missing
        );
        ExitCode::from(2)
    }
}

impl SourceArgs {
    /// Reads everything once; problems go to standard error.
    pub fn load(&self) -> Result<Loaded> {
        let (snapshot, problems) = match &self.folder {
            Some(path) => ringfence_cluster::load_folder(path, &self.namespace)
                .with_context(|| format!("--folder {}", path.display()))?,
            None => self.load_cluster()?,
        };
        self.report(&problems);
        let lost = |p: &&Problem| {
            matches!(p.cause, Cause::Syntax | Cause::Read | Cause::ApiVersion)
                && p.severity == Severity::Error
        };
        let missing = problems.iter().filter(lost).count();
        Ok(Loaded { snapshot, missing })
    }

    fn load_cluster(&self) -> Result<(Snapshot, Vec<Problem>)> {
        runtime()?.block_on(ringfence_cluster::load_cluster(
            self.kubeconfig.as_deref(),
            &Kind::ALL,
        ))
    }

    fn report(&self, problems: &[Problem]) {
        for problem in problems {
            match problem.severity {
                Severity::Error => eprintln!("error: {problem}"),
                Severity::Note if !self.quiet => eprintln!("note: {problem}"),
                Severity::Note => {}
            }
        }
    }
}

/// A server that has not told its facts by then does without.
const PATIENCE: Duration = Duration::from_secs(40);

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// What else a cluster tells, once. What is not told in time stays unknown, and whoever
/// needs it says so.
pub async fn facts(kubernetes: Kubernetes) -> Facts {
    let (sender, mut facts) = tokio::sync::watch::channel(Arc::new(Facts::default()));
    let looking = tokio::spawn(kubernetes.facts(sender));
    let _ = tokio::time::timeout(PATIENCE, facts.changed()).await;
    looking.abort();
    let facts = facts.borrow();
    Facts::clone(&facts)
}

/// A cluster's objects and facts.
pub fn cluster_with_facts(kubeconfig: Option<&Path>) -> Result<(Snapshot, Facts)> {
    runtime()?.block_on(async {
        let (snapshot, _) = ringfence_cluster::load_cluster(kubeconfig, &Kind::ALL).await?;
        Ok((snapshot, facts(Kubernetes::new(kubeconfig).await?).await))
    })
}
