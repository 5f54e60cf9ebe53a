//! docs/webhook.md holds the flags as `--help` prints them.
//!
//! After a change of flags: `RINGFENCE_WRITE_DOCS=1 cargo test -p ringfence-webhook --test reference`
#![allow(missing_docs, clippy::unwrap_used)]

use clap::CommandFactory;
use ringfence_webhook::config::Cli;
use ringfence_webhook::metrics::Metrics;
use std::collections::BTreeSet;
use std::fs;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/webhook.md");

#[test]
fn the_flags_are_those_of_help() {
    ringfence_e2e::reference::flags("webhook", &Cli::command()).unwrap();
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
