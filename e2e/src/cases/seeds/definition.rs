//! Seed 001: the definition, its two ways to write a whitelist, and the default policies.

use super::own;
use crate::case::{Case, Expect, cells, matrix};
use crate::probe::{icmp, tcp, udp};

const PODS: [&str; 8] = [
    "default/db",
    "default/frontend",
    "default/other",
    "default/client",
    "my/app",
    "alice/client",
    "dev/myapp",
    "alice/other",
];

/// The cases.
pub fn cases() -> Vec<Case> {
    [peers(), defaults()].concat()
}

/// The roles of the document.
fn case(name: &'static str) -> Case {
    Case::new(name, "seed 001, network isolation in Kubernetes")
        .tags(&["seed", "seed-001"])
        .pods(&PODS)
        .serves(&[tcp(6379), tcp(5978)])
}

fn roles(case: Case) -> Case {
    case.label("Pod default/db", &[("role", "db")])
        .label("Pod default/frontend", &[("role", "frontend")])
        .label("Pod default/client", &[("role", "client")])
        .label("Pod alice/client", &[("role", "client")])
        .label("Namespace my", &[("project", "myproject")])
        .label("Namespace alice", &[("user", "alice")])
}

fn peers() -> Vec<Case> {
    vec![
        roles(case("definition-db"))
            .apply(seed!("001/01-db"))
            .expect(own(
                from_outside(matrix(&[tcp(6379)]))
                    .denied("*", "default/db")
                    .denied("default/db", "*")
                    .allowed("default/frontend", "default/db")
                    // Every pod of the namespace: not, as the text says, labelled pods of default.
                    .allowed("my/*", "default/db")
                    .allowed("net172", "default/db"),
                &PODS,
            ))
            .expect(own(
                from_outside(matrix(&[tcp(80), udp(80), icmp()]))
                    .denied("*", "default/db")
                    .denied("default/db", "*"),
                &PODS,
            ))
            .expect(
                cells(
                    &[tcp(5978)],
                    &[
                        ("default/db", "net10"),
                        ("default/db", "net14"),
                        ("default/db", "my/app"),
                    ],
                )
                .denied("default/db", "*")
                .allowed("default/db", "net10"),
            )
            .expect(
                cells(
                    &[tcp(80), udp(80)],
                    &[("default/db", "net10"), ("default/db", "dns8")],
                )
                .denied("*", "*"),
            ),
        case("definition-project-label-on-a-pod-is-not-meant")
            .label("Pod default/db", &[("role", "db")])
            .label("Pod default/other", &[("project", "myproject")])
            .apply(seed!("001/01-db"))
            .expect(cells(&[tcp(6379)], &[("default/other", "default/db")]).denied("*", "*")),
        roles(case("definition-or"))
            .apply(seed!("001/02-or"))
            .expect(own(
                matrix(&[tcp(80), udp(80)])
                    .denied("*", "default/db")
                    .allowed("alice/*", "default/db")
                    .allowed("default/client", "default/db"),
                &PODS,
            )),
        roles(case("definition-and"))
            .apply(seed!("001/03-and"))
            .expect(own(
                matrix(&[tcp(80), udp(80)])
                    .denied("*", "default/db")
                    .allowed("alice/client", "default/db"),
                &PODS,
            ))
            .label("Namespace default", &[("user", "alice")])
            .expect(own(
                matrix(&[tcp(80)])
                    .denied("*", "default/db")
                    .allowed("alice/client", "default/db")
                    .allowed("default/client", "default/db"),
                &PODS,
            )),
    ]
}

fn defaults() -> Vec<Case> {
    let all = || from_outside(matrix(&[tcp(80), udp(80), icmp()]));
    let closed_in = move || own(all().denied("*", "default/*"), &PODS);
    let closed_out = move || own(all().denied("default/*", "*"), &PODS);
    vec![
        // Selected means closed in the directions of policyTypes, not in both; the answers
        // to connections that an isolated pod opens itself come back.
        case("default-policies-in-the-order-of-the-text")
            .apply(seed!("001/04-deny-in"))
            .expect(closed_in())
            .apply(seed!("001/05-allow-in"))
            .expect(all().allowed("*", "*"))
            .apply(seed!("001/06-deny-out"))
            .expect(closed_out())
            .apply(seed!("001/07-allow-out"))
            .expect(all().allowed("*", "*"))
            .apply(seed!("001/08-deny-both"))
            // allow-all, now of egress, still adds up with it.
            .expect(closed_in())
            .delete("NetworkPolicy default/allow-all")
            .expect(own(
                all().denied("*", "default/*").denied("default/*", "*"),
                &PODS,
            )),
        case("default-policy-applied-with-n-dev")
            .apply_in("dev", seed!("001/09-dev"))
            .apply_in("dev", seed!("001/10-myapp"))
            .expect(own(
                matrix(&[tcp(80), udp(80), icmp()])
                    .and(&[("office", "dev/myapp"), ("stranger6", "dev/myapp")])
                    .denied("*", "dev/*"),
                &PODS,
            )),
        case("default-policy-without-n-closes-another-namespace")
            .apply(seed!("001/09-dev"))
            .expect(own(matrix(&[tcp(80)]).denied("*", "default/*"), &PODS)),
    ]
}

fn from_outside(expect: Expect) -> Expect {
    expect.and(&[
        ("net172", "default/db"),
        ("net172-1", "default/db"),
        ("office", "default/db"),
        ("stranger6", "default/other"),
        ("default/db", "dns8"),
        ("default/other", "stranger6"),
    ])
}
