//! The binary: see the library.

use clap::Parser;
use ringfence_controller::{config::Cli, run};
use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.start_logging() {
        Ok(()) => run(&cli).await,
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringfence-controller: {error:#}");
            ExitCode::FAILURE
        }
    }
}
