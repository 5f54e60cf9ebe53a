//! What addresses mean in this cluster, and who says so.
//!
//! | range | from |
//! |---|---|
//! | pods | `spec.podCIDRs` of nodes, configuration |
//! | Services | `ServiceCIDR` objects and configuration; else what is allocated: the smallest network around the cluster addresses of Services, which lies inside the true range |
//! | nodes | `status.addresses` of nodes (with them Calico's tunnel annotations), configuration |
//! | tunnels | the first addresses of each podCIDR, configuration |
//!
//! A tunnel address lies inside the pod range: [`Ranges::meaning`] says tunnel then.

use crate::space::{Space, cover};
use crate::{Index, World, config};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The known ranges.
#[derive(Clone, Debug, Default)]
pub struct Ranges {
    /// Of pods.
    pub pods: Space,
    /// Of Services; `None` when nothing tells.
    pub services: Option<Space>,
    /// Of nodes.
    pub nodes: Space,
    /// Of tunnel devices and of the bridges that pods hang on.
    pub tunnels: Space,
}

/// What lies at the addresses of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Nodes only.
    Node,
    /// Tunnel devices only.
    Tunnel,
    /// Pods only.
    Pod,
    /// Services only.
    Service,
    /// Anything else, the world too.
    Other,
}

/// The ranges of an index, and what else they were made of.
#[derive(Debug)]
struct Made {
    configured: config::Ranges,
    told: Option<Vec<IpNet>>,
    ranges: Arc<Ranges>,
}

/// A place for them within the index.
#[derive(Debug, Default)]
pub(crate) struct MadeRanges(Mutex<Option<Made>>);

// === impl MadeRanges ===

impl MadeRanges {
    /// A panic elsewhere cannot leave it half changed.
    fn lock(&self) -> MutexGuard<'_, Option<Made>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A copy of an index makes its own.
impl Clone for MadeRanges {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Made {
    fn new(world: &World, index: &Index) -> Self {
        Self {
            configured: world.config.ranges.clone(),
            told: world.facts.service_ranges.clone(),
            ranges: Arc::new(Ranges::make(world, index)),
        }
    }
}

// === impl Ranges ===

impl Ranges {
    /// What is known in `world`, whose cluster is `index`: made once for an index, because
    /// it looks at every node and Service, and several checks of each request ask.
    pub fn of(world: &World, index: &Index) -> Arc<Self> {
        let told = (&world.config.ranges, &world.facts.service_ranges);
        let mut made = index.made_ranges().lock();
        let made = made.get_or_insert_with(|| Made::new(world, index));
        if (&made.configured, &made.told) != told {
            *made = Made::new(world, index);
        }
        Arc::clone(&made.ranges)
    }

    fn make(world: &World, index: &Index) -> Self {
        let known = &world.config.ranges;
        let node_addresses = index.node_addresses().map(IpNet::from);
        let first = index.pod_ranges().flat_map(first_addresses);
        // A CNI may well give the second address of a range to a pod.
        let first = first.filter(|address| index.pod_at(*address).is_none());
        Self {
            pods: Space::of(index.pod_ranges().chain(known.pods.iter().copied())),
            services: services(world, index),
            nodes: Space::of(node_addresses.chain(known.nodes.iter().copied())),
            tunnels: Space::of(first.map(IpNet::from).chain(known.tunnels.iter().copied())),
        }
    }

    /// What lies at the addresses of a network.
    pub fn meaning(&self, network: &IpNet) -> Meaning {
        let service = |s: &Space| s.covers(network);
        if self.nodes.covers(network) {
            Meaning::Node
        } else if self.tunnels.covers(network) {
            Meaning::Tunnel
        } else if self.pods.covers(network) {
            Meaning::Pod
        } else if self.services.as_ref().is_some_and(service) {
            Meaning::Service
        } else {
            Meaning::Other
        }
    }
}

/// The network's own address, which tunnel devices take (seed 002's `10.233.96.0/32` on
/// `tunl0`), and the one after it, which bridges take.
pub(crate) fn first_addresses(range: IpNet) -> [IpAddr; 2] {
    let first = range.network();
    let second = match first {
        IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4).saturating_add(1)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6).saturating_add(1)).into(),
    };
    [
        first,
        if range.contains(&second) {
            second
        } else {
            first
        },
    ]
}

