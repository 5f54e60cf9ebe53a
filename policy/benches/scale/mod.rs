//! A cluster of any size, the same every time.

use ringfence_policy::Snapshot;
use ringfence_policy::model::{
    IpBlock, Labels, Name, Namespace, NamespaceMatch, Node, ObjectKey, Peer, Phase, Pod, PodPort,
    Policy, PortMatch, PortSpec, Protocol, Rule, Selector,
};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// The node that is compiled for.
pub const NODE: &str = "node-0";

/// How large the cluster is.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Pods in all.
    pub pods: usize,
    /// Pods on [`NODE`], spread over the namespaces. At most the root of `pods`, or a
    /// few are missing.
    pub local: usize,
    /// Policies, spread over the namespaces.
    pub policies: usize,
    /// Namespaces.
    pub namespaces: usize,
}

/// What the goals of the project speak of.
pub const LARGE: Scale = Scale {
    pods: 10_000,
    local: 110,
    policies: 1_000,
    namespaces: 200,
};

impl Scale {
    /// The cluster of this size.
    pub fn snapshot(self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let node = Node {
            name: NODE.into(),
            addresses: vec![IpAddr::from([192, 168, 0, 1])],
            pod_cidrs: vec!["10.0.0.0/24".parse().expect("a network")],
        };
        snapshot.nodes.insert(NODE.into(), Arc::new(node));
        for i in 0..self.namespaces {
            let namespace = namespace(i);
            let name = Name::clone(&namespace.name);
            snapshot.namespaces.insert(name, Arc::new(namespace));
        }
        for i in 0..self.pods {
            let pod = self.pod(i);
            snapshot.pods.insert(pod.key.clone(), Arc::new(pod));
        }
        for i in 0..self.policies {
            let policy = self.policy(i);
            snapshot
                .policies
                .insert(policy.key.clone(), Arc::new(policy));
        }
        snapshot
    }

    /// Pod number `i`: one of ten apps of its namespace. Numbers from `self.pods` on
    /// are pods that are not in the snapshot.
    pub fn pod(self, i: usize) -> Pod {
        // Odd, so that local pods lie in other namespaces and tiers, not in a few.
        let every = (self.pods / self.local) | 1;
        let local = i.is_multiple_of(every) && i / every < self.local;
        let node = if local { 0 } else { 1 + i % 99 };
        let number = u32::try_from(i).expect("an IPv4 address");
        Pod {
            key: ObjectKey::new(namespace_name(i % self.namespaces), format!("pod-{i:06}")),
            labels: Labels::new([
                ("app", app(i / self.namespaces)),
                ("pod-template-hash", format!("{:08x}", i / 7)),
                ("tier", ["front", "back", "data"][i % 3].to_owned()),
            ]),
            node: format!("node-{node}").into(),
            ips: vec![Ipv4Addr::from((10 << 24) + number).into()],
            host_network: false,
            phase: Phase::Running,
            terminating: false,
            api_client: false,
            ports: [PodPort {
                name: "http".into(),
                protocol: Protocol::Tcp,
                port: 8080,
            }]
            .into(),
        }
    }

    /// Policy number `i`: each namespace gets a default deny first, then what opens it.
    pub fn policy(self, i: usize) -> Policy {
        let (namespace, kind) = (i % self.namespaces, i / self.namespaces);
        let rule = |peers: Vec<Peer>, ports: Vec<PortMatch>| Some(vec![Rule { peers, ports }]);
        let (pods, ingress, egress) = match kind % 5 {
            0 => (Selector::everything(), Some(vec![]), Some(vec![])),
            1 => (
                Selector::labels([("tier", "back")]),
                rule(
                    vec![own(Selector::labels([("app", app(kind))]))],
                    vec![tcp(PortSpec::Named("http".into()))],
                ),
                None,
            ),
            2 => (
                Selector::everything(),
                rule(
                    vec![Peer::Pods {
                        namespaces: NamespaceMatch::Labels(Selector::labels([(
                            "team",
                            format!("team-{}", namespace % 20),
                        )])),
                        pods: Selector::labels([("app", app(namespace))]),
                    }],
                    vec![tcp(PortSpec::Range(8080, 8090))],
                ),
                None,
            ),
            3 => (
                Selector::everything(),
                None,
                rule(
                    vec![
                        anyone_in(0),
                        Peer::Block(IpBlock {
                            cidr: "0.0.0.0/0".parse().expect("a network"),
                            except: vec!["10.0.0.0/8".parse().expect("a network")],
                        }),
                    ],
                    vec![],
                ),
            ),
            _ => (
                Selector::everything(),
                rule(vec![anyone_in(1)], vec![tcp(PortSpec::Range(9090, 9090))]),
                rule(vec![own(Selector::everything())], vec![]),
            ),
        };
        Policy {
            key: ObjectKey::new(namespace_name(namespace), format!("policy-{kind}")),
            pod_selector: pods,
            ingress,
            egress,
            fault: None,
            allow_only: false,
        }
    }
}

/// Namespace number `i`.
pub fn namespace(i: usize) -> Namespace {
    Namespace {
        name: namespace_name(i),
        labels: Labels::new([
            ("kubernetes.io/metadata.name", namespace_name(i)),
            ("team", format!("team-{}", i % 20).into()),
        ]),
    }
}

fn namespace_name(i: usize) -> Name {
    format!("ns-{i:04}").into()
}

fn app(i: usize) -> String {
    format!("app-{}", i % 10)
}

fn own(pods: Selector) -> Peer {
    Peer::Pods {
        namespaces: NamespaceMatch::Own,
        pods,
    }
}

fn anyone_in(namespace: usize) -> Peer {
    Peer::Pods {
        namespaces: NamespaceMatch::Labels(Selector::labels([(
            "kubernetes.io/metadata.name",
            namespace_name(namespace),
        )])),
        pods: Selector::everything(),
    }
}

fn tcp(port: PortSpec) -> PortMatch {
    PortMatch {
        protocol: Protocol::Tcp,
        port,
    }
}
