//! Whether an update can deny what was allowed before.

use super::program::{
    Chain, ChainRule, Endpoint, Id, PeerMatch, PortTest, SetSpec, Structure, Update,
};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Update {
    /// True when something that was allowed before may be denied now, so that flows
    /// which exist have to be judged again. False only when the update provably
    /// widens: it may say true for a change that denies nothing.
    pub fn narrows(&self) -> bool {
        self.members.iter().any(|(id, (removed, _))| {
            !removed.is_empty() && is_peer_set(self.structure.sets.get(id))
        }) || self
            .previous
            .as_deref()
            .is_some_and(|old| structure_narrows(old, &self.structure))
    }
}

/// The entry sets follow the endpoints, which are judged by themselves.
fn is_peer_set(spec: Option<&Arc<SetSpec>>) -> bool {
    match spec.map(|spec| &**spec) {
        Some(SetSpec::Pods(_) | SetSpec::Cidrs(_) | SetSpec::NamedPort { .. }) | None => true,
        Some(
            SetSpec::LocalPods
            | SetSpec::IsolatedPods
            | SetSpec::IngressIsolatedPods
            | SetSpec::SelfPairs,
        ) => false,
    }
}

fn structure_narrows(old: &Structure, new: &Structure) -> bool {
    (new.enforce_node_traffic && !old.enforce_node_traffic)
        || new.unknown_ranges.iter().any(|range| {
            !old.unknown_ranges
                .iter()
                .any(|before| before.contains(range))
        })
        || endpoints_narrow(old, new)
        || new.chains.iter().any(|(id, chain)| {
            old.chains.get(id).is_some_and(|before| {
                !Arc::ptr_eq(before, chain) && !covers(old, new, before, chain)
            })
        })
}

fn endpoints_narrow(old: &Structure, new: &Structure) -> bool {
    let none = Endpoint::default();
    let shut = old.endpoints.keys().any(|ip| {
        !new.endpoints.contains_key(ip) && new.unknown_ranges.iter().any(|range| range.contains(ip))
    });
    shut || new.endpoints.iter().any(|(ip, after)| {
        let before = old.endpoints.get(ip).unwrap_or(&none);
        before != after
            && (isolation_narrows(old, new, &before.ingress, &after.ingress)
                || isolation_narrows(old, new, &before.egress, &after.egress))
    })
}

/// All signatures of an endpoint must allow. What `before` allowed passes each of
/// `after` when each contains all chains of some signature of `before`.
fn isolation_narrows(old: &Structure, new: &Structure, before: &[Id], after: &[Id]) -> bool {
    !after.iter().all(|id| {
        before.contains(id)
            || new.signatures.get(id).is_some_and(|now| {
                let chains: BTreeSet<&Id> = now.chains.iter().collect();
                let within = |was: &Id| {
                    let was = old.signatures.get(was);
                    was.is_some_and(|was| was.chains.iter().all(|chain| chains.contains(chain)))
                };
                before.iter().any(within)
            })
    })
}

/// Whether every pair of peer and port that `before` allowed is in a rule of `after`.
fn covers(old: &Structure, new: &Structure, before: &Chain, after: &Chain) -> bool {
    before.rules.iter().all(|was| {
        let unchanged = |now: &ChainRule| now.peers == was.peers && now.ports == was.ports;
        if after.rules.iter().any(unchanged) {
            return true;
        }
        was.peers.iter().all(|peer| {
            let candidates: Vec<&ChainRule> = after
                .rules
                .iter()
                .filter(|now| peer_covered(old, new, *peer, &now.peers))
                .collect();
            was.ports
                .iter()
                .all(|port| candidates.iter().any(|now| port_covered(port, &now.ports)))
        })
    })
}

fn peer_covered(old: &Structure, new: &Structure, was: PeerMatch, now: &[PeerMatch]) -> bool {
    if now.contains(&was) || now.contains(&PeerMatch::Anyone) {
        return true;
    }
    let all_v4 = now.contains(&PeerMatch::AnyV4);
    let all_v6 = now.contains(&PeerMatch::AnyV6);
    let PeerMatch::Set(id) = was else {
        return was == PeerMatch::Anyone && all_v4 && all_v6;
    };
    if all_v4 && all_v6 {
        return true;
    }
    let Some(SetSpec::Cidrs(before)) = old.sets.get(&id).map(|spec| &**spec) else {
        return false;
    };
    let after: Vec<&[IpNet]> = now
        .iter()
        .filter_map(|peer| match peer {
            PeerMatch::Set(id) => new.sets.get(id),
            PeerMatch::Anyone | PeerMatch::AnyV4 | PeerMatch::AnyV6 => None,
        })
        .filter_map(|spec| match &**spec {
            SetSpec::Cidrs(networks) => Some(networks.as_slice()),
            _ => None,
        })
        .collect();
    before.iter().all(|net| match net {
        IpNet::V4(_) if all_v4 => true,
        IpNet::V6(_) if all_v6 => true,
        _ => after.iter().any(|networks| within(networks, net)),
    })
}

/// Whether one of these sorted, disjoint networks contains `net`: it can only be the
/// last one that begins no later.
fn within(networks: &[IpNet], net: &IpNet) -> bool {
    let behind = networks.partition_point(|n| n.network() <= net.network());
    behind > 0 && networks[behind - 1].contains(net)
}

fn port_covered(was: &PortTest, now: &[PortTest]) -> bool {
    now.iter().any(|now| match (now, was) {
        (PortTest::AnyProtocol, _) => true,
        (
            PortTest::Protocol(protocol),
            PortTest::Protocol(p) | PortTest::Ranges(p, _) | PortTest::Named(_, p),
        ) => p == protocol,
        (PortTest::Ranges(protocol, wide), PortTest::Ranges(p, ranges)) => {
            p == protocol
                && ranges
                    .iter()
                    .all(|r| wide.iter().any(|w| w.0 <= r.0 && r.1 <= w.1))
        }
        (PortTest::Named(set, _), PortTest::Named(s, _)) => set == s,
        _ => false,
    })
}
