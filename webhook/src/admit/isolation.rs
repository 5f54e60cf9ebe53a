//! The objects of isolation, and policies that stand beside a fence.

use super::{Decision, Judged};
use crate::review::Request;
use ringfence_checks::{Before, Report, Subject};
use ringfence_isolation::judge::{self, Around};
use ringfence_policy::model::ObjectKey;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Who keeps the policies of isolated namespaces; nobody else may pass for it by a label.
const CONTROLLER: &str = "system:serviceaccount:ringfence-system:ringfence-controller";

/// About an object of isolation.
pub(super) fn decide(kind: Judged, raw: Value, old: Option<&Value>, around: &Around) -> Decision {
    let text = |field: &str| {
        raw["metadata"][field]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let object = match kind {
        // The API server's own namespace for what has none.
        Judged::IsolationConfig => ObjectKey::new("", text("name")),
        _ => ObjectKey::new(text("namespace"), text("name")),
    };
    let report = match kind {
        Judged::IsolationRule => {
            let old = old.and_then(|old| serde_json::from_value(old.clone()).ok());
            read(raw).map(|new| judge::rule(&new, old.as_ref(), around))
        }
        Judged::NamespaceIsolation => read(raw).map(|new| judge::isolation(&new, around)),
        _ => read(raw).map(|new| judge::config(&new, around)),
    };
    let mut decision = match report {
        Ok(Report { findings, unknown }) => Decision {
            findings,
            unknown,
            ..Decision::default()
        },
        // The API server has validated it by the schema that it knows: that is another one.
        Err(error) => Decision::unjudged(format!(
            "not judged: {error}; are the CustomResourceDefinitions those of this version?"
        )),
    };
    decision.object = Some(object);
    decision
}

fn read<T: DeserializeOwned>(raw: Value) -> serde_json::Result<T> {
    serde_json::from_value(raw)
}

/// Adds what a NetworkPolicy of somebody else does to the fence around its namespace.
pub(super) fn beside(
    decision: &mut Decision,
    request: &Request,
    subject: &Subject,
    old: Before,
    around: &Around,
) {
    if request.user_info.username == CONTROLLER {
        return;
    }
    let Report { findings, unknown } = judge::foreign(subject, old, around);
    decision.findings.extend(findings);
    decision
        .findings
        .sort_by_key(|f| std::cmp::Reverse(f.level));
    decision.unknown.extend(unknown);
}
