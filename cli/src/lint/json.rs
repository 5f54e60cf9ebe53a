//! For programs. The form is stable: fields are added, never changed (docs/lint.md).

use super::judge::{Judged, Outcome};
use anyhow::Result;
use ringfence_checks::{Level, catalogue::find};
use serde_json::{Value, json};

/// The whole answer.
pub(super) fn render(outcome: &Outcome) -> Result<String> {
    let findings = outcome.findings().map(|(object, finding, line)| {
        let mut value = about(object, line);
        value["check"] = finding.check.into();
        value["level"] = finding.level.as_str().into();
        value["path"] = finding.path.as_str().into();
        value["sentence"] = finding.sentence.as_str().into();
        value["title"] = find(finding.check).map_or(Value::Null, |c| c.title.into());
        value["patch"] = json!(finding.patch);
        value["softened"] = json!(finding.softened);
        value
    });
    let unknown = outcome.objects.iter().flat_map(|object| {
        object.unknown.iter().map(|unknown| {
            let mut value = about(object, object.place.as_ref().map_or(0, |p| p.line));
            value["check"] = unknown.check.into();
            value["missing"] = unknown.missing.into();
            value
        })
    });
    let problems = outcome.problems.iter().map(|problem| {
        json!({
            "file": problem.place.as_ref().map(|p| p.file.display().to_string()),
            "line": problem.place.as_ref().map(|p| p.line),
            "message": problem.to_string(),
        })
    });
    let answer = json!({
        "version": 1,
        "findings": findings.collect::<Vec<_>>(),
        "unknown": unknown.collect::<Vec<_>>(),
        "problems": problems.collect::<Vec<_>>(),
        "summary": {
            "objects": outcome.objects.len(),
            "deny": outcome.count(Level::Deny),
            "warn": outcome.count(Level::Warn),
            "audit": outcome.count(Level::Audit),
            "problems": outcome.problems.len(),
        },
    });
    Ok(serde_json::to_string_pretty(&answer)? + "\n")
}

fn about(object: &Judged, line: usize) -> Value {
    json!({
        "kind": object.kind.as_str(),
        "namespace": &*object.key.namespace,
        "name": &*object.key.name,
        "file": object.place.as_ref().map(|p| p.file.display().to_string()),
        "line": object.place.as_ref().map(|_| line),
    })
}
