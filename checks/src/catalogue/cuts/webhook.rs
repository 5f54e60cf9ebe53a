//! Webhooks that the API server can no longer call.

use super::changed_ways;
use crate::catalogue::examples::api_server;
use crate::catalogue::words::short;
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use crate::impact::Way;
use ringfence_policy::snapshot::Kind;

/// What both examples have in common.
macro_rules! cluster {
    () => {
        concat!(
            "\
apiVersion: v1
kind: Pod
metadata: {name: hook-0, namespace: tools, labels: {app: hook}}
spec: {nodeName: node1}
---
apiVersion: v1
kind: Service
metadata: {name: hook, namespace: tools}
spec: {selector: {app: hook}, ports: [{port: 443, targetPort: 8443}]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: hook}
webhooks: [{name: hook.example.com, clientConfig: {service: {namespace: tools, name: hook}}}]
---
",
            api_server!()
        )
    };
}

/// A webhook becomes unreachable.
pub static WEBHOOK: Check = Check {
    id: "cuts-webhook",
    baseline: Level::Warn,
    strict: Level::Deny,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "the API server can no longer call a webhook or an aggregated API",
    text: "\
The API server calls admission webhooks and aggregated APIs (metrics-server, for one) in their pods.
It is no pod itself: it comes from a node's address, or on overlay networks from the address of a
tunnel. A policy on those pods shuts it out, no selector can name it, and from then on every request
that the webhook is for fails or waits for its timeout: in the worst case nothing can be created in
the whole cluster any more.

Allow the webhook's port from everywhere (it is protected by TLS), or from the addresses of the
control plane's nodes, tunnel addresses included.",
    bad: concat!(
        cluster!(),
        "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: hook, namespace: tools}
spec:
  podSelector: {matchLabels: {app: hook}}
  policyTypes: [Ingress]
  ingress:
  - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}}]
    ports: [{port: 8443}]
"
    ),
    good: concat!(
        cluster!(),
        "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: hook, namespace: tools}
spec:
  podSelector: {matchLabels: {app: hook}}
  policyTypes: [Ingress]
  ingress:
  - ports: [{port: 8443}]
"
    ),
    run: webhook,
};

fn webhook(ask: &Ask, answers: &mut Answers) {
    let Some(ways) = changed_ways(ask, answers) else {
        return;
    };
    if let Some(unknown) = ways.unknown[1] {
        answers.unknown(unknown);
    }
    for way in &ways.cut {
        let Way::Webhook { service, .. } = way else {
            continue;
        };
        let service = short(service, 40);
        let sentence = format!(
            "the API server can no longer call Service {service}: no rule lets its address in"
        );
        answers.found("spec.ingress", sentence, service);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::read;
    use crate::testing::{Case, cluster, documents, policy};
    use test_case::test_case;

    const CLUSTER: &str = "
{apiVersion: v1, kind: Node, metadata: {name: cp}, spec: {podCIDRs: [10.0.7.0/24]}, status: {addresses: [{type: InternalIP, address: 192.0.2.10}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: worker}, status: {addresses: [{type: InternalIP, address: 192.0.2.11}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: hook, labels: {app: hook}}, spec: {nodeName: worker}}
---
{apiVersion: v1, kind: Service, metadata: {name: hook}, spec: {selector: {app: hook}, ports: [{port: 443, targetPort: 8443}, {port: 81, name: metrics}]}}
";
    const FACTS: &str = "
{kind: APIService, spec: {service: {namespace: default, name: hook}}}
---
{kind: EndpointSlice, metadata: {namespace: default, labels: {kubernetes.io/service-name: kubernetes}}, endpoints: [{addresses: [192.0.2.10]}], ports: [{port: 6443}]}
";

    fn case(objects: &str) -> Case {
        Case {
            facts: read(&documents(FACTS)),
            cluster: Some(cluster(objects)),
            ..Case::default()
        }
    }

    #[test_case("[]", true; "nobody")]
    #[test_case("[{from: [{namespaceSelector: {}}]}]", true; "pods are not the API server")]
    #[test_case("[{ports: [{port: 443}]}]", true; "the Service's port")]
    #[test_case("[{ports: [{port: 8443}]}]", false; "near miss: everybody on the pods' port")]
    #[test_case("[{from: [{ipBlock: {cidr: 192.0.2.10/32}}]}]", false; "its address")]
    #[test_case("[{from: [{ipBlock: {cidr: 192.0.2.11/32}}]}]", true; "another node's")]
    #[test_case("[{from: [{ipBlock: {cidr: 10.0.7.0/32}}]}]", false; "its node's tunnel")]
    fn a_policy(ingress: &str, expected: bool) {
        let spec = format!("{{podSelector: {{}}, policyTypes: [Ingress], ingress: {ingress}}}");
        let found = case(CLUSTER).found(WEBHOOK.id, &policy(&spec));
        let sentence = "warn spec.ingress: the API server can no longer call Service hook: \
                        no rule lets its address in";
        assert_eq!(found, if expected { vec![sentence] } else { vec![] });
    }

    #[test]
    fn strict_refuses_what_was_not_so_before_and_a_node_reaches_its_own_pods() {
        let deny = policy("{podSelector: {}, policyTypes: [Ingress]}");
        let strict = case(CLUSTER).config("profile: strict");
        assert!(strict.found(WEBHOOK.id, &deny)[0].starts_with("deny"));
        let with = format!("{CLUSTER}---\n{deny}");
        let strict = case(&with).config("profile: strict").after(&deny);
        assert_eq!(strict.paths(WEBHOOK.id, &deny), [""; 0]);
        let same_node = CLUSTER.replace("nodeName: worker", "nodeName: cp");
        assert_eq!(case(&same_node).paths(WEBHOOK.id, &deny), [""; 0]);
    }

    #[test]
    fn an_api_server_without_address() {
        let deny = policy("{podSelector: {}, policyTypes: [Ingress]}");
        let mut unknown = case(CLUSTER);
        unknown.facts.api_servers = None;
        assert!(unknown.is_unknown(WEBHOOK.id, &deny));
        unknown.facts.webhook_services = Some([].into());
        assert!(!unknown.is_unknown(WEBHOOK.id, &deny));
    }
}
