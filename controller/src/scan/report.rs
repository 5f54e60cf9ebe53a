//! Findings as a `Report` of openreports.io, or a `PolicyReport` of its predecessor, which
//! have the same fields. Pure.

use super::desk::Findings;
use super::objects::Id;
use super::server::Api;
use jiff::Timestamp;
use ringfence_checks::catalogue::find;
use ringfence_checks::{Finding, Level};
use ringfence_policy::snapshot::Kind;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The name of our report in each namespace.
pub const NAME: &str = "ringfence";
/// By this label we know ours.
pub const LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", "ringfence");
/// Results in one report: an object has at most 1.5 MiB, and people read less.
const MOST: usize = 1_000;

/// A report.
#[derive(Clone, Debug)]
pub struct Report {
    /// As it is applied.
    pub object: Value,
    /// Of what it says, times left out.
    pub digest: u64,
}

/// The report of a namespace.
pub fn render(namespace: &str, found: &BTreeMap<Id, Findings>, api: Api, now: Timestamp) -> Report {
    let all = found
        .iter()
        .flat_map(|(id, found)| found.findings.iter().map(move |finding| (id, finding)));
    let mut all: Vec<(&Id, &Finding)> = all.collect();
    // What is cut off is what weighs least.
    all.sort_by_key(|(_, finding)| std::cmp::Reverse(finding.level));
    let count = |result: &str| all.iter().filter(|(_, f)| outcome(f).0 == result).count();
    let summary = json!({
        "pass": 0, "fail": count("fail"), "warn": count("warn"), "error": 0, "skip": count("skip"),
    });
    let results: Vec<Value> = all.iter().take(MOST).map(|(id, f)| result(id, f)).collect();
    let mut hasher = DefaultHasher::new();
    (
        summary.to_string(),
        Value::from(results.clone()).to_string(),
    )
        .hash(&mut hasher);
    let timestamp = json!({"seconds": now.as_second(), "nanos": 0});
    let timed = results.into_iter().map(|mut result| {
        result["timestamp"] = timestamp.clone();
        result
    });
    let mut object = json!({
        "apiVersion": api.version(),
        "kind": api.kind(),
        "metadata": {"name": NAME, "namespace": namespace, "labels": {LABEL.0: LABEL.1}},
        "summary": summary,
        "results": timed.collect::<Vec<_>>(),
    });
    if api == Api::OpenReports {
        object["source"] = NAME.into();
    }
    Report {
        object,
        digest: hasher.finish(),
    }
}

fn result((kind, key): &Id, finding: &Finding) -> Value {
    let (outcome, severity) = outcome(finding);
    let mut resource = json!({
        "apiVersion": match kind {
            Kind::NetworkPolicy => "networking.k8s.io/v1",
            _ => "v1",
        },
        "kind": kind.as_str(),
        "name": &*key.name,
    });
    if !key.namespace.is_empty() {
        resource["namespace"] = (&*key.namespace).into();
    }
    let title = find(finding.check).map_or("", |check| check.title);
    let mut properties =
        json!({"path": finding.path, "level": finding.level.as_str(), "title": title});
    if let Some(why) = &finding.softened {
        properties["softened"] = why.as_str().into();
    }
    json!({
        "source": NAME,
        "policy": finding.check,
        "category": "NetworkPolicy",
        "severity": severity,
        "result": outcome,
        "scored": outcome == "fail",
        "message": finding.sentence,
        "resources": [resource],
        "properties": properties,
    })
}

/// Result and severity, in the reports' words.
fn outcome(finding: &Finding) -> (&'static str, &'static str) {
    match (finding.level, &finding.softened) {
        (Level::Deny, _) => ("fail", "high"),
        (Level::Warn, _) => ("warn", "medium"),
        // Somebody has said why it may be so.
        (Level::Audit | Level::Off, Some(_)) => ("skip", "low"),
        (Level::Audit | Level::Off, None) => ("warn", "low"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_policy::model::ObjectKey;
    use test_case::test_case;

    fn finding(level: Level, softened: Option<&str>) -> Finding {
        Finding {
            check: "ns-all",
            level,
            path: "spec.ingress[0]".into(),
            sentence: "every namespace".into(),
            evidence: String::new(),
            patch: None,
            softened: softened.map(str::to_owned),
        }
    }

    fn report(findings: Vec<Finding>, api: Api) -> Value {
        let id = (Kind::NetworkPolicy, ObjectKey::new("shop", "web"));
        let found = BTreeMap::from([(id, Findings { findings })]);
        render("shop", &found, api, Timestamp::from_second(7).unwrap()).object
    }

    #[test_case(Level::Deny, None, "fail", "high"; "to refuse")]
    #[test_case(Level::Warn, None, "warn", "medium"; "to warn of")]
    #[test_case(Level::Audit, None, "warn", "low"; "for the audit")]
    #[test_case(Level::Audit, Some("suppressed until ..."), "skip", "low"; "suppressed")]
    fn results(level: Level, softened: Option<&str>, outcome: &str, severity: &str) {
        let report = report(vec![finding(level, softened)], Api::OpenReports);
        let result = &report["results"][0];
        assert_eq!(
            (&result["result"], &result["severity"]),
            (&outcome.into(), &severity.into())
        );
        assert_eq!(report["summary"][outcome], 1);
        assert_eq!(result["policy"], "ns-all");
        assert_eq!(result["timestamp"], json!({"seconds": 7, "nanos": 0}));
        let resource = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "namespace": "shop", "name": "web"});
        assert_eq!(result["resources"], json!([resource]));
    }

    #[test]
    fn both_kinds() {
        let open = report(vec![finding(Level::Warn, None)], Api::OpenReports);
        assert_eq!(
            (&open["apiVersion"], &open["kind"]),
            (&"openreports.io/v1alpha1".into(), &"Report".into())
        );
        assert_eq!(open["source"], "ringfence");
        let old = report(vec![finding(Level::Warn, None)], Api::PolicyReports);
        assert_eq!(
            (&old["apiVersion"], &old["kind"]),
            (&"wgpolicyk8s.io/v1alpha2".into(), &"PolicyReport".into())
        );
        assert_eq!(old["source"], Value::Null);
        assert_eq!(old["results"], open["results"]);
    }

    #[test]
    fn the_worst_of_very_many() {
        let mut findings = vec![finding(Level::Warn, None); MOST + 7];
        findings.push(finding(Level::Deny, None));
        let report = report(findings, Api::OpenReports);
        assert_eq!(report["results"].as_array().unwrap().len(), MOST);
        assert_eq!(report["results"][0]["result"], "fail");
        assert_eq!(report["summary"]["warn"], MOST + 7, "all are counted");
    }
}
