//! `ringfence checks`: the catalogue.

use anyhow::{Result, bail};
use ringfence_checks::catalogue::{CATALOGUE, find};
use ringfence_isolation::judge;
use std::process::ExitCode;

/// `ringfence checks`
#[derive(Debug, clap::Args)]
pub struct ChecksArgs {
    /// The check to explain, with examples; all are listed when absent.
    id: Option<String>,
}

/// Runs the subcommand.
pub fn run(args: &ChecksArgs) -> Result<ExitCode> {
    let Some(id) = &args.id else {
        println!("{:<24} {:<9} {:<7} TITLE", "CHECK", "BASELINE", "STRICT");
        for check in CATALOGUE {
            let (baseline, strict) = (check.baseline.as_str(), check.strict.as_str());
            println!("{:<24} {baseline:<9} {strict:<7} {}", check.id, check.title);
        }
        println!("\nOf the objects of isolation, by the webhook (docs/guards.md):\n");
        for check in &judge::CHECKS {
            println!(
                "{:<24} {:<17} {}",
                check.id,
                check.level.as_str(),
                check.title
            );
        }
        return Ok(ExitCode::SUCCESS);
    };
    if let Some(check) = judge::find(id) {
        println!("{}: {}\n", check.id, check.title);
        println!("{}, of the objects of isolation\n", check.level.as_str());
        println!("What to do: {}", check.remedy);
        return Ok(ExitCode::SUCCESS);
    }
    let Some(check) = find(id) else {
        let ours = judge::CHECKS.iter().map(|c| c.id);
        let near = CATALOGUE.iter().map(|c| c.id).chain(ours);
        let near = near.filter(|known| known.contains(id.as_str()));
        let near: Vec<&str> = near.collect();
        if near.is_empty() {
            bail!("found no check {id}; `ringfence checks` lists them");
        }
        bail!("found no check {id}; did you mean {}?", near.join(" or "));
    };
    println!("{}: {}\n", check.id, check.title);
    println!(
        "baseline: {}, strict: {}; looks at the {}\n",
        check.baseline.as_str(),
        check.strict.as_str(),
        check.scope.as_str()
    );
    println!("{}", check.text.trim_end());
    println!("\nFound:\n\n{}", indented(check.bad));
    println!("\nNot found:\n\n{}", indented(check.good));
    Ok(ExitCode::SUCCESS)
}

fn indented(example: &str) -> String {
    let lines: Vec<String> = example
        .trim_end()
        .lines()
        .map(|l| format!("    {l}"))
        .collect();
    lines.join("\n")
}
