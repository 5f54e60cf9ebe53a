//! The binary: see the library.

use clap::Parser;
use ringfence_enforcer::{config::Cli, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringfence-enforcer: {error:#}");
            ExitCode::FAILURE
        }
    }
}
