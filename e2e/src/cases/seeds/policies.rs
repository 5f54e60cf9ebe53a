//! Seed 004: every policy of the text, and what it says wrongly.

use super::own;
use crate::case::{Case, Expect, ObjectsKind, cells, matrix};
use crate::probe::{icmp, tcp, udp};

const SOURCE: &str = "seed 004, Kubernetes network policies";

const PODS: [&str; 10] = [
    "default/postgres",
    "default/balance",
    "default/indexer",
    "default/admin",
    "kube-system/dns",
    "other/admin",
    "default/hello",
    "default/curl",
    "database/postgres",
    "kube-system/other",
];

/// The cases.
pub fn cases() -> Vec<Case> {
    [
        ingress(),
        dns(),
        catch_all(),
        union(),
        namespaces(),
        blocks(),
        ports(),
        host_network(),
    ]
    .concat()
}

fn case(name: &'static str) -> Case {
    Case::new(name, SOURCE)
        .tags(&["seed", "seed-004"])
        .pods(&PODS)
        .serves(&[tcp(443), tcp(8080), tcp(53), udp(53), tcp(6379), tcp(5978)])
        .label("Pod default/postgres", &[("app", "postgres")])
        .label("Pod default/balance", &[("app", "balance")])
        .label("Pod default/indexer", &[("app", "indexer")])
        .label("Pod default/admin", &[("app", "admin")])
        .label("Pod other/admin", &[("app", "admin")])
        .label("Pod database/postgres", &[("app", "postgres")])
        .label("Pod kube-system/dns", &[("k8s-app", "kube-dns")])
}

