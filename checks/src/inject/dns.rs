//! Where the cluster's DNS is, and whether rules reach it.
//!
//! Decided from the rules and the DNS Service (its namespace's labels, its pods' labels
//! and ports, the pod ranges), never from other policies: two policies of one file, two
//! replicas, and a dry run must agree.

use crate::{Config, Index};
use ipnet::IpNet;
use ringfence_policy::model::{
    IpBlock, Labels, NamespaceMatch, ObjectKey, Peer, Pod, PortMatch, PortSpec, Protocol, Rule,
    Selector, Service, ServiceType, TargetPort,
};
use std::cell::OnceCell;
use std::net::IpAddr;
use thiserror::Error;

/// The port that resolvers ask.
pub const PORT: u16 = 53;

/// The label that the API server gives to every namespace.
pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// The protocols that resolvers use; TCP for answers that are too long for UDP.
pub const PROTOCOLS: [Protocol; 2] = [Protocol::Udp, Protocol::Tcp];

/// The pods that answer DNS, as rules have to allow them.
#[derive(Debug)]
pub struct Target<'a> {
    index: &'a Index,
    config: &'a Config,
    /// The labels of the Service's namespace.
    namespace: Labels,
    /// The Service.
    pub service: &'a Service,
    selector: &'a Labels,
    /// One of each workload behind the Service; none while there are no pods.
    pods: Vec<&'a Pod>,
    /// Where they listen: UDP first, and TCP if the Service has it.
    pub ports: Vec<(Protocol, &'a TargetPort)>,
    /// The pod ranges, adjacent ones joined; made when first asked for, because every
    /// node has one.
    ranges: OnceCell<Vec<IpNet>>,
}

/// Why no rule can be made for DNS. The text ends a sentence.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// There is no such Service.
    #[error("Service {0} does not exist")]
    Missing(ObjectKey),
    /// Its endpoints are made by somebody else.
    #[error("Service {0} has no selector")]
    NoSelector(ObjectKey),
    /// It has no address: resolvers ask something else.
    #[error("Service {0} is headless")]
    Headless(ObjectKey),
    /// Nothing to ask.
    #[error("Service {0} has no UDP port 53")]
    NoPort(ObjectKey),
    /// No selector ever matches such pods.
    #[error("the pods of Service {0} use hostNetwork")]
    HostNetwork(ObjectKey),
}

impl<'a> Target<'a> {
    /// The pods behind the configured Service.
    ///
    /// # Errors
    /// Why they cannot be named in a rule.
    pub fn find(index: &'a Index, config: &'a Config) -> Result<Self, Fault> {
        let key = &config.dns.service;
        let service = index.service(&key.namespace, &key.name);
        let service = service.ok_or_else(|| Fault::Missing(key.clone()))?;
        let Some(selector) = &service.selector else {
            return Err(Fault::NoSelector(key.clone()));
        };
        if service.cluster_ips.is_empty() || service.service_type == ServiceType::ExternalName {
            return Err(Fault::Headless(key.clone()));
        }
        let target = |protocol| {
            let mut ports = service.ports.iter();
            let port = ports.find(|p| p.protocol == protocol && p.port == PORT)?;
            Some((protocol, &port.target))
        };
        let ports: Vec<_> = PROTOCOLS.into_iter().filter_map(target).collect();
        if ports.first().is_none_or(|(p, _)| *p != Protocol::Udp) {
            return Err(Fault::NoPort(key.clone()));
        }
        let selects = |labels: &Labels| selector.iter().all(|(k, v)| labels.get(k) == Some(v));
        let behind = index.workloads(&key.namespace).iter().map(|w| &*w.pod);
        let behind: Vec<&Pod> = behind.filter(|pod| selects(&pod.labels)).collect();
        let pods: Vec<&Pod> = behind.iter().copied().filter(|p| !p.host_network).collect();
        if pods.is_empty() && !behind.is_empty() {
            return Err(Fault::HostNetwork(key.clone()));
        }
        Ok(Self {
            index,
            config,
            namespace: namespace_labels(index, &key.namespace),
            service,
            selector,
            pods,
            ports,
            ranges: OnceCell::new(),
        })
    }

