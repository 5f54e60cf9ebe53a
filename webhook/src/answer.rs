//! From a [`Decision`] to the JSON that the API server reads. Pure.

mod text;

use crate::admit::{Decision, Skip};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ringfence_checks::{Finding, Level, catalogue};
use ringfence_isolation::judge;
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::iter::once;
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
    cut(clean(&name), LONGEST_WARNING / 2)
}

fn status(decision: &Decision) -> Option<Status> {
    if let Some(refusal) = &decision.refusal {
        return Some(Status {
            code: refusal.code,
            reason: refusal.reason,
            message: cut(clean(&refusal.message), LONGEST_MESSAGE),
            details: None,
        });
    }
    let denies: Vec<&Finding> = decision.of(Level::Deny).collect();
    if denies.is_empty() {
        return None;
    }
    let mut told = HashSet::new();
    let lines = denies.iter().map(|deny| {
        let (path, sentence) = (clean(&deny.path), clean(&deny.sentence));
        // What to do about one is what to do about all of its check.
        let remedy = if told.insert(deny.check) {
            remedy(deny)
        } else {
            patch(deny).unwrap_or_else(|| "as above".to_owned())
        };
        format!("; {path}: {sentence} [{}]: {remedy}", deny.check)
    });
    let beginning = format!("{}: refused by Ringfence", object(decision));
    let message = join(beginning, "", lines, LONGEST_MESSAGE);
    let causes = denies.iter().take(MOST_CAUSES).map(|deny| Cause {
        reason: deny.check,
        message: format!("{}; {}", clean(&deny.sentence), remedy(deny)),
        field: clean(&deny.path).into_owned(),
    });
    Some(Status {
        code: 403,
        reason: "Forbidden",
        message,
        details: Some(Details {
            name: decision
                .object
                .as_ref()
                .map(|key| clean(&key.name).into_owned())
                .unwrap_or_default(),
            causes: causes.collect(),
        }),
    })
}

/// What to do about a finding: the patch that mends it, where there is one; what the last
/// paragraph of its check's text says; and where there is more to read.
fn remedy(finding: &Finding) -> String {
    let explained = catalogue::find(finding.check).map(|check| {
        let last = check.text.trim_end().rsplit("\n\n").next();
        let advice = clean(last.unwrap_or_default());
        format!("{advice} (`ringfence checks {}` explains it)", check.id)
    });
    let isolation = judge::find(finding.check).map(|check| check.remedy.to_owned());
    let parts = patch(finding).into_iter().chain(explained);
    let parts: Vec<String> = parts.chain(isolation).collect();
    if parts.is_empty() {
        return "take it away".to_owned();
    }
    parts.join("; ")
}

/// The patch that mends a finding, in words, unless it is long.
fn patch(finding: &Finding) -> Option<String> {
    let patch = finding.patch.as_ref()?.to_string();
    let short = patch.len() <= LONGEST_REMEDY;
    short.then(|| format!("mend it with this JSON patch: {}", clean(&patch)))
}

/// Appends lines until there are `bytes`. A hostile object has ten thousand findings, and
/// nobody writes those that nobody sees.
fn join(
    mut text: String,
    between: &str,
    lines: impl IntoIterator<Item = String>,
    bytes: usize,
) -> String {
    for line in lines {
        if !text.is_empty() {
            text.push_str(between);
        }
        text.push_str(&line);
        if text.len() > bytes {
            break;
        }
    }
    cut(text, bytes)
}

/// Worst first. `kubectl` merges equal texts, so each names its object.
fn warnings(decision: &Decision) -> Vec<String> {
    let object = object(decision);
    let line = |parts: &[&str]| {
        let mut line = String::with_capacity(LONGEST_WARNING);
        line.push_str(&object);
        line.push_str(": ");
        for part in parts {
            line.push_str(&clean(part));
        }
        cut(line, LONGEST_WARNING)
    };
    let mut lines: Vec<String> = decision.notes.iter().map(|note| line(&[note])).collect();
    for finding in decision.of(Level::Warn) {
        let Finding { sentence, path, .. } = finding;
        lines.push(line(&[sentence, " [", finding.check, ", ", path, "]"]));
    }
    if let Some(first) = decision.unknown.first() {
        let others = match decision.unknown.len() - 1 {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let (check, missing) = (first.check, first.missing);
        let parts = ["not checked: ", check, &others, ", because ", missing];
        lines.push(line(&parts));
    }
    // The same sentence about two places is one warning for its reader.
    let mut seen = HashSet::with_capacity(lines.len());
    let is_new: Vec<bool> = lines.iter().map(|line| seen.insert(&**line)).collect();
    let mut is_new = is_new.into_iter();
    lines.retain(|_| is_new.next() == Some(true));
    if lines.len() > MOST_WARNINGS {
        let more = lines.len() - MOST_WARNINGS;
        lines.truncate(MOST_WARNINGS);
        lines.push(line(&[&more.to_string(), " more"]));
    }
    lines.extend(decision.probe.clone());
    lines
}

/// What the audit log keeps. The API server puts the webhook's name before the keys, and
/// drops keys with slashes or spaces.
fn annotations(decision: &Decision) -> BTreeMap<&'static str, String> {
    let mut annotations = BTreeMap::new();
    let mut put = |key, lines: &mut dyn Iterator<Item = String>| {
        let text = join(String::new(), "; ", lines, LONGEST_ANNOTATION);
        if !text.is_empty() {
            annotations.insert(key, text);
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
    put("findings", &mut decision.findings.iter().map(one));
    let unknown = decision.unknown.iter();
    let mut unknown = unknown.map(|u| format!("{}: {}", u.check, u.missing));
    put("unknown", &mut unknown);
    if !decision.patch.is_empty() && decision.is_allowed() {
        let patch = decision.patch.to_string();
        put("patch", &mut once(clean(&patch).into_owned()));
    }
    let withheld = decision.withheld.iter();
    put(
        "patch-withheld",
        &mut withheld.map(|why| clean(why).into_owned()),
    );
    if decision.skipped == Some(Skip::Exempt) {
        put(
            "exempt",
            &mut once("the configuration exempts it".to_owned()),
        );
    }
    annotations
}

#[cfg(test)]
mod tests;
