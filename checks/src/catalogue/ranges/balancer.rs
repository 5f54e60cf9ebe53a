//! Two lists of clients that disagree: the load balancer's and the policy's.

use super::behind::{leads_to, services, takes};
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use crate::space::Space;
use crate::{Index, Subject};
use ringfence_policy::model::{Direction, IpBlock, Peer, Policy, Rule, Service, ServiceType};
use ringfence_policy::snapshot::Kind;

/// Clients that the load balancer lets in and the policy does not.
pub static CONFLICT: Check = Check {
    id: "lb-ranges-conflict",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy, Kind::Service],
    title: "loadBalancerSourceRanges lets clients in that the policies then refuse",
    text: "\
`loadBalancerSourceRanges` of a Service and the `ipBlock`s of the policies on its pods are
two lists of the same clients, kept in two places. A client has to be on both. Here a range
is let in by the load balancer and refused at the pod: its connections hang or are reset,
and the Service's own list says that they should work.

Bring the lists together: allow the range in a policy, or take it out of the Service. That
the policy allows more than the Service does is no conflict.",
    bad: "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  loadBalancerSourceRanges: [198.51.100.0/24, 203.0.113.0/24]
  selector: {app: web}
  ports: [{port: 443, targetPort: 8443}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from: [{ipBlock: {cidr: 198.51.100.0/24}}]
",
    good: "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  loadBalancerSourceRanges: [198.51.100.0/24, 203.0.113.0/24]
  selector: {app: web}
  ports: [{port: 443, targetPort: 8443}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from: [{ipBlock: {cidr: 198.51.100.0/24}}, {ipBlock: {cidr: 203.0.113.0/24}}]
",
    run: conflict,
};

fn conflict(ask: &Ask, answers: &mut Answers) {
    if let Some(policy) = ask.subject.policy() {
        on_policy(ask, policy, answers);
    } else if let Some(service) = ask.subject.service() {
        on_service(ask, service, answers);
    }
}

fn on_policy(ask: &Ask, policy: &Policy, answers: &mut Answers) {
    let Some(first) = super::blocks_of(ask.subject, Direction::Ingress).next() else {
        return;
    };
    let Some(index) = ask.index(answers) else {
        return;
    };
    for service in services(index, policy, has_list) {
        if let Some(range) = refused(index, service, Some(ask.subject)) {
            let name = &service.key.name;
            let sentence =
                format!("Service {name} lets {range} in, and no policy on its pods allows it");
            answers.found(first.path(), sentence, format!("{} {range}", service.key));
        }
    }
}

fn on_service(ask: &Ask, service: &Service, answers: &mut Answers) {
    if !has_list(service) {
        return;
    }
    let Some(index) = ask.index(answers) else {
        return;
    };
    if let Some(range) = refused(index, service, None) {
        let sentence =
            format!("the load balancer lets {range} in, and the pods' policies refuse it");
        let place = service.source_ranges.iter().position(|r| *r == range);
        let path = format!("spec.loadBalancerSourceRanges[{}]", place.unwrap_or(0));
        answers.found(path, sentence, range.to_string());
    }
}

fn has_list(service: &Service) -> bool {
    service.service_type == ServiceType::LoadBalancer && !service.source_ranges.is_empty()
}

/// The first range that the Service lets in and the policies on its pods do not; none
/// while no policy judges its clients by address. `subject` stands in for what the
/// cluster has under its name.
fn refused(index: &Index, service: &Service, subject: Option<&Subject>) -> Option<ipnet::IpNet> {
    let judged = subject.and_then(Subject::policy);
    let others = index.policies(&service.key.namespace).map(AsRef::as_ref);
    let others = others.filter(|p: &&Policy| judged.is_none_or(|judged| judged.key != p.key));
    let policies = others.chain(judged).filter(|p| leads_to(index, service, p));
    let mut blocks: Vec<&IpBlock> = Vec::new();
    for rule in policies.flat_map(|p| p.ingress.iter().flatten()) {
        if !takes(rule, service) {
            continue;
        }
        if rule.peers.is_empty() {
            return None;
        }
        blocks.extend(only_blocks(rule));
    }
    if blocks.is_empty() {
        return None;
    }
    let allowed = Space::of_blocks(blocks);
    let mut ranges = service.source_ranges.iter().copied();
    ranges.find(|range| !allowed.covers(range))
}

fn only_blocks(rule: &Rule) -> impl Iterator<Item = &IpBlock> {
    rule.peers.iter().filter_map(|peer| match peer {
        Peer::Block(block) => Some(block),
        Peer::Pods { .. } => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Case;
    use test_case::test_case;

    const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: s, namespace: default}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80, targetPort: 8080}], loadBalancerSourceRanges: [LIST]}
";

    fn policy(name: &str, ingress: &str) -> String {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
             metadata: {{name: {name}, namespace: default}}\n\
             spec: {{podSelector: {{matchLabels: {{app: web}}}}, ingress: {ingress}}}\n"
        )
    }

    #[test_case("203.0.113.0/24", "[{from: [{ipBlock: {cidr: 198.51.100.0/24}}]}]", 1; "nothing in common")]
    #[test_case("203.0.113.0/24", "[{from: [{ipBlock: {cidr: 203.0.113.0/25}}]}]", 1; "a part only")]
    #[test_case("203.0.113.0/24", "[{from: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.7/32]}}]}]", 1; "less an exception")]
    #[test_case("203.0.113.0/24", "[{from: [{ipBlock: {cidr: 203.0.0.0/16}}]}]", 0; "near miss: the policy allows more")]
    #[test_case("203.0.113.0/24", "[{from: [{ipBlock: {cidr: 203.0.113.0/25}}]}, {from: [{ipBlock: {cidr: 203.0.113.128/25}}]}]", 0; "near miss: two halves")]
    #[test_case("203.0.113.0/24", "[{from: [{ipBlock: {cidr: 198.51.100.0/24}}], ports: [{port: 9}]}]", 0; "near miss: another port")]
    #[test_case("203.0.113.0/24", "[{from: [{podSelector: {}}]}]", 0; "no client by address")]
    #[test_case("", "[{from: [{ipBlock: {cidr: 198.51.100.0/24}}]}]", 0; "no list")]
    fn both_ways(list: &str, ingress: &str, expected: usize) {
        let (policy, service) = (policy("p", ingress), SERVICE.replace("LIST", list));
        let found = Case::within(&service).found(CONFLICT.id, &policy);
        assert_eq!(found.len(), expected, "policy: {found:?}");
        let found = Case::within(&policy).found(CONFLICT.id, &service);
        assert_eq!(found.len(), expected, "service: {found:?}");
    }

    #[test]
    fn policies_add_up_and_the_judged_one_replaces_what_was() {
        let half = policy("a", "[{from: [{ipBlock: {cidr: 203.0.113.0/25}}]}]");
        let other = policy("b", "[{from: [{ipBlock: {cidr: 203.0.113.128/25}}]}]");
        let service = SERVICE.replace("LIST", "203.0.113.0/24");
        let both = Case::within(&format!("{service}---\n{half}---\n{other}"));
        assert_eq!(both.found(CONFLICT.id, &half).len(), 0);
        let narrowed = policy("a", "[{from: [{ipBlock: {cidr: 203.0.113.0/26}}]}]");
        assert_eq!(both.found(CONFLICT.id, &narrowed).len(), 1);
    }
}
