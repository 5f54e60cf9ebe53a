//! Seed 002: NodePort and NetworkPolicy over an overlay; who is seen where, with the real
//! kube-proxy. Endpoint on node2, entry by any node, clients everywhere.

use crate::case::{Case, Expect, ObjectsKind, cells};
use crate::controlplane::ProxyMode;
use crate::fabric::{Placement, PodKind, Services};
use crate::probe::tcp;
use std::net::Ipv4Addr;

/// node1, node2 and node3 of the document, and their pod ranges: `.0` is the tunnel's
/// address.
const PLACES: [(Ipv4Addr, Ipv4Addr); 3] = [
    (
        Ipv4Addr::new(10, 102, 123, 117),
        Ipv4Addr::new(10, 233, 90, 0),
    ),
    (
        Ipv4Addr::new(10, 102, 123, 104),
        Ipv4Addr::new(10, 233, 96, 0),
    ),
    (
        Ipv4Addr::new(10, 102, 123, 143),
        Ipv4Addr::new(10, 233, 92, 0),
    ),
];

const DASHBOARD: &str = "tekton-pipelines/tekton-dashboard-75c65d785b-xbgk6";

/// What the policies of the document speak of, a workload that is in foo, and who calls.
const PODS: [&str; 7] = [
    "tekton-pipelines/tekton-dashboard-75c65d785b-xbgk6@node2:32",
    "foo/web@node2",
    "foo/friend@node1",
    "bar/one@node1",
    "bar/two@node2",
    "bar/three@node3",
    "free/pod@node3",
];

const LOCAL: u16 = 31_603;
const CLUSTER: u16 = 31_604;

/// foo's workload behind two node ports, and behind a port that is not its own.
const FOO: &str = "
apiVersion: v1
kind: Service
metadata: {namespace: foo, name: local}
spec:
  type: NodePort
  externalTrafficPolicy: Local
  selector: {pod: web}
  ports: [{port: 9097, targetPort: 80, nodePort: 31603}]
---
apiVersion: v1
kind: Service
metadata: {namespace: foo, name: cluster}
spec:
  type: NodePort
  externalTrafficPolicy: Cluster
  selector: {pod: web}
  ports: [{port: 9097, targetPort: 80, nodePort: 31604}]
";

/// The cases.
pub fn cases() -> Vec<Case> {
    let mut all = direct();
    all.extend(through(
        ProxyMode::Iptables,
        [
            "node-port-open",
            "node-port-v1",
            "node-port-v2-hole",
            "node-port-v3",
            "node-port-document",
        ],
    ));
    all.extend(through(
        ProxyMode::Nftables,
        [
            "nft-node-port-open",
            "nft-node-port-v1",
            "nft-node-port-v2-hole",
            "nft-node-port-v3",
            "nft-node-port-document",
        ],
    ));
    all.extend(masquerade_all(
        ProxyMode::Iptables,
        ["masquerade-all-false", "masquerade-all-true"],
    ));
    all.extend(masquerade_all(
        ProxyMode::Nftables,
        ["nft-masquerade-all-false", "nft-masquerade-all-true"],
    ));
    all
}

fn world(name: &'static str) -> Case {
    Case::new(
        name,
        "seed 002, NodePort and NetworkPolicy under an overlay",
    )
    .tags(&["seed", "seed-002"])
    .places(&PLACES)
    .overlay()
    .placements(&[Placement::Spread])
    .pods(&PODS)
    .serves(&[tcp(9097)])
    .label("Namespace bar", &[("region", "bar")])
    .label("Namespace foo", &[("region", "foo")])
}