    /// Where the DNS pods listen for a protocol; `None` when they do not.
    pub fn port(&self, protocol: Protocol) -> Option<&'a TargetPort> {
        let port = self.ports.iter().find(|(p, _)| *p == protocol);
        port.map(|(_, target)| *target)
    }

    /// Whether the rules of a policy in namespace `own` reach every DNS pod over a
    /// protocol. A protocol that DNS does not serve is not missed.
    pub fn is_reached(&self, own: &str, rules: &[&Rule], protocol: Protocol) -> bool {
        let Some(port) = self.port(protocol) else {
            return true;
        };
        let reaches = |pod: Option<&Pod>, v4| {
            rules
                .iter()
                .any(|rule| opens(rule, protocol, port, pod) && self.admits(own, rule, pod, v4))
        };
        let families = [true, false].into_iter();
        let families = families.filter(|v4| {
            let mut addresses = self.service.cluster_ips.iter();
            addresses.any(|a| a.is_ipv4() == *v4)
        });
        let families: Vec<bool> = families.collect();
        let all = |pod: Option<&Pod>| families.iter().all(|v4| reaches(pod, *v4));
        match &*self.pods {
            [] => all(None),
            pods => pods.iter().all(|pod| all(Some(pod))),
        }
    }

    /// Whether the peers of a rule include the DNS pods, on whatever port.
    pub fn is_peer(&self, own: &str, rule: &Rule) -> bool {
        let v4 = self.service.cluster_ips.iter().any(IpAddr::is_ipv4);
        match &*self.pods {
            [] => self.admits(own, rule, None, v4),
            pods => pods.iter().any(|pod| self.admits(own, rule, Some(pod), v4)),
        }
    }

    fn admits(&self, own: &str, rule: &Rule, pod: Option<&Pod>, v4: bool) -> bool {
        let admits = |peer: &Peer| match peer {
            Peer::Block(block) => {
                block.cidr.addr().is_ipv4() == v4 && self.block_admits(block, pod, v4)
            }
            Peer::Pods { namespaces, pods } => {
                let namespace = match namespaces {
                    NamespaceMatch::Own => *own == *self.service.key.namespace,
                    NamespaceMatch::Labels(selector) => selector.matches(&self.namespace),
                };
                namespace && pods.matches(pod.map_or(self.selector, |p| &p.labels))
            }
        };
        rule.peers.is_empty() || rule.peers.iter().any(admits)
    }

    /// Whether a block has the DNS pods in it, wherever they move: all pod ranges where
    /// the pods live in them, else their addresses, else (nothing is known) the world.
    fn block_admits(&self, block: &IpBlock, pod: Option<&Pod>, v4: bool) -> bool {
        let known = self.ranges.get_or_init(|| {
            let all = self.index.pod_ranges();
            let all: Vec<IpNet> = all.chain(self.config.ranges.pods.iter().copied()).collect();
            IpNet::aggregate(&all)
        });
        let ranges = || known.iter().filter(|range| range.addr().is_ipv4() == v4);
        let addresses = pod.into_iter().flat_map(|p| p.ips.iter().copied());
        let addresses: Vec<IpAddr> = addresses.filter(|a| a.is_ipv4() == v4).collect();
        let lives_there = |address: &IpAddr| ranges().any(|range| range.contains(address));
        let holds = |net: IpNet| {
            let overlaps = |e: &IpNet| e.contains(&net) || net.contains(e);
            block.cidr.contains(&net) && !block.except.iter().any(overlaps)
        };
        if ranges().next().is_some() && (addresses.is_empty() || addresses.iter().any(lives_there))
        {
            ranges().copied().all(holds)
        } else if addresses.is_empty() {
            block.cidr.prefix_len() == 0 && block.except.is_empty()
        } else {
            addresses.into_iter().map(IpNet::from).all(holds)
        }
    }

    /// The rules that allow DNS over some protocols. One rule, and one more for
    /// node-local caches where the DNS pods listen on another port than [`PORT`].
    pub fn rules(&self, protocols: &[Protocol]) -> Vec<Rule> {
        let served = self.ports.iter().filter(|(p, _)| protocols.contains(p));
        let port = |(protocol, target): &(Protocol, &TargetPort)| PortMatch {
            protocol: *protocol,
            port: match target {
                TargetPort::Number(number) => PortSpec::Range(*number, *number),
                TargetPort::Named(name) => PortSpec::Named(name.clone()),
            },
        };
        let name = self.service.key.namespace.clone();
        let pods = Peer::Pods {
            namespaces: NamespaceMatch::Labels(Selector::labels([(NAMESPACE_NAME, name)])),
            pods: Selector::labels(self.selector.iter().map(|(k, v)| (k.clone(), v.clone()))),
        };
        let mut rule = Rule {
            peers: vec![pods],
            ports: served.clone().map(port).collect(),
        };
        let caches = self.config.dns.node_local.iter();
        let caches: Vec<Peer> = caches
            .map(|address| Peer::Block(single(*address)))
            .collect();
        let at_caches: Vec<PortMatch> = served.map(|(protocol, _)| standard(*protocol)).collect();
        if caches.is_empty() || rule.ports.is_empty() {
            return vec![rule];
        }
        if rule.ports == at_caches {
            rule.peers.extend(caches);
            return vec![rule];
        }
        let caches = Rule {
            peers: caches,
            ports: at_caches,
        };
        vec![rule, caches]
    }

    /// What the rules of a policy in `own` lack.
    pub fn lacking(&self, own: &str, rules: &[&Rule]) -> Vec<Rule> {
        let missing = |p: &Protocol| !self.is_reached(own, rules, *p);
        let missing: Vec<Protocol> = PROTOCOLS.into_iter().filter(missing).collect();
        if missing.is_empty() {
            return Vec::new();
        }
        self.rules(&missing)
    }
}

