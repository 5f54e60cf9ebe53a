//! A program run by hand, and compared with the oracle.

use crate::slow::{addresses, claimants};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use ringfence_policy::compile::{ChainRule, Element, PeerMatch, PortTest, Program};
use ringfence_policy::evaluate::Evaluator;
use ringfence_policy::model::{Direction, Flow, L4, Protocol};
use ringfence_policy::{Settings, Snapshot};
use std::net::IpAddr;

/// Whether this node lets a flow pass at the end that `direction` judges.
fn allows(program: &Program, direction: Direction, flow: &Flow) -> bool {
    let (own, far) = match direction {
        Direction::Ingress => (flow.dst, flow.src),
        Direction::Egress => (flow.src, flow.dst),
    };
    let structure = &program.structure;
    let Some(endpoint) = structure.endpoints.get(&own) else {
        return !structure
            .unknown_ranges
            .iter()
            .any(|range| range.contains(&own));
    };
    let signatures = match direction {
        Direction::Ingress => &endpoint.ingress,
        Direction::Egress => &endpoint.egress,
    };
    signatures.iter().all(|id| {
        let chains = structure.signatures[id].chains.iter();
        chains
            .flat_map(|chain| &structure.chains[chain].rules)
            .any(|rule| rule_allows(program, rule, far, flow))
    })
}

fn rule_allows(program: &Program, rule: &ChainRule, far: IpAddr, flow: &Flow) -> bool {
    let peer = rule.peers.iter().any(|peer| match peer {
        PeerMatch::Anyone => true,
        PeerMatch::AnyV4 => far.is_ipv4(),
        PeerMatch::AnyV6 => far.is_ipv6(),
        PeerMatch::Set(id) => program.members[id].iter().any(|element| match element {
            Element::Address(address) => *address == far,
            Element::Net(network) => network.contains(&far),
            Element::Port(..) | Element::Pair(_) => panic!("{element:?} for a peer"),
        }),
    });
    let port = rule.ports.iter().any(|test| match (test, flow.l4) {
        (PortTest::AnyProtocol, _) => true,
        (_, L4::Icmp { .. } | L4::Other(_)) => false,
        (PortTest::Protocol(wanted), L4::Ports { protocol, .. }) => *wanted == protocol,
        (PortTest::Ranges(wanted, ranges), L4::Ports { protocol, dst, .. }) => {
            *wanted == protocol && ranges.iter().any(|(a, b)| (*a..=*b).contains(&dst))
        }
        (PortTest::Named(id, wanted), L4::Ports { protocol, dst, .. }) => {
            let element = Element::Port(flow.dst, protocol, dst);
            *wanted == protocol && program.members[id].contains(&element)
        }
    });
    peer && port
}

/// Flows that have one of these addresses at the end that `direction` judges.
fn flows(owns: &[IpAddr], direction: Direction) -> Vec<Flow> {
    let fars = [
        "10.1.0.1",
        "10.1.0.2",
        "10.1.0.3",
        "10.200.0.1",
        "8.8.8.8",
        "fd00::1",
        "fd00::9",
    ];
    let mut flows = Vec::new();
    for own in owns {
        let fars = fars.iter().map(|far| far.parse().unwrap());
        for far in fars.filter(|far: &IpAddr| far != own && far.is_ipv4() == own.is_ipv4()) {
            let (src, dst) = match direction {
                Direction::Ingress => (far, *own),
                Direction::Egress => (*own, far),
            };
            flows.push(Flow::ping(src, dst));
            for port in [80, 81, 83] {
                flows.push(Flow::new(Protocol::Tcp, src, dst, port));
            }
            flows.push(Flow::new(Protocol::Udp, src, dst, 81));
        }
    }
    flows
}

const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];

/// The program and the oracle say the same about this node's pods. Addresses that a
/// pod of another node claims as well are left out: that node judges its own pod.
pub fn agrees(
    snapshot: &Snapshot,
    settings: Settings,
    program: &Program,
) -> Result<(), TestCaseError> {
    let evaluator = Evaluator::new(snapshot, settings);
    let endpoints = program.structure.endpoints.keys().copied();
    let owns: Vec<IpAddr> = endpoints
        .filter(|ip| {
            claimants(snapshot, *ip)
                .iter()
                .all(|pod| *pod.node == *crate::NODE)
        })
        .collect();
    for direction in DIRECTIONS {
        for flow in flows(&owns, direction) {
            let verdict = evaluator.judge(&flow);
            let side = match direction {
                Direction::Ingress => &verdict.ingress,
                Direction::Egress => &verdict.egress,
            };
            prop_assert_eq!(
                allows(program, direction, &flow),
                side.allowed(),
                "{} {}: {:?}",
                flow,
                direction,
                side
            );
        }
    }
    Ok(())
}

/// What `old` allowed, `new` allows.
pub fn only_wider(
    snapshots: [&Snapshot; 2],
    old: &Program,
    new: &Program,
) -> Result<(), TestCaseError> {
    let owns = snapshots.map(addresses).into_iter().flatten();
    let owns: Vec<IpAddr> = owns.collect();
    for direction in DIRECTIONS {
        for flow in flows(&owns, direction) {
            let wider = allows(new, direction, &flow) || !allows(old, direction, &flow);
            prop_assert!(
                wider,
                "{} {}: denied now, yet nothing narrows",
                flow,
                direction
            );
        }
    }
    Ok(())
}
