//! Every step of the guide.

use super::{DNS, ON, case, everybody, isolated, rule};
use crate::case::{Case, Expect, cells, matrix};
use crate::probe::{tcp, udp};

/// Behind the Service `nginx`, whose port is not the pods'.
const NGINX: &str = "
apiVersion: v1
kind: Service
metadata: {namespace: demo-project-2, name: nginx}
spec: {selector: {pod: nginx}, ports: [{name: http, port: 80, targetPort: 8080}]}
";

const TOMCAT: &str = "
apiVersion: v1
kind: Service
metadata: {namespace: demo-project, name: demo-service}
spec:
  type: NodePort
  externalTrafficPolicy: Local
  selector: {pod: tomcat}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case("isolation-on-and-off")
            .expect(everybody().allowed("*", "*"))
            // Somebody else's, which must outlive the isolation.
            .policy(
                "demo-project/theirs",
                "{podSelector: {matchLabels: {pod: tomcat}}, ingress: [{from: [{podSelector: {}}]}]}",
            )
            .act("on", |stage| stage.isolate(ON, &[("demo-project", "inside")]))
            .expect(isolated())
            .act("off", |stage| {
                stage.unisolate("NamespaceIsolation demo-project/default", &[("demo-project", "-")])
            })
            .expect(
                everybody()
                    .denied("*", "demo-project/tomcat")
                    .allowed("demo-project/*", "demo-project/tomcat"),
            ),
        case("isolation-a-friend-comes-in")
            .act("on", |stage| stage.isolate(ON, &[("demo-project", "inside")]))
            .act("a rule for a project", |stage| {
                let rule = rule!("friend", "{direction: Ingress, peer: {namespace: demo-project-2}}");
                stage.isolate(rule, &[("demo-project", "inside,rule/friend")])
            })
            .expect(isolated().allowed("demo-project-2/*", "demo-project/*"))
            .policy("demo-project-2/out", "{podSelector: {}, policyTypes: [Egress]}")
            .act("the peer's egress is in the way, and status says so", |stage| {
                stage.condition("IsolationRule demo-project/friend", "PeerAllows", "False PeerDenies")
            })
            .expect(cells(&[tcp(80)], &[("demo-project-2/nginx", "demo-project/web")]).denied("*", "*"))
            .act("the rule that status asks for", |stage| {
                let there = "
apiVersion: ringfence.dev/v1alpha1
kind: NamespaceIsolation
metadata: {namespace: demo-project-2, name: default}
spec: {}
---
apiVersion: ringfence.dev/v1alpha1
kind: IsolationRule
metadata: {namespace: demo-project-2, name: out}
spec: {direction: Egress, peer: {namespace: demo-project}}
";
                let wanted = "inside | inside,rule/out";
                stage.isolate(there, &[("demo-project-2", wanted)])?;
                stage.condition("IsolationRule demo-project/friend", "PeerAllows", "True PeerAllows")
            })
            .expect(cells(&[tcp(80)], &[("demo-project-2/nginx", "demo-project/web")]).allowed("*", "*"))
            .act("the rule is taken back", |stage| {
                stage.unisolate("IsolationRule demo-project/friend", &[("demo-project", "inside")])
            })
            .expect(cells(&[tcp(80)], &[("demo-project-2/nginx", "demo-project/web")]).denied("*", "*")),
        case("isolation-egress-to-a-service")
            .serves(&[tcp(8080), udp(1053)])
            .apply(NGINX)
            .apply(DNS)
            .act("on, with a rule for a Service", |stage| {
                stage.isolate(ON, &[("demo-project", "inside")])?;
                let rule = rule!(
                    "nginx",
                    "{direction: Egress, peer: {service: {namespace: demo-project-2, name: nginx}}, ports: [{port: 80}]}"
                );
                stage.isolate(rule, &[("demo-project", "inside | inside,dns,rule/nginx")])
            })
            .expect(
                matrix(&[tcp(8080)])
                    .denied("*", "demo-project/*")
                    .denied("demo-project/*", "*")
                    .allowed("demo-project/*", "demo-project/*")
                    .allowed("demo-project/*", "demo-project-2/nginx"),
            )
            .expect(by_address(80, "Service demo-project-2/nginx").allowed("*", "*"))
            // The Service's port is not the pods'.
            .expect(by_address(80, "demo-project-2/nginx").denied("*", "*"))
            .expect(resolves().allowed("*", "*"))
            .patch(
                "Service demo-project-2/nginx",
                "{spec: {ports: [{name: http, port: 80, targetPort: 81}]}}",
            )
            .act("the policy follows the Service", |stage| {
                stage.isolated_when("demo-project", "port 81", |policy| {
                    policy.is_some_and(|p| p["spec"]["egress"][2]["ports"][0]["port"] == 81)
                })
            })
            .expect(by_address(80, "Service demo-project-2/nginx").allowed("*", "*"))
            .expect(by_address(8080, "demo-project-2/nginx").denied("*", "*"))
            .delete("Service demo-project-2/nginx")
            .act("a peer that vanishes lets nothing through, and opens nothing", |stage| {
                stage.isolated(&[("demo-project", "inside | inside,dns")])?;
                stage.condition(
                    "IsolationRule demo-project/nginx",
                    "PeersResolved",
                    "False ServiceMissing",
                )
            })
            .expect(by_address(81, "demo-project-2/nginx").denied("*", "*"))
            .expect(resolves().allowed("*", "*")),
        case("isolation-an-address-comes-in")
            .serves(&[tcp(8080)])
            .apply(TOMCAT)
            .act("on, with a rule for a client's address and a Service's port", |stage| {
                stage.isolate(ON, &[("demo-project", "inside")])?;
                let rule = rule!(
                    "lan",
                    "{direction: Ingress, peer: {cidr: {cidr: 192.168.1.1/32}}, ports: [{servicePort: demo-service/80}]}"
                );
                stage.isolate(rule, &[("demo-project", "inside,rule/lan")])?;
                stage.condition("IsolationRule demo-project/lan", "SourceIPPreserved", "True Preserved")
            })
            .expect(by_node_port().denied("*", "*").allowed("lan", "node2").seen("lan", "node2", "lan"))
            .patch("Service demo-project/demo-service", "{spec: {externalTrafficPolicy: Cluster}}")
            .act("status says that clients may be hidden", |stage| {
                stage.condition(
                    "IsolationRule demo-project/lan",
                    "SourceIPPreserved",
                    "False ExternalTrafficPolicyCluster",
                )
            })
            // Through the other node he arrives with that node's address.
            .expect(by_node_port().denied("*", "*").allowed("lan", "node2")),
        case("isolation-egress-to-an-address")
            .apply(DNS)
            .serves(&[udp(1053)])
            .act("on, with a rule for an address and a port", |stage| {
                stage.isolate(ON, &[("demo-project", "inside")])?;
                let rule = rule!(
                    "out",
                    "{direction: Egress, peer: {cidr: {cidr: 10.1.0.1/32}}, ports: [{protocol: TCP, port: 80}]}"
                );
                stage.isolate(rule, &[("demo-project", "inside | inside,dns,rule/out")])
            })
            .expect(
                cells(
                    &[tcp(80)],
                    &[
                        ("demo-project/web", "service10"),
                        ("demo-project/web", "demo-project/tomcat"),
                        ("demo-project/web", "dns8"),
                        ("demo-project/web", "stranger/pod"),
                    ],
                )
                .denied("*", "*")
                .allowed("*", "service10")
                .allowed("*", "demo-project/tomcat"),
            )
            .expect(cells(&[tcp(81), udp(80)], &[("demo-project/web", "service10")]).denied("*", "*"))
            .expect(resolves().allowed("*", "*"))
            .act("without the rule egress is open again", |stage| {
                stage.unisolate("IsolationRule demo-project/out", &[("demo-project", "inside")])
            })
            .expect(isolated()),
        case("isolation-monitoring-and-a-gateway")
            .act("on", |stage| stage.isolate(ON, &[("demo-project", "inside")]))
            .expect(isolated())
            .act("the cluster's settings", |stage| {
                let config = "
apiVersion: ringfence.dev/v1alpha1
kind: IsolationConfig
metadata: {name: default}
spec: {allowedIngressNamespaces: [monitoring], gatewayNamespaces: [gateway]}
";
                let wanted = "inside,allowedIngressNamespaces,gatewayNamespaces";
                stage.isolate(config, &[("demo-project", wanted)])
            })
            .expect(
                isolated()
                    .allowed("monitoring/*", "demo-project/*")
                    .allowed("gateway/*", "demo-project/*"),
            ),
    ]
}

/// From the project to a pod or a Service.
fn by_address(port: u16, to: &'static str) -> Expect {
    cells(
        &[tcp(port)],
        &[("demo-project/web", to), ("demo-project/tomcat", to)],
    )
}

/// Names, by the address that pods ask.
fn resolves() -> Expect {
    cells(
        &[udp(53)],
        &[
            ("demo-project/web", "Service kube-system/kube-dns"),
            ("demo-project/tomcat", "Service kube-system/kube-dns"),
        ],
    )
}

/// Clients outside to demo-service; Tomcat is on node2.
fn by_node_port() -> Expect {
    cells(
        &[tcp(30_080)],
        &[
            ("lan", "node1"),
            ("lan", "node2"),
            ("office", "node1"),
            ("office", "node2"),
        ],
    )
    .over_ipv4()
}
