//! Ways that do not begin or end at a pod that a policy selects: from gateways to what they
//! serve, from the API server to its webhooks, and from pods to the API server.

use super::ground::end;
use super::{Edit, End};
use crate::ranges::first_addresses;
use crate::{Index, World};
use ringfence_policy::model::{
    Direction, Name, NamespaceMatch, Peer, Pod, Policy, PortMatch, PortSpec, Protocol, Rule,
    Service, TargetPort,
};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// What a change does to such ways.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// They are open now and will not be.
    pub cut: BTreeSet<Way>,
    /// They are not open now and will be.
    pub opened: BTreeSet<Way>,
    /// What would have to be known to say more: of backends, webhooks and clients of the
    /// API server.
    pub unknown: [Option<&'static str>; 3],
}

/// One way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// From the gateways to a backend of an Ingress or a route.
    Backend {
        /// Namespace of the Service.
        namespace: Name,
        /// Name of the Service.
        service: Name,
        /// Its port.
        port: u16,
    },
    /// From the API server to the Service of a webhook or an `APIService`.
    Webhook {
        /// Namespace of the Service.
        namespace: Name,
        /// Name of the Service.
        service: Name,
    },
    /// From pods that have a service account of their own to the API server.
    ApiServer(End),
}

/// Services that are looked at for one change, and pods of one of them.
const MOST: usize = 1_000;
/// Peers and rules that are looked at for one change, before it and after it.
const LOOKS: usize = 200_000;

/// What `edit` does to them in `world`.
pub fn ways(world: &World, index: &Index, edit: &Edit) -> Ways {
    let changed = edit.changed(index);
    let touched = |direction: Direction| -> BTreeSet<&Name> {
        let policies = changed.iter().flat_map(|c| c.versions(direction));
        policies.map(|policy| &policy.key.namespace).collect()
    };
    let (ingress, egress) = (touched(Direction::Ingress), touched(Direction::Egress));
    let mut ways = Ways::default();
    if ingress.is_empty() && egress.is_empty() {
        return ways;
    }
    let [before, after] = [None, Some(edit)].map(|edit| {
        let looks = Cell::new(LOOKS);
        let sight = Sight {
            world,
            index,
            edit,
            looks,
        };
        let mut open = BTreeSet::new();
        ways.unknown = [
            sight.backends(&ingress, &egress, &mut open),
            sight.webhooks(&ingress, &mut open),
            sight.clients(&egress, &mut open),
        ];
        (open, sight.looks.get() > 0)
    });
    let ((before, true), (after, true)) = (before, after) else {
        ways.unknown = [Some("not computed: there are too many rules"); 3];
        return ways;
    };
    ways.cut = before.difference(&after).cloned().collect();
    ways.opened = after.difference(&before).cloned().collect();
    ways
}

/// A state of the cluster: as it is, or after an edit.
struct Sight<'a> {
    world: &'a World<'a>,
    index: &'a Index,
    edit: Option<&'a Edit>,
    /// Left of [`LOOKS`].
    looks: Cell<usize>,
}

/// The far end of a connection.
#[derive(Clone, Copy)]
enum Far<'a> {
    Pod(&'a Pod),
    Address(IpAddr),
    /// Somebody of another namespace or outside of the cluster; nobody knows who.
    Elsewhere,
}

