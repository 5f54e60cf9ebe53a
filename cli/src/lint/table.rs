//! For people: by object, with what to do.

use super::judge::{Judged, Outcome};
use ringfence_checks::catalogue::find;
use ringfence_checks::{Finding, Level};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Where nothing else is said.
const WIDTH: usize = 100;
/// Under the name of a check.
const INDENT: &str = "         ";

/// The whole answer.
pub(super) fn render(outcome: &Outcome) -> String {
    let width = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    let width = width.unwrap_or(WIDTH).max(40);
    let mut out = String::new();
    for problem in &outcome.problems {
        let _ = writeln!(out, "error: {problem}");
    }
    if !outcome.problems.is_empty() {
        out.push('\n');
    }
    for object in outcome.objects.iter().filter(|o| !o.findings.is_empty()) {
        about(&mut out, object, width);
    }
    unknown(&mut out, outcome, width);
    let count = |level| outcome.count(level);
    let _ = writeln!(
        out,
        "{} object(s) judged: {} to deny, {} to warn of, {} suppressed or for the audit; {} problem(s)",
        outcome.objects.len(),
        count(Level::Deny),
        count(Level::Warn),
        count(Level::Audit),
        outcome.problems.len(),
    );
    out
}

fn about(out: &mut String, object: &Judged, width: usize) {
    match &object.place {
        Some(place) => {
            let _ = writeln!(out, "{place}  {}", object.name());
        }
        None => {
            let _ = writeln!(out, "{}", object.name());
        }
    }
    let mut told = Vec::new();
    for (finding, line) in &object.findings {
        let Finding {
            check,
            level,
            path,
            sentence,
            softened,
            patch,
            ..
        } = finding;
        let line = if *line > 0 {
            format!(" (line {line})")
        } else {
            String::new()
        };
        let _ = writeln!(out, "  {:<6} {check}: {path}{line}", level.as_str());
        wrap(out, sentence, width);
        if let Some(why) = softened {
            wrap(out, &format!("({why})"), width);
        }
        match (patch, &object.place) {
            (Some(_), Some(_)) => wrap(out, "-> --fix can mend it", width),
            (Some(_), None) => wrap(out, "-> -o json has a patch that mends it", width),
            (None, _) => {}
        }
        if !told.contains(check) {
            told.push(check);
            wrap(out, &format!("-> {}", remedy(check)), width);
        }
    }
    out.push('\n');
}

/// What to do: the last paragraph of a check's text says it.
pub(super) fn remedy(check: &str) -> String {
    let text = find(check).map_or("", |check| check.text.trim_end());
    let last = text.rsplit("\n\n").next().unwrap_or_default();
    last.replace('\n', " ")
}

fn unknown(out: &mut String, outcome: &Outcome, width: usize) {
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for unknown in outcome.objects.iter().flat_map(|o| &o.unknown) {
        let checks = missing.entry(unknown.missing).or_default();
        if !checks.contains(&unknown.check) {
            checks.push(unknown.check);
        }
    }
    for (missing, checks) in &missing {
        let _ = writeln!(out, "unknown: {missing}");
        wrap(out, &format!("not checked: {}", checks.join(", ")), width);
    }
    if !missing.is_empty() {
        out.push('\n');
    }
}

fn wrap(out: &mut String, text: &str, width: usize) {
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            out.push('\n');
            column = 0;
        }
        if column == 0 {
            out.push_str(INDENT);
            column = INDENT.len();
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push('\n');
}
