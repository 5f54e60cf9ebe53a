//! Translation by tables: YAML in, sections of the policy out.

use super::*;
use crate::testing::{Cluster, NOW};
use test_case::test_case;

const CLUSTER: &str = "
kind: Namespace
metadata: {name: demo-project, labels: {ringfence.dev/tenant: acme}}
---
kind: Namespace
metadata: {name: demo-project-2}
---
kind: Namespace
metadata: {name: monitoring}
---
kind: Namespace
metadata: {name: kube-system}
---
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIP: 10.96.0.10
  selector: {k8s-app: kube-dns}
  ports: [{name: dns, port: 53, protocol: UDP, targetPort: 1053}, {name: dns-tcp, port: 53, targetPort: dns-tcp}]
---
kind: Service
metadata: {name: nginx, namespace: demo-project-2}
spec:
  clusterIP: 10.96.0.20
  selector: {app: nginx}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: https, port: 443, targetPort: tls}]
---
kind: Service
metadata: {name: demo-service, namespace: demo-project}
spec:
  type: NodePort
  clusterIP: 10.96.0.21
  selector: {app: tomcat}
  ports: [{port: 80, targetPort: 8080}]
---
kind: Service
metadata: {name: outside, namespace: demo-project-2}
spec: {type: ExternalName, externalName: example.com}
---
kind: Service
metadata: {name: by-hand, namespace: demo-project-2}
spec: {clusterIP: 10.96.0.22, ports: [{port: 80}]}
";

const INSIDE: &str = r#"inside {"from":[{"podSelector":{}}]}"#;
const OUT: [&str; 2] = [
    r#"inside {"to":[{"podSelector":{}}]}"#,
    r#"dns {"ports":[{"port":1053,"protocol":"UDP"},{"port":"dns-tcp","protocol":"TCP"}],"to":[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"kube-system"}},"podSelector":{"matchLabels":{"k8s-app":"kube-dns"}}}]}"#,
];

fn cluster() -> Cluster {
    Cluster::new(CLUSTER)
}

/// `SOURCE RULE` of every rule of a direction; `None` when it is not isolated.
fn section(rendered: &Rendered, direction: Direction) -> Option<Vec<String>> {
    let (rules, sources, direction) = match direction {
        Direction::Ingress => (
            &rendered.policy.ingress,
            &rendered.ingress,
            model::Direction::Ingress,
        ),
        Direction::Egress => (
            &rendered.policy.egress,
            &rendered.egress,
            model::Direction::Egress,
        ),
    };
    let rules = rules.as_ref()?;
    assert_eq!(rules.len(), sources.len());
    let text = |(source, rule)| format!("{source} {}", to_json(direction, rule));
    Some(sources.iter().zip(rules).map(text).collect())
}

fn statement(rendered: &Rendered, condition: Condition) -> &Statement {
    let mut all = rendered.statements.iter();
    all.find(|s| s.condition == condition).unwrap()
}

#[test]
fn on_is_inside_alone_and_egress_stays_open() {
    let rendered = cluster().render();
    assert_eq!(section(&rendered, Direction::Ingress).unwrap(), [INSIDE]);
    assert_eq!(section(&rendered, Direction::Egress), None);
    assert!(rendered.policy.pod_selector.is_everything());
    let egress = statement(&rendered, Condition::EgressRestricted);
    assert_eq!((egress.status, egress.reason), (Status::False, "Open"));
}

#[test]
fn configured_namespaces_always_come_in() {
    let config =
        "allowedIngressNamespaces: [monitoring, nowhere]\ngatewayNamespaces: [demo-project-2]";
    let rendered = cluster().config(config).render();
    let name = |name: &str| {
        format!(
            r#"{{"namespaceSelector":{{"matchLabels":{{"kubernetes.io/metadata.name":"{name}"}}}}}}"#
        )
    };
    assert_eq!(
        section(&rendered, Direction::Ingress).unwrap(),
        [
            INSIDE.to_owned(),
            format!(
                r#"allowedIngressNamespaces {{"from":[{},{}]}}"#,
                name("monitoring"),
                name("nowhere")
            ),
            format!(
                r#"gatewayNamespaces {{"from":[{}]}}"#,
                name("demo-project-2")
            ),
        ]
    );
    let resolved = statement(&rendered, Condition::PeersResolved);
    assert_eq!(resolved.status, Status::False);
    assert!(
        resolved.message.contains("no namespace nowhere"),
        "{}",
        resolved.message
    );
}

