//! Trap 5, and flows that are translated on their way.

use super::{FROM_Y, trap};
use crate::case::{Case, Stage, policy};
use crate::cases::hands::{self, tables};
use crate::probe::{Hearing, Observation, Outcome, Shot, Side, Stream, Transport, tcp, udp};
use crate::truth::Cell;
use anyhow::{Context, Result, bail, ensure};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Addresses of a Service; DNAT by hand stands in for kube-proxy.
const SERVICE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 10)),
];

/// How long something is given to get through a flow that should be cut.
const SILENCE: Duration = Duration::from_millis(250);
/// How long something may take on a flow that should be alive.
const ANSWER: Duration = Duration::from_secs(3);

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        trap("refusals-arrive-behind-a-service", "dataplane.md, trap 5").act(
            "call x/b by a Service address",
            |stage| {
                for protocol in ["tcp", "udp"] {
                    lead(stage, protocol, "x/b", 81)?;
                }
                for transport in [tcp(80), udp(80)] {
                    expect_service(stage, "x/a", "x/b", transport, Outcome::Allowed)?;
                }
                stage.apply(&policy("x/from-y", FROM_Y), "x")?;
                for (client, outcome) in [
                    ("x/a", Outcome::Rejected),
                    ("z/a", Outcome::Rejected),
                    ("y/a", Outcome::Allowed),
                ] {
                    for transport in [tcp(80), udp(80)] {
                        expect_service(stage, client, "x/b", transport, outcome)?;
                    }
                }
                // A rule names pod ports, never the Service's.
                stage.apply(
                    &policy(
                        "x/from-y",
                        "{podSelector: {}, ingress: [{ports: [{port: 81}]}]}",
                    ),
                    "x",
                )?;
                expect_service(stage, "z/a", "x/b", tcp(80), Outcome::Allowed)?;
                stage.apply(
                    &policy(
                        "x/from-y",
                        "{podSelector: {}, ingress: [{ports: [{port: 80}]}]}",
                    ),
                    "x",
                )?;
                expect_service(stage, "z/a", "x/b", tcp(80), Outcome::Rejected)?;
                tables(stage, "-t nat -F PREROUTING")
            },
        ),
        trap(
            "a-flow-through-a-service-is-cut-or-kept",
            "dataplane.md, trap 3",
        )
        .act("deny z, which calls x/b by a Service address", flows),
        trap(
            "a-pod-reaches-itself-through-its-service",
            "scenarios.md, hairpin",
        )
        .act("lead a Service address to x/b", |stage| {
            lead(stage, "tcp", "x/b", 80)?;
            for own in &stage.world()?.host("x/b")?.addresses {
                hands::everywhere(
                    stage,
                    &format!(
                        "{} -t nat -A POSTROUTING -s {own} -d {own} -j MASQUERADE",
                        hands::program(*own)
                    ),
                )?;
            }
            Ok(())
        })
        .policy(
            "x/deny",
            "{podSelector: {}, policyTypes: [Ingress, Egress]}",
        )
        .act("call oneself by it", |stage| {
            expect_service(stage, "x/b", "x/b", tcp(80), Outcome::Allowed)?;
            expect_service(stage, "x/a", "x/b", tcp(80), Outcome::Rejected)?;
            tables(stage, "-t nat -F PREROUTING")?;
            tables(stage, "-t nat -F POSTROUTING")
        }),
    ]
}

/// Both flows have the Service's address in one direction and the pod's in the other.
fn flows(stage: &mut Stage) -> Result<()> {
    for protocol in ["tcp", "udp"] {
        lead(stage, protocol, "x/b", 81)?;
    }
    let (mut denied, mut allowed) = (Vec::new(), Vec::new());
    for transport in [tcp(80), udp(80)] {
        for service in SERVICE {
            let open = |from| {
                let shot = call(stage, from, "x/b", service, transport)?;
                Stream::open(stage.net()?, &shot)
            };
            denied.push((format!("{service} {transport}"), open("z/a")?));
            allowed.push((format!("{service} {transport}"), open("y/a")?));
        }
    }
    stage.apply(&policy("x/from-y", FROM_Y), "x")?;
    for (title, stream) in &denied {
        stream.hush();
        for side in [Side::Client, Side::Server] {
            ensure!(
                stream.say(side, SILENCE) != Hearing::Heard,
                "z/a -> {title}: the {side:?} is still heard"
            );
        }
    }
    for (title, stream) in &allowed {
        for side in [Side::Client, Side::Server] {
            ensure!(
                stream.say(side, ANSWER) == Hearing::Heard,
                "y/a -> {title}: the {side:?} is not heard any more"
            );
        }
    }
    tables(stage, "-t nat -F PREROUTING")
}

/// Port 80 of the Service leads to this port of a pod, in both families.
fn lead(stage: &Stage, protocol: &str, pod: &str, port: u16) -> Result<()> {
    for address in &stage.world()?.host(pod)?.addresses {
        let service = SERVICE.iter().find(|s| s.is_ipv4() == address.is_ipv4());
        let service = service.context("a Service has both families")?;
        let (program, to) = (hands::program(*address), SocketAddr::new(*address, port));
        hands::everywhere(
            stage,
            &format!(
                "{program} -t nat -A PREROUTING -d {service} -p {protocol} --dport 80 -j DNAT --to-destination {to}"
            ),
        )?;
    }
    Ok(())
}

/// A call of one of the Service's addresses.
fn call(
    stage: &Stage,
    from: &str,
    backend: &str,
    service: IpAddr,
    transport: Transport,
) -> Result<Shot> {
    let cell = Cell {
        from: from.into(),
        to: backend.into(),
        v4: service.is_ipv4(),
        transport,
    };
    let mut shot = stage.shot(&cell)?;
    shot.target = service;
    Ok(shot)
}

/// What becomes of calls of the Service over both families.
fn expect_service(
    stage: &Stage,
    from: &str,
    backend: &str,
    transport: Transport,
    expected: Outcome,
) -> Result<()> {
    for service in SERVICE {
        let shot = call(stage, from, backend, service, transport)?;
        let seen = stage.net()?.fire(&[shot])?;
        let Some(Observation {
            outcome, detail, ..
        }) = seen.first()
        else {
            bail!("no observation")
        };
        ensure!(
            *outcome == expected,
            "{from} -> Service {service} of {backend} {transport}: expected {expected}, observed {outcome} {detail}"
        );
    }
    Ok(())
}
