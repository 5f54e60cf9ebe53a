//! Gateways that no longer reach what they serve.

use super::changed_ways;
use crate::catalogue::examples::web_behind_ingress;
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
metadata: {name: web-0, namespace: shop, labels: {app: web}}
spec: {nodeName: node1}
---
",
            web_behind_ingress!(),
            "\
apiVersion: v1
kind: Namespace
metadata: {name: ingress-nginx}
---
"
        )
    };
}

/// A backend of an Ingress or a route becomes unreachable.
pub static INGRESS: Check = Check {
    id: "cuts-ingress",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy, Kind::Namespace],
    title: "an Ingress or a route can no longer reach its backend",
    text: "\
What comes through an Ingress or an HTTPRoute reaches the pods as a connection of the ingress
controller's pods. A policy that lets in only the application's own namespace shuts the controller
out, and visitors get 502 or 504.

Where the configuration names the gateways (`gateways`), this is said when none of their pods gets
through any more: by the policies of the backend, or by egress policies of the gateway. Where it
names none, it is said when nobody from outside of the namespace gets in.

Let the gateway's namespace in, on the port of the pods.",
    bad: concat!(
        cluster!(),
        "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {}}]
"
    ),
    good: concat!(
        cluster!(),
        "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {}}]
  - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ingress-nginx}}}]
    ports: [{port: 8080}]
"
    ),
    run: ingress,
};

fn ingress(ask: &Ask, answers: &mut Answers) {
    let Some(ways) = changed_ways(ask, answers) else {
        return;
    };
    if let Some(unknown) = ways.unknown[0] {
        answers.unknown(unknown);
    }
    let own = ask.subject.namespace();
    let (mut elsewhere, mut shown) = (0_usize, 0);
    for way in &ways.cut {
        let Way::Backend {
            namespace,
            service,
            port,
        } = way
        else {
            continue;
        };
        if **namespace != *own || shown == MOST {
            elsewhere += 1;
            continue;
        }
        shown += 1;
        let service = short(service, 40);
        let sentence = format!(
            "Ingress no longer reaches Service {service}, port {port}: no rule lets the gateway in"
        );
        answers.found("spec", sentence, format!("{service} {port}"));
    }
    if elsewhere > 0 {
        let sentence = format!("the gateways no longer reach {elsewhere} more backends");
        answers.found("spec", sentence, "elsewhere");
    }
}

/// Backends that are named.
const MOST: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::read;
    use crate::testing::{Case, cluster, documents, policy};
    use test_case::test_case;

    const CLUSTER: &str = "
{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {app: web}}, spec: {nodeName: n1}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: edge}}
---
{apiVersion: v1, kind: Pod, metadata: {name: gw, namespace: edge, labels: {app: gw}}, spec: {nodeName: n1}, status: {podIPs: [{ip: 10.0.0.9}]}}
";
    const GATEWAYS: &str = "gateways: [{namespace: edge, matchLabels: {app: gw}}]";

    fn case() -> Case {
        let ingress = "{kind: Ingress, metadata: {namespace: default}, spec: {defaultBackend: {service: {name: web}}}}";
        Case {
            facts: read(&documents(ingress)),
            cluster: Some(cluster(CLUSTER)),
            ..Case::default()
        }
    }

    #[test_case("{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}", true, true; "own namespace only")]
    #[test_case("{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}", false, false; "all namespaces")]
    #[test_case("{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}], ports: [{port: 80}]}]}", true, true; "the Service's port")]
    #[test_case("{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}], ports: [{port: 8080}]}]}", false, false; "near miss: the pods' port")]
    #[test_case("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/24}}]}]}", false, false; "its address")]
    #[test_case("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.1.0/24}}]}]}", false, true; "another address")]
    #[test_case("{podSelector: {}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: x}}}]}]}", false, true; "other pods")]
    #[test_case("{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]}", false, false; "other pods are selected")]
    #[test_case("{podSelector: {}, policyTypes: [Egress]}", false, false; "egress only")]
    fn a_policy_of_the_backend(spec: &str, unnamed: bool, named: bool) {
        for (config, expected) in [("{}", unnamed), (GATEWAYS, named)] {
            let case = case().config(config);
            let found = case.paths(INGRESS.id, &policy(spec));
            assert_eq!(!found.is_empty(), expected, "{config}");
        }
    }

    #[test_case("Egress", true; "shut in")]
    #[test_case("Ingress", false; "near miss: its ingress")]
    fn a_policy_of_the_gateway(policy_type: &str, expected: bool) {
        let spec = format!("{{podSelector: {{}}, policyTypes: [{policy_type}]}}");
        let policy = policy(&spec).replace("namespace: default", "namespace: edge");
        let found = case().config(GATEWAYS).found(INGRESS.id, &policy);
        let told = "warn spec: the gateways no longer reach 1 more backends";
        assert_eq!(found, if expected { vec![told] } else { vec![] });
    }

    #[test]
    fn what_is_cut_already_and_what_is_not_known() {
        let deny = policy("{podSelector: {}, policyTypes: [Ingress]}");
        let mut cut = case();
        let other = deny.replace("name: p,", "name: q,");
        cut.cluster = Some(cluster(&format!("{CLUSTER}---\n{other}")));
        assert_eq!(cut.paths(INGRESS.id, &deny), [""; 0]);
        let unknown = Case::within(CLUSTER);
        assert!(unknown.is_unknown(INGRESS.id, &deny));
    }
}
