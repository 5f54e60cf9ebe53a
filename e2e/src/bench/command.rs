//! `ringfence-e2e bench`

use super::{Bench, Options, Report, run};
use crate::sandbox;
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::path::{Path, PathBuf};

/// Flags of `bench`.
#[derive(Args, Debug)]
pub struct Command {
    /// What to measure; none: everything.
    #[arg(value_enum, value_name = "NAME")]
    benches: Vec<Bench>,
    /// Where the figures go as JSON.
    #[arg(long, default_value = "report/bench.json", value_name = "FILE")]
    json: PathBuf,
    /// Where the control plane's programs are (`make controlplane`).
    #[arg(long, default_value = ".cache/controlplane", value_name = "FOLDER")]
    controlplane: PathBuf,
    /// The enforcer to measure (a release build); default: beside this program.
    #[arg(long, env = "RINGFENCE_ENFORCER", value_name = "FILE")]
    enforcer: Option<PathBuf>,
    /// A kube-router to measure beside it on the same objects.
    #[arg(long, env = "KUBE_ROUTER", value_name = "FILE")]
    kube_router: Option<PathBuf>,
    /// Small sizes: sees that it works, the figures mean nothing.
    #[arg(long)]
    quick: bool,
}

// === impl Command ===

impl Command {
    /// Measures, prints the table and writes the JSON. Call it first thing in `main`: it
    /// enters the sandbox.
    pub fn run(self) -> Result<()> {
        let benches = if self.benches.is_empty() {
            Bench::ALL.to_vec()
        } else {
            self.benches
        };
        let beside = std::env::current_exe()
            .context("finding this program")?
            .with_file_name("ringfence-enforcer");
        let options = Options {
            enforcer: program(&self.enforcer.unwrap_or(beside))?,
            controlplane: self.controlplane,
            // An empty variable is an unset one, as the Makefile passes it.
            kube_router: self
                .kube_router
                .filter(|path| !path.as_os_str().is_empty())
                .map(|path| program(&path))
                .transpose()?,
            quick: self.quick,
        };
        sandbox::enter()?;
        let mut report = Report::new();
        // What was measured before something went wrong is not lost.
        let result = run(&benches, &options, &mut report);
        println!("{}", report.table());
        report.write(&self.json)?;
        println!("figures as JSON: {}", self.json.display());
        result
    }
}

fn program(path: &Path) -> Result<PathBuf> {
    ensure!(
        path.is_file(),
        "there is no program at {}: build it (`cargo build --release`) or name another",
        path.display()
    );
    std::path::absolute(path).with_context(|| format!("the path of {}", path.display()))
}