#[test]
fn a_configured_name_that_no_label_can_have_opens_nothing() {
    let config = "allowedIngressNamespaces: ['Not A Name']";
    let rendered = cluster().config(config).render();
    assert_eq!(section(&rendered, Direction::Ingress).unwrap(), [INSIDE]);
    let resolved = statement(&rendered, Condition::PeersResolved);
    assert!(
        resolved
            .message
            .contains("spec.allowedIngressNamespaces: found"),
        "{}",
        resolved.message
    );
}

#[test_case("tenantLabel: ringfence.dev/tenant", "demo-project", r#"inside {"from":[{"podSelector":{}},{"namespaceSelector":{"matchLabels":{"ringfence.dev/tenant":"acme"}}}]}"#, ""; "by its label")]
#[test_case("tenantLabel: ringfence.dev/tenant", "demo-project-2", INSIDE, "no value of label"; "without the label")]
#[test_case("tenantLabel: ringfence.dev/tenant", "nowhere", INSIDE, "no value of label"; "not known yet")]
#[test_case("{}", "demo-project", INSIDE, "tenantLabel is not set"; "not configured")]
#[test_case("tenantLabel: ''", "demo-project", INSIDE, "no value"; "an empty key")]
fn a_tenant(config: &str, namespace: &str, expected: &str, said: &str) {
    let cluster = cluster().config(config).isolation("scope: Tenant");
    let rendered = cluster.render_in(namespace);
    assert_eq!(section(&rendered, Direction::Ingress).unwrap(), [expected]);
    let resolved = statement(&rendered, Condition::PeersResolved);
    assert!(resolved.message.contains(said), "{}", resolved.message);
    assert_eq!(resolved.status, Status::from(said.is_empty()));
}

// Ingress rules: what stands in the policy, the reason of PeersResolved.
#[test_case("peer: {namespace: demo-project-2}",
    r#"{"from":[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"demo-project-2"}}}]}"#, "Resolved"; "namespace")]
#[test_case("peer: {namespace: gone}",
    r#"{"from":[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"gone"}}}]}"#, "NamespaceMissing"; "a namespace that is not there matches nothing")]
#[test_case("peer: {namespace: demo-project-2}, ports: [{port: 80}, {protocol: UDP}, {port: 90, endPort: 99, protocol: SCTP}, {port: web}]",
    r#"{"from":[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"demo-project-2"}}}],"ports":[{"port":80,"protocol":"TCP"},{"port":"web","protocol":"TCP"},{"protocol":"UDP"},{"endPort":99,"port":90,"protocol":"SCTP"}]}"#, "Resolved"; "ports")]
#[test_case("peer: {service: {namespace: demo-project-2, name: nginx}}, ports: [{port: 80}]",
    r#"{"from":[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"demo-project-2"}},"podSelector":{"matchLabels":{"app":"nginx"}}}],"ports":[{"port":80,"protocol":"TCP"}]}"#, "Resolved"; "the pods of a Service")]
#[test_case("peer: {cidr: {cidr: 192.168.1.0/24, except: [192.168.1.7/32]}}, ports: [{servicePort: demo-service/80}]",
    r#"{"from":[{"ipBlock":{"cidr":"192.168.1.0/24","except":["192.168.1.7/32"]}}],"ports":[{"port":8080,"protocol":"TCP"}]}"#, "Resolved"; "the port of an own Service")]
#[test_case("peer: {cidr: {cidr: 192.168.1.1/32}}, ports: [{servicePort: nowhere/80}, {port: 81}]",
    r#"{"from":[{"ipBlock":{"cidr":"192.168.1.1/32"}}],"ports":[{"port":81,"protocol":"TCP"}]}"#, "ServiceMissing"; "the ports that are left")]
#[test_case("peer: {cidr: {cidr: 192.168.1.1/32}}, ports: [{servicePort: demo-service/81}]", "", "PortMissing"; "no port left is no rule, not every port")]
#[test_case("peer: {cidr: {cidr: 'http://10.1.0.1:80'}}", "", "Invalid"; "a URL")]
#[test_case("peer: {cidr: {cidr: 10.0.0.0/8, except: [11.0.0.0/9]}}", "", "Invalid"; "except outside")]
#[test_case("peer: {namespace: 'Not A Name'}", "", "Invalid"; "no name")]
#[test_case("peer: {}", "", "Invalid"; "no peer")]
#[test_case("peer: {namespace: a, cidr: {cidr: 10.0.0.0/8}}", "", "Invalid"; "two peers")]
#[test_case("peer: {namespace: demo-project-2}, ports: [{port: 0}]", "", "Invalid"; "port zero")]
#[test_case("peer: {namespace: demo-project-2}, ports: [{port: 9, endPort: 8}]", "", "Invalid"; "a range that ends before it begins")]
#[test_case("peer: {namespace: demo-project-2}, ports: [{port: '80'}]", "", "Invalid"; "a number in quotes")]
#[test_case("peer: {namespace: demo-project-2}, ports: [{port: 80, protocol: tcp}]", "", "Invalid"; "a protocol in lower case")]
fn ingress(spec: &str, expected: &str, reason: &str) {
    let cluster = cluster().rule("r", &format!("{{direction: Ingress, {spec}}}"));
    let rendered = cluster.render();
    let mut all = vec![INSIDE.to_owned()];
    all.extend((!expected.is_empty()).then(|| format!("rule/r {expected}")));
    assert_eq!(section(&rendered, Direction::Ingress).unwrap(), all);
    assert_eq!(section(&rendered, Direction::Egress), None);
    let [ready, resolved, _] = &rendered.rules["r"].statements;
    assert_eq!(resolved.reason, reason, "{}", resolved.message);
    assert_eq!(
        ready.status,
        Status::from(!expected.is_empty()),
        "{}",
        ready.message
    );
}