/// What reaches postgres of default, from these pods only.
fn postgres(expect: Expect, from: &[&'static str]) -> Expect {
    let shut = expect
        .and(&[
            ("office", "default/postgres"),
            ("stranger6", "default/postgres"),
        ])
        .denied("*", "default/postgres");
    let open = from
        .iter()
        .fold(shut, |e, pod| e.allowed(pod, "default/postgres"));
    own(open, &PODS)
}

fn ingress() -> Vec<Case> {
    vec![
        case("postgres-from-balance")
            .label("Namespace other", &[("project", "x")])
            .label("Pod other/admin", &[("app", "balance")])
            .apply(seed!("004/01-postgres-from-balance"))
            // app=balance of another namespace stays out.
            .expect(postgres(
                matrix(&[tcp(80), udp(80), icmp()]),
                &["default/balance"],
            )),
        case("postgres-from-admin-replaces-from-balance")
            .apply(seed!("004/01-postgres-from-balance"))
            .expect(postgres(matrix(&[tcp(80)]), &["default/balance"]))
            .apply(seed!("004/04-postgres-from-admin"))
            .expect(postgres(matrix(&[tcp(80)]), &["default/admin"])),
        case("definition-with-app-db")
            .label("Pod default/hello", &[("app", "db")])
            .label("Pod default/postgres", &[("role", "db")])
            .label("Pod default/curl", &[("role", "frontend")])
            .label("Namespace other", &[("project", "myproject")])
            .apply(seed!("004/02-db"))
            .expect(own(
                matrix(&[tcp(6379)])
                    .and(&[("net172", "default/hello"), ("net172-1", "default/hello")])
                    .denied("*", "default/hello")
                    .denied("default/hello", "*")
                    .allowed("default/curl", "default/hello")
                    .allowed("other/*", "default/hello")
                    .allowed("net172", "default/hello"),
                &PODS,
            ))
            .expect(
                cells(
                    &[tcp(5978)],
                    &[("default/hello", "net10"), ("default/hello", "net14")],
                )
                .denied("*", "*")
                .allowed("*", "net10"),
            ),
        // Another namespace's policy: nobody of ours is touched.
        Case::new("header-fragment", SOURCE)
            .tags(&["seed", "seed-004"])
            .pods(&["my-namespace/a", "x/a", "my-namespace/b", "x/b"])
            .apply(seed!("004/03-header"))
            .expect(own(
                matrix(&[tcp(80), udp(80)]).denied("*", "my-namespace/*"),
                &["my-namespace/a", "my-namespace/b"],
            )),
    ]
}

/// Whom balance reaches on port 53, inside and outside.
fn lookups(transport: crate::probe::Transport) -> Expect {
    cells(
        &[transport],
        &[
            ("default/balance", "default/postgres"),
            ("default/balance", "default/hello"),
            ("default/balance", "kube-system/dns"),
            ("default/balance", "kube-system/other"),
            ("default/balance", "database/postgres"),
            ("default/balance", "dns8"),
            ("default/curl", "dns8"),
            ("default/curl", "kube-system/dns"),
        ],
    )
    .denied("default/balance", "*")
    .allowed("default/balance", "default/postgres")
}

fn dns() -> Vec<Case> {
    let others = || {
        own(
            matrix(&[tcp(80)])
                .and(&[("default/balance", "dns8")])
                .denied("default/balance", "*")
                .allowed("default/balance", "default/postgres"),
            &PODS,
        )
    };
    vec![
        case("dns-forgotten")
            .apply(seed!("004/05-balance-to-postgres"))
            .expect(others())
            .expect(lookups(udp(53))),
        // The text: an empty `to` is every pod. It is every address.
        case("dns-anywhere")
            .apply(seed!("004/06-balance-dns-anywhere"))
            .expect(others())
            .expect(lookups(udp(53)).allowed("*", "*"))
            .expect(lookups(tcp(53))),
        case("dns-in-the-cluster")
            .apply(seed!("004/07-balance-dns-cluster"))
            .expect(others())
            .expect(
                lookups(udp(53))
                    .allowed("*", "*")
                    .denied("default/balance", "dns8"),
            )
            .expect(lookups(tcp(53))),
        case("dns-in-kube-system")
            .apply(seed!("004/08-balance-dns-kube-system"))
            // kubernetes.io/metadata.name is there, the label of the text is not.
            .expect(lookups(udp(53)))
            .label("Namespace kube-system", &[("namespace", "kube-system")])
            .expect(others())
            .expect(lookups(udp(53)).allowed("*", "kube-system/*")),
        case("dns-pods-only")
            .apply(seed!("004/09-balance-dns-pods"))
            .expect(others())
            .expect(lookups(udp(53)).allowed("*", "kube-system/dns"))
            .expect(lookups(tcp(53)).allowed("*", "kube-system/dns")),
        case("dns-for-a-namespace")
            .apply(seed!("004/10-dns"))
            .expect(own(
                matrix(&[tcp(80), tcp(53)]).denied("default/*", "*"),
                &PODS,
            ))
            .expect(
                cells(
                    &[udp(53)],
                    &[
                        ("default/curl", "kube-system/dns"),
                        ("default/curl", "default/hello"),
                        ("default/balance", "dns8"),
                        ("other/admin", "dns8"),
                    ],
                )
                .denied("default/balance", "dns8"),
            )
            // The union with 05.
            .apply(seed!("004/05-balance-to-postgres"))
            .expect(own(
                matrix(&[tcp(80)])
                    .denied("default/*", "*")
                    .allowed("default/balance", "default/postgres"),
                &PODS,
            ))
            .expect(cells(&[udp(53)], &[("default/balance", "kube-system/dns")]).allowed("*", "*")),
    ]
}

fn catch_all() -> Vec<Case> {
    let all = || {
        matrix(&[tcp(80), udp(80)]).and(&[
            ("office", "default/hello"),
            ("stranger6", "default/hello"),
            ("default/hello", "dns8"),
            ("default/hello", "stranger6"),
        ])
    };
    let shut = move || own(all().denied("*", "default/*"), &PODS);
    vec![
        case("deny-all-ingress")
            .apply(seed!("004/11-deny-all"))
            .expect(shut()),
        case("deny-all-egress")
            .apply(seed!("004/12-deny-all-egress"))
            .expect(own(all().denied("default/*", "*"), &PODS)),
        case("allow-all-takes-nothing-away-from-deny-all")
            .apply(seed!("004/13-allow-all"))
            .expect(all().allowed("*", "*"))
            .apply(seed!("004/11-deny-all"))
            .expect(all().allowed("*", "*"))
            .delete("NetworkPolicy default/allow-all")
            .expect(shut()),
        case("allow-all-to-balance")
            .apply(seed!("004/14-allow-all-to-balance"))
            .expect(all().allowed("*", "*"))
            .apply(seed!("004/11-deny-all"))
            .expect(shut().allowed("*", "default/balance")),
        case("allow-all-both-ways")
            .apply(seed!("004/11-deny-all"))
            .apply(seed!("004/12-deny-all-egress"))
            .expect(
                shut()
                    .denied("default/*", "database/*")
                    .denied("default/*", "kube-system/*")
                    .denied("default/*", "other/*")
                    .denied("default/hello", "dns8")
                    .denied("default/hello", "stranger6"),
            )
            .apply(seed!("004/15-allow-all-both"))
            .expect(all().allowed("*", "*")),
        // In which direction a pod is not selected, it stays open.
        case("both-directions-are-needed")
            .apply(seed!("004/05-balance-to-postgres"))
            .apply(seed!("004/04-postgres-from-admin"))
            .expect(
                cells(
                    &[tcp(80)],
                    &[
                        ("default/balance", "default/postgres"),
                        ("default/admin", "default/postgres"),
                    ],
                )
                .denied("default/balance", "*"),
            )
            .apply(seed!("004/01-postgres-from-balance"))
            .expect(
                cells(
                    &[tcp(80)],
                    &[
                        ("default/balance", "default/postgres"),
                        ("default/admin", "default/postgres"),
                    ],
                )
                .denied("default/admin", "*"),
            ),
    ]
}

fn union() -> Vec<Case> {
    let both = || {
        postgres(
            matrix(&[tcp(80), udp(80)]),
            &["default/indexer", "default/admin"],
        )
    };
    vec![
        case("union-of-peers-and-of-rules")
            .apply(seed!("004/16-postgres-two-peers"))
            .expect(both())
            .apply(seed!("004/17-postgres-two-rules"))
            .expect(both()),
        // The text: policies of one type override each other. They add up.
        case("union-of-policies")
            .apply(seed!("004/17-postgres-two-rules"))
            .policy("default/and-curl", "{podSelector: {matchLabels: {app: postgres}}, ingress: [{from: [{podSelector: {matchLabels: {pod: curl}}}]}]}")
            .expect(both().allowed("default/curl", "default/postgres")),
    ]
}

fn namespaces() -> Vec<Case> {
    let database = |from: &[&'static str]| {
        let shut = matrix(&[tcp(80), udp(80)]).denied("*", "database/postgres");
        own(
            from.iter()
                .fold(shut, |e, f| e.allowed(f, "database/postgres")),
            &PODS,
        )
    };
    let labels = &[("namespace", "default")];
    vec![
        case("database-from-a-namespace")
            .apply(seed!("004/18-database-from-namespace"))
            .expect(database(&[]))
            .label("Namespace default", labels)
            .expect(database(&["default/*"])),
        case("database-from-a-namespace-and-a-pod")
            .label("Namespace default", labels)
            .apply(seed!("004/19-database-from-namespace-and-pod"))
            .expect(database(&["default/admin"])),
        case("database-from-any-namespace-and-a-pod")
            .apply(seed!("004/20-database-from-any-namespace"))
            .expect(database(&["default/admin", "other/admin"])),
        case("labels-are-and")
            .label("Pod default/postgres", &[("role", "db"), ("version", "v2")])
            .label("Pod default/hello", &[("role", "db"), ("version", "v1")])
            .label("Pod default/curl", &[("version", "v2")])
            .apply(seed!("004/21-labels-and"))
            .expect(postgres(matrix(&[tcp(80), udp(80)]), &[])),
    ]
}

fn blocks() -> Vec<Case> {
    let outward = |transports: &[crate::probe::Transport]| {
        cells(
            transports,
            &[
                ("default/hello", "dns8"),
                ("default/hello", "stranger"),
                ("default/hello", "stranger6"),
                ("default/hello", "kube-system/dns"),
                ("default/hello", "default/curl"),
                ("default/curl", "office"),
                ("other/admin", "dns8"),
            ],
        )
    };
    vec![
        case("block-of-one-address")
            .apply(seed!("004/22-egress-dns"))
            .expect(outward(&[udp(53)]).denied("default/*", "*").allowed("default/*", "dns8"))
            .expect(outward(&[tcp(53), tcp(80), icmp()]).denied("default/*", "*")),
        // Over IPv4 everything, over IPv6 nothing; no name says which family a cell has, so
        // to pods the oracle alone speaks.
        case("block-of-everything")
            .apply(seed!("004/23-egress-any"))
            .expect(
                cells(
                    &[tcp(80), udp(80), icmp()],
                    &[
                        ("default/hello", "dns8"),
                        ("default/curl", "stranger"),
                        ("default/hello", "stranger6"),
                        ("default/curl", "office6"),
                    ],
                )
                .denied("*", "stranger6")
                .denied("*", "office6"),
            )
            .expect(matrix(&[tcp(80)])),
        case("block-of-everything-but-pods")
            .apply(seed!("004/24-egress-outside"))
            .expect(
                outward(&[tcp(80), udp(53)])
                    .denied("default/*", "*")
                    .allowed("default/*", "dns8")
                    .allowed("default/*", "stranger")
                    .allowed("default/*", "office"),
            )
            .expect(own(matrix(&[tcp(80)]).denied("default/*", "*"), &PODS)),
        case("block-of-everything-but-pods-cuts-the-dns-service")
            .only(ObjectsKind::Apiserver)
            .apply("{apiVersion: v1, kind: Service, metadata: {namespace: kube-system, name: kube-dns}, spec: {selector: {k8s-app: kube-dns}, ports: [{port: 53, protocol: UDP}]}}")
            .apply(seed!("004/24-egress-outside"))
            .expect(
                cells(
                    &[udp(53)],
                    &[("default/hello", "Service kube-system/kube-dns"), ("other/admin", "Service kube-system/kube-dns")],
                )
                .denied("default/*", "*"),
            )
            .apply(seed!("004/23-egress-any"))
            .expect(
                cells(&[udp(53)], &[("default/hello", "Service kube-system/kube-dns")]).allowed("*", "*"),
            ),
    ]
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
