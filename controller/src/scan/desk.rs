//! What was found, and which reports say so.

use super::objects::Id;
use super::report::{self, Report};
use super::server::Api;
use jiff::Timestamp;
use ringfence_checks::{Before, Finding, Level, Subject, World, judge};
use ringfence_policy::model::Name;
use ringfence_policy::snapshot::Kind;
use serde_json::Value;
use std::collections::BTreeMap;

/// What was found of one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// Worst first.
    pub findings: Vec<Finding>,
}

/// Findings and reports.
#[derive(Debug, Default)]
pub struct Desk {
    /// By namespace and object; only objects of which something was found.
    found: BTreeMap<Name, BTreeMap<Id, Findings>>,
    /// What the reports of namespaces were last seen to say. `None`: none is there.
    reports: BTreeMap<Name, Option<u64>>,
}

// === impl Findings ===

impl Findings {
    /// Judges an object. What cannot be read has no findings: the API server refuses it.
    pub fn of(raw: &Value, world: &World) -> Self {
        let Ok(subject) = Subject::read(raw) else {
            return Self::default();
        };
        Self {
            findings: judge(&subject, Before::Nothing, world).findings,
        }
    }
}

// === impl Desk ===

impl Desk {
    /// What was found of an object (`None`: it is gone). Returns its namespace when that is
    /// news.
    pub fn put(&mut self, id: &Id, findings: Option<Findings>) -> Option<Name> {
        let (kind, key) = id;
        let namespace = match kind {
            Kind::Namespace => &key.name,
            _ => &key.namespace,
        };
        let findings = findings.filter(|f| !f.findings.is_empty());
        let own = self.found.entry(Name::clone(namespace)).or_default();
        let changed = own.get(id) != findings.as_ref();
        match findings {
            Some(findings) => drop(own.insert(id.clone(), findings)),
            None => drop(own.remove(id)),
        }
        if own.is_empty() {
            self.found.remove(namespace);
        }
        changed.then(|| Name::clone(namespace))
    }

    /// The namespaces in which something was found.
    pub fn namespaces(&self) -> impl Iterator<Item = &Name> {
        self.found.keys()
    }

    /// How often each check found something, by level.
    pub fn counts(&self) -> BTreeMap<(&'static str, Level), i64> {
        let mut counts = BTreeMap::new();
        let objects = self.found.values().flat_map(BTreeMap::values);
        for finding in objects.flat_map(|o| &o.findings) {
            *counts.entry((finding.check, finding.level)).or_default() += 1;
        }
        counts
    }

    /// The report of a namespace; `None` when there is nothing to say.
    pub fn report(&self, namespace: &str, api: Api, now: Timestamp) -> Option<Report> {
        let found = self.found.get(namespace)?;
        Some(report::render(namespace, found, api, now))
    }

    /// Whether the namespace's report, as far as is known, says something else.
    pub fn is_new(&self, namespace: &Name, report: Option<&Report>) -> bool {
        self.reports.get(namespace) != Some(&report.map(|report| report.digest))
    }

    /// It says so now.
    pub fn written(&mut self, namespace: Name, report: Option<Report>) {
        self.reports
            .insert(namespace, report.map(|report| report.digest));
    }

    /// Nothing is known of what reports say any more; of namespaces that are gone nothing
    /// is kept.
    pub fn forget_reports(&mut self) {
        self.reports.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_policy::model::ObjectKey;

    fn finding(check: &'static str, level: Level) -> Finding {
        Finding {
            check,
            level,
            path: "spec".into(),
            sentence: "words".into(),
            evidence: String::new(),
            patch: None,
            softened: None,
        }
    }

    fn id(namespace: &str, name: &str) -> Id {
        (Kind::NetworkPolicy, ObjectKey::new(namespace, name))
    }

    fn found(check: &'static str) -> Findings {
        Findings {
            findings: vec![finding(check, Level::Warn)],
        }
    }

    #[test]
    fn only_news_change_a_report() {
        let mut desk = Desk::default();
        let (a, b) = (id("x", "a"), id("x", "b"));
        assert!(desk.put(&a, Some(found("ns-all"))).is_some());
        assert!(desk.put(&a, Some(found("ns-all"))).is_none());
        assert!(desk.put(&b, Some(Findings::default())).is_none());
        let now = Timestamp::UNIX_EPOCH;
        let report = desk.report("x", Api::OpenReports, now);
        assert!(desk.is_new(&"x".into(), report.as_ref()));
        desk.written("x".into(), report);
        // Later, and nothing else.
        let later = Timestamp::from_second(1_000).unwrap();
        let same = desk.report("x", Api::OpenReports, later);
        assert!(!desk.is_new(&"x".into(), same.as_ref()));
        assert_eq!(desk.put(&a, Some(found("one-sided"))).as_deref(), Some("x"));
        let other = desk.report("x", Api::OpenReports, later);
        assert!(desk.is_new(&"x".into(), other.as_ref()));
    }

    #[test]
    fn an_object_that_is_gone_takes_its_report_along() {
        let mut desk = Desk::default();
        desk.put(&id("x", "a"), Some(found("ns-all")));
        assert_eq!(desk.namespaces().count(), 1);
        assert_eq!(desk.put(&id("x", "a"), None).as_deref(), Some("x"));
        assert_eq!(desk.namespaces().count(), 0);
        assert!(
            desk.report("x", Api::OpenReports, Timestamp::UNIX_EPOCH)
                .is_none()
        );
        assert!(desk.is_new(&"x".into(), None), "it may be there");
        desk.written("x".into(), None);
        assert!(!desk.is_new(&"x".into(), None));
    }

    #[test]
    fn counts_are_by_check_and_level() {
        let mut desk = Desk::default();
        let findings = vec![
            finding("ns-all", Level::Warn),
            finding("ns-all", Level::Audit),
        ];
        desk.put(&id("x", "a"), Some(Findings { findings }));
        desk.put(&id("y", "a"), Some(found("ns-all")));
        let counts = desk.counts();
        assert_eq!(counts[&("ns-all", Level::Warn)], 2);
        assert_eq!(counts[&("ns-all", Level::Audit)], 1);
    }
}
