//! Pods whose clients come through an ingress controller.

use super::behind::{among, is_outer, outside_block, services, takes};
use crate::Index;
use crate::catalogue::examples::web_behind_ingress;
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use crate::ranges::Ranges;
use ringfence_policy::model::{Direction, NamespaceMatch, Peer, Policy, Rule};
use ringfence_policy::snapshot::Kind;

/// A rule by client address where the controller's address arrives.
pub static BEHIND: Check = Check {
    id: "ipblock-behind-ingress",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "an ipBlock rule on pods behind an ingress controller never sees the clients",
    text: "\
An ingress controller or gateway ends the client's connection and opens one of its own to
the pod. What arrives has the controller's address; the client's stands at most in an HTTP
header, which policies do not read. A rule with the clients' addresses therefore matches
nothing that comes through the controller.

Allow the controller's pods by `namespaceSelector` and `podSelector`, and restrict clients
at the controller (for example by its allow-list annotation) or at its own Service.",
    bad: concat!(
        web_behind_ingress!(),
        "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from: [{ipBlock: {cidr: 198.51.100.0/24}}]
"
    ),
    good: concat!(
        web_behind_ingress!(),
        "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ingress-nginx}}
"
    ),
    run: behind,
};

fn behind(ask: &Ask, answers: &mut Answers) {
    let Some(policy) = ask.subject.policy() else {
        return;
    };
    if super::blocks_of(ask.subject, Direction::Ingress)
        .next()
        .is_none()
    {
        return;
    }
    let Some(index) = ask.index(answers) else {
        return;
    };
    if is_gateway(ask, index, policy) {
        return;
    }
    let ranges = Ranges::of(ask.world, index);
    let backends = ask.world.facts.ingress_services.as_ref();
    if backends.is_none() {
        answers.unknown("Ingresses and HTTPRoutes are not known");
    }
    let backend = backends.and_then(|named| among(index, policy, named));
    if let Some(service) = backend {
        let block = outside_block(ask.subject, &ranges, |rule| takes(rule, service));
        if let Some(block) = block {
            let sentence = format!(
                "{} never arrives: clients of Service {} come as the ingress controller's pods",
                block.range.cidr, service.key.name
            );
            answers.found(block.path(), sentence, block.evidence());
        }
    } else if services(index, policy, is_outer).next().is_none() {
        // No way in from outside but a gateway that the same rule lets in.
        let through = |rule: &Rule| admits_gateway(ask, index, policy, rule);
        if let Some(block) = outside_block(ask.subject, &ranges, through) {
            let sentence = format!(
                "{} never arrives: behind the gateway that this rule admits, clients come as its pods",
                block.range.cidr
            );
            answers.found(block.path(), sentence, block.evidence());
        }
    }
}

/// The gateway's own pods do see the clients; `external-policy-cluster` looks after them.
fn is_gateway(ask: &Ask, index: &Index, policy: &Policy) -> bool {
    let gateways = ask.world.config.gateways.iter();
    let mut own = gateways.filter(|g| g.namespace == policy.key.namespace);
    own.any(|gateway| {
        let mut pods = index.selected(&gateway.namespace, &gateway.pods);
        pods.any(|w| policy.pod_selector.matches(&w.pod.labels))
    })
}

fn admits_gateway(ask: &Ask, index: &Index, policy: &Policy, rule: &Rule) -> bool {
    let gateways = &ask.world.config.gateways;
    !gateways.is_empty()
        && rule.peers.iter().any(|peer| match peer {
            // Everywhere is no sign that the gateway was meant.
            Peer::Pods {
                namespaces: NamespaceMatch::Labels(s),
                ..
            } if s.is_everything() => false,
            Peer::Pods { .. } => index.peers(&policy.key.namespace, peer).any(|w| {
                gateways
                    .iter()
                    .any(|g| g.namespace == w.pod.key.namespace && g.pods.matches(&w.pod.labels))
            }),
            Peer::Block(_) => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Case;
    use ringfence_policy::model::ObjectKey;
    use test_case::test_case;

    const CLUSTER: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: gateway}
---
apiVersion: v1
kind: Pod
metadata: {name: g, namespace: gateway, labels: {app: nginx}}
spec: {nodeName: a}
";
    const CLIENT: &str = "{ipBlock: {cidr: 198.51.100.0/24}}";
    const GATEWAY: &str =
        "{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: gateway}}}";

    fn policy(namespace: &str, ingress: &str) -> String {
        let ingress = ingress
            .replace("CLIENT", CLIENT)
            .replace("GATEWAY", GATEWAY);
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
             metadata: {{name: p, namespace: {namespace}}}\n\
             spec: {{podSelector: {{}}, ingress: {ingress}}}"
        )
    }

    fn case(backends: &[&str]) -> Case {
        let mut case = Case::within(CLUSTER);
        let backends = backends.iter().map(|name| ObjectKey::new("default", *name));
        case.facts.ingress_services = Some(backends.collect());
        case
    }

    #[test_case("[{from: [CLIENT]}]", &["web"], 1; "behind an Ingress")]
    #[test_case("[{from: [CLIENT]}]", &["other"], 0; "near miss: another backend")]
    #[test_case("[{from: [CLIENT], ports: [{port: 9090}]}]", &["web"], 0; "near miss: another port")]
    #[test_case("[{from: [GATEWAY]}]", &["web"], 0; "the controller is allowed")]
    fn ingresses(ingress: &str, backends: &[&str], expected: usize) {
        let found = case(backends).found(BEHIND.id, &policy("default", ingress));
        assert_eq!(found.len(), expected, "{found:?}");
    }

    #[test_case("default", "[{from: [CLIENT, GATEWAY]}]", 1; "one rule for a gateway and its clients")]
    #[test_case("default", "[{from: [CLIENT]}, {from: [GATEWAY]}]", 0; "near miss: two rules")]
    #[test_case("gateway", "[{from: [CLIENT]}]", 0; "near miss: on the gateway itself")]
    #[test_case("default", "[{from: [CLIENT, {namespaceSelector: {}}]}]", 0; "every namespace is no sign")]
    fn gateways(namespace: &str, ingress: &str, expected: usize) {
        let case = case(&[]).config("gateways: [{namespace: gateway}]");
        let found = case.found(BEHIND.id, &policy(namespace, ingress));
        assert_eq!(found.len(), expected, "{found:?}");
    }

    #[test]
    fn not_known() {
        let object = policy("default", "[{from: [CLIENT]}]");
        assert!(Case::within(CLUSTER).is_unknown(BEHIND.id, &object));
        assert!(!case(&[]).is_unknown(BEHIND.id, &object));
    }
}
