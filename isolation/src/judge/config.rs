//! The settings of the whole cluster.

use super::{Around, HOST_NETWORK, NO_CLUSTER, RULE, UNRESOLVED};
use crate::render::{Dns, Input, render};
use crate::{Condition, Status};
use ringfence_api::{IsolationConfig, NamespaceIsolationSpec};
use ringfence_checks::Report;
use std::collections::BTreeMap;

/// What there is to say about the configuration.
pub fn config(config: &IsolationConfig, around: &Around) -> Report {
    let Some(index) = around.world.index else {
        return RULE.unknown(NO_CLUSTER);
    };
    let spec = &config.spec;
    let snapshot = index.snapshot();
    // The lists are looked up for every namespace alike.
    let rendered = render(&Input {
        namespace: "default",
        config: spec,
        isolation: &NamespaceIsolationSpec::default(),
        rules: &BTreeMap::new(),
        snapshot,
        dns: &Dns::default(),
        now: around.world.now,
    });
    let mut findings = Vec::new();
    for statement in &rendered.statements {
        if (statement.condition, statement.status) == (Condition::PeersResolved, Status::False) {
            findings.push(UNRESOLVED.warns("spec", &statement.message));
        }
    }
    if let Some(fault) = Dns::find(snapshot, spec).fault {
        let text = format!("names cannot be resolved where egress is restricted: {fault}");
        findings.push(UNRESOLVED.warns("spec.dns", text));
    }
    for (field, names) in [
        ("gatewayNamespaces", &spec.gateway_namespaces),
        ("allowedIngressNamespaces", &spec.allowed_ingress_namespaces),
    ] {
        for (at, name) in names.iter().enumerate() {
            let pods = index.workloads(name);
            let on_host = pods.iter().filter(|w| w.pod.host_network).count();
            // Monitoring has exporters on the node's network, which scrape nobody.
            let lost = on_host > 0 && (field == "gatewayNamespaces" || on_host == pods.len());
            if lost {
                let text = format!(
                    "pods of {name} use hostNetwork: they arrive as their node, and stay out"
                );
                findings.push(HOST_NETWORK.warns(format!("spec.{field}[{at}]"), text));
            }
        }
    }
    Report {
        findings,
        unknown: Vec::new(),
    }
}
