//! From a [`Decision`] to the JSON that the API server reads. Pure.

mod text;

use crate::admit::{Decision, Skip};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ringfence_checks::{Finding, Level, catalogue};
use serde::Serialize;
use std::collections::BTreeMap;
use text::{clean, cut};

/// Warnings in one answer; the next would be "n more".
pub const MOST_WARNINGS: usize = 12;
/// Bytes of one warning. The API server cuts them once the answer has more than 4,096
/// characters in all, and drops the rest.
pub const LONGEST_WARNING: usize = 240;
/// Bytes of one audit annotation: the API server has no limit of its own.
pub const LONGEST_ANNOTATION: usize = 4096;
/// Bytes of the text of a denial.
const LONGEST_MESSAGE: usize = 8192;
/// A patch that is longer is not shown.
const LONGEST_REMEDY: usize = 600;
/// Findings that the details of a denial name.
const MOST_CAUSES: usize = 50;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: BTreeMap<&'static str, String>,
}

#[derive(Debug, Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
}

#[derive(Debug, Serialize)]
struct Details {
    name: String,
    causes: Vec<Cause>,
}

#[derive(Debug, Serialize)]
struct Cause {
    reason: &'static str,
    message: String,
    field: String,
}

/// The answer to a request.
///
/// # Errors
/// Never in practice: plain strings and numbers, and a patch that was read from JSON.
pub fn render(uid: &str, decision: &Decision) -> serde_json::Result<Vec<u8>> {
    let patched = !decision.patch.is_empty() && decision.is_allowed();
    let patch = patched
        .then(|| serde_json::to_vec(&decision.patch))
        .transpose()?;
    review(Response {
        uid,
        allowed: decision.is_allowed(),
        status: status(decision),
        patch_type: patched.then_some("JSONPatch"),
        patch: patch.map(|json| BASE64_STANDARD.encode(json)),
        warnings: warnings(decision),
        audit_annotations: annotations(decision),
    })
}

/// A denial because there is too much to do. In band: the API server would hide the text
/// of an HTTP error, and try ten times after `Retry-After`.
///
/// # Errors
/// As [`render`].
pub fn overloaded(uid: &str) -> serde_json::Result<Vec<u8>> {
    review(Response {
        uid,
        status: Some(Status {
            code: 429,
            reason: "TooManyRequests",
            message: "Ringfence has too much to do to judge this now; try again".to_owned(),
            details: None,
        }),
        ..Response::default()
    })
}

fn review(response: Response) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Review {
        api_version: "admission.k8s.io/v1",
        kind: "AdmissionReview",
        response,
    })
}

/// `namespace/name`, or the name alone; for every line that a person reads.
fn object(decision: &Decision) -> String {
    let Some(key) = &decision.object else {
        return String::new();
    };
    let name = if key.namespace.is_empty() {
        key.name.to_string()
    } else {
        key.to_string()
    };
    cut(&clean(&name), LONGEST_WARNING / 2)
}

fn status(decision: &Decision) -> Option<Status> {
    if let Some(refusal) = &decision.refusal {
        return Some(Status {
            code: refusal.code,
            reason: refusal.reason,
            message: cut(&clean(&refusal.message), LONGEST_MESSAGE),
            details: None,
        });
    }
    let denies: Vec<&Finding> = decision.of(Level::Deny).collect();
    if denies.is_empty() {
        return None;
    }
    let lines = denies.iter().map(|deny| {
        let (path, sentence) = (clean(&deny.path), clean(&deny.sentence));
        format!("; {path}: {sentence} [{}]: {}", deny.check, remedy(deny))
    });
    let message =
        format!("{}: refused by Ringfence", object(decision)) + &lines.collect::<String>();
    let causes = denies.iter().take(MOST_CAUSES).map(|deny| Cause {
        reason: deny.check,
        message: format!("{}; {}", clean(&deny.sentence), remedy(deny)),
        field: clean(&deny.path),
    });
    Some(Status {
        code: 403,
        reason: "Forbidden",
        message: cut(&message, LONGEST_MESSAGE),
        details: Some(Details {
            name: decision
                .object
                .as_ref()
                .map(|key| clean(&key.name))
                .unwrap_or_default(),
            causes: causes.collect(),
        }),
    })
}

/// What to do about a finding: the patch that mends it, where there is one; what the last
/// paragraph of its check's text says; and where there is more to read.
fn remedy(finding: &Finding) -> String {
    let patch = finding.patch.as_ref().map(ToString::to_string);
    let patch = patch.filter(|patch| patch.len() <= LONGEST_REMEDY);
    let mend = patch.map(|patch| format!("mend it with this JSON patch: {}", clean(&patch)));
    let explained = catalogue::find(finding.check).map(|check| {
        let last = check.text.trim_end().rsplit("\n\n").next();
        let advice = clean(last.unwrap_or_default());
        format!("{advice} (`ringfence checks {}` explains it)", check.id)
    });
    let parts: Vec<String> = mend.into_iter().chain(explained).collect();
    if parts.is_empty() {
        return "take it away".to_owned();
    }
    parts.join("; ")
}

/// Worst first. `kubectl` merges equal texts, so each names its object.
fn warnings(decision: &Decision) -> Vec<String> {
    let object = object(decision);
    let line = |text: &str| cut(&format!("{object}: {}", clean(text)), LONGEST_WARNING);
    let mut lines: Vec<String> = decision.notes.iter().map(|note| line(note)).collect();
    for finding in decision.of(Level::Warn) {
        let Finding { sentence, path, .. } = finding;
        lines.push(line(&format!("{sentence} [{}, {path}]", finding.check)));
    }
    if let Some(first) = decision.unknown.first() {
        let others = match decision.unknown.len() - 1 {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let (check, missing) = (first.check, first.missing);
        lines.push(line(&format!(
            "not checked: {check}{others}, because {missing}"
        )));
    }
    // The same sentence about two places is one warning for its reader.
    let mut seen = std::collections::BTreeSet::new();
    lines.retain(|line| seen.insert(line.clone()));
    if lines.len() > MOST_WARNINGS {
        let more = lines.len() - MOST_WARNINGS;
        lines.truncate(MOST_WARNINGS);
        lines.push(line(&format!("{more} more")));
    }
    lines.extend(decision.probe.clone());
    lines
}

/// What the audit log keeps. The API server puts the webhook's name before the keys, and
/// drops keys with slashes or spaces.
fn annotations(decision: &Decision) -> BTreeMap<&'static str, String> {
    let mut annotations = BTreeMap::new();
    let mut put = |key, lines: Vec<String>| {
        if !lines.is_empty() {
            annotations.insert(key, cut(&lines.join("; "), LONGEST_ANNOTATION));
        }
    };
    let one = |finding: &Finding| {
        let softened = match &finding.softened {
            Some(why) => format!(" ({})", clean(why)),
            None => String::new(),
        };
        let (check, path) = (finding.check, clean(&finding.path));
        format!("{} {check} {path}{softened}", finding.level.as_str())
    };
    put("findings", decision.findings.iter().map(one).collect());
    let unknown = decision.unknown.iter();
    let unknown = unknown.map(|u| format!("{}: {}", u.check, u.missing));
    put("unknown", unknown.collect());
    if !decision.patch.is_empty() && decision.is_allowed() {
        put("patch", vec![clean(&decision.patch.to_string())]);
    }
    put(
        "patch-withheld",
        decision.withheld.iter().map(|why| clean(why)).collect(),
    );
    if decision.skipped == Some(Skip::Exempt) {
        put("exempt", vec!["the configuration exempts it".to_owned()]);
    }
    annotations
}

#[cfg(test)]
mod tests;
