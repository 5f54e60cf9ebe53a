//! `ringfence render`: the program of one node as the text that goes to the kernel.

use crate::args::Common;
use anyhow::{Result, bail};
use ringfence_enforcer::dataplane::{Family, Options, render_full};
use ringfence_policy::compile;
use ringfence_policy::model::Name;
use std::process::ExitCode;

/// `ringfence render`
#[derive(Debug, clap::Args)]
pub struct RenderArgs {
    #[command(flatten)]
    common: Common,
    /// The node.
    #[arg(long)]
    node: String,
    /// In words instead of as kernel text: who is isolated by what.
    #[arg(long)]
    summary: bool,
}

/// Runs the subcommand.
pub fn run(args: &RenderArgs) -> Result<ExitCode> {
    let loaded = args.common.source.load()?;
    let snapshot = &loaded.snapshot;
    let known = snapshot.nodes.contains_key(args.node.as_str())
        || snapshot.pods.values().any(|p| *p.node == *args.node);
    if !known {
        let mut nodes: Vec<&str> = snapshot.nodes.keys().map(AsRef::as_ref).collect();
        nodes.extend(
            snapshot
                .pods
                .values()
                .map(|p| &*p.node)
                .filter(|n| !n.is_empty()),
        );
        nodes.sort_unstable();
        nodes.dedup();
        bail!(
            "--node {}: no node and no pod names it; there are: {}",
            args.node,
            nodes.join(", ")
        );
    }
    let program = compile(
        snapshot,
        &Name::from(args.node.as_str()),
        args.common.settings(),
    );
    if args.summary {
        println!("{}", program.summary());
        return Ok(loaded.exit_code());
    }
    let rendered = render_full(&program, &Options::default());
    println!("# ipset restore");
    print!("{}", rendered.ipset);
    for (family, text) in &rendered.iptables {
        let tool = match family {
            Family::V4 => "iptables-restore",
            Family::V6 => "ip6tables-restore",
        };
        println!("\n# {tool} --noflush");
        print!("{text}");
    }
    Ok(loaded.exit_code())
}
