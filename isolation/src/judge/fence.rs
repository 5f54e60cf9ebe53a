//! What turning isolation on takes away from others without a word.

use super::{Around, CUT, Fences, NO_CLUSTER, RULE, UNRESOLVED, WIDENS, opening};
use crate::render::{Dns, Input, POLICY, render};
use crate::{Condition, Status};
use ringfence_api::{Egress, Mode, NamespaceIsolation};
use ringfence_checks::{Facts, Finding, Index, Occasion, Report};
use ringfence_policy::model::{ObjectKey, ServiceType};
use std::collections::{BTreeMap, BTreeSet};

/// What there is to say about a namespace that is isolated.
pub fn isolation(isolation: &NamespaceIsolation, around: &Around) -> Report {
    let Some(index) = around.world.index else {
        return RULE.unknown(NO_CLUSTER);
    };
    let namespace = isolation.metadata.namespace.as_deref().unwrap_or_default();
    let defaults = Fences::default();
    let config = &around.fences.unwrap_or(&defaults).config;
    let dns = match isolation.spec.egress {
        Egress::Restricted => Dns::find(index.snapshot(), config),
        Egress::Auto | Egress::Open => Dns::default(),
    };
    let rendered = render(&Input {
        namespace,
        config,
        isolation: &isolation.spec,
        rules: &BTreeMap::new(),
        snapshot: index.snapshot(),
        dns: &dns,
        now: around.world.now,
    });
    let mut findings = Vec::new();
    for statement in &rendered.statements {
        match (statement.condition, statement.status) {
            (Condition::PeersResolved, Status::False) => {
                findings.push(UNRESOLVED.warns("spec", &statement.message));
            }
            (Condition::EgressRestricted, Status::True) if dns.fault.is_some() => {
                findings.push(UNRESOLVED.warns("spec.egress", &statement.message));
            }
            _ => {}
        }
    }
    // Who edits it knows what it cuts: it has been so.
    if around.world.occasion == Occasion::Create && isolation.spec.mode == Mode::Enforce {
        let gateways = !config.gateway_namespaces.is_empty();
        findings.extend(cut(index, around.world.facts, namespace, gateways));
    }
    let others = index.policies(namespace).filter(|p| *p.key.name != *POLICY);
    let wide: Vec<_> = others
        .filter(|policy| opening(&rendered.policy, policy, index).is_some())
        .collect();
    if let Some(first) = wide.first() {
        let text = format!(
            "NetworkPolicy {}{} opens it to others all the same",
            first.key.name,
            more(wide.len())
        );
        findings.push(WIDENS.warns("", text));
    }
    Report {
        findings,
        unknown: Vec::new(),
    }
}

/// Clients that do not come from pods of an allowed namespace.
fn cut(index: &Index, facts: &Facts, namespace: &str, gateways: bool) -> Vec<Finding> {
    let here = |named: &Option<BTreeSet<ObjectKey>>| -> Vec<String> {
        let named = named.iter().flatten();
        let own = named.filter(|key| *key.namespace == *namespace);
        own.map(|key| key.name.to_string()).collect()
    };
    let outer = index.services(namespace).filter(|service| {
        matches!(
            service.service_type,
            ServiceType::NodePort | ServiceType::LoadBalancer
        )
    });
    let outer: Vec<String> = outer.map(|s| s.key.name.to_string()).collect();
    let routed = if gateways {
        Vec::new()
    } else {
        here(&facts.ingress_services)
    };
    let kinds = [
        (
            outer,
            "clients from outside reach Service",
            "no more without an IsolationRule for their CIDR",
        ),
        (
            routed,
            "routes to Service",
            "end here: IsolationConfig names no gatewayNamespaces",
        ),
        (
            here(&facts.webhook_services),
            "the API server calls Service",
            "from a node: without an IsolationRule for it, its webhooks fail",
        ),
    ];
    kinds
        .into_iter()
        .filter_map(|(names, before, after)| {
            let (first, more) = (names.first()?, more(names.len()));
            Some(CUT.warns("", format!("{before} {first}{more} {after}")))
        })
        .collect()
}

fn more(count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    }
}
