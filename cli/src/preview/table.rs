//! For people.

use super::Outcome;
use super::read::Action;
use comfy_table::{CellAlignment, Table, presets};
use ringfence_checks::impact::{Flows, Row, Way};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Rows of one table; `-o json` has all.
const MOST: usize = 100;

/// The whole answer.
pub(super) fn render(outcome: &Outcome) -> String {
    let mut out = String::new();
    for change in &outcome.changes {
        let does = match change.action {
            Action::Create => "new",
            Action::Update => "changes",
            Action::Delete => "goes",
            Action::Unchanged => "stays as it is",
        };
        let _ = writeln!(out, "{} {}: {does}", change.kind, change.object);
    }
    if outcome.ignored > 0 {
        let _ = writeln!(
            out,
            "{} other object(s): not looked at, only NetworkPolicies and labels of Namespaces are",
            outcome.ignored
        );
    }
    let (impact, ways) = (&outcome.impact, &outcome.ways);
    section(&mut out, "cut", "Cuts", &impact.cut, &ways.cut, outcome);
    section(
        &mut out,
        "opened",
        "Opens",
        &impact.opened,
        &ways.opened,
        outcome,
    );
    let unknown: BTreeSet<&str> = ways.unknown.into_iter().flatten().collect();
    for why in unknown {
        let _ = writeln!(out, "\nunknown: {why}; the answer is without that");
    }
    out
}

fn section(
    out: &mut String,
    done: &str,
    verb: &str,
    flows: &Flows,
    ways: &BTreeSet<Way>,
    outcome: &Outcome,
) {
    if flows.count == 0 && ways.is_empty() {
        let _ = writeln!(out, "\nNothing is {done}.");
        return;
    }
    let plural = if flows.count == 1 { "" } else { "s" };
    let _ = writeln!(
        out,
        "\n{verb} {} flow{plural} (pairs of pods, by port):",
        flows.count
    );
    // Most first, where there are more than anybody reads.
    let mut rows: Vec<(&Row, &u64)> = flows.rows.iter().collect();
    rows.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let more = flows.more || rows.len() > MOST;
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["  FROM", "TO", "PORT", "FLOWS", ""]);
    for (row, count) in rows.into_iter().take(MOST) {
        let port = row.port.map_or_else(
            || "any".to_owned(),
            |(protocol, port)| format!("{protocol} {port}"),
        );
        let scrapes = outcome
            .monitoring
            .iter()
            .any(|name| **name == *row.from.namespace);
        let note = if scrapes { "monitoring" } else { "" };
        table.add_row([
            format!("  {}", row.from),
            row.to.to_string(),
            port,
            count.to_string(),
            note.to_owned(),
        ]);
    }
    if let Some(column) = table.column_mut(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    if flows.count > 0 {
        for line in table.lines() {
            let _ = writeln!(out, "{}", line.trim_end());
        }
    }
    if more {
        let _ = writeln!(out, "  ... and more: `-o json` has up to 10,000 rows");
    }
    for (what, names) in roads(ways) {
        let _ = writeln!(out, "  {what}: {}", names.join(", "));
    }
}

/// By kind, in words.
fn roads(ways: &BTreeSet<Way>) -> BTreeMap<&'static str, Vec<String>> {
    let mut all: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for way in ways {
        let (what, name) = match way {
            Way::Backend {
                namespace,
                service,
                port,
            } => (
                "from the gateways to Services",
                format!("{namespace}/{service}:{port}"),
            ),
            Way::Webhook { namespace, service } => (
                "from the API server to webhooks",
                format!("{namespace}/{service}"),
            ),
            Way::ApiServer(from) => ("to the API server, from", from.to_string()),
        };
        all.entry(what).or_default().push(name);
    }
    all
}
