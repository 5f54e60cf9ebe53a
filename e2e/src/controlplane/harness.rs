//! The frame of a test that needs real programs (`harness = false`).

use super::Programs;
use crate::sandbox;
use anyhow::Result;
use std::process::ExitCode;

/// Runs a test in a sandbox of its own, with the programs in `$CONTROLPLANE_BIN` or those of
/// `make controlplane`. Without them it is skipped, and says so; where `CI` is set it fails.
///
/// Call it first thing in `main`, see [`sandbox::enter`].
pub fn test(run: impl FnOnce(&Programs) -> Result<()>) -> ExitCode {
    let done = Programs::for_tests().and_then(|programs| match programs {
        None => Ok(()),
        Some(programs) => {
            sandbox::enter()?;
            run(&programs)
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}
