//! Egress: the phases of DNS, and address blocks.

use super::{PODS, case, own};
use crate::case::{Case, Expect, ObjectsKind, cells, matrix};
use crate::probe::{Transport, icmp, tcp, udp};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    [dns(), blocks()].concat()
}

/// Whom balance reaches on port 53, inside and outside.
fn lookups(transport: Transport) -> Expect {
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

fn blocks() -> Vec<Case> {
    let outward = |transports: &[Transport]| {
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
