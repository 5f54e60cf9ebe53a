//! Names of ports that no pod has.

use super::targets;
use crate::catalogue::budget::Budget;
use crate::catalogue::words::{port as text, short};
use crate::catalogue::{Check, Mend, Scope};
use crate::config::nearest;
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use ringfence_policy::model::{Direction, Pod, PortSpec};
use ringfence_policy::snapshot::Kind;
use serde_json::json;
use std::sync::Arc;

/// A named port that no target declares.
pub static NAMED_PORT_MISSING: Check = Check {
    id: "named-port-missing",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Patch,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "no pod declares a port of that name",
    text: "\
A rule may give a port by name. The name is looked up in `containerPorts` of the pods that receive
the traffic: for ingress the pods that the policy selects, for egress its peers. It is *not* the
name of a Service's port, and the protocol must agree too. Where no pod declares it, the rule
allows nothing.

Give the container's port that name, or write the number. At admission this is said only where pods
have been running for some minutes.",
    bad: "\
apiVersion: v1
kind: Pod
metadata: {name: hello-0, namespace: shop, labels: {app: hello}}
spec:
  nodeName: node1
  containers: [{name: hello, ports: [{name: http, containerPort: 8080}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: hello, namespace: shop}
spec:
  podSelector: {matchLabels: {app: hello}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {run: curl}}}]
    ports: [{port: htttp}]
",
    good: "\
apiVersion: v1
kind: Pod
metadata: {name: hello-0, namespace: shop, labels: {app: hello}}
spec:
  nodeName: node1
  containers: [{name: hello, ports: [{name: http, containerPort: 8080}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: hello, namespace: shop}
spec:
  podSelector: {matchLabels: {app: hello}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {run: curl}}}]
    ports: [{port: http}]
",
    run: named_port_missing,
};

/// Pods that are looked at for one policy.
const LOOKS: usize = 20_000;

fn named_port_missing(ask: &Ask, answers: &mut Answers) {
    let mut budget = Budget(LOOKS);
    let Some(policy) = ask.subject.policy() else {
        return;
    };
    for place in ask.subject.rules() {
        for (at, port) in place.rule.ports.iter().enumerate() {
            let PortSpec::Named(name) = &port.port else {
                continue;
            };
            let Some(index) = ask.index(answers) else {
                return;
            };
            if ask.is_early(index, &policy.key.namespace) {
                return;
            }
            let pods = || targets(index, policy, &place).map(|w| &w.pod);
            let has = |pod: &Arc<Pod>| pod.named_port(name, port.protocol).is_some();
            let found = pods().any(|pod| !budget.spend(1) || has(pod));
            if found || pods().next().is_none() {
                continue;
            }
            let whose = match place.direction {
                Direction::Ingress => "selected pod",
                Direction::Egress => "peer",
            };
            let declared = pods().take(SUGGESTED_FROM).flat_map(|pod| pod.ports.iter());
            let declared = declared.filter(|p| p.protocol == port.protocol);
            let near = nearest(name, declared.map(|p| &*p.name));
            let remedy = match near {
                Some(near) => format!("did you mean {near}?"),
                None => "declare it in containerPorts, or write the number".to_owned(),
            };
            let wanted = short(&text(port), 24);
            let sentence = format!("no {whose} has port {wanted}: nothing is allowed; {remedy}");
            let evidence = format!("{} {}", place.direction, text(port));
            let finding = answers.found(place.port(at), sentence, evidence);
            if let Some(near) = near {
                let path = format!("{}/ports/{at}/port", place.pointer());
                finding.mend(json!([{"op": "replace", "path": path, "value": near}]));
            }
        }
    }
}

/// Pods whose ports are searched for the name that was meant.
const SUGGESTED_FROM: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Occasion;
    use crate::testing::{Case, policy};
    use test_case::test_case;

    const CLUSTER: &str = "
{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {app: web}}, spec: {nodeName: node1, containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: dns, labels: {app: dns}}, spec: {nodeName: node1, containers: [{name: c, ports: [{name: dns, containerPort: 53, protocol: UDP}]}]}}
";

    #[test_case("{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: metrics}]}]}", &["spec.ingress[0].ports[0]"]; "no such name")]
    #[test_case("{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 80}, {port: http, protocol: UDP}]}]}", &["spec.ingress[0].ports[1]"]; "another protocol")]
    #[test_case("{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: http}]}]}", &[]; "declared")]
    #[test_case("{podSelector: {}, ingress: [{ports: [{port: http}]}]}", &[]; "near miss: by one of them")]
    #[test_case("{podSelector: {matchLabels: {app: none}}, ingress: [{ports: [{port: http}]}]}", &[]; "no pod at all: selects-none says it")]
    #[test_case("{podSelector: {matchLabels: {app: web}}, egress: [{to: [{podSelector: {matchLabels: {app: dns}}}], ports: [{port: http}]}]}", &["spec.egress[0].ports[0]"]; "egress: the peer's")]
    #[test_case("{podSelector: {matchLabels: {app: web}}, egress: [{to: [{podSelector: {matchLabels: {app: dns}}}], ports: [{port: dns, protocol: UDP}]}]}", &[]; "egress: declared by the peer")]
    #[test_case("{podSelector: {matchLabels: {app: dns}}, egress: [{ports: [{port: http}]}]}", &[]; "egress to anybody: somebody has it")]
    #[test_case("{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 9999}]}]}", &[]; "a number")]
    fn names(spec: &str, expected: &[&str]) {
        let found = Case::within(CLUSTER).paths(NAMED_PORT_MISSING.id, &policy(spec));
        assert_eq!(found, expected);
    }

    #[test_case(&[], 1; "pods have been there for minutes")]
    #[test_case(&["default"], 0; "a chart is being installed")]
    fn on_create(young: &[&str], expected: usize) {
        let case = Case {
            young: young.iter().map(ToString::to_string).collect(),
            ..Case::within(CLUSTER).on(Occasion::Create)
        };
        let object = policy("{podSelector: {}, ingress: [{ports: [{port: metrics}]}]}");
        assert_eq!(case.paths(NAMED_PORT_MISSING.id, &object).len(), expected);
    }
}
