//! What is said about a namespace: statuses that differ from what stands there, and Events
//! about what has changed. Pure.

use super::jobs::StatusWrite;
use super::look::{Enforcers, Look};
use super::notices::{Notice, Reason};
use super::seen::Seen;
use super::status::{conditions, was, worst};
use jiff::Timestamp;
use kube::Resource;
use ringfence_api::{
    IsolationRule, IsolationRuleStatus, Mode, NamespaceIsolation, NamespaceIsolationStatus, Preview,
};
use ringfence_isolation::conditions::{peer_allows, source_ip, widened};
use ringfence_isolation::render::peer_text;
use ringfence_isolation::{Condition, Outcome, Rendered, Statement, Status};
use ringfence_policy::Snapshot;

/// Names that an Event repeats.
const NAMES: usize = 10;

/// Everything that is said is said from this.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// What the watches brought.
    pub seen: &'a Seen,
    /// The cluster.
    pub snapshot: &'a Snapshot,
    /// The latest look.
    pub look: Look,
    /// As the namespace should be isolated; `None` when it is not to be.
    pub rendered: Option<&'a Rendered>,
    /// Whether it is so: `Ready`.
    pub standing: &'a Statement,
    /// In mode `Preview`.
    pub preview: Option<&'a Preview>,
    /// Now.
    pub now: Timestamp,
}

/// What is to be written and told.
#[derive(Debug, Default)]
pub struct Report {
    /// Statuses that differ.
    pub writes: Vec<StatusWrite>,
    /// What has changed.
    pub notices: Vec<Notice>,
}

/// What is said about a namespace now.
pub fn report(view: &View) -> Report {
    let mut report = Report::default();
    let (mut newly, mut source) = (Vec::new(), Vec::new());
    for (name, rule) in view.seen.rules.of(view.namespace) {
        let outcome = view.rendered.and_then(|rendered| rendered.rules.get(name));
        let said = of_rule(view, rule, outcome);
        let old = rule.status.as_ref().map_or(&[][..], |s| &s.conditions);
        tell(&mut report.notices, rule, old, &said);
        let is = |c| said.iter().find(|s| s.condition == c);
        let ready = is(Condition::Ready).is_some_and(|s| s.status == Status::True);
        if ready && was(old, Condition::Ready) != Some(true) {
            newly.push(&**name);
        }
        source.extend(is(Condition::SourceIPPreserved).cloned());
        let status = IsolationRuleStatus {
            observed_generation: rule.metadata.generation,
            conditions: conditions(old, &said, view.now),
            peer: Some(peer_text(&rule.spec)),
        };
        if rule.status.as_ref() != Some(&status) {
            let mut rule = rule.clone();
            rule.status = Some(status);
            report.writes.push(StatusWrite::Rule(Box::new(rule)));
        }
    }
    let isolation = view.seen.isolation(view.namespace);
    if let (Some(isolation), Some(rendered)) = (isolation, view.rendered) {
        if !newly.is_empty() {
            let note = format!("in effect: {}", listed(&newly));
            report
                .notices
                .push(notice(Reason::RuleRendered, isolation, note));
        }
        let status = of_isolation(view, isolation, rendered, &source);
        if isolation.status.as_ref() != Some(&status) {
            let mut isolation = isolation.clone();
            isolation.status = Some(status);
            let write = StatusWrite::Isolation(Box::new(isolation));
            report.writes.push(write);
        }
    }
    report
}

fn of_rule(view: &View, rule: &IsolationRule, outcome: Option<&Outcome>) -> Vec<Statement> {
    let Some(outcome) = outcome else {
        return vec![view.standing.clone()];
    };
    let mut said = outcome.statements.to_vec();
    // What is right but not written is not in effect.
    if let Some(ready) = said.first_mut()
        && ready.status == Status::True
        && view.standing.status != Status::True
    {
        *ready = view.standing.clone();
    }
    let masquerade_all = view.look.masquerade_all;
    said.extend(source_ip(
        view.snapshot,
        view.namespace,
        &rule.spec,
        masquerade_all,
    ));
    said.extend(peer_allows(view.snapshot, view.namespace, &rule.spec));
    said
}

/// Events about a rule whose conditions were `old`.
fn tell(
    notices: &mut Vec<Notice>,
    rule: &IsolationRule,
    old: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition],
    said: &[Statement],
) {
    for statement in said {
        let before = was(old, statement.condition);
        let reason = match (statement.condition, statement.status) {
            (Condition::Expired, Status::True) if before != Some(true) => Reason::RuleExpired,
            (Condition::PeersResolved, Status::False) if before == Some(true) => Reason::PeerLost,
            (Condition::PeersResolved, Status::False) if before.is_none() => Reason::RuleRejected,
            _ => continue,
        };
        notices.push(notice(reason, rule, statement.message.clone()));
    }
}

fn of_isolation(
    view: &View,
    isolation: &NamespaceIsolation,
    rendered: &Rendered,
    source: &[Statement],
) -> NamespaceIsolationStatus {
    let mut said = vec![view.standing.clone()];
    said.extend(rendered.statements.iter().cloned());
    said.push(match worst(source) {
        Some(statement) => statement.clone(),
        None => Statement::new(
            Condition::SourceIPPreserved,
            Status::True,
            "NoIngressRules",
            "no rule is about who comes in",
        ),
    });
    said.push(widened(view.snapshot, rendered));
    said.push(enforced(view, isolation));
    let restricted = rendered.policy.egress.is_some();
    let in_effect = rendered.rules.values().filter(|o| o.rule.is_some()).count();
    let old = isolation.status.as_ref().map_or(&[][..], |s| &s.conditions);
    NamespaceIsolationStatus {
        observed_generation: isolation.metadata.generation,
        conditions: conditions(old, &said, view.now),
        egress: Some(if restricted { "Restricted" } else { "Open" }.to_owned()),
        rules: u32::try_from(in_effect).ok(),
        preview: view.preview.cloned(),
    }
}

fn enforced(view: &View, isolation: &NamespaceIsolation) -> Statement {
    let (status, reason, message) = match view.look.enforcers {
        _ if isolation.spec.mode == Mode::Preview => (
            Status::False,
            "Preview",
            "mode Preview enforces nothing".to_owned(),
        ),
        Enforcers::Unknown => (
            Status::Unknown,
            "Unreadable",
            "the enforcer's DaemonSet could not be read".to_owned(),
        ),
        Enforcers::Absent => (
            Status::Unknown,
            "NoEnforcer",
            "Ringfence's enforcer is not installed; whether the network plugin enforces \
             NetworkPolicies is not known"
                .to_owned(),
        ),
        Enforcers::Ready { nodes, of } => (
            Status::from(nodes >= of && of > 0),
            "Enforcers",
            format!("the enforcer is ready on {nodes} of {of} nodes"),
        ),
    };
    Statement::new(Condition::Enforced, status, reason, message)
}

/// A notice about an object.
pub fn notice<K: Resource<DynamicType = ()>>(reason: Reason, about: &K, note: String) -> Notice {
    Notice {
        reason,
        regarding: about.object_ref(&()),
        note,
    }
}

fn listed(names: &[&str]) -> String {
    let shown = names[..names.len().min(NAMES)].join(", ");
    match names.len().saturating_sub(NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