// Egress rules, the same.
#[test_case("peer: {service: {namespace: demo-project-2, name: nginx}}",
    r#"{"ports":[{"port":8080,"protocol":"TCP"},{"port":"tls","protocol":"TCP"}],"to":[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"demo-project-2"}},"podSelector":{"matchLabels":{"app":"nginx"}}}]}"#, "Resolved"; "all ports of a Service")]
#[test_case("peer: {service: {namespace: demo-project-2, name: nginx}}, ports: [{port: 80}]",
    r#"{"ports":[{"port":8080,"protocol":"TCP"}],"to":[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"demo-project-2"}},"podSelector":{"matchLabels":{"app":"nginx"}}}]}"#, "Resolved"; "one of them")]
#[test_case("peer: {service: {namespace: demo-project-2, name: nginx}}, ports: [{servicePort: nginx/https}]",
    r#"{"ports":[{"port":"tls","protocol":"TCP"}],"to":[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"demo-project-2"}},"podSelector":{"matchLabels":{"app":"nginx"}}}]}"#, "Resolved"; "one by its name")]
#[test_case("peer: {service: {namespace: demo-project-2, name: nginx}}, ports: [{port: 8080}]", "", "PortMissing"; "not a port of the Service")]
#[test_case("peer: {service: {namespace: demo-project-2, name: nginx}}, ports: [{servicePort: other/80}]", "", "Invalid"; "the port of another Service")]
#[test_case("peer: {service: {namespace: demo-project-2, name: outside}}", "", "ExternalName"; "external name")]
#[test_case("peer: {service: {namespace: demo-project-2, name: by-hand}}", "", "NoSelector"; "no selector")]
#[test_case("peer: {service: {namespace: demo-project-2, name: gone}}", "", "ServiceMissing"; "no Service")]
#[test_case("peer: {namespace: demo-project-2}, ports: [{servicePort: nginx/80}]",
    r#"{"ports":[{"port":8080,"protocol":"TCP"}],"to":[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"demo-project-2"}}}]}"#, "Resolved"; "servicePort of the peer")]
#[test_case("peer: {cidr: {cidr: 10.1.0.1/32}}, ports: [{port: 80}]",
    r#"{"ports":[{"port":80,"protocol":"TCP"}],"to":[{"ipBlock":{"cidr":"10.1.0.1/32"}}]}"#, "Resolved"; "an address")]
#[test_case("peer: {cidr: {cidr: 10.1.0.1/32}}, ports: [{servicePort: nginx/80}]", "", "Invalid"; "an address has no Services")]
fn egress(spec: &str, expected: &str, reason: &str) {
    let cluster = cluster().rule("r", &format!("{{direction: Egress, {spec}}}"));
    let rendered = cluster.render();
    let mut all = OUT.map(str::to_owned).to_vec();
    all.extend((!expected.is_empty()).then(|| format!("rule/r {expected}")));
    assert_eq!(section(&rendered, Direction::Ingress).unwrap(), [INSIDE]);
    assert_eq!(section(&rendered, Direction::Egress).unwrap(), all);
    let [ready, resolved, _] = &rendered.rules["r"].statements;
    assert_eq!(resolved.reason, reason, "{}", resolved.message);
    assert_eq!(
        ready.status,
        Status::from(!expected.is_empty()),
        "{}",
        ready.message
    );
}

