//! The members of sets, found the slow way.

use crate::NODE;
use ringfence_policy::Snapshot;
use ringfence_policy::compile::{Element, PodSetNamespaces, Program, SetSpec};
use ringfence_policy::model::{Labels, Pod};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The pods that count for an address, found the slow way.
pub fn claimants(snapshot: &Snapshot, ip: IpAddr) -> Vec<&Pod> {
    let all = || {
        let pods = snapshot.pods.values().map(|pod| &**pod);
        pods.filter(move |pod| pod.is_target() && pod.ips.contains(&ip))
    };
    let some_stay = all().any(|pod| !pod.terminating);
    all()
        .filter(|pod| !(some_stay && pod.terminating))
        .collect()
}

/// Every address that a pod has in its status.
pub fn addresses(snapshot: &Snapshot) -> BTreeSet<IpAddr> {
    let pods = snapshot.pods.values();
    pods.flat_map(|pod| pod.ips.iter().copied()).collect()
}

/// Members of a set, found the slow way.
pub fn expected_members(
    snapshot: &Snapshot,
    program: &Program,
    spec: &SetSpec,
) -> BTreeSet<Element> {
    let ips = addresses(snapshot).into_iter();
    let local = |ip: &IpAddr| {
        claimants(snapshot, *ip)
            .iter()
            .any(|pod| *pod.node == *NODE)
    };
    let isolated = |ip: &IpAddr| {
        let endpoint = program.structure.endpoints.get(ip);
        endpoint.map_or((false, false), |e| {
            (!e.ingress.is_empty(), !e.egress.is_empty())
        })
    };
    match spec {
        SetSpec::Pods(set) => ips
            .filter(|ip| {
                let pods = claimants(snapshot, *ip);
                let matches = |pod: &&Pod| {
                    let namespace = match &set.namespaces {
                        PodSetNamespaces::Named(name) => *name == pod.key.namespace,
                        PodSetNamespaces::Labels(selector) => {
                            match snapshot.namespaces.get(&pod.key.namespace) {
                                Some(namespace) => selector.matches(&namespace.labels),
                                None => selector.matches(&Labels::new([(
                                    "kubernetes.io/metadata.name",
                                    pod.key.namespace.clone(),
                                )])),
                            }
                        }
                    };
                    namespace && set.pods.matches(&pod.labels)
                };
                !pods.is_empty() && pods.iter().all(matches)
            })
            .map(Element::Address)
            .collect(),
        SetSpec::Cidrs(networks) => networks.iter().copied().map(Element::Net).collect(),
        SetSpec::NamedPort {
            name,
            protocol,
            local_only,
        } => ips
            .filter(|ip| !local_only || local(ip))
            .filter_map(|ip| {
                let numbers: BTreeSet<Option<u16>> = claimants(snapshot, ip)
                    .iter()
                    .map(|pod| pod.named_port(name, *protocol))
                    .collect();
                match numbers.into_iter().collect::<Vec<_>>()[..] {
                    [Some(number)] => Some(Element::Port(ip, *protocol, number)),
                    _ => None,
                }
            })
            .collect(),
        SetSpec::LocalPods => ips.filter(local).map(Element::Address).collect(),
        SetSpec::IsolatedPods => ips
            .filter(|ip| isolated(ip) != (false, false))
            .map(Element::Address)
            .collect(),
        SetSpec::IngressIsolatedPods => ips
            .filter(|ip| isolated(ip).0)
            .map(Element::Address)
            .collect(),
        SetSpec::SelfPairs => ips
            .filter(|ip| isolated(ip) != (false, false))
            .map(Element::Pair)
            .collect(),
    }
}
