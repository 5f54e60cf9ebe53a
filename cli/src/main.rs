//! `ringfence`: what NetworkPolicies do, without sending a packet.

mod args;
mod doctor;
mod explain;
mod isolation;
mod lint;
mod matrix;
mod preview;
mod render;
mod source;
mod target;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = args::Args::parse();
    match args.run() {
        Ok(code) => code,
        Err(error) => {
            // `{:#}` prints the whole chain of causes on one line.
            eprintln!("ringfence: {error:#}");
            ExitCode::from(2)
        }
    }
}
