//! `ringfence matrix`: who reaches whom.

use crate::args::{Common, Output, Transport};
use anyhow::{Result, bail};
use comfy_table::{Cell, CellAlignment, Table, presets};
use ringfence_policy::Snapshot;
use ringfence_policy::evaluate::Evaluator;
use ringfence_policy::model::{Flow, Pod};
use serde::Serialize;
use std::io::IsTerminal;
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;

/// `ringfence matrix`
#[derive(Debug, clap::Args)]
pub struct MatrixArgs {
    #[command(flatten)]
    common: Common,
    /// The destination port.
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// The protocol.
    #[arg(long, value_enum, default_value = "tcp")]
    protocol: Transport,
    /// Only pods of these namespaces (repeat the flag); all when absent.
    #[arg(long = "only")]
    only: Vec<String>,
    /// Addresses outside the cluster to add as rows and columns (repeat the flag).
    #[arg(long = "with")]
    with: Vec<IpAddr>,
    /// IPv6 addresses of pods instead of IPv4.
    #[arg(short = '6', long)]
    ipv6: bool,
    /// For people or for programs.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

/// A row or column.
struct Party {
    name: String,
    address: IpAddr,
}

/// One cell, in JSON.
#[derive(Debug, Serialize)]
struct CellAnswer {
    from: String,
    to: String,
    allowed: bool,
    egress: String,
    ingress: String,
}

/// Beyond this many parties a table on a screen helps nobody.
const MOST_IN_TEXT: usize = 60;

/// Runs the subcommand.
pub fn run(args: &MatrixArgs) -> Result<ExitCode> {
    let loaded = args.common.source.load()?;
    let parties = parties(args, &loaded.snapshot)?;
    let evaluator = Evaluator::new(&loaded.snapshot, args.common.settings());
    match args.output {
        Output::Json => json(args, &evaluator, &parties)?,
        Output::Text => text(args, &evaluator, &parties)?,
    }
    Ok(loaded.exit_code())
}

fn parties(args: &MatrixArgs, snapshot: &Snapshot) -> Result<Vec<Party>> {
    let wanted = |pod: &Arc<Pod>| {
        pod.is_target()
            && (args.only.is_empty() || args.only.iter().any(|n| **n == *pod.key.namespace))
    };
    let mut parties: Vec<Party> = Vec::new();
    let mut without = 0;
    for pod in snapshot.pods.values().filter(|p| wanted(p)) {
        match pod.ips.iter().find(|a| a.is_ipv4() != args.ipv6) {
            Some(address) => parties.push(Party {
                name: pod.key.to_string(),
                address: *address,
            }),
            None => without += 1,
        }
    }
    if without > 0 {
        eprintln!(
            "ringfence: {without} pods have no address of this family in status.podIPs and are left out"
        );
    }
    for address in &args.with {
        if address.is_ipv4() == args.ipv6 {
            bail!("--with {address}: the matrix is of the other address family");
        }
        parties.push(Party {
            name: address.to_string(),
            address: *address,
        });
    }
    if parties.is_empty() {
        bail!("there are no pods to show; look at --folder, --kubeconfig and --only");
    }
    Ok(parties)
}

fn flow(args: &MatrixArgs, from: &Party, to: &Party) -> Flow {
    match args.protocol.protocol() {
        Some(protocol) => Flow::new(protocol, from.address, to.address, args.port),
        None => Flow::ping(from.address, to.address),
    }
}

fn json(args: &MatrixArgs, evaluator: &Evaluator<'_>, parties: &[Party]) -> Result<()> {
    let mut cells = Vec::with_capacity(parties.len() * parties.len());
    for from in parties {
        for to in parties {
            let verdict = evaluator.judge(&flow(args, from, to));
            cells.push(CellAnswer {
                from: from.name.clone(),
                to: to.name.clone(),
                allowed: verdict.allowed(),
                egress: verdict.egress.to_string(),
                ingress: verdict.ingress.to_string(),
            });
        }
    }
    println!("{}", serde_json::to_string_pretty(&cells)?);
    Ok(())
}

fn text(args: &MatrixArgs, evaluator: &Evaluator<'_>, parties: &[Party]) -> Result<()> {
    if parties.len() > MOST_IN_TEXT {
        bail!(
            "{} pods make too large a table; choose namespaces with --only, or --output json",
            parties.len()
        );
    }
    let colour = std::io::stdout().is_terminal();
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut head = vec![Cell::new("from \\ to")];
    head.extend((1..=parties.len()).map(|n| Cell::new(n).set_alignment(CellAlignment::Right)));
    table.set_header(head);
    let (mut allowed, mut refused) = (0, 0);
    for (n, from) in parties.iter().enumerate() {
        let mut row = vec![Cell::new(format!("{:>2} {}", n + 1, from.name))];
        for to in parties {
            let pass = evaluator.judge(&flow(args, from, to)).allowed();
            *if pass { &mut allowed } else { &mut refused } += 1;
            let cell = Cell::new(if pass { "." } else { "X" }).set_alignment(CellAlignment::Right);
            row.push(match (colour, pass) {
                (true, true) => cell.fg(comfy_table::Color::Green),
                (true, false) => cell.fg(comfy_table::Color::Red),
                (false, _) => cell,
            });
        }
        table.add_row(row);
    }
    let what = match args.protocol.protocol() {
        Some(protocol) => format!("{protocol} port {}", args.port),
        None => "ping".to_owned(),
    };
    println!("{what}: . allowed ({allowed})   X refused ({refused})\n");
    println!("{table}");
    println!(
        "\nWhy a cell is as it is: ringfence explain --from NAMESPACE/POD --to NAMESPACE/POD:PORT"
    );
    Ok(())
}
