//! Ports of rules, named ports, Service ports, and pods of the host's network.

use super::{PODS, case, own, postgres};
use crate::case::{Case, Expect, ObjectsKind, cells, matrix};
use crate::probe::{icmp, tcp, udp};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    [ports(), host_network()].concat()
}

fn ports() -> Vec<Case> {
    vec![
        case("ports-belong-to-all-peers-of-a-rule")
            .apply(seed!("004/25-ports-shared"))
            .expect(postgres(
                matrix(&[tcp(443), tcp(80)]),
                &["default/indexer", "default/admin"],
            ))
            .expect(postgres(matrix(&[tcp(81), udp(80), icmp()]), &[])),
        case("ports-of-each-peer")
            .apply(seed!("004/26-ports-per-peer"))
            .expect(postgres(matrix(&[tcp(443)]), &["default/indexer"]))
            .expect(postgres(matrix(&[tcp(80)]), &["default/admin"])),
        hello("named-port")
            .apply(seed!("004/27-allow-hello"))
            .expect(own(
                matrix(&[tcp(8080)])
                    .denied("*", "default/hello")
                    .allowed("default/curl", "default/hello"),
                &PODS,
            ))
            .expect(own(matrix(&[tcp(80), udp(80)]).denied("*", "default/hello"), &PODS))
            // A pod without a port of that name is reached on none.
            .patch("Pod default/hello", "{spec: {containers: [{name: server, image: server}]}}")
            .expect(own(matrix(&[tcp(8080)]).denied("*", "default/hello"), &PODS)),
        hello("service-port-is-not-the-pods-port")
            .only(ObjectsKind::Apiserver)
            .apply(seed!("004/28-hello"))
            .expect(to_hello().allowed("*", "*"))
            .apply(seed!("004/27-allow-hello"))
            .expect(to_hello().denied("*", "*").allowed("default/curl", "*"))
            .policy("default/default.allow-hello", "{podSelector: {matchLabels: {app: hello}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {matchLabels: {run: curl}}}], ports: [{port: 80}]}]}")
            .expect(to_hello().denied("*", "*")),
    ]
}

fn hello(name: &'static str) -> Case {
    case(name)
        .label("Pod default/hello", &[("app", "hello")])
        .label("Pod default/curl", &[("run", "curl")])
        .patch(
            "Pod default/hello",
            "{spec: {containers: [{name: hello-node, image: hello-node, ports: [{name: my-http, containerPort: 8080}]}]}}",
        )
}

fn to_hello() -> Expect {
    cells(
        &[tcp(80)],
        &[
            ("default/curl", "Service default/hello"),
            ("default/admin", "Service default/hello"),
        ],
    )
}

fn host_network() -> Vec<Case> {
    let pair = [
        ("node1", "default/postgres"),
        ("node2", "default/postgres"),
        ("node2", "default/indexer"),
        ("node1", "default/indexer"),
        ("default/postgres", "node2"),
        ("default/curl", "node1"),
    ];
    vec![
        // Selected, and yet nothing of it is shut; as a source it is its node.
        case("host-network-is-no-target-and-no-peer")
            .apply(seed!("004/29-host-network"))
            .apply(seed!("004/04-postgres-from-admin"))
            .policy("default/shut", "{podSelector: {matchLabels: {app: admin}}, policyTypes: [Ingress, Egress]}")
            .expect(cells(&[tcp(80)], &pair))
            .expect(
                cells(&[tcp(80)], &[("node2", "default/postgres"), ("node1", "default/postgres")])
                    .denied("node2", "*"),
            )
            .expect(cells(&[tcp(80), udp(80)], &[("default/curl", "node1"), ("other/admin", "node2")]).allowed("*", "*"))
            // An ipBlock with the node's address admits it.
            .policy("default/nodes", "{podSelector: {matchLabels: {app: postgres}}, ingress: [{from: [{ipBlock: {cidr: 10.102.123.0/24}}, {ipBlock: {cidr: 'fd00:102::/64'}}]}]}")
            .expect(
                cells(&[tcp(80)], &[("node2", "default/postgres"), ("node1", "default/postgres")])
                    .allowed("*", "*"),
            ),
        case("block-with-a-pods-address")
            .policy("default/in", "{podSelector: {matchLabels: {app: postgres}}, ingress: [{from: [{ipBlock: {cidr: 10.16.0.0/14}}, {ipBlock: {cidr: 'fd00:10:16::/48'}}]}]}")
            .expect(
                matrix(&[tcp(80), udp(80)])
                    .and(&[("office", "default/postgres"), ("stranger6", "default/postgres")])
                    .denied("office", "*")
                    .denied("stranger6", "*"),
            ),
    ]
}
