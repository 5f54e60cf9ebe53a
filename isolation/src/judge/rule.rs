//! One rule: as the policy that it will be part of.

use super::{Around, EXPIRED, Fences, NO_CLUSTER, NOT_ISOLATED, RULE, UNRESOLVED};
use crate::render::{Dns, Input, POLICY, render};
use jiff::Timestamp;
use ringfence_api::{Direction, Egress, IsolationRule, IsolationRuleSpec, NamespaceIsolationSpec};
use ringfence_checks::inject::rule::to_json;
use ringfence_checks::{Before, Finding, Index, Report, Subject, judge};
use ringfence_policy::Snapshot;
use ringfence_policy::model::{self, Name, ServicePort, TargetPort};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The checks of the catalogue that mean something for a single rule.
const CHECKS: [&str; 11] = [
    "node-address-allowed",
    "external-policy-cluster",
    "ipblock-behind-ingress",
    "cidr-world",
    "cidr-in-services",
    "cidr-in-pods",
    "masquerade-all",
    "host-network-peer",
    "sctp-unsupported",
    "service-port",
    "one-sided",
];

/// What there is to say about a rule that is written.
pub fn rule(rule: &IsolationRule, old: Option<&IsolationRule>, around: &Around) -> Report {
    let Some(index) = around.world.index else {
        return RULE.unknown(NO_CLUSTER);
    };
    let namespace = rule.metadata.namespace.as_deref().unwrap_or_default();
    let mut report = Report::default();
    let mine = &mut report.findings;
    let ended = |rule: &IsolationRule| {
        let end = rule.spec.expires_at.as_ref().map(|end| end.0);
        end.filter(|end| *end <= around.world.now)
    };
    match around.fences {
        Some(fences) if !fences.isolated.contains_key(namespace) => {
            let text = format!("namespace {namespace} is not isolated: the rule does nothing yet");
            mine.push(NOT_ISOLATED.warns("", text));
        }
        Some(fences) => mine.extend(needless(fences, namespace, &rule.spec)),
        None => {}
    }
    if let Some(end) = ended(rule) {
        let text = format!("the rule ended at {end}: it lets nobody in or out");
        mine.push(EXPIRED.warns("spec.expiresAt", text));
    }
    let meaning = Meaning::of(rule, around.world.now, index.snapshot());
    if let Some(fault) = &meaning.fault {
        mine.push(UNRESOLVED.warns("spec", fault));
    }
    let before = old.map(|old| Meaning::of(old, around.world.now, index.snapshot()));
    let before = before.and_then(|before| before.policy);
    // A Service's pods connect from wherever: what checks say about them is about pods.
    if let (Some(policy), None) = (&meaning.policy, ended(rule))
        && let Ok(subject) = Subject::read(policy)
    {
        let old = before.as_ref().and_then(|old| Subject::read(old).ok());
        let judged = judge(&subject, Before::from(old.as_ref()), around.world);
        let ours = |check: &str| CHECKS.contains(&check);
        let findings = judged.findings.into_iter().filter(|f| ours(f.check));
        mine.extend(findings.map(|finding| told(finding, rule, around, index)));
        report
            .unknown
            .extend(judged.unknown.into_iter().filter(|u| ours(u.check)));
    }
    report.findings.sort_by_key(|f| std::cmp::Reverse(f.level));
    report
}

/// An egress rule while egress stays open.
fn needless(fences: &Fences, namespace: &str, spec: &IsolationRuleSpec) -> Option<Finding> {
    let isolation = fences.isolated.get(namespace)?;
    let open = spec.direction == Direction::Egress && isolation.egress == Egress::Open;
    let text = "egress is Open in this NamespaceIsolation: pods may connect to everyone anyway";
    open.then(|| NOT_ISOLATED.warns("spec.direction", text))
}

/// A rule on its own.
struct Meaning {
    /// The NetworkPolicy of nothing but the rule; `None` when nothing can be rendered.
    policy: Option<Value>,
    /// What cannot be looked up.
    fault: Option<String>,
}

