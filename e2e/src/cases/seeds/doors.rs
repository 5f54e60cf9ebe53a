//! Doors of a Service that the documents leave shut: UDP and IPv6, ports that are not the
//! pods', a pod that calls itself; and seed 003's performance policy behind a node port.

use crate::case::{Case, ObjectsKind, Stage, cells};
use crate::controlplane::ProxyMode;
use crate::fabric::{Placement, Services};
use crate::probe::{Observation, Outcome, tcp, udp};
use crate::truth::Cell;
use anyhow::{Result, ensure};

const PODS: [&str; 6] = [
    "shop/one@node1",
    "shop/two@node2",
    "client/near@node1",
    "client/far@node2",
    "default/nginx-1@node1",
    "default/nginx-2@node2",
];

const LOCAL: u16 = 31_610;
const CLUSTER: u16 = 31_611;
const PERF: u16 = 31_620;

/// Both families and both protocols, to the port 80 of one pod each.
const DUAL: &str = "
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: one}
spec:
  type: NodePort
  externalTrafficPolicy: Local
  ipFamilyPolicy: RequireDualStack
  clusterIP: 10.96.77.1
  clusterIPs: [10.96.77.1, 'fd00:10:96::771']
  selector: {pod: one}
  ports:
  - {name: tcp, protocol: TCP, port: 8443, targetPort: 80, nodePort: 31610}
  - {name: udp, protocol: UDP, port: 8443, targetPort: 80, nodePort: 31610}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: two}
spec:
  type: NodePort
  externalTrafficPolicy: Cluster
  ipFamilyPolicy: RequireDualStack
  clusterIP: 10.96.77.2
  clusterIPs: [10.96.77.2, 'fd00:10:96::772']
  selector: {pod: two}
  ports:
  - {name: tcp, protocol: TCP, port: 8443, targetPort: 80, nodePort: 31611}
  - {name: udp, protocol: UDP, port: 8443, targetPort: 80, nodePort: 31611}
";

/// One port of the Service, two of the pods.
const NAMED: &str = "
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: web}]
";

/// As the document's: one Service before two nginx, on the policy's three ports.
const NGINX: &str = "
apiVersion: v1
kind: Service
metadata: {namespace: default, name: nginx}
spec:
  type: NodePort
  externalTrafficPolicy: Local
  selector: {app: nginx}
  ports: [{port: 80, targetPort: 8080, nodePort: 31620}]
";

/// The cases.
pub fn cases() -> Vec<Case> {
    let iptables = through(
        ProxyMode::Iptables,
        [
            "doors-dual-stack",
            "doors-named-ports",
            "doors-own-service",
            "tencent-performance-policy-behind-a-node-port",
        ],
    );
    let nftables = through(
        ProxyMode::Nftables,
        [
            "nft-doors-dual-stack",
            "nft-doors-named-ports",
            "nft-doors-own-service",
            "nft-tencent-performance-policy-behind-a-node-port",
        ],
    );
    [iptables, nftables].concat()
}

fn through(mode: ProxyMode, names: [&'static str; 4]) -> Vec<Case> {
    let case = |name| {
        Case::new(name, "scenarios.md, beyond what any suite has")
            .tags(&["seed", "node-port"])
            .placements(&[Placement::Spread])
            .pods(&PODS)
            .serves(&[tcp(8080), tcp(9090)])
            .only(ObjectsKind::Apiserver)
            .services(Services {
                mode,
                ..Services::default()
            })
    };
    let [dual, port_names, own, perf] = names;
    vec![
        dual_stack(case(dual)),
        named_ports(case(port_names)),
        own_service(case(own)),
        performance(case(perf)),
    ]
}

fn dual_stack(case: Case) -> Case {
    let local = || {
        cells(
            &[tcp(LOCAL), udp(LOCAL)],
            &[
                ("office", "node1"),
                ("office6", "node1"),
                ("stranger", "node1"),
                ("stranger6", "node1"),
                ("office", "node2"),
                ("office6", "node2"),
                ("client/near", "node1"),
                ("client/far", "node1"),
                ("client/far", "node2"),
            ],
        )
    };
    let cluster = || {
        cells(
            &[tcp(CLUSTER), udp(CLUSTER)],
            &[
                ("office", "node1"),
                ("office6", "node1"),
                ("office", "node2"),
                ("office6", "node2"),
                ("stranger", "node2"),
                ("stranger6", "node2"),
            ],
        )
    };
    let inside = || {
        cells(
            &[tcp(8443), udp(8443)],
            &[
                ("client/near", "Service shop/one"),
                ("client/far", "Service shop/one"),
                ("client/near", "Service shop/two"),
                ("client/far", "Service shop/two"),
            ],
        )
    };
    case.apply(DUAL)
        .expect(
            local()
                .denied("office", "node2")
                .denied("office6", "node2")
                .seen("office", "*", "office")
                .seen("office6", "*", "office6")
                .seen("client/near", "node1", "client/near")
                .seen("client/far", "node2", "client/far")
                .seen("client/far", "node1", "node2"),
        )
        .expect(
            cluster()
                .allowed("*", "*")
                .seen("office", "node1", "node1")
                .seen("office6", "node1", "node1"),
        )
        .policy("shop/offices", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.2.3.4/32}}, {ipBlock: {cidr: '2001:db8:2:3::4/128'}}], ports: [{port: 80}, {port: 80, protocol: UDP}]}]}")
        .expect(
            local()
                .denied("*", "*")
                .allowed("office", "node1")
                .allowed("office6", "node1"),
        )
        .expect(
            cluster()
                .denied("*", "*")
                .allowed("office", "node2")
                .allowed("office6", "node2"),
        )
        .expect(inside().denied("*", "*"))
        .policy("shop/clients", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: client}}}]}]}")
        .expect(
            inside()
                .allowed("*", "*")
                .seen("client/near", "*", "client/near")
                .seen("client/far", "*", "client/far"),
        )
}

