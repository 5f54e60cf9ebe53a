//! SARIF 2.1.0, as code scanning services take it.

use super::judge::{Judged, Outcome};
use super::table::remedy;
use anyhow::Result;
use ringfence_checks::catalogue::{CATALOGUE, Check};
use ringfence_checks::{Finding, Level};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// The whole answer.
pub(super) fn render(outcome: &Outcome) -> Result<String> {
    let results = outcome
        .findings()
        .map(|(object, finding, line)| result(object, finding, line));
    let notifications = outcome.problems.iter().map(|problem| {
        let place = problem.place.as_ref();
        let locations = place.map(|p| json!({"physicalLocation": physical(&p.file, p.line)}));
        json!({
            "level": "error",
            "message": {"text": problem.to_string()},
            "locations": locations.into_iter().collect::<Vec<_>>(),
        })
    });
    let sarif = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "ringfence",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": CATALOGUE.iter().map(|check| rule(check)).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "invocations": [{
                "executionSuccessful": outcome.problems.is_empty(),
                "toolExecutionNotifications": notifications.collect::<Vec<_>>(),
            }],
            "results": results.collect::<Vec<_>>(),
        }],
    });
    Ok(serde_json::to_string_pretty(&sarif)? + "\n")
}

fn rule(check: &Check) -> Value {
    json!({
        "id": check.id,
        "shortDescription": {"text": check.title},
        "fullDescription": {"text": check.text},
        "help": {"text": remedy(check.id), "markdown": check.text},
        "defaultConfiguration": {"level": level(check.baseline), "enabled": check.baseline != Level::Off},
    })
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Deny => "error",
        Level::Warn => "warning",
        Level::Audit => "note",
        Level::Off => "none",
    }
}

fn result(object: &Judged, finding: &Finding, line: usize) -> Value {
    let name = format!("{}/{}", object.name(), finding.path);
    let mut location =
        json!({"logicalLocations": [{"fullyQualifiedName": name, "kind": "object"}]});
    if let Some(place) = &object.place {
        location["physicalLocation"] = physical(&place.file, line);
    }
    let mut result = json!({
        "ruleId": finding.check,
        "ruleIndex": CATALOGUE.iter().position(|c| c.id == finding.check),
        "level": level(finding.level),
        "message": {"text": format!("{}: {}", object.name(), finding.sentence)},
        "locations": [location],
        // The same finding in another line is the same.
        "partialFingerprints": {
            "finding/v1": format!("{} {} {}", object.name(), finding.check, finding.evidence),
        },
    });
    if let Some(why) = finding
        .softened
        .as_deref()
        .filter(|w| w.starts_with("suppressed"))
    {
        result["suppressions"] = json!([{"kind": "inSource", "justification": why}]);
    }
    result
}

fn physical(file: &Path, line: usize) -> Value {
    json!({
        "artifactLocation": {"uri": uri(file)},
        "region": {"startLine": line.max(1)},
    })
}

/// A relative reference: everything but what needs no escape in a path.
fn uri(file: &Path) -> String {
    let mut out = String::new();
    for byte in file.to_string_lossy().bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
