//! Whom ingress rules name, how policies add up, and the catch-alls.

use super::{PODS, SOURCE, case, own, postgres};
use crate::case::{Case, cells, matrix};
use crate::probe::{icmp, tcp, udp};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    [ingress(), catch_all(), union(), namespaces()].concat()
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
