//! Seed 004: every policy of the text, and what it says wrongly.

mod egress;
mod peers;
mod ports;

use super::own;
use crate::case::{Case, Expect};
use crate::probe::{tcp, udp};

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
    [peers::cases(), egress::cases(), ports::cases()].concat()
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