/// Whether the ports of a rule include the one on which a DNS pod listens.
fn opens(rule: &Rule, protocol: Protocol, target: &TargetPort, pod: Option<&Pod>) -> bool {
    rule.ports.is_empty()
        || rule
            .ports
            .iter()
            .any(|port| includes(port, protocol, target, pod))
}

/// Whether an item of `ports` is (also) about the port on which a DNS pod listens.
fn includes(port: &PortMatch, protocol: Protocol, target: &TargetPort, pod: Option<&Pod>) -> bool {
    if port.protocol != protocol {
        return false;
    }
    let number = match target {
        TargetPort::Number(number) => Some(*number),
        // While there are no pods to tell, the number that everybody uses.
        TargetPort::Named(name) => pod.map_or(Some(PORT), |p| p.named_port(name, protocol)),
    };
    match (&port.port, target) {
        (PortSpec::Any, _) => true,
        (PortSpec::Named(name), TargetPort::Named(target)) if name == target => true,
        (PortSpec::Named(name), _) => {
            number.is_some() && pod.and_then(|p| p.named_port(name, protocol)) == number
        }
        (PortSpec::Range(first, last), _) => number.is_some_and(|n| (first..=last).contains(&&n)),
    }
}

/// The labels of a namespace. Who does not know the namespace knows its name.
pub fn namespace_labels(index: &Index, name: &str) -> Labels {
    let labels = index.namespace(name).cloned().unwrap_or_default();
    // As the API server has it.
    if labels
        .get(NAMESPACE_NAME)
        .is_some_and(|value| **value == *name)
    {
        return labels;
    }
    let labels = labels.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    Labels::new(labels.chain([(NAMESPACE_NAME.to_owned(), name.to_owned())]))
}

/// The block of one address.
pub fn single(address: IpAddr) -> IpBlock {
    IpBlock {
        cidr: address.into(),
        except: Vec::new(),
    }
}

/// Port 53 of a protocol.
pub fn standard(protocol: Protocol) -> PortMatch {
    PortMatch {
        protocol,
        port: PortSpec::Range(PORT, PORT),
    }
}

/// Whether rules may well reach the DNS of a cluster of which nothing is known but the
/// namespace that DNS is in: what the file says is believed.
pub fn is_plausible(own: &str, rules: &[&Rule], protocol: Protocol, dns: &ObjectKey) -> bool {
    let opens = |port: &PortMatch| {
        port.protocol == protocol
            && match &port.port {
                PortSpec::Any | PortSpec::Named(_) => true,
                PortSpec::Range(first, last) => (*first..=*last).contains(&PORT),
            }
    };
    let admits = |peer: &Peer| match peer {
        Peer::Block(block) => block.cidr.prefix_len() == 0 || is_private(block.cidr.addr()),
        Peer::Pods { namespaces, .. } => match namespaces {
            NamespaceMatch::Own => *own == *dns.namespace,
            NamespaceMatch::Labels(selector) => {
                let name = Labels::new([(NAMESPACE_NAME, dns.namespace.clone())]);
                let requirements = selector.requirements().iter();
                requirements
                    .filter(|r| *r.key == *NAMESPACE_NAME)
                    .all(|r| r.matches(&name))
            }
        },
    };
    rules.iter().any(|rule| {
        (rule.ports.is_empty() || rule.ports.iter().any(opens))
            && (rule.peers.is_empty() || rule.peers.iter().any(admits))
    })
}

/// Addresses that a cluster may use inside: RFC 1918, RFC 6598, RFC 4193.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => a.is_private() || (a.octets()[0] == 100 && a.octets()[1] & 0xc0 == 64),
        IpAddr::V6(a) => a.is_unique_local(),
    }
}
