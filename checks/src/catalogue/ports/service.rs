//! The Service's port where the pod's is needed.

use super::targets;
use crate::catalogue::budget::Budget;
use crate::catalogue::words::short;
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use crate::index::{Index, Workload};
use ringfence_policy::model::{
    Direction, Peer, PortSpec, Protocol, Service, ServicePort, TargetPort,
};
use ringfence_policy::snapshot::Kind;
use serde_json::{Value, json};

/// A rule with a Service's port on which no pod listens.
pub static SERVICE_PORT: Check = Check {
    id: "service-port",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Patch,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "the Service's port stands where the pods' port is needed",
    text: "\
A Service may listen on port 80 and send what comes to port 8080 of its pods: `port: 80`,
`targetPort: 8080`. The address and the port are rewritten *before* policies look, so a policy sees
the pods' port only. A rule for port 80 then matches nothing, and the Service seems to be dead.

Write the `targetPort`, as number or name. At admission this is said only where pods have been
running for some minutes, and never where a pod might really listen on that port.",
    bad: "\
apiVersion: v1
kind: Pod
metadata: {name: tomcat-0, namespace: shop, labels: {app: tomcat}}
spec: {nodeName: node1}
---
apiVersion: v1
kind: Service
metadata: {name: tomcat, namespace: shop}
spec:
  clusterIP: 10.96.0.80
  selector: {app: tomcat}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: tomcat, namespace: shop}
spec:
  podSelector: {matchLabels: {app: tomcat}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
    ports: [{port: 80}]
",
    good: "\
apiVersion: v1
kind: Pod
metadata: {name: tomcat-0, namespace: shop, labels: {app: tomcat}}
spec: {nodeName: node1}
---
apiVersion: v1
kind: Service
metadata: {name: tomcat, namespace: shop}
spec:
  clusterIP: 10.96.0.80
  selector: {app: tomcat}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: tomcat, namespace: shop}
spec:
  podSelector: {matchLabels: {app: tomcat}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
    ports: [{port: 8080}]
",
    run: service_port,
};

/// More workloads than this are not looked at: a rule that speaks of so many is not about
/// one Service.
const MOST: usize = 64;

/// Workloads that are looked at for one policy.
const LOOKS: usize = 5_000;

fn service_port(ask: &Ask, answers: &mut Answers) {
    let Some(policy) = ask.subject.policy() else {
        return;
    };
    let mut budget = Budget(LOOKS);
    for place in ask.subject.rules() {
        // Whoever is outside the cluster may listen on any port.
        let outside = |peer: &Peer| matches!(peer, Peer::Block(_));
        let peers = &place.rule.peers;
        if place.direction == Direction::Egress && (peers.is_empty() || peers.iter().any(outside)) {
            continue;
        }
        let mut workloads = None;
        for (at, port) in place.rule.ports.iter().enumerate() {
            let PortSpec::Range(number, last) = port.port else {
                continue;
            };
            if number != last {
                continue;
            }
            let Some(index) = ask.index(answers) else {
                return;
            };
            if ask.is_early(index, &policy.key.namespace) {
                return;
            }
            let workloads = workloads.get_or_insert_with(|| {
                let few = targets(index, policy, &place).take(MOST + 1);
                few.collect::<Vec<&Workload>>()
            });
            if !budget.spend(1 + workloads.len()) {
                return;
            }
            if workloads.len() > MOST {
                continue;
            }
            let Some((service, target)) = retargeted(index, workloads, port.protocol, number)
            else {
                continue;
            };
            let (written, value): (String, Value) = match target {
                TargetPort::Number(number) => (number.to_string(), json!(number)),
                TargetPort::Named(name) => (name.to_string(), json!(**name)),
            };
            let sentence = format!(
                "{number} is the port of Service {}; its pods listen on {written}, so nothing is \
                 allowed: write that",
                short(&service.key.name, 32)
            );
            let evidence = format!("{} {} {number}", place.direction, port.protocol);
            let finding = answers.found(place.port(at), sentence, evidence);
            let rule = &ask.subject.raw["spec"][place.direction.to_string()][place.index];
            if rule["ports"][at].get("endPort").is_none() {
                let path = format!("{}/ports/{at}/port", place.pointer());
                finding.mend(json!([{"op": "replace", "path": path, "value": value}]));
            }
        }
    }
}

