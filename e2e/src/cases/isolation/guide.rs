//! Every step of the guide.

use super::{ON, WITH_DNS, case, everybody, isolated, isolated_from_outside, outside, rule};
use crate::case::{Case, Expect, cells, matrix};
use crate::probe::{tcp, udp};

/// Somebody else's, which must outlive the isolation.
const THEIRS: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  namespace: demo-project
  name: theirs
  annotations: {inject.ringfence.dev/monitoring: 'off'}
spec: {podSelector: {matchLabels: {pod: tomcat}}, ingress: [{from: [{podSelector: {}}]}]}
";

/// Behind the Service `nginx`, whose port is not the pods'.
const NGINX: &str = "
apiVersion: v1
kind: Service
metadata: {namespace: demo-project-2, name: nginx}
spec: {selector: {pod: nginx}, ports: [{name: http, port: 80, targetPort: 8080}]}
";

/// A name that resolves as long as DNS is reached.
const NAME: &str = "web.demo-project.svc.cluster.local";

const WEB: &str = "
apiVersion: v1
kind: Service
metadata: {namespace: demo-project, name: web}
spec: {selector: {pod: web}, ports: [{port: 80}]}
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

/// The friend's own fence, with a rule that lets it out to the project.
const THERE: &str = "
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

/// The cluster's settings.
const SETTINGS: &str = "
apiVersion: ringfence.dev/v1alpha1
kind: IsolationConfig
metadata: {name: default}
spec: {allowedIngressNamespaces: [monitoring], gatewayNamespaces: [gateway]}
";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case("isolation-on-and-off")
            .expect(everybody().allowed("*", "*"))
            .apply(THEIRS)
            .isolate(ON, &[("demo-project", "inside")])
            .expect(isolated())
            .unisolate("NamespaceIsolation demo-project/default", &[("demo-project", "-")])
            .expect(
                everybody()
                    .denied("*", "demo-project/tomcat")
                    .allowed("demo-project/*", "demo-project/tomcat"),
            ),
        case("isolation-a-friend-comes-in")
            .dns()
            .isolate(ON, &[("demo-project", "inside")])
            .isolate(
                rule!("friend", "{direction: Ingress, peer: {namespace: demo-project-2}}"),
                &[("demo-project", "inside,rule/friend")],
            )
            .expect(isolated().allowed("demo-project-2/*", "demo-project/*"))
            .policy("demo-project-2/out", "{podSelector: {}, policyTypes: [Egress]}")
            // The peer's egress is in the way, and status says so.
            .condition("IsolationRule demo-project/friend", "PeerAllows", "False PeerDenies")
            .expect(cells(&[tcp(80)], &[("demo-project-2/nginx", "demo-project/web")]).denied("*", "*"))
            // The rule that status asks for.
            .isolate(THERE, &[("demo-project-2", "inside | inside,dns,rule/out")])
            .condition("IsolationRule demo-project/friend", "PeerAllows", "True PeerAllows")
            .expect(cells(&[tcp(80)], &[("demo-project-2/nginx", "demo-project/web")]).allowed("*", "*"))
            .unisolate("IsolationRule demo-project/friend", &[("demo-project", "inside")])
            .expect(cells(&[tcp(80)], &[("demo-project-2/nginx", "demo-project/web")]).denied("*", "*")),
        case("isolation-egress-to-a-service")
            .pods(&WITH_DNS)
            .serves(&[tcp(8080)])
            .apply(NGINX)
            .apply(WEB)
            .dns()
            .resolves("demo-project/web", NAME, true)
            .isolate(ON, &[("demo-project", "inside")])
            .isolate(
                rule!(
                    "nginx",
                    "{direction: Egress, peer: {service: {namespace: demo-project-2, name: nginx}}, ports: [{port: 80}]}"
                ),
                &[("demo-project", "inside | inside,dns,rule/nginx")],
            )
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
            .resolves("demo-project/tomcat", NAME, true)
            .patch(
                "Service demo-project-2/nginx",
                "{spec: {ports: [{name: http, port: 80, targetPort: 81}]}}",
            )
            // The policy follows the Service.
            .rendered("demo-project", "/spec/egress/2/ports/0/port", 81)
            .expect(by_address(80, "Service demo-project-2/nginx").allowed("*", "*"))
            .expect(by_address(8080, "demo-project-2/nginx").denied("*", "*"))
            .delete("Service demo-project-2/nginx")
            // A peer that vanishes lets nothing through, and opens nothing.
            .isolate("", &[("demo-project", "inside | inside,dns")])
            .condition("IsolationRule demo-project/nginx", "PeersResolved", "False ServiceMissing")
            .expect(by_address(81, "demo-project-2/nginx").denied("*", "*"))
            .resolves("demo-project/tomcat", NAME, true),
        case("isolation-an-address-comes-in")
            .serves(&[tcp(8080)])
            .apply(TOMCAT)
            .isolate(ON, &[("demo-project", "inside")])
            .isolate(
                rule!(
                    "lan",
                    "{direction: Ingress, peer: {cidr: {cidr: 192.168.1.1/32}}, ports: [{servicePort: demo-service/80}]}"
                ),
                &[("demo-project", "inside,rule/lan")],
            )
            .condition("IsolationRule demo-project/lan", "SourceIPPreserved", "True Preserved")
            .expect(by_node_port().denied("*", "*").allowed("lan", "node2").seen("lan", "node2", "lan"))
            .patch("Service demo-project/demo-service", "{spec: {externalTrafficPolicy: Cluster}}")
            // Status says that clients may be hidden.
            .condition(
                "IsolationRule demo-project/lan",
                "SourceIPPreserved",
                "False ExternalTrafficPolicyCluster",
            )
            // Through the other node he arrives with that node's address.
            .expect(by_node_port().denied("*", "*").allowed("lan", "node2")),
        case("isolation-egress-to-an-address")
            .pods(&WITH_DNS)
            .apply(WEB)
            .dns()
            .resolves("demo-project/web", NAME, true)
            .isolate(ON, &[("demo-project", "inside")])
            .isolate(
                rule!(
                    "out",
                    "{direction: Egress, peer: {cidr: {cidr: 10.1.0.1/32}}, ports: [{protocol: TCP, port: 80}]}"
                ),
                &[("demo-project", "inside | inside,dns,rule/out")],
            )
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
            .resolves("demo-project/tomcat", NAME, true)
            // Without the rule egress is open again.
            .unisolate("IsolationRule demo-project/out", &[("demo-project", "inside")])
            .expect(isolated()),
        case("isolation-monitoring-and-a-gateway")
            .expect(outside().allowed("*", "*"))
            .isolate(ON, &[("demo-project", "inside")])
            .expect(isolated())
            .expect(isolated_from_outside())
            .isolate(
                SETTINGS,
                &[("demo-project", "inside,allowedIngressNamespaces,gatewayNamespaces")],
            )
            .expect(
                isolated()
                    .allowed("monitoring/*", "demo-project/*")
                    .allowed("gateway/*", "demo-project/*"),
            )
            .expect(isolated_from_outside()),
    ]
}

/// From the project to a pod or a Service.
fn by_address(port: u16, to: &'static str) -> Expect {
    cells(
        &[tcp(port)],
        &[("demo-project/web", to), ("demo-project/tomcat", to)],
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