/// Straight to the pods, without Services.
fn direct() -> Vec<Case> {
    let all = || {
        cells(
            &[tcp(80)],
            &[
                ("office", "foo/web"),
                ("stranger", "foo/web"),
                ("bar/one", "foo/web"),
                ("bar/two", "foo/web"),
                ("bar/three", "foo/web"),
                ("free/pod", "foo/web"),
                ("foo/friend", "foo/web"),
                ("foo/web", "bar/one"),
            ],
        )
    };
    vec![
        world("overlay-v1")
            .apply(seed!("002/02-v1"))
            // NotIn admits free, which has no label at all.
            .expect(all().denied("bar/*", "foo/web").denied("stranger", "*")),
        world("overlay-v2")
            .apply(seed!("002/03-v2"))
            .expect(all().denied("bar/*", "foo/web").denied("stranger", "*")),
        world("overlay-deny-all-then-v3")
            .apply(seed!("002/04-deny-all"))
            .expect(all().denied("*", "foo/web"))
            .apply(seed!("002/05-v3"))
            // Every namespace is cut, foo as well.
            .expect(all().denied("*", "foo/web").allowed("office", "foo/web")),
        // The policies are in foo, the document's workload is not.
        world("overlay-policy-in-another-namespace")
            .apply(seed!("002/02-v1"))
            .apply(seed!("002/05-v3"))
            .expect(
                cells(
                    &[tcp(9097)],
                    &[
                        ("bar/one", DASHBOARD),
                        ("bar/two", DASHBOARD),
                        ("stranger", DASHBOARD),
                    ],
                )
                .allowed("*", "*"),
            ),
    ]
}

/// Every caller by every door of foo's workload.
fn doors(port: u16) -> Expect {
    cells(
        &[tcp(port)],
        &[
            ("office", "node1"),
            ("office", "node2"),
            ("office", "node3"),
            ("stranger", "node1"),
            ("stranger", "node2"),
            ("bar/one", "node1"),
            ("bar/one", "node2"),
            ("bar/one", "node3"),
            ("bar/two", "node2"),
            ("bar/three", "node1"),
            ("bar/three", "node3"),
            ("node1", "node1"),
            ("node3", "node1"),
            ("node2", "node2"),
        ],
    )
    .over_ipv4()
}

fn by_cluster_ip() -> Expect {
    cells(
        &[tcp(9097)],
        &[
            ("bar/one", "Service foo/local"),
            ("bar/two", "Service foo/local"),
            ("bar/three", "Service foo/cluster"),
            ("free/pod", "Service foo/cluster"),
            ("foo/friend", "Service foo/cluster"),
        ],
    )
}

/// The document's world with Services.
pub(super) fn behind(mode: ProxyMode, name: &'static str) -> Case {
    world(name)
        .only(ObjectsKind::Apiserver)
        .services(Services {
            mode,
            pods: (Ipv4Addr::new(10, 233, 64, 0), 18),
            range: (Ipv4Addr::new(10, 233, 0, 0), 18),
            ..Services::default()
        })
        .tags(&["node-port"])
}

