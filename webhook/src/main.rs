//! The binary: see the library.

use clap::Parser;
use ringfence_webhook::config::{Cli, Settings, start_logging};
use ringfence_webhook::run;
use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all: whoever builds a TLS client or server later finds one provider.
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        eprintln!("ringfence-webhook: another TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    let cli = Cli::parse();
    let done = start_logging(&cli).and_then(|()| run(Settings::resolve(&cli)?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringfence-webhook: {error:#}");
            ExitCode::FAILURE
        }
    }
}
