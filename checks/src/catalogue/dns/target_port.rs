//! DNS pods that listen on another port than 53.

use super::{rules, wanting};
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use crate::inject::Part;
use crate::inject::dns;
use ringfence_policy::model::{Direction, PortSpec, Protocol, TargetPort};
use ringfence_policy::snapshot::Kind;
use serde_json::{Value, json};

/// Port 53 is allowed where the DNS pods listen elsewhere.
pub static TARGET_PORT: Check = Check {
    id: "dns-target-port",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Patch,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "port 53 is allowed, and the DNS pods listen on another",
    text: "\
A pod asks the DNS Service on port 53. Before any policy looks at the packet, the node has
replaced the Service's address by that of a DNS pod, and port 53 by the port on which that
pod listens: the Service's `targetPort`. Usually that is 53 as well. Some clusters run DNS
without the right to open low ports, on 1053 or 5353, and there a rule for port 53 allows
nothing.

Write the pods' port into the rule.",
    bad: "\
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIP: 10.96.0.10
  selector: {k8s-app: kube-dns}
  ports:
  - {name: dns, protocol: UDP, port: 53, targetPort: 1053}
  - {name: dns-tcp, protocol: TCP, port: 53, targetPort: 1053}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: api, namespace: shop}
spec:
  podSelector: {matchLabels: {app: api}}
  policyTypes: [Egress]
  egress:
  - to:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
      podSelector: {matchLabels: {k8s-app: kube-dns}}
    ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
",
    good: "\
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIP: 10.96.0.10
  selector: {k8s-app: kube-dns}
  ports:
  - {name: dns, protocol: UDP, port: 53, targetPort: 1053}
  - {name: dns-tcp, protocol: TCP, port: 53, targetPort: 1053}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: api, namespace: shop}
spec:
  podSelector: {matchLabels: {app: api}}
  policyTypes: [Egress]
  egress:
  - to:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
      podSelector: {matchLabels: {k8s-app: kube-dns}}
    ports: [{protocol: UDP, port: 1053}, {protocol: TCP, port: 1053}]
",
    run: target_port,
};

fn target_port(ask: &Ask, answers: &mut Answers) {
    let Some(policy) = wanting(ask, Part::Dns) else {
        return;
    };
    let Some(index) = ask.index(answers) else {
        return;
    };
    let Ok(target) = ask.dns(index) else {
        return;
    };
    let own = ask.subject.namespace();
    let all = rules(ask, policy, Direction::Egress);
    let asks = PortSpec::Range(dns::PORT, dns::PORT);
    // What is reached all the same (53 by its name, another rule) is in order.
    let missed = |protocol| !target.is_reached(own, &all, protocol);
    let missed: Vec<Protocol> = dns::PROTOCOLS.into_iter().filter(|p| missed(*p)).collect();
    if missed.is_empty() {
        return;
    }
    for place in ask.subject.rules() {
        let about_dns = place.rule.ports.iter().any(|port| port.port == asks);
        if place.direction != Direction::Egress || !about_dns || !target.is_peer(own, place.rule) {
            continue;
        }
        for (i, port) in place.rule.ports.iter().enumerate() {
            let Some(listens) = target.port(port.protocol) else {
                continue;
            };
            if port.port != asks || !missed.contains(&port.protocol) {
                continue;
            }
            let (right, shown): (Value, _) = match listens {
                TargetPort::Number(number) => ((*number).into(), number.to_string()),
                TargetPort::Named(name) => ((&**name).into(), format!("their port {name}")),
            };
            let sentence = format!(
                "{} port 53 reaches no DNS pod: they listen on {shown}",
                port.protocol
            );
            let path = format!("{}/ports/{i}/port", place.pointer());
            answers
                .found(place.port(i), sentence, port.protocol.to_string())
                .mend(json!([{"op": "replace", "path": path, "value": right}]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Case;
    use test_case::test_case;

    fn service(target: &str) -> String {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: kube-dns, namespace: kube-system}}, \
             spec: {{clusterIP: 10.96.0.10, selector: {{k8s-app: kube-dns}}, \
             ports: [{{protocol: UDP, port: 53, targetPort: {target}}}]}}}}\n---\n\
             {{apiVersion: v1, kind: Pod, metadata: {{name: d, namespace: kube-system, labels: {{k8s-app: kube-dns}}}}, \
             spec: {{nodeName: node-1, containers: [{{name: c, ports: [{{name: dns, containerPort: 1053, protocol: UDP}}]}}]}}, \
             status: {{phase: Running, podIP: 10.1.0.2}}}}"
        )
    }

    #[test_case("1053", "{to: [{namespaceSelector: {}}], ports: [{protocol: UDP, port: 53}]}", &["spec.egress[0].ports[0]"]; "a number")]
    #[test_case("dns", "{to: [{namespaceSelector: {}}], ports: [{port: 80}, {protocol: UDP, port: 53}]}", &["spec.egress[0].ports[1]"]; "a name")]
    #[test_case("1053", "{to: [{namespaceSelector: {}}], ports: [{protocol: UDP, port: 53}, {protocol: UDP, port: 1053}]}", &[]; "both numbers")]
    #[test_case("1053", "{to: [{podSelector: {}}], ports: [{protocol: UDP, port: 53}]}", &[]; "near miss: other pods")]
    #[test_case("1053", "{to: [{namespaceSelector: {}}], ports: [{port: 53}]}", &[]; "DNS serves no TCP")]
    #[test_case("53", "{to: [{namespaceSelector: {}}], ports: [{protocol: UDP, port: 53}]}", &[]; "they listen on 53")]
    fn elsewhere(target: &str, egress: &str, expected: &[&str]) {
        let object = format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
             metadata: {{name: p, namespace: default}}\n\
             spec: {{podSelector: {{}}, policyTypes: [Egress], egress: [{egress}]}}"
        );
        let case = Case::within(&service(target));
        assert_eq!(case.paths(TARGET_PORT.id, &object), expected);
    }
}