impl Sight<'_> {
    /// The backends that some gateway reaches. Those whose own policies do not change can
    /// only be cut at the gateway.
    fn backends(
        &self,
        ingress: &BTreeSet<&Name>,
        egress: &BTreeSet<&Name>,
        open: &mut BTreeSet<Way>,
    ) -> Option<&'static str> {
        let gateways = &self.world.config.gateways;
        let at_gateways = gateways.iter().any(|g| egress.contains(&g.namespace));
        let Some(backends) = &self.world.facts.ingress_services else {
            return Some("Ingresses and HTTPRoutes are not known");
        };
        let sources: Vec<&Pod> = gateways
            .iter()
            .flat_map(|g| self.index.selected(&g.namespace, &g.pods))
            .map(|workload| &*workload.pod)
            .collect();
        let near = backends
            .iter()
            .filter(|key| at_gateways || ingress.contains(&key.namespace));
        for key in near.take(MOST) {
            let Some(service) = self.index.service(&key.namespace, &key.name) else {
                continue;
            };
            for port in &service.ports {
                let reached = self.all_pods(service, |pod| {
                    let Some(number) = target(pod, &port.target, port.protocol) else {
                        return true;
                    };
                    let port = (port.protocol, number);
                    if sources.is_empty() {
                        return self.admits(pod, Far::Elsewhere, port);
                    }
                    sources
                        .iter()
                        .any(|gateway| self.serves(gateway, pod, port))
                });
                if reached {
                    open.insert(Way::Backend {
                        namespace: Name::clone(&key.namespace),
                        service: Name::clone(&key.name),
                        port: port.port,
                    });
                }
            }
        }
        None
    }

    /// Whether a gateway's pod reaches a pod.
    fn serves(&self, gateway: &Pod, pod: &Pod, port: (Protocol, u16)) -> bool {
        if !gateway.host_network {
            return self.admits(pod, Far::Pod(gateway), port)
                && self.allows(Direction::Egress, gateway, Far::Pod(pod), pod, port);
        }
        let mut origins = self.addresses_of(&gateway.node, &gateway.ips).into_iter();
        origins.any(|address| self.admits(pod, Far::Address(address), port))
    }

    /// The webhooks' Services of which the API server reaches every pod.
    fn webhooks(
        &self,
        ingress: &BTreeSet<&Name>,
        open: &mut BTreeSet<Way>,
    ) -> Option<&'static str> {
        let Some(services) = &self.world.facts.webhook_services else {
            return Some("webhooks and APIServices are not known");
        };
        let mut near = services
            .iter()
            .filter(|key| ingress.contains(&key.namespace))
            .peekable();
        near.peek()?;
        let Some(servers) = &self.world.facts.api_servers else {
            return Some("the addresses of the API servers are not known");
        };
        let origins: BTreeSet<IpAddr> = servers
            .iter()
            .flat_map(|server| self.origins(server))
            .collect();
        for key in near.take(MOST) {
            let Some(service) = self.index.service(&key.namespace, &key.name) else {
                continue;
            };
            // Which of its ports is called, the Service alone does not tell.
            let reached = self.all_pods(service, |pod| {
                let mut ports = service.ports.iter().filter_map(|port| {
                    Some((port.protocol, target(pod, &port.target, port.protocol)?))
                });
                ports.any(|port| {
                    let mut origins = origins.iter();
                    origins.any(|address| {
                        self.is_own_node(pod, *address)
                            || self.admits(pod, Far::Address(*address), port)
                    })
                })
            });
            if reached {
                open.insert(Way::Webhook {
                    namespace: Name::clone(&key.namespace),
                    service: Name::clone(&key.name),
                });
            }
        }
        None
    }

    /// The workloads that reach an API server and are made to.
    fn clients(&self, egress: &BTreeSet<&Name>, open: &mut BTreeSet<Way>) -> Option<&'static str> {
        for namespace in egress {
            let workloads = self.index.workloads(namespace).iter();
            let clients = workloads.filter(|w| w.pod.api_client && !w.pod.host_network);
            for workload in clients.take(MOST) {
                let Some(servers) = &self.world.facts.api_servers else {
                    return Some("the addresses of the API servers are not known");
                };
                let pod = &workload.pod;
                let reached = servers.iter().any(|server| {
                    let port = (Protocol::Tcp, server.port());
                    let far = Far::Address(server.ip());
                    self.is_own_node(pod, server.ip())
                        || self.allows(Direction::Egress, pod, far, pod, port)
                });
                if reached {
                    open.insert(Way::ApiServer(end(pod)));
                }
            }
        }
        None
    }

    /// Whether the Service has pods that policies see, and something holds for all.
    fn all_pods(&self, service: &Service, holds: impl Fn(&Pod) -> bool) -> bool {
        let Some(selector) = &service.selector else {
            return false;
        };
        let selects = |pod: &&Pod| {
            let mut labels = selector.iter();
            !pod.host_network && labels.all(|(key, value)| pod.labels.get(key) == Some(value))
        };
        let workloads = self.index.workloads(&service.key.namespace).iter();
        let pods = workloads.map(|w| &*w.pod).filter(selects);
        let mut pods = pods.take(MOST).peekable();
        pods.peek().is_some() && pods.all(holds)
    }

    fn admits(&self, pod: &Pod, far: Far, port: (Protocol, u16)) -> bool {
        self.allows(Direction::Ingress, pod, far, pod, port)
    }

    /// Whether the policies of `own` let a connection pass; `receiver` knows the port's name.
    fn allows(
        &self,
        direction: Direction,
        own: &Pod,
        far: Far,
        receiver: &Pod,
        port: (Protocol, u16),
    ) -> bool {
        let namespace = &*own.key.namespace;
        let selects =
            |p: &&Policy| p.rules(direction).is_some() && p.pod_selector.matches(&own.labels);
        let policies: Vec<&Policy> = if let Some(edit) = self.edit {
            let all = edit.policies(self.index, namespace);
            all.filter(selects).collect()
        } else {
            let all = self.index.policies(namespace).map(AsRef::as_ref);
            all.filter(selects).collect()
        };
        // Those that only allow count where another one isolates.
        policies.iter().all(|policy| policy.allow_only)
            || policies.iter().any(|policy| {
                let mut rules = policy.rules(direction).unwrap_or_default().iter();
                rules.any(|rule| {
                    let cost = 1 + rule.peers.len() + rule.ports.len();
                    self.looks.set(self.looks.get().saturating_sub(cost));
                    // Then nothing is said at all.
                    self.looks.get() == 0
                        || takes(rule, receiver, port)
                            && (rule.peers.is_empty()
                                || rule
                                    .peers
                                    .iter()
                                    .any(|peer| self.names(namespace, peer, far)))
                })
            })
    }

    fn names(&self, own: &str, peer: &Peer, far: Far) -> bool {
        match (peer, far) {
            (Peer::Block(block), Far::Pod(Pod { ips, .. })) => {
                ips.first().is_some_and(|ip| contains(block, *ip))
            }
            (Peer::Block(block), Far::Address(address)) => contains(block, address),
            (Peer::Block(_), Far::Elsewhere) => true,
            (Peer::Pods { .. }, Far::Address(_)) => false,
            (Peer::Pods { namespaces, pods }, Far::Pod(pod)) => {
                pods.matches(&pod.labels) && self.is_peer(own, namespaces, &pod.key.namespace)
            }
            (Peer::Pods { namespaces, .. }, Far::Elsewhere) => {
                *namespaces != NamespaceMatch::Own
                    && self
                        .index
                        .all_namespaces()
                        .any(|(name, _)| **name != *own && self.is_peer(own, namespaces, name))
            }
        }
    }

    fn is_peer(&self, own: &str, peer: &NamespaceMatch, namespace: &str) -> bool {
        let moved = self.edit.and_then(|edit| edit.labels(namespace));
        match (peer, moved) {
            (NamespaceMatch::Labels(selector), Some(labels)) => selector.matches(labels),
            _ => self.index.is_peer(own, peer, namespace),
        }
    }

    /// As what connections of an API server arrive: it shares its node's network, and on
    /// the way to a pod elsewhere takes the address of a tunnel, if there is one.
    fn origins(&self, server: &SocketAddr) -> Vec<IpAddr> {
        let mut nodes = self.index.snapshot().nodes.values();
        let node = nodes.find(|node| node.addresses.contains(&server.ip()));
        self.addresses_of(node.map_or("", |node| &node.name), &[server.ip()])
    }

    fn addresses_of(&self, node: &str, known: &[IpAddr]) -> Vec<IpAddr> {
        let mut all = known.to_vec();
        if let Some(node) = self.index.snapshot().nodes.get(node) {
            all.extend(&node.addresses);
            all.extend(node.pod_cidrs.iter().copied().flat_map(first_addresses));
        }
        all
    }

    /// Traffic between a node and its pods is always allowed.
    fn is_own_node(&self, pod: &Pod, address: IpAddr) -> bool {
        let node = self.index.snapshot().nodes.get(&pod.node);
        node.is_some_and(|node| node.addresses.contains(&address))
    }
}

fn contains(block: &ringfence_policy::model::IpBlock, address: IpAddr) -> bool {
    block.cidr.contains(&address) && !block.except.iter().any(|e| e.contains(&address))
}

/// The pod's port behind a Service's.
fn target(pod: &Pod, target: &TargetPort, protocol: Protocol) -> Option<u16> {
    match target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Named(name) => pod.named_port(name, protocol),
    }
}

fn takes(rule: &Rule, receiver: &Pod, (protocol, number): (Protocol, u16)) -> bool {
    let takes = |port: &PortMatch| {
        port.protocol == protocol
            && match &port.port {
                PortSpec::Any => true,
                PortSpec::Range(first, last) => (*first..=*last).contains(&number),
                PortSpec::Named(name) => receiver.named_port(name, protocol) == Some(number),
            }
    };
    rule.ports.is_empty() || rule.ports.iter().any(takes)
}