fn services(world: &World, index: &Index) -> Option<Space> {
    let configured = &world.config.ranges.services;
    let told = world.facts.service_ranges.iter().flatten();
    let mut all: Vec<IpNet> = told.chain(configured).copied().collect();
    if all.is_empty() {
        let services = index.snapshot().services.values();
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = services
            .flat_map(|s| s.cluster_ips.iter().copied())
            .partition(IpAddr::is_ipv4);
        all.extend(cover(v4).into_iter().chain(cover(v6)));
    }
    (!all.is_empty()).then(|| Space::of(all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cluster, document};
    use crate::{Config, Facts, Occasion};
    use test_case::test_case;

    const CLUSTER: &str = "
apiVersion: v1
kind: Node
metadata:
  name: a
  annotations: {projectcalico.org/IPv4IPIPTunnelAddr: 10.233.90.64}
spec: {podCIDRs: [10.233.90.0/24, 'fd00:1::/64']}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: p}
spec: {nodeName: b}
status: {podIPs: [{ip: 10.233.91.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: b}
spec: {podCIDRs: [10.233.91.0/24]}
---
apiVersion: v1
kind: Service
metadata: {name: s}
spec: {clusterIPs: [10.96.0.1], ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: t}
spec: {clusterIPs: [10.96.0.10], ports: [{port: 80}]}
";

    fn ranges(config: &str, facts: &Facts) -> Arc<Ranges> {
        let index = Index::new(cluster(CLUSTER));
        let world = World {
            index: Some(&index),
            facts,
            config: &Config::from_value(&document(config)).unwrap(),
            now: "2026-06-01T12:00:00Z".parse().unwrap(),
            occasion: Occasion::Lint,
        };
        Ranges::of(&world, &index)
    }

    #[test_case("192.0.2.1/32" => Meaning::Node; "status")]
    #[test_case("10.233.90.64/32" => Meaning::Node; "annotation")]
    #[test_case("10.233.90.0/32" => Meaning::Tunnel; "first address of a podCIDR, not pod")]
    #[test_case("10.233.90.1/32" => Meaning::Tunnel; "the bridge's")]
    #[test_case("10.233.91.1/32" => Meaning::Pod; "the second address has a pod")]
    #[test_case("fd00:1::/128" => Meaning::Tunnel; "IPv6")]
    #[test_case("10.233.90.0/24" => Meaning::Pod; "podCIDR")]
    #[test_case("10.233.90.0/23" => Meaning::Pod; "two podCIDRs side by side")]
    #[test_case("10.233.88.0/22" => Meaning::Other; "more than pods")]
    #[test_case("10.96.0.4/32" => Meaning::Service; "between allocated addresses")]
    #[test_case("10.97.0.1/32" => Meaning::Other; "perhaps of Services, but not surely")]
    #[test_case("192.0.2.0/24" => Meaning::Other; "a node and others")]
    fn meaning(network: &str) -> Meaning {
        ranges("{}", &Facts::default()).meaning(&network.parse().unwrap())
    }

    #[test]
    fn configuration_adds_and_service_cidrs_win_over_what_is_allocated() {
        let config = "ranges: {pods: [10.50.0.0/16], nodes: [192.0.2.0/24], tunnels: [10.50.7.7]}";
        let facts = Facts {
            service_ranges: Some(vec!["10.112.0.0/12".parse().unwrap()]),
            ..Facts::default()
        };
        let ranges = ranges(config, &facts);
        let meaning = |text: &str| ranges.meaning(&text.parse().unwrap());
        assert_eq!(meaning("10.50.1.0/24"), Meaning::Pod);
        assert_eq!(meaning("10.50.7.7/32"), Meaning::Tunnel);
        assert_eq!(meaning("192.0.2.128/25"), Meaning::Node);
        assert_eq!(meaning("10.112.0.0/12"), Meaning::Service);
        assert_eq!(meaning("10.96.0.1/32"), Meaning::Other);
    }

    #[test]
    fn what_was_made_for_one_configuration_does_not_serve_another() {
        let index = Index::new(cluster(CLUSTER));
        let (facts, plain) = (Facts::default(), Config::default());
        let yaml = "ranges: {nodes: [203.0.113.0/24]}";
        let other = Config::from_value(&document(yaml)).unwrap();
        let network = "203.0.113.7/32".parse().unwrap();
        let meaning = |config: &Config| {
            let world = World {
                index: Some(&index),
                facts: &facts,
                config,
                now: jiff::Timestamp::UNIX_EPOCH,
                occasion: Occasion::Scan,
            };
            Ranges::of(&world, &index).meaning(&network)
        };
        assert_eq!(meaning(&plain), Meaning::Other);
        assert_eq!(meaning(&other), Meaning::Node);
        assert_eq!(meaning(&plain), Meaning::Other);
    }
}
