//! docs/webhook.md holds the flags as `--help` prints them.
//!
//! After a change of flags: `RINGFENCE_WRITE_DOCS=1 cargo test -p ringfence-webhook --test reference`
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use clap::CommandFactory;
use ringfence_webhook::config::Cli;
use ringfence_webhook::metrics::Metrics;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::{env, fs};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/webhook.md");
const BEGIN: &str = "<!-- flags: generated, see webhook/tests/reference.rs -->\n";
const END: &str = "<!-- end of flags -->\n";

/// One table for every section of `--help`.
fn flags() -> String {
    let mut out = String::new();
    let command = Cli::command();
    let mut headings: Vec<Option<&str>> = Vec::new();
    for argument in command.get_arguments() {
        let heading = argument.get_help_heading();
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    for heading in headings {
        if let Some(heading) = heading {
            write!(out, "\n**{heading}**\n").unwrap();
        }
        out += "\n| Flag | Environment | Default | |\n|---|---|---|---|\n";
        let arguments = command.get_arguments();
        for argument in arguments.filter(|a| a.get_help_heading() == heading) {
            let Some(long) = argument.get_long() else {
                continue;
            };
            let name = |name: &str| format!("`--{name}`");
            let mut names = vec![name(long)];
            let aliases = argument.get_visible_aliases().unwrap_or_default();
            names.extend(aliases.into_iter().map(name));
            let code = |text: String| {
                if text.is_empty() {
                    text
                } else {
                    format!("`{text}`")
                }
            };
            let variable = argument.get_env().map(|v| v.to_string_lossy().into_owned());
            // A switch is off by default; that needs no word.
            let takes_value = argument.get_action().takes_values();
            let defaults = argument.get_default_values().iter();
            let default = defaults.map(|v| v.to_string_lossy()).collect::<Vec<_>>();
            let default = if takes_value {
                default.join(",")
            } else {
                String::new()
            };
            let help = argument.get_long_help().or(argument.get_help()).unwrap();
            let help = help.to_string().replace('\n', " ").replace('|', "\\|");
            writeln!(
                out,
                "| {} | {} | {} | {help} |",
                names.join(", "),
                code(variable.unwrap_or_default()),
                code(default)
            )
            .unwrap();
        }
    }
    out
}

#[test]
fn the_flags_are_those_of_help() {
    let text = fs::read_to_string(DOCUMENT).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the mark before the flags");
    let (found, after) = rest.split_once(END).expect("the mark after the flags");
    let flags = flags();
    if env::var_os("RINGFENCE_WRITE_DOCS").is_some() {
        fs::write(DOCUMENT, [before, BEGIN, &flags, END, after].concat()).unwrap();
        return;
    }
    assert_eq!(
        found, flags,
        "RINGFENCE_WRITE_DOCS=1 cargo test -p ringfence-webhook --test reference"
    );
}

#[test]
fn every_metric_is_explained() {
    let text = fs::read_to_string(DOCUMENT).unwrap();
    let rendered = Metrics::default().render().unwrap();
    let names = rendered.lines().filter_map(|l| l.strip_prefix("# TYPE "));
    let names: BTreeSet<&str> = names.filter_map(|l| l.split(' ').next()).collect();
    for name in names {
        let short = name.strip_prefix("ringfence_webhook_").unwrap();
        assert!(text.contains(&format!("`{short}")), "{name}");
    }
}