/// The Service that has `number` as its port and sends what comes there to another port of
/// these workloads, none of which can listen on `number` itself.
fn retargeted<'a>(
    index: &'a Index,
    workloads: &[&'a Workload],
    protocol: Protocol,
    number: u16,
) -> Option<(&'a Service, &'a TargetPort)> {
    let mut found = None;
    for workload in workloads {
        let declared = workload.pod.ports.iter();
        let mut declared = declared.filter(|p| p.protocol == protocol);
        if declared.any(|p| p.port == number) {
            return None;
        }
        let mut known = false;
        for service in index.services_of(&workload.pod) {
            known = true;
            for port in service.ports.iter().filter(|p| p.protocol == protocol) {
                if target(port, workload) == Some(number) {
                    return None;
                }
                if port.port == number && found.is_none() {
                    found = Some((&**service, &port.target));
                }
            }
        }
        // Nothing tells on which ports this one listens.
        if !known {
            return None;
        }
    }
    found
}

/// The port of a workload to which a Service's port leads.
fn target(port: &ServicePort, workload: &Workload) -> Option<u16> {
    match &port.target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Named(name) => workload.pod.named_port(name, port.protocol),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Occasion;
    use crate::testing::{Case, document, policy};
    use test_case::test_case;

    const CLUSTER: &str = "
{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {app: web}}, spec: {nodeName: node1, containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: api, labels: {app: api}}, spec: {nodeName: node1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: lone, labels: {app: lone}}, spec: {nodeName: node1}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{name: a, port: 80, targetPort: http}, {name: b, port: 81, targetPort: 81}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: api}, spec: {clusterIP: 10.96.0.2, selector: {app: api}, ports: [{port: 443, targetPort: 8443}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: old}, spec: {clusterIP: 10.96.0.3, ports: [{port: 90, targetPort: 91}]}}
";

    fn ingress(app: &str, port: &str) -> String {
        let selector = match app {
            "" => "{}".to_owned(),
            app => format!("{{matchLabels: {{app: {app}}}}}"),
        };
        policy(&format!(
            "{{podSelector: {selector}, ingress: [{{ports: [{{port: {port}}}]}}]}}"
        ))
    }

    #[test_case("web", "80", Some("http"); "a named target")]
    #[test_case("api", "443", Some("8443"); "a number")]
    #[test_case("web", "8080", None; "the pod's")]
    #[test_case("web", "81", None; "near miss: both are the same")]
    #[test_case("web", "443", None; "near miss: another Service's")]
    #[test_case("", "80", None; "near miss: one pod may listen on it")]
    #[test_case("lone", "80", None; "behind no Service")]
    #[test_case("api", "90", None; "a Service without selector")]
    fn ports(app: &str, port: &str, expected: Option<&str>) {
        let mut object = document(&ingress(app, port));
        let report = Case::within(CLUSTER).judge(&object);
        let finding = report.findings.iter().find(|f| f.check == SERVICE_PORT.id);
        assert_eq!(finding.is_some(), expected.is_some());
        if let (Some(finding), Some(expected)) = (finding, expected) {
            json_patch::patch(&mut object, finding.patch.as_ref().unwrap()).unwrap();
            assert_eq!(object, document(&ingress(app, expected)));
        }
    }

    #[test_case("{podSelector: {matchLabels: {app: api}}}", 1; "a peer")]
    #[test_case("{podSelector: {matchLabels: {app: api}}}, {ipBlock: {cidr: 192.0.2.0/24}}", 0; "near miss: somebody outside")]
    #[test_case("{podSelector: {matchLabels: {app: web}}}", 0; "near miss: another pod")]
    fn egress(peers: &str, expected: usize) {
        let spec =
            format!("{{podSelector: {{}}, egress: [{{to: [{peers}], ports: [{{port: 443}}]}}]}}");
        let found = Case::within(CLUSTER).paths(SERVICE_PORT.id, &policy(&spec));
        assert_eq!(found.len(), expected);
    }

    #[test]
    fn a_chart_is_being_installed() {
        let case = Case {
            young: vec!["default".to_owned()],
            ..Case::within(CLUSTER).on(Occasion::Create)
        };
        assert!(
            case.paths(SERVICE_PORT.id, &ingress("api", "443"))
                .is_empty()
        );
    }
}
