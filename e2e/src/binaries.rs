//! The programs that are judged: beside this one, unless somebody says where.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// The enforcer: the one given, else the one beside this program.
pub fn enforcer(given: Option<&Path>) -> Result<PathBuf> {
    let beside = beside("ringfence-enforcer")?;
    let path = given.map_or(beside, Path::to_path_buf);
    ensure!(
        path.is_file(),
        "there is no enforcer at {}: build it (`cargo build`) or set RINGFENCE_ENFORCER",
        path.display()
    );
    std::path::absolute(&path).context("the enforcer's path")
}

/// Another program of the workspace.
pub fn find(name: &str) -> Result<PathBuf> {
    let path = beside(name)?;
    ensure!(
        path.is_file(),
        "there is no {name} at {}: build it (`cargo build`)",
        path.display()
    );
    Ok(path)
}

fn beside(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding this program")?;
    Ok(own.with_file_name(name))
}