fn through(mode: ProxyMode, names: [&'static str; 5]) -> Vec<Case> {
    let case = |name| behind(mode, name).apply(FOO);
    // A node without the endpoint does not answer strangers to it, with Local.
    let silent = |expect: Expect| {
        expect
            .denied("office", "node1")
            .denied("office", "node3")
            .denied("stranger", "node1")
            .denied("bar/one", "node3")
            .denied("bar/three", "node1")
            .denied("node3", "node1")
    };
    let [open, v1, v2, v3, document] = names;
    vec![
        case(open)
            .expect(
                doors(CLUSTER)
                    .allowed("*", "*")
                    // Entry by another node: its tunnel's address, whoever calls.
                    .seen("office", "node1", "10.233.90.0")
                    .seen("office", "node3", "10.233.92.0")
                    .seen("bar/one", "node1", "10.233.90.0")
                    .seen("bar/three", "node1", "10.233.90.0"),
            )
            .expect(
                silent(doors(LOCAL))
                    .seen("office", "node2", "office")
                    .seen("stranger", "node2", "stranger")
                    .seen("bar/two", "node2", "bar/two")
                    .seen("bar/one", "node1", "bar/one")
                    // Local keeps no pod's address on its way to another node.
                    .seen("bar/one", "node2", "node1"),
            )
            .expect(
                by_cluster_ip()
                    .allowed("*", "*")
                    .seen("bar/one", "*", "bar/one")
                    .seen("bar/three", "*", "bar/three"),
            ),
        case(v1)
            .apply(seed!("002/02-v1"))
            // "Blocked completely", says the text: by the endpoint's node the client passes.
            .expect(
                doors(CLUSTER)
                    .denied("*", "*")
                    .allowed("office", "node2")
                    .allowed("node2", "node2"),
            )
            .expect(
                doors(LOCAL)
                    .denied("*", "*")
                    .allowed("office", "node2")
                    .allowed("node2", "node2"),
            )
            .expect(by_cluster_ip().denied("bar/*", "*")),
        case(v2)
            .apply(seed!("002/03-v2"))
            // The hole: whoever enters by another node is let in, bar as well.
            .expect(
                doors(CLUSTER)
                    .denied("stranger", "node2")
                    .denied("bar/one", "node2")
                    .denied("bar/two", "node2"),
            )
            .expect(by_cluster_ip().denied("bar/*", "*")),
        case(v3)
            .apply(seed!("002/04-deny-all"))
            .apply(seed!("002/05-v3"))
            .expect(
                doors(LOCAL)
                    .denied("*", "*")
                    .allowed("office", "node2")
                    .allowed("node2", "node2"),
            )
            .expect(
                doors(CLUSTER)
                    .denied("*", "*")
                    .allowed("office", "node2")
                    .allowed("node2", "node2"),
            )
            .expect(by_cluster_ip().denied("*", "*")),
        // The document's own workload: the policies in foo do not touch it.
        case(document)
            .apply(seed!("002/01-svc"))
            .apply(seed!("002/02-v1"))
            .expect(
                cells(
                    &[tcp(31_602)],
                    &[
                        ("office", "node2"),
                        ("office", "node1"),
                        ("stranger", "node2"),
                        ("bar/two", "node2"),
                    ],
                )
                .over_ipv4()
                .denied("*", "node1"),
            )
            .expect(
                cells(
                    &[tcp(9097)],
                    &[
                        ("bar/one", "Service tekton-pipelines/tekton-dashboard"),
                        ("bar/three", "Service tekton-pipelines/tekton-dashboard"),
                    ],
                )
                .allowed("*", "*"),
            ),
    ]
}

/// Seed 000's FAQ: a Service cannot be reached after a policy was set.
fn masquerade_all(mode: ProxyMode, names: [&'static str; 2]) -> Vec<Case> {
    let rule = "{podSelector: {matchLabels: {pod: web}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: bar}}}]}]}";
    let service = "{apiVersion: v1, kind: Service, metadata: {namespace: foo, name: web}, spec: {selector: {pod: web}, ports: [{port: 9097, targetPort: 80}]}}";
    let pods = [
        "foo/web@node2",
        "bar/one@node1",
        "bar/two@node2",
        "foo/other@node1",
    ];
    let ask = || {
        cells(
            &[tcp(9097)],
            &[
                ("bar/one", "Service foo/web"),
                ("bar/two", "Service foo/web"),
                ("foo/other", "Service foo/web"),
            ],
        )
        .denied("foo/other", "*")
    };
    let direct = || {
        cells(
            &[tcp(80)],
            &[("bar/one", "foo/web"), ("foo/other", "foo/web")],
        )
        .denied("foo/other", "*")
    };
    let case = |name, all| {
        Case::new(name, "seed 000, FAQ: masqueradeAll")
            .tags(&["seed", "seed-000", "node-port"])
            .kinds(&[PodKind::Bridge, PodKind::Routed])
            .placements(&[Placement::Spread])
            .pods(&pods)
            .only(ObjectsKind::Apiserver)
            .services(Services {
                mode,
                masquerade_all: all,
                ..Services::default()
            })
            .apply(service)
            .policy("foo/from-bar", rule)
            .expect(direct())
    };
    let [off, on] = names;
    vec![
        case(off, false)
            .apply(seed!("000/f-masquerade-all-false"))
            .expect(ask()),
        // From another node it arrives as the node; on the endpoint's own node as itself.
        case(on, true)
            .apply(seed!("000/f-masquerade-all-true"))
            .expect(ask().denied("bar/one", "*")),
    ]
}
