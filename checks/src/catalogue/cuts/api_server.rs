//! Pods that can no longer talk to the API server.

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
metadata: {name: operator-0, namespace: tools, labels: {app: operator}}
spec: {nodeName: node1, serviceAccountName: operator}
---
",
            api_server!()
        )
    };
}

/// A client of the API server loses it.
pub static API_SERVER: Check = Check {
    id: "cuts-apiserver",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "pods that talk to the API server lose it",
    text: "\
Operators, controllers and jobs with a service account of their own talk to the API server. Once
their egress is limited they reach it only where a rule says so, and no selector can: the API server
is no pod. The address of the Service `kubernetes` does not help either, because policies see where
the connection really goes.

Pods that have a service account other than `default`, and do not turn its token off, are taken to
need it. Allow egress to the API server's own addresses and port: `kubectl -n default get
endpointslice kubernetes` shows them.",
    bad: concat!(
        cluster!(),
        "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: operator, namespace: tools}
spec:
  podSelector: {matchLabels: {app: operator}}
  policyTypes: [Egress]
  egress:
  - to: [{ipBlock: {cidr: 10.96.0.1/32}}]
    ports: [{port: 443}]
"
    ),
    good: concat!(
        cluster!(),
        "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: operator, namespace: tools}
spec:
  podSelector: {matchLabels: {app: operator}}
  policyTypes: [Egress]
  egress:
  - to: [{ipBlock: {cidr: 192.0.2.10/32}}]
    ports: [{port: 6443}]
"
    ),
    run: api_server,
};

fn api_server(ask: &Ask, answers: &mut Answers) {
    let Some(ways) = changed_ways(ask, answers) else {
        return;
    };
    if let Some(unknown) = ways.unknown[2] {
        answers.unknown(unknown);
    }
    let mut cut = ways.cut.iter().filter_map(|way| match way {
        Way::ApiServer(end) => Some(end),
        _ => None,
    });
    let Some(first) = cut.next() else {
        return;
    };
    let name = short(&first.name, 40);
    let more = match cut.count() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let sentence =
        format!("{name}{more} can no longer reach the API server: allow its address in egress");
    answers.found("spec.egress", sentence, name);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::read;
    use crate::testing::{Case, cluster, documents, policy};
    use test_case::test_case;

    const SLICE: &str = "{kind: EndpointSlice, metadata: {namespace: default, labels: {kubernetes.io/service-name: kubernetes}}, endpoints: [{addresses: [192.0.2.10]}], ports: [{port: 6443}]}";

    /// One pod of this spec, and the API server's node.
    fn case(spec: &str) -> Case {
        let pod = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: op, labels: {{app: op}}}}, spec: {{{spec}}}}}\n---\n\
             {{apiVersion: v1, kind: Node, metadata: {{name: cp}}, status: {{addresses: [{{type: InternalIP, address: 192.0.2.10}}]}}}}"
        );
        Case {
            facts: read(&documents(SLICE)),
            cluster: Some(cluster(&pod)),
            ..Case::default()
        }
    }

    #[test_case("[]", true; "nothing")]
    #[test_case("[{to: [{ipBlock: {cidr: 10.96.0.1/32}}], ports: [{port: 443}]}]", true; "the Service's address")]
    #[test_case("[{to: [{ipBlock: {cidr: 192.0.2.0/24}}], ports: [{port: 443}]}]", true; "the Service's port")]
    #[test_case("[{to: [{ipBlock: {cidr: 192.0.2.0/24}}], ports: [{port: 6443}]}]", false; "near miss: its address")]
    #[test_case("[{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [192.0.2.10/32]}}]}]", true; "all but it")]
    #[test_case("[{to: [{namespaceSelector: {}}]}]", true; "it is no pod")]
    fn a_policy(egress: &str, expected: bool) {
        let spec = format!("{{podSelector: {{}}, policyTypes: [Egress], egress: {egress}}}");
        let found =
            case("nodeName: n1, serviceAccountName: op").found(API_SERVER.id, &policy(&spec));
        let sentence =
            "warn spec.egress: op can no longer reach the API server: allow its address in egress";
        assert_eq!(found, if expected { vec![sentence] } else { vec![] });
    }

    #[test_case("nodeName: n1, serviceAccountName: default"; "an account that all have")]
    #[test_case("nodeName: n1, serviceAccountName: op, automountServiceAccountToken: false"; "no token")]
    #[test_case("nodeName: cp, serviceAccountName: op"; "on the API server's node")]
    #[test_case("nodeName: n1, serviceAccountName: op, hostNetwork: true"; "no policy is about it")]
    fn who_does_not_need_it(spec: &str) {
        let deny = policy("{podSelector: {}, policyTypes: [Egress]}");
        assert_eq!(case(spec).paths(API_SERVER.id, &deny), [""; 0]);
    }

    #[test]
    fn an_api_server_without_address() {
        let deny = policy("{podSelector: {}, policyTypes: [Egress]}");
        let mut unknown = case("nodeName: n1, serviceAccountName: op");
        unknown.facts.api_servers = None;
        assert!(unknown.is_unknown(API_SERVER.id, &deny));
        let mut nobody = case("nodeName: n1");
        nobody.facts.api_servers = None;
        assert!(!nobody.is_unknown(API_SERVER.id, &deny));
    }
}
