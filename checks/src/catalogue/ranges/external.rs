//! Services that lose the address of their clients, and rules that need it.

use super::behind::{guard, loses_clients, outside_block, services, takes};
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use crate::ranges::Ranges;
use ringfence_policy::model::{Policy, Service};
use ringfence_policy::snapshot::Kind;
use serde_json::json;

/// A rule by client address behind a Service that replaces it.
pub static CLUSTER: Check = Check {
    id: "external-policy-cluster",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Webhook,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy, Kind::Service],
    title: "externalTrafficPolicy Cluster hides the clients that an ipBlock rule allows",
    text: "\
A NodePort or LoadBalancer Service with `externalTrafficPolicy: Cluster` (the default) takes
connections on every node and forwards them to a pod on any node. When that is another node,
the client's address is replaced by the node's (SNAT), and the policy on the pod sees the
node. The same client is let in through one node and refused through the next.

Set `externalTrafficPolicy: Local` on the Service. Then only nodes with one of its pods
answer, which load balancers find out by their health check, and the address is kept. Do
not allow the nodes' addresses instead (see `node-address-allowed`). With
`defaultExternalTrafficPolicyLocal` in the configuration the webhook sets it on such
Services.",
    bad: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: dashboard, namespace: tools}
spec:
  podSelector: {matchLabels: {app: dashboard}}
  policyTypes: [Ingress]
  ingress:
  - from: [{ipBlock: {cidr: 10.2.3.4/32}}]
---
apiVersion: v1
kind: Service
metadata: {name: dashboard, namespace: tools}
spec:
  type: NodePort
  selector: {app: dashboard}
  ports: [{port: 9097, nodePort: 31602}]
",
    good: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: dashboard, namespace: tools}
spec:
  podSelector: {matchLabels: {app: dashboard}}
  policyTypes: [Ingress]
  ingress:
  - from: [{ipBlock: {cidr: 10.2.3.4/32}}]
---
apiVersion: v1
kind: Service
metadata: {name: dashboard, namespace: tools}
spec:
  type: NodePort
  externalTrafficPolicy: Local
  selector: {app: dashboard}
  ports: [{port: 9097, nodePort: 31602}]
",
    run: cluster,
};

fn cluster(ask: &Ask, answers: &mut Answers) {
    if let Some(policy) = ask.subject.policy() {
        on_policy(ask, policy, answers);
    } else if let Some(service) = ask.subject.service() {
        on_service(ask, service, answers);
    }
}

fn on_policy(ask: &Ask, policy: &Policy, answers: &mut Answers) {
    if super::blocks_of(ask.subject, ringfence_policy::model::Direction::Ingress)
        .next()
        .is_none()
    {
        return;
    }
    let Some(index) = ask.index(answers) else {
        return;
    };
    let ranges = Ranges::of(ask.world, index);
    for service in services(index, policy, loses_clients) {
        let Some(block) = outside_block(ask.subject, &ranges, |rule| takes(rule, service)) else {
            continue;
        };
        let (cidr, name) = (block.range.cidr, &service.key.name);
        let sentence =
            format!("{cidr} is lost behind Service {name}: set its externalTrafficPolicy to Local");
        answers.found(block.path(), sentence, format!("{}", service.key));
    }
}

fn on_service(ask: &Ask, service: &Service, answers: &mut Answers) {
    if !loses_clients(service) {
        return;
    }
    let Some(index) = ask.index(answers) else {
        return;
    };
    let Some(policy) = guard(ask.world, index, service) else {
        return;
    };
    let sentence = format!(
        "clients through another node lose their address, by which policy {} judges: use Local",
        policy.key.name
    );
    let patch = json!([{"op": "add", "path": "/spec/externalTrafficPolicy", "value": "Local"}]);
    answers
        .found(
            "spec.externalTrafficPolicy",
            sentence,
            format!("{}", policy.key),
        )
        .mend(patch);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Case;
    use test_case::test_case;

    const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: default}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{from: [{ipBlock: {cidr: BLOCK}}], ports: [{port: 8080}]}]
";
    const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: s, namespace: default}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}], MORE}
";
    const NODE: &str = "
apiVersion: v1
kind: Node
metadata: {name: a}
spec: {podCIDRs: [10.16.1.0/24]}
";

    #[test_case("10.2.3.4/32", "type: NodePort", 1; "NodePort")]
    #[test_case("10.2.3.4/32", "type: LoadBalancer, externalTrafficPolicy: Cluster", 1; "LoadBalancer")]
    #[test_case("'0.0.0.0/0', except: [192.0.2.0/24]", "type: NodePort", 1; "everyone but some")]
    #[test_case("10.2.3.4/32", "type: NodePort, externalTrafficPolicy: Local", 0; "near miss: Local")]
    #[test_case("10.2.3.4/32", "type: ClusterIP", 0; "inside only")]
    #[test_case("0.0.0.0/0", "type: NodePort", 0; "near miss: everyone loses nothing")]
    #[test_case("10.16.1.0/24", "type: NodePort", 0; "near miss: pods do not come from outside")]
    #[test_case("10.2.3.4/32", "type: NodePort, selector: {app: other}", 0; "other pods")]
    #[test_case("10.2.3.4/32", "type: NodePort, ports: [{port: 8080, targetPort: 9}]", 0; "near miss: another port of the pods")]
    fn both_ways(block: &str, more: &str, expected: usize) {
        let policy = POLICY.replace("BLOCK", block);
        // The last of two keys would be an error, so what `more` says replaces.
        let mut service = SERVICE.replace("MORE", more);
        if more.contains("selector") {
            service = service.replacen("selector: {app: web}, ", "", 1);
        }
        if more.contains("ports") {
            service = service.replacen("ports: [{port: 80, targetPort: 8080}], ", "", 1);
        }
        let found = Case::within(&format!("{NODE}---{service}")).found(CLUSTER.id, &policy);
        assert_eq!(found.len(), expected, "policy: {found:?}");
        let found = Case::within(&format!("{NODE}---{policy}")).found(CLUSTER.id, &service);
        assert_eq!(found.len(), expected, "service: {found:?}");
    }

    #[test]
    fn the_pods_that_there_are_decide() {
        let pod = "
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web, track: canary}}
spec: {nodeName: a}
---";
        let policy = POLICY
            .replace("BLOCK", "10.2.3.4/32")
            .replace("app: web", "track: canary");
        let service = SERVICE.replace("MORE", "type: NodePort");
        assert_eq!(Case::within(&service).found(CLUSTER.id, &policy).len(), 0);
        let with_pod = Case::within(&format!("{pod}{service}"));
        assert_eq!(with_pod.found(CLUSTER.id, &policy).len(), 1);
    }

    #[test]
    fn not_known_while_the_caches_are_not_synced() {
        let unsynced = Case {
            cluster: None,
            ..Case::default()
        };
        assert!(unsynced.is_unknown(CLUSTER.id, &POLICY.replace("BLOCK", "10.2.3.4/32")));
        assert!(unsynced.is_unknown(CLUSTER.id, &SERVICE.replace("MORE", "type: NodePort")));
        assert!(!unsynced.is_unknown(CLUSTER.id, &SERVICE.replace("MORE", "type: ClusterIP")));
    }
}