fn named_ports(case: Case) -> Case {
    let ask = || {
        cells(
            &[tcp(80)],
            &[
                ("client/near", "Service shop/web"),
                ("client/far", "Service shop/web"),
            ],
        )
    };
    case.label("Pod shop/one", &[("app", "web")])
        .label("Pod shop/two", &[("app", "web")])
        .patch("Pod shop/one", "{spec: {containers: [{name: server, image: server, ports: [{name: web, containerPort: 8080}]}]}}")
        .patch("Pod shop/two", "{spec: {containers: [{name: server, image: server, ports: [{name: web, containerPort: 9090}]}]}}")
        .apply(NAMED)
        .expect(ask().allowed("*", "*"))
        // The Service's port is on nobody's list of ports.
        .policy("shop/in", "{podSelector: {}, ingress: [{ports: [{port: 80}]}]}")
        .expect(ask().denied("*", "*"))
        .policy("shop/in", "{podSelector: {}, ingress: [{ports: [{port: web}]}]}")
        .expect(ask().allowed("*", "*"))
        .policy("client/out", "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {ns: shop}}}], ports: [{port: 80}]}]}")
        .expect(ask().denied("*", "*"))
        .policy("client/out", "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {ns: shop}}}], ports: [{port: web}]}]}")
        .expect(ask().allowed("*", "*"))
}

fn own_service(case: Case) -> Case {
    // A pod always reaches its own address, also by way of its Service.
    case.apply(DUAL)
        .policy(
            "shop/shut",
            "{podSelector: {}, policyTypes: [Ingress, Egress]}",
        )
        .expect(
            cells(
                &[tcp(8443), udp(8443)],
                &[
                    ("shop/one", "Service shop/one"),
                    ("shop/two", "Service shop/two"),
                    ("shop/two", "Service shop/one"),
                    ("client/near", "Service shop/one"),
                ],
            )
            .denied("*", "*")
            .allowed("shop/one", "Service shop/one")
            .allowed("shop/two", "Service shop/two"),
        )
        .expect(
            cells(
                &[tcp(LOCAL), udp(LOCAL)],
                &[("shop/one", "node1"), ("client/near", "node1")],
            )
            .denied("client/near", "*"),
        )
}

fn performance(case: Case) -> Case {
    let doors = || {
        cells(
            &[tcp(PERF)],
            &[
                ("net14", "node1"),
                ("net14", "node2"),
                ("office", "node1"),
                ("office", "node2"),
                ("client/near", "node1"),
            ],
        )
        .over_ipv4()
        .denied("*", "*")
        .allowed("net14", "*")
    };
    case.tags(&["seed-003"])
        .label("Pod default/nginx-1", &[("app", "nginx")])
        .label("Pod default/nginx-2", &[("app", "nginx")])
        .apply(NGINX)
        .apply(seed!("003/06-perf"))
        .expect(doors().seen("net14", "*", "net14"))
        // The machine that measures must be in 14.215.0.0/16, and no pod is.
        .expect(
            cells(
                &[tcp(80)],
                &[
                    ("client/near", "Service default/nginx"),
                    ("client/far", "Service default/nginx"),
                ],
            )
            .denied("*", "*"),
        )
        .act("no request fails", no_request_fails)
        // With Cluster half of them go over another node, whose address is not on the list.
        .patch(
            "Service default/nginx",
            "{spec: {externalTrafficPolicy: Cluster}}",
        )
        .act("some requests fail", some_requests_fail)
}

/// One request to Service nginx.
fn request(node: &str) -> Cell {
    Cell {
        from: "net14".into(),
        to: node.into(),
        v4: true,
        transport: tcp(PERF),
    }
}

fn no_request_fails(stage: &mut Stage) -> Result<()> {
    for number in 0..200 {
        let cell = request(if number % 2 == 0 { "node1" } else { "node2" });
        for seen in stage.probe(&[(&cell, Outcome::Allowed)])? {
            let Observation {
                outcome, detail, ..
            } = seen;
            ensure!(
                outcome == Outcome::Allowed,
                "request {number}, {cell}: {outcome} {detail}"
            );
        }
    }
    Ok(())
}

fn some_requests_fail(stage: &mut Stage) -> Result<()> {
    let cell = request("node1");
    let seen = stage.probe(&[(&cell, Outcome::Dropped); 64])?;
    let passed = seen.iter().filter(|o| o.outcome == Outcome::Allowed);
    let (passed, all) = (passed.count(), seen.len());
    ensure!(
        0 < passed && passed < all,
        "{passed} of {all} passed: all or none, although one of two backends is on node1"
    );
    Ok(())
}
