//! Every example of the documents, applied with kubectl through the webhook: the answer is
//! recorded beside the fixture, and packets go where the stored object says.
//!
//! `RINGFENCE_BLESS=1 ringfence-e2e run --objects apiserver admission-answer` records anew.

use crate::case::{Case, Recorded, Stage, matrix};
use crate::fabric::{Placement, PodKind};
use crate::probe::tcp;
use anyhow::Result;
use std::net::Ipv4Addr;

/// A pod in each namespace that the examples name, and who scrapes.
const PODS: [&str; 11] = [
    "default/db@node1",
    "default/web@node2",
    "foo/web@node2",
    "dev/myapp@node1",
    "nsa/pod@node1",
    "demo-project/app@node1",
    "demo-project-2/nginx@node2",
    "database/postgres@node2",
    "my-namespace/pod@node1",
    "tekton-pipelines/dashboard@node2",
    "monitoring/scraper@node1",
];

/// A case and its recorded answer, by the name of the fixture.
macro_rules! recorded {
    ($($name:literal in $namespace:literal),* $(,)?) => {
        [$((
            concat!("admission-answer-", $name),
            Recorded {
                name: $name,
                yaml: include_str!(concat!(
                    env!("CARGO_MANIFEST_DIR"), "/fixtures/seeds/", $name, ".yaml"
                )),
                namespace: $namespace,
                answer: include_str!(concat!(
                    env!("CARGO_MANIFEST_DIR"), "/fixtures/seeds/", $name, ".answer"
                )),
            },
        )),*]
    };
}

/// The cases.
pub fn cases() -> Vec<Case> {
    let all = recorded![
        "000/a-ingress-from-project" in "default",
        "000/b-egress-to-service" in "default",
        "000/c-ingress-from-cidr" in "default",
        "000/d-egress-to-cidr" in "default",
        "001/01-db" in "default",
        "001/02-or" in "default",
        "001/03-and" in "default",
        "001/04-deny-in" in "default",
        "001/05-allow-in" in "default",
        "001/06-deny-out" in "default",
        "001/07-allow-out" in "default",
        "001/08-deny-both" in "default",
        "001/09-dev" in "dev",
        "002/02-v1" in "default",
        "002/03-v2" in "default",
        "002/04-deny-all" in "default",
        "002/05-v3" in "default",
        "003/01-p1" in "default",
        "003/02-p2" in "default",
        "003/03-p3" in "default",
        "003/04-p4" in "default",
        "003/05-p5" in "default",
        "003/06-perf" in "default",
        "004/01-postgres-from-balance" in "default",
        "004/02-db" in "default",
        "004/03-header" in "default",
        "004/04-postgres-from-admin" in "default",
        "004/05-balance-to-postgres" in "default",
        "004/06-balance-dns-anywhere" in "default",
        "004/07-balance-dns-cluster" in "default",
        "004/08-balance-dns-kube-system" in "default",
        "004/09-balance-dns-pods" in "default",
        "004/10-dns" in "default",
        "004/11-deny-all" in "default",
        "004/12-deny-all-egress" in "default",
        "004/13-allow-all" in "default",
        "004/14-allow-all-to-balance" in "default",
        "004/15-allow-all-both" in "default",
        "004/16-postgres-two-peers" in "default",
        "004/17-postgres-two-rules" in "default",
        "004/18-database-from-namespace" in "default",
        "004/19-database-from-namespace-and-pod" in "default",
        "004/20-database-from-any-namespace" in "default",
        "004/21-labels-and" in "default",
        "004/22-egress-dns" in "default",
        "004/23-egress-any" in "default",
        "004/24-egress-outside" in "default",
        "004/25-ports-shared" in "default",
        "004/26-ports-per-peer" in "default",
        "004/27-allow-hello" in "default",
    ];
    let case = |(name, recorded): (&'static str, Recorded)| {
        let case = Case::new(name, "the examples of the documents")
            .tags(&["admission", "seed"])
            .pods(&PODS)
            .any_kind()
            .placements(&[Placement::Spread])
            .webhook()
            .dns()
            .admit(recorded)
            .expect(matrix(&[tcp(80)]));
        // It allows port 53, which is right where DNS pods listen on that.
        if recorded.name == "004/09-balance-dns-pods" {
            return case.only_here("depends on the port of the DNS pods");
        }
        case
    };
    let tunnels = Case::new("admission-tunnel-addresses-are-refused", "seed 002")
        .tags(&["admission", "seed", "seed-002"])
        .pods(&["foo/web@node2", "bar/one@node1", "free/pod@node1"])
        .places(&PLACES)
        .overlay()
        .kinds(&[PodKind::Routed])
        .placements(&[Placement::Spread])
        .webhook()
        .label("Namespace bar", &[("region", "bar")])
        .act("the whitelist of tunnel addresses", tunnel_addresses)
        // Refused: nothing has changed.
        .expect(matrix(&[tcp(80)]).allowed("*", "*"))
        .act("the whitelist without them", without_tunnel_addresses)
        .expect(
            matrix(&[tcp(80)])
                .denied("*", "foo/web")
                .allowed("foo/web", "foo/web")
                .allowed("free/pod", "foo/web"),
        );
    all.into_iter().map(case).chain([tunnels]).collect()
}

/// node1 and node2 of the document, and their pod ranges: `.0` is the tunnel's address.
const PLACES: [(Ipv4Addr, Ipv4Addr); 2] = [
    (
        Ipv4Addr::new(10, 102, 123, 117),
        Ipv4Addr::new(10, 233, 90, 0),
    ),
    (
        Ipv4Addr::new(10, 102, 123, 104),
        Ipv4Addr::new(10, 233, 96, 0),
    ),
];

fn tunnel_addresses(stage: &mut Stage) -> Result<()> {
    let yaml = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/fixtures/seeds/002/03-v2.yaml"
    ));
    let said = stage.kubectl_apply(yaml, "foo")?;
    // Both tunnels that this cluster has, by value and by place.
    said.refused(&[
        "node-address-allowed",
        "10.233.90.0",
        "10.233.96.0",
        "spec.ingress[0].from[1]",
        "spec.ingress[0].from[2]",
    ])?;
    Ok(())
}

fn without_tunnel_addresses(stage: &mut Stage) -> Result<()> {
    let yaml = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/fixtures/seeds/002/02-v1.yaml"
    ));
    stage.kubectl_apply(yaml, "foo")?.accepted()?;
    Ok(())
}
