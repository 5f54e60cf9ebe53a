//! The harness' commands: what is typed, and what it resolves to.

mod elsewhere;
mod play;
mod progress;
mod select;

pub use play::{Play, Repeat, SelfTest};
pub use select::Selection;

use crate::report;
use anyhow::{Result, ensure};
use clap::Args;
use std::path::PathBuf;

/// Puts the results of several runs on one page, for example those of two fabrics.
#[derive(Args, Debug)]
pub struct Join {
    /// Folders of reports.
    #[arg(required = true, value_name = "FOLDER")]
    folders: Vec<PathBuf>,
    /// Where the joined report goes.
    #[arg(long, default_value = "report/joined", value_name = "FOLDER")]
    out: PathBuf,
}

// === impl Join ===

impl Join {
    /// Reads, joins, writes, and says whether all was well in each.
    pub fn run(&self) -> Result<bool> {
        ensure!(
            !self.folders.contains(&self.out),
            "{} would be written over; name another folder by --out",
            self.out.display()
        );
        let mut joined = report::Report::default();
        for folder in &self.folders {
            joined.append(report::read(folder)?);
        }
        report::write(&joined, &self.out)?;
        println!("{}", self.out.join(report::PAGE).display());
        println!("{}", report::summary(&joined));
        Ok(!joined.has_failed())
    }
}
