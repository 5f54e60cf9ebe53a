//! `ringfence-certs`: a CA and a serving certificate in a folder, for development.

use anyhow::Result;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Parser;
use jiff::Timestamp;
use ringfence_certs::Names;
use ringfence_certs::folder::{self, Files, Plan, Wanted};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Makes a CA and a certificate for the admission webhook, and prints the caBundle.
///
/// Writes ca.crt, ca.key, tls.crt and tls.key. Run again, it keeps what is in order and
/// only prints. A key is never overwritten without --force; the CA is used again as long
/// as it is valid. In a cluster, ringfence-controller or cert-manager does all of this.
#[derive(Debug, Parser)]
#[command(name = "ringfence-certs", version, max_term_width = 100)]
struct Cli {
    /// The folder to write to.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// The webhook's Service.
    #[arg(long, value_name = "NAME", default_value = "ringfence-webhook")]
    service: String,
    /// The Service's namespace.
    #[arg(long, value_name = "NAME", default_value = "ringfence-system")]
    namespace: String,
    /// The domain of the cluster's Services.
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
    /// An address by which the webhook is reached as well; may be repeated.
    #[arg(long, value_name = "ADDRESS")]
    address: Vec<IpAddr>,
    /// How long the certificate is valid.
    #[arg(long, value_name = "DAYS", default_value_t = 365)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// How long a new CA is valid.
    #[arg(long, value_name = "DAYS", default_value_t = 3650)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=36_500))]
    ca_days: u32,
    /// Replace keys that are there.
    #[arg(long)]
    force: bool,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(bundle) => {
            println!("{bundle}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("ringfence-certs: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the caBundle.
fn run(cli: &Cli) -> Result<String> {
    const DAY: Duration = Duration::from_hours(24);
    let names = Names::service(&cli.service, &cli.namespace, &cli.cluster_domain)?;
    let wanted = Wanted {
        names: names.and(cli.address.iter().copied()),
        lifetime: DAY * cli.days,
        ca_lifetime: DAY * cli.ca_days,
        force: cli.force,
    };
    let out = cli.out.display();
    let existing = folder::read(&cli.out)?;
    let write = |authority, pair| {
        let force = cli.force;
        folder::write(
            &cli.out,
            &Files {
                authority,
                pair,
                force,
            },
        )
    };
    let ca = match folder::plan(&existing, &wanted, Timestamp::now())? {
        Plan::Keep { ca, renewal } => {
            eprintln!("{out}: in order, to be renewed after {renewal:.0}; nothing is written");
            ca
        }
        Plan::Leaf { authority, pair } => {
            write(None, &pair)?;
            eprintln!(
                "{out}: wrote tls.crt and tls.key for {}, by the CA that was there",
                wanted.names
            );
            authority.certificate().to_owned()
        }
        Plan::Everything { authority, pair } => {
            write(Some(&authority), &pair)?;
            eprintln!(
                "{out}: wrote a CA, and tls.crt and tls.key for {}",
                wanted.names
            );
            authority.certificate().to_owned()
        }
    };
    eprintln!("the caBundle:");
    Ok(BASE64_STANDARD.encode(ca))
}
