use super::*;
use crate::testing::Cluster;
use ringfence_api::IsolationRule;
use test_case::test_case;

const CLUSTER: &str = "
kind: Namespace
metadata: {name: demo-project, labels: {kubernetes.io/metadata.name: demo-project, team: a}}
---
kind: Namespace
metadata: {name: peer}
";

fn policy(namespace: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, \
         metadata: {{name: theirs, namespace: {namespace}}}, spec: {{podSelector: {{}}, {spec}}}}}"
    )
}

fn rule(cluster: Cluster, spec: &str) -> (Cluster, IsolationRule) {
    let cluster = cluster.rule("r", spec);
    let rule = cluster.rules["r"].clone();
    (cluster, rule)
}

#[test_case("policyTypes: [Ingress]", false; "a default deny")]
#[test_case("ingress: [{from: [{podSelector: {matchLabels: {a: b}}}]}]", false; "the inside")]
#[test_case("ingress: [{}]", true; "everyone")]
#[test_case("ingress: [{from: [{namespaceSelector: {}}]}]", true; "every namespace")]
#[test_case("ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: friend}}}], ports: [{port: 80}]}]", false; "who may come in on that port")]
#[test_case("ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: friend}}}]}]", true; "who may come in on one port only")]
#[test_case("ingress: [{from: [{ipBlock: {cidr: 192.168.1.0/25}}]}]", false; "a part of a range")]
#[test_case("ingress: [{from: [{ipBlock: {cidr: 192.168.0.0/16}}]}]", true; "more than a range")]
#[test_case("egress: [{}]", false; "egress, which is open")]
fn foreign_policies(spec: &str, widens: bool) {
    let cluster = Cluster::new(CLUSTER)
        .rule(
            "a",
            "{direction: Ingress, peer: {namespace: friend}, ports: [{port: 80}]}",
        )
        .rule(
            "b",
            "{direction: Ingress, peer: {cidr: {cidr: 192.168.1.0/24}}}",
        )
        .with(&policy("demo-project", spec));
    let said = widened(&cluster.snapshot, &cluster.render());
    assert_eq!(said.status, Status::from(widens), "{}", said.message);
    assert!(
        !widens || said.message.contains("theirs"),
        "{}",
        said.message
    );
}

#[test]
fn a_foreign_policy_may_open_egress_too() {
    let open = policy("demo-project", "policyTypes: [Egress], egress: [{}]");
    let cluster = Cluster::new(CLUSTER)
        .isolation("egress: Restricted")
        .with(&open);
    let said = widened(&cluster.snapshot, &cluster.render());
    assert_eq!(said.status, Status::True);
}

const CIDR: &str = "{direction: Ingress, peer: {cidr: {cidr: 192.168.1.1/32}}}";
const NAMED: &str =
    "{direction: Ingress, peer: {cidr: {cidr: 192.168.1.1/32}}, ports: [{servicePort: other/80}]}";
const FRIEND: &str = "{direction: Ingress, peer: {namespace: peer}}";

#[test_case(CIDR, "NodePort", "Cluster", Some(false), "ExternalTrafficPolicyCluster"; "a NodePort")]
#[test_case(CIDR, "NodePort", "Local", Some(false), "Preserved"; "a local one")]
#[test_case(CIDR, "ClusterIP", "Cluster", Some(false), "Preserved"; "nothing from outside")]
#[test_case(CIDR, "LoadBalancer", "Local", None, "KubeProxyUnknown"; "unknown kube-proxy")]
#[test_case(CIDR, "LoadBalancer", "Local", Some(true), "MasqueradeAll"; "masqueraded")]
#[test_case(NAMED, "NodePort", "Cluster", Some(false), "Preserved"; "another Service is meant")]
#[test_case(FRIEND, "NodePort", "Cluster", Some(false), "Preserved"; "a namespace")]
#[test_case(FRIEND, "NodePort", "Local", Some(true), "MasqueradeAll"; "a namespace through a Service")]
fn clients(spec: &str, kind: &str, policy: &str, masquerade_all: Option<bool>, reason: &str) {
    let service = format!(
        "{{kind: Service, metadata: {{name: web, namespace: demo-project}}, spec: {{type: {kind}, \
         clusterIP: 10.96.0.9, externalTrafficPolicy: {policy}, selector: {{a: b}}, ports: [{{port: 80}}]}}}}"
    );
    let (cluster, rule) = rule(Cluster::new(CLUSTER).with(&service), spec);
    let said = source_ip(
        &cluster.snapshot,
        "demo-project",
        &rule.spec,
        masquerade_all,
    )
    .unwrap();
    assert_eq!(said.reason, reason, "{}", said.message);
}

#[test_case("Ingress", "policyTypes: [Ingress]", true; "their ingress does not matter")]
#[test_case("Ingress", "policyTypes: [Egress]", false; "nothing goes out")]
#[test_case("Ingress", "policyTypes: [Egress], egress: [{to: [{podSelector: {}}]}]", false; "their inside only")]
#[test_case("Ingress", "policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {team: a}}}]}]", true; "to us by label")]
#[test_case("Ingress", "policyTypes: [Egress], egress: [{}]", true; "everything goes out")]
#[test_case("Egress", "policyTypes: [Ingress]", false; "nothing comes in")]
#[test_case("Egress", "policyTypes: [Ingress], ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: demo-project}}}]}]", true; "we come in")]
fn the_other_end(direction: &str, theirs: &str, allows: bool) {
    let spec = format!("{{direction: {direction}, peer: {{namespace: peer}}}}");
    let (cluster, rule) = rule(Cluster::new(CLUSTER).with(&policy("peer", theirs)), &spec);
    let said = peer_allows(&cluster.snapshot, "demo-project", &rule.spec).unwrap();
    assert_eq!(said.status, Status::from(allows), "{}", said.message);
    assert!(
        allows || said.message.contains("add there an IsolationRule"),
        "{}",
        said.message
    );
    assert!(!said.message.contains("theirs"), "no names of theirs");
}

#[test]
fn a_companion_at_the_other_end_isolates_nobody() {
    let companion = policy("peer", "policyTypes: [Egress]").replace(
        "name: theirs",
        "name: theirs, labels: {ringfence.dev/companion: 'true'}, ownerReferences: \
         [{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, name: author, uid: '1'}]",
    );
    let spec = "{direction: Ingress, peer: {namespace: peer}}";
    let (cluster, rule) = rule(Cluster::new(CLUSTER).with(&companion), spec);
    let said = peer_allows(&cluster.snapshot, "demo-project", &rule.spec).unwrap();
    assert_eq!(said.status, Status::True, "{}", said.message);
}
