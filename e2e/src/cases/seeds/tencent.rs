//! Seed 003: Tencent's list of six, and its five example policies.

use super::own;
use crate::case::{Case, cells, matrix};
use crate::probe::{icmp, tcp, udp};

const PODS: [&str; 6] = ["nsa/a", "nsb/a", "nsa/b", "nsb/b", "nsc/a", "default/web"];

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case("tencent-1-inside-talks")
            .apply(seed!("003/01-p1"))
            .expect(
                matrix(&[tcp(80), udp(80), icmp()])
                    .and(&OUTSIDE)
                    .denied("*", "nsa/*")
                    .allowed("nsa/*", "*"),
            ),
        case("tencent-2-inside-isolated-too")
            .apply(seed!("003/01-p1"))
            // The same name: it takes the place of the first.
            .apply(seed!("003/02-p2"))
            .expect(own(
                matrix(&[tcp(80), udp(80), icmp()]).and(&OUTSIDE).denied("*", "nsa/*"),
                &PODS,
            )),
        case("tencent-3-whitelist-a-namespace")
            .apply(seed!("003/03-p3"))
            // A name is not a label.
            .expect(own(matrix(&[tcp(6379)]).and(&OUTSIDE).denied("*", "nsa/*"), &PODS))
            .label("Namespace nsb", &[("app", "nsb")])
            .expect(own(
                matrix(&[tcp(6379)])
                    .and(&OUTSIDE)
                    .denied("*", "nsa/*")
                    .allowed("nsb/*", "nsa/*"),
                &PODS,
            ))
            .expect(own(
                matrix(&[tcp(80), udp(6379), icmp()]).and(&OUTSIDE).denied("*", "nsa/*"),
                &PODS,
            )),
        case("tencent-3-whitelist-chosen-pods-and-ports")
            .policy("nsa/chosen", "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: nsb}}}], ports: [{port: 6379}]}]}")
            .expect(own(
                matrix(&[tcp(6379)]).denied("*", "nsa/a").allowed("nsb/*", "nsa/a"),
                &PODS,
            ))
            .expect(own(matrix(&[tcp(80), udp(6379)]).denied("*", "nsa/a"), &PODS)),
        case("tencent-4-one-external-network")
            .apply(seed!("003/04-p4"))
            .expect(own(
                matrix(&[tcp(5978)])
                    .and(&OUTSIDE)
                    .and(&[("nsa/b", "net14"), ("nsb/a", "net14")])
                    .denied("nsa/*", "*")
                    .allowed("nsa/*", "net14"),
                &PODS,
            ))
            // DNS is cut as well.
            .expect(
                cells(&[udp(53)], &[("nsa/a", "nsc/a"), ("nsa/b", "dns8"), ("nsa/a", "net14")])
                    .denied("nsa/*", "*"),
            )
            .expect(own(
                matrix(&[tcp(80), icmp()]).and(&OUTSIDE).denied("nsa/*", "*"),
                &PODS,
            )),
        case("tencent-5-from-one-external-network")
            .apply(seed!("003/05-p5"))
            .expect(own(
                matrix(&[tcp(80)])
                    .and(&OUTSIDE)
                    .denied("*", "default/web")
                    .allowed("net14", "default/web"),
                &PODS,
            ))
            .expect(own(
                matrix(&[tcp(81), udp(80), icmp()]).and(&OUTSIDE).denied("*", "default/web"),
                &PODS,
            )),
        // Whoever measures from elsewhere measures refusals.
        case("tencent-performance-policy")
            .serves(&[tcp(9090), tcp(8080)])
            .apply(seed!("003/06-perf"))
            .expect(own(
                matrix(&[tcp(9090), tcp(8080), tcp(80)])
                    .and(&OUTSIDE)
                    .denied("*", "default/web")
                    .allowed("net14", "default/web"),
                &PODS,
            ))
            .expect(own(matrix(&[tcp(81)]).and(&OUTSIDE).denied("*", "default/web"), &PODS)),
    ]
}

const OUTSIDE: [(&str, &str); 6] = [
    ("net14", "nsa/a"),
    ("office", "nsa/b"),
    ("net14", "default/web"),
    ("office", "default/web"),
    ("nsa/a", "net14"),
    ("nsa/a", "dns8"),
];

fn case(name: &'static str) -> Case {
    Case::new(name, "seed 003, Tencent's list")
        .tags(&["seed", "seed-003"])
        .pods(&PODS)
        .serves(&[tcp(6379), udp(6379), tcp(5978), udp(53)])
}
