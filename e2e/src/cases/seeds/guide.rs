//! Seed 000: a guide to project isolation. Each step of it, and each question of its FAQ.

use super::own;
use crate::case::{Case, Expect, ObjectsKind, cells, matrix};
use crate::probe::{tcp, udp};

const PODS: [&str; 6] = [
    "demo-project/web",
    "demo-project-2/nginx",
    "demo-project/tomcat",
    "demo-project-2/other",
    "stranger/pod",
    "kubesphere-monitoring-system/prometheus",
];

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case("guide-isolation-switched-on-and-off")
            .apply(seed!("000/a-ingress-from-project"))
            .expect(isolated().allowed("demo-project-2/*", "demo-project/*"))
            .delete("NetworkPolicy demo-project/allow-demo-project-2")
            .expect(isolated())
            .delete("NetworkPolicy demo-project/network-isolation")
            .expect(from_outside().allowed("*", "*")),
        case("guide-the-other-project-needs-egress-too")
            .apply(seed!("000/a-ingress-from-project"))
            .policy("demo-project-2/out", "{podSelector: {}, policyTypes: [Egress]}")
            .expect(own(isolated().denied("demo-project-2/*", "*"), &PODS)),
        case("guide-egress-to-a-service")
            .serves(&[tcp(8080)])
            .label("Pod demo-project-2/nginx", &[("app", "nginx")])
            .apply(seed!("000/b-egress-to-service"))
            .expect(own(
                matrix(&[tcp(8080)])
                    .denied("demo-project/*", "*")
                    .allowed("demo-project/*", "demo-project-2/nginx"),
                &PODS,
            ))
            // The Service's port is not the pod's, and the guide forgets DNS.
            .expect(own(matrix(&[tcp(80), udp(80)]).denied("demo-project/*", "*"), &PODS))
            .expect(
                cells(&[tcp(8080)], &[("demo-project/web", "dns8"), ("stranger/pod", "dns8")])
                    .denied("demo-project/*", "dns8"),
            ),
        case("guide-egress-to-a-service-by-its-address")
            .only(ObjectsKind::Apiserver)
            .serves(&[tcp(8080)])
            .label("Pod demo-project-2/nginx", &[("app", "nginx")])
            .apply(seed!("000/b-egress-to-service"))
            .expect(
                cells(
                    &[tcp(80)],
                    &[
                        ("demo-project/web", "Service demo-project-2/nginx"),
                        ("demo-project/tomcat", "Service demo-project-2/nginx"),
                        ("stranger/pod", "Service demo-project-2/nginx"),
                    ],
                )
                .allowed("*", "*"),
            )
            .label("Pod demo-project-2/other", &[("app", "nginx")])
            .label("Pod demo-project-2/nginx", &[("app", "former")])
            .expect(
                cells(&[tcp(80)], &[("demo-project/web", "Service demo-project-2/nginx")])
                    .allowed("*", "*"),
            ),
        case("guide-ingress-from-an-address")
            .serves(&[tcp(8080)])
            .label("Pod demo-project/tomcat", &[("app", "tomcat")])
            .apply(seed!("000/c-ingress-from-cidr"))
            .expect(
                from(&["lan", "office", "stranger", "stranger/pod", "demo-project/web"], 80)
                    .denied("*", "*")
                    .allowed("lan", "*"),
            )
            // Tomcat listens on 8080, and the rule says 80: nobody gets there.
            .expect(from(&["lan", "office", "demo-project/web"], 8080).denied("*", "*")),
        case("guide-ingress-from-an-address-by-a-node-port")
            .only(ObjectsKind::Apiserver)
            .serves(&[tcp(8080)])
            .label("Pod demo-project/tomcat", &[("app", "tomcat")])
            .apply(seed!("000/c-ingress-from-cidr"))
            .patch("Service demo-project/demo-service", "{spec: {ports: [{name: http, protocol: TCP, port: 80, targetPort: 8080, nodePort: 30080}]}}")
            // The rule has the Service's port, and Tomcat another.
            .expect(by_node_port().denied("*", "*"))
            .patch("NetworkPolicy demo-project/ingress-from-client", "{spec: {ingress: [{from: [{ipBlock: {cidr: 192.168.1.1/32}}], ports: [{port: 8080}]}]}}")
            .expect(
                by_node_port()
                    .denied("*", "*")
                    .allowed("lan", "node1")
                    .seen("lan", "node1", "lan"),
            )
            // With Cluster another node answers as well, but not for him: it is asked as itself.
            .patch("Service demo-project/demo-service", "{spec: {externalTrafficPolicy: Cluster}}")
            .expect(by_node_port().denied("*", "*").allowed("lan", "node1"))
            .policy("demo-project/nodes", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.102.123.0/24}}], ports: [{port: 8080}]}]}")
            .expect(
                by_node_port()
                    .denied("*", "node1")
                    .allowed("lan", "node1")
                    .seen("lan", "node2", "node2"),
            ),
        case("guide-egress-to-an-address")
            .apply(seed!("000/d-egress-to-cidr"))
            .expect(
                cells(
                    &[tcp(80)],
                    &[
                        ("demo-project/web", "service10"),
                        ("demo-project/tomcat", "service10"),
                        ("demo-project/web", "dns8"),
                        ("demo-project/web", "stranger/pod"),
                        ("demo-project/web", "stranger6"),
                        ("stranger/pod", "demo-project/web"),
                    ],
                )
                .denied("demo-project/*", "*")
                .allowed("demo-project/*", "service10"),
            )
            .expect(
                cells(&[tcp(81), udp(80)], &[("demo-project/web", "service10")]).denied("*", "*"),
            ),
        case("guide-monitoring-is-shut-out")
            .only(ObjectsKind::Folder)
            .apply(seed!("000/a-ingress-from-project"))
            // By itself it is no policy: an unknown kind in the folder, left aside.
            .apply(seed!("000/e-allowed-ingress-namespaces"))
            .expect(isolated().allowed("demo-project-2/*", "demo-project/*"))
            .policy("demo-project/monitoring", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [kubesphere-system, kubesphere-monitoring-system]}]}}]}]}")
            .expect(
                isolated()
                    .allowed("demo-project-2/*", "demo-project/*")
                    .allowed("kubesphere-monitoring-system/*", "demo-project/*"),
            ),
    ]
}

fn case(name: &'static str) -> Case {
    Case::new(name, "seed 000, project network isolation")
        .tags(&["seed", "seed-000"])
        .pods(&PODS)
}

/// Every pod, and the outside, to the project.
fn from_outside() -> Expect {
    matrix(&[tcp(80), udp(80)]).and(&[
        ("office", "demo-project/web"),
        ("stranger6", "demo-project/tomcat"),
        ("demo-project/web", "dns8"),
    ])
}

/// Isolation as it is when it is switched on: in from the project only, out freely.
fn isolated() -> Expect {
    from_outside()
        .denied("*", "demo-project/*")
        .allowed("demo-project/*", "demo-project/*")
}

/// Clients outside to demo-service; Tomcat is on node1.
fn by_node_port() -> Expect {
    cells(
        &[tcp(30_080)],
        &[
            ("lan", "node1"),
            ("lan", "node2"),
            ("office", "node1"),
            ("office", "node2"),
            ("stranger", "node1"),
        ],
    )
}

/// These clients to Tomcat.
fn from(clients: &[&'static str], port: u16) -> Expect {
    let pairs: Vec<(&str, &str)> = clients
        .iter()
        .map(|c| (*c, "demo-project/tomcat"))
        .collect();
    cells(&[tcp(port)], &pairs)
}