impl Meaning {
    fn of(rule: &IsolationRule, now: Timestamp, snapshot: &Snapshot) -> Self {
        let namespace = rule.metadata.namespace.as_deref().unwrap_or_default();
        let name: Name = rule.metadata.name.as_deref().unwrap_or_default().into();
        // Egress counts whether another rule restricts it or not.
        let isolation = NamespaceIsolationSpec {
            egress: Egress::Restricted,
            ..NamespaceIsolationSpec::default()
        };
        let mut rendered = render(&Input {
            namespace,
            config: &ringfence_api::IsolationConfigSpec::default(),
            isolation: &isolation,
            rules: &BTreeMap::from([(Name::clone(&name), rule)]),
            snapshot,
            dns: &Dns::default(),
            now,
        });
        let Some(outcome) = rendered.rules.remove(&name) else {
            return Self {
                policy: None,
                fault: None,
            };
        };
        let fault = outcome
            .is_unresolved()
            .then(|| outcome.statements[1].message.clone());
        let policy = outcome.rule.map(|rendered| policy(rule, &rendered));
        Self { policy, fault }
    }
}

/// With the rule's annotations, so that an annotation overrides what it overrides on a
/// NetworkPolicy, and with its time of deletion, after which nothing is denied.
fn policy(rule: &IsolationRule, rendered: &model::Rule) -> Value {
    let (direction, section, kind) = match rule.spec.direction {
        Direction::Ingress => (model::Direction::Ingress, "ingress", "Ingress"),
        Direction::Egress => (model::Direction::Egress, "egress", "Egress"),
    };
    let mut policy = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "namespace": rule.metadata.namespace,
            "name": POLICY,
            "annotations": rule.metadata.annotations,
        },
        "spec": {"podSelector": {}, "policyTypes": [kind]},
    });
    policy["spec"][section] = json!([to_json(direction, rendered)]);
    if rule.metadata.deletion_timestamp.is_some() {
        policy["metadata"]["deletionTimestamp"] = json!(rule.metadata.deletion_timestamp);
    }
    policy
}

/// A finding about the policy, as one about the rule.
fn told(mut finding: Finding, rule: &IsolationRule, around: &Around, index: &Index) -> Finding {
    finding.patch = None;
    finding.path = if finding.path.contains(".ports") {
        "spec.ports".to_owned()
    } else if rule.spec.peer.cidr.is_some() {
        "spec.peer.cidr.cidr".to_owned()
    } else {
        "spec.peer".to_owned()
    };
    let own = rule.metadata.namespace.as_deref().unwrap_or_default();
    let better = match finding.check {
        "service-port" => service_port(&finding, rule, own, index),
        "one-sided" => one_sided(rule, own, around.fences),
        _ => None,
    };
    if let Some(sentence) = better {
        finding.sentence = sentence;
    }
    finding
}

/// Which Service has the port, so that the rule can follow it.
fn service_port(
    finding: &Finding,
    rule: &IsolationRule,
    own: &str,
    index: &Index,
) -> Option<String> {
    let peer = &rule.spec.peer;
    let target = match rule.spec.direction {
        Direction::Ingress => own,
        Direction::Egress => peer.namespace.as_deref()?,
    };
    // `ingress TCP 80`
    let number: u16 = finding.evidence.rsplit(' ').next()?.parse().ok()?;
    let mut services = index.services(target).filter(|s| s.selector.is_some());
    let elsewhere = |p: &ServicePort| p.port == number && p.target != TargetPort::Number(number);
    let service = services.find(|s| s.ports.iter().any(elsewhere))?;
    let name = &service.key.name;
    Some(format!(
        "no pod listens on {number}, Service {name} does: write servicePort: {name}/{number}"
    ))
}

/// Which rule has to be added where, when the other end is isolated as well.
fn one_sided(rule: &IsolationRule, own: &str, fences: Option<&Fences>) -> Option<String> {
    let peer = &rule.spec.peer;
    let service = peer.service.as_ref().map(|s| &s.namespace);
    let there = peer.namespace.as_ref().or(service)?;
    fences?.of(there)?;
    let facing = match rule.spec.direction {
        Direction::Ingress => "Egress",
        Direction::Egress => "Ingress",
    };
    Some(format!(
        "{there} is isolated too: add an IsolationRule there, {facing}, peer namespace {own}"
    ))
}