#[test_case("egress: Restricted", "Ingress", true; "restricted without a rule")]
#[test_case("egress: Open", "Egress", false; "open with a rule")]
#[test_case("egress: Auto", "Ingress", false; "auto without an egress rule")]
#[test_case("egress: Auto", "Egress", true; "auto with one")]
fn egress_is(isolation: &str, direction: &str, restricted: bool) {
    let rule = format!("{{direction: {direction}, peer: {{namespace: demo-project-2}}}}");
    let rendered = cluster().isolation(isolation).rule("r", &rule).render();
    assert_eq!(rendered.policy.egress.is_some(), restricted);
    let said = statement(&rendered, Condition::EgressRestricted);
    assert_eq!(said.status, Status::from(restricted));
}

#[test]
fn a_rule_that_open_egress_does_not_need_says_so() {
    let rule = "{direction: Egress, peer: {namespace: demo-project-2}}";
    let rendered = cluster().isolation("egress: Open").rule("r", rule).render();
    let outcome = &rendered.rules["r"];
    assert_eq!(outcome.rule, None);
    assert_eq!(outcome.statements[0].reason, "EgressOpen");
}

#[test]
fn an_expired_rule_is_taken_out_and_egress_stays_restricted() {
    let cluster = cluster()
        .rule("over", "{direction: Egress, peer: {namespace: demo-project-2}, expiresAt: '2026-06-01T12:00:00Z'}")
        .rule("later", "{direction: Ingress, peer: {namespace: monitoring}, expiresAt: '2026-06-02T00:00:00Z'}")
        .rule("latest", "{direction: Ingress, peer: {namespace: monitoring}, expiresAt: '2026-06-03T00:00:00Z'}");
    let rendered = cluster.render();
    assert_eq!(section(&rendered, Direction::Egress).unwrap(), OUT);
    assert_eq!(
        rendered.next_expiry,
        Some("2026-06-02T00:00:00Z".parse().unwrap())
    );
    assert!(rendered.rules["over"].is_expired());
    assert_eq!(rendered.rules["over"].statements[0].reason, "Expired");
    assert!(!rendered.rules["later"].is_expired());
    assert_eq!(rendered.ingress, ["inside", "rule/later", "rule/latest"]);
    assert_eq!(NOW, "2026-06-01T12:00:00Z");
}

#[test_case("dns: {service: kube-system/other}", "Service kube-system/other does not exist"; "no such Service")]
#[test_case("dns: {service: other}", "write namespace/name"; "no name")]
fn without_dns_it_says_so(config: &str, said: &str) {
    let rendered = cluster()
        .config(config)
        .isolation("egress: Restricted")
        .render();
    assert_eq!(section(&rendered, Direction::Egress).unwrap(), OUT[..1]);
    let egress = statement(&rendered, Condition::EgressRestricted);
    assert_eq!((egress.status, egress.reason), (Status::True, "WithoutDNS"));
    assert!(egress.message.contains(said), "{}", egress.message);
}

#[test]
fn node_local_caches_do_without_the_service() {
    let config = "dns: {service: kube-system/other, nodeLocalAddresses: [169.254.20.10]}";
    let rendered = cluster()
        .config(config)
        .isolation("egress: Restricted")
        .render();
    let cache = r#"dns {"ports":[{"port":53,"protocol":"UDP"},{"port":53,"protocol":"TCP"}],"to":[{"ipBlock":{"cidr":"169.254.20.10/32"}}]}"#;
    assert_eq!(
        section(&rendered, Direction::Egress).unwrap(),
        [OUT[0], cache]
    );
}

#[test]
fn the_object_says_where_each_rule_comes_from_and_parses_as_the_policy() {
    let cluster = cluster()
        .config("allowedIngressNamespaces: [monitoring]")
        .rule(
            "b",
            "{direction: Ingress, peer: {cidr: {cidr: 192.168.1.1/32}}, ports: [{port: 80}]}",
        )
        .rule(
            "a",
            "{direction: Egress, peer: {service: {namespace: demo-project-2, name: nginx}}}",
        );
    let rendered = cluster.render();
    let object = rendered.object(None);
    let annotations = &object["metadata"]["annotations"];
    assert_eq!(
        annotations[INGRESS],
        "inside,allowedIngressNamespaces,rule/b"
    );
    assert_eq!(annotations[EGRESS], "inside,dns,rule/a");
    assert!(object["metadata"].get("ownerReferences").is_none());
    let parsed = parse::policy(&object).unwrap();
    assert_eq!(parsed.errors, []);
    assert_eq!(parsed.policy, rendered.policy);
}

#[test]
fn rules_are_in_order_of_name_whatever_order_they_came_in() {
    let rule = "{direction: Ingress, peer: {namespace: monitoring}}";
    let there = cluster().rule("a", rule).rule("b", rule).render();
    let back = cluster().rule("b", rule).rule("a", rule).render();
    assert_eq!(there, back);
}
