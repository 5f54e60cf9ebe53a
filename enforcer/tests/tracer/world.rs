//! Random clusters, changes and flows.

use ipnet::IpNet;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use ringfence_policy::model::{
    Flow, IpBlock, L4, Labels, Namespace, NamespaceMatch, Node, ObjectKey, Operator, Peer, Phase,
    Pod, PodPort, Policy, PortMatch, PortSpec, Protocol, Requirement, Rule, Selector,
};
use ringfence_policy::snapshot::{Kind, Object, Snapshot};
use std::net::IpAddr;

pub(crate) const NODES: [&str; 2] = ["n1", "n2"];
const NAMESPACES: [&str; 2] = ["x", "y"];
const PODS: [&str; 9] = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
const POLICIES: [&str; 5] = ["p0", "p1", "p2", "p3", "p4"];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A node with ranges of both families and, as flannel does it, a tunnel device that
/// has the range's network address.
pub(crate) fn node(number: u8) -> Node {
    Node {
        name: NODES[usize::from(number) - 1].into(),
        addresses: vec![
            ip(&format!("192.168.0.{number}")),
            ip(&format!("fd00::{number}")),
            ip(&format!("10.1.{number}.0")),
        ],
        pod_cidrs: vec![
            format!("10.1.{number}.0/24").parse().unwrap(),
            format!("fd00:{number}::/64").parse().unwrap(),
        ],
    }
}

/// Pods may claim the same address; some have one that lies in no node's range.
fn pod_addresses(node: u8, number: u8, dual: bool, outside: bool) -> Vec<IpAddr> {
    // Spread, so that the tree has several levels.
    let host = [2, 3, 4, 9, 64, 130, 200, 255][usize::from(number)];
    let v4 = if outside {
        format!("172.16.{node}.{host}")
    } else {
        format!("10.1.{node}.{host}")
    };
    let mut all = vec![ip(&v4)];
    if dual {
        all.push(ip(&format!("fd00:{node}::{host:x}")));
    }
    all
}

fn pod() -> impl Strategy<Value = Pod> {
    let identity = (
        select(&PODS[..]),
        select(&NAMESPACES[..]),
        select(&["a", "b", "c"][..]),
    );
    let place = (1..=2u8, 0..8u8, any::<bool>(), prop::bool::weighted(0.1));
    let state = (
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.15),
        select(
            &[
                Phase::Running,
                Phase::Running,
                Phase::Running,
                Phase::Pending,
                Phase::Succeeded,
            ][..],
        ),
        prop::bool::weighted(0.05),
    );
    let ports = subsequence(
        vec![
            ("web", Protocol::Tcp, 80),
            ("web", Protocol::Udp, 80),
            ("web", Protocol::Tcp, 81),
            ("dns", Protocol::Udp, 53),
        ],
        0..=3,
    );
    (identity, place, state, ports).prop_map(
        |(
            (name, namespace, app),
            (node, number, dual, outside),
            (host, terminating, phase, none),
            ports,
        )| Pod {
            key: ObjectKey::new(namespace, name),
            labels: Labels::new([("app", app)]),
            node: NODES[usize::from(node) - 1].into(),
            ips: if none {
                Vec::new()
            } else if host {
                vec![ip(&format!("192.168.0.{node}"))]
            } else {
                pod_addresses(node, number, dual, outside)
            },
            host_network: host,
            phase,
            terminating,
            api_client: false,
            ports: ports
                .into_iter()
                .map(|(name, protocol, port)| PodPort {
                    name: name.into(),
                    protocol,
                    port,
                })
                .collect(),
        },
    )
}

fn namespace() -> impl Strategy<Value = Namespace> {
    (select(&NAMESPACES[..]), select(&["red", "blue"][..])).prop_map(|(name, team)| Namespace {
        name: name.into(),
        labels: Labels::new([("kubernetes.io/metadata.name", name), ("team", team)]),
    })
}

fn selector(key: &'static str, values: &'static [&'static str]) -> impl Strategy<Value = Selector> {
    let requirement =
        (0..4u8, subsequence(values.to_vec(), 1..=2)).prop_map(move |(kind, values)| {
            let values = values.into_iter().map(Into::into).collect();
            Requirement {
                key: key.into(),
                operator: match kind {
                    0 => Operator::In(values),
                    1 => Operator::NotIn(values),
                    2 => Operator::Exists,
                    _ => Operator::DoesNotExist,
                },
            }
        });
    prop_oneof![
        1 => Just(Selector::everything()),
        3 => requirement.prop_map(|r| Selector::new([r])),
    ]
}

fn pods() -> impl Strategy<Value = Selector> {
    selector("app", &["a", "b", "c"])
}

fn block() -> impl Strategy<Value = IpBlock> {
    let nets = [
        "0.0.0.0/0",
        "::/0",
        "10.1.0.0/16",
        "10.1.1.0/24",
        "10.1.2.128/25",
        "10.1.1.3/32",
        "fd00:1::/64",
        "fd00::/16",
        "192.168.0.0/24",
        "192.168.0.1/32",
        "203.0.113.0/24",
    ];
    let nets: Vec<IpNet> = nets.iter().map(|n| n.parse().unwrap()).collect();
    (select(nets.clone()), subsequence(nets, 0..=2))
        .prop_map(|(cidr, except)| IpBlock { cidr, except })
}

fn peer() -> impl Strategy<Value = Peer> {
    prop_oneof![
        2 => pods().prop_map(|pods| Peer::Pods { namespaces: NamespaceMatch::Own, pods }),
        2 => (selector("team", &["red", "blue"]), pods()).prop_map(|(namespaces, pods)| Peer::Pods {
            namespaces: NamespaceMatch::Labels(namespaces),
            pods,
        }),
        2 => block().prop_map(Peer::Block),
    ]
}

fn port() -> impl Strategy<Value = PortMatch> {
    let spec = prop_oneof![
        1 => Just(PortSpec::Any),
        2 => select(&[80u16, 81, 53][..]).prop_map(|p| PortSpec::Range(p, p)),
        1 => Just(PortSpec::Range(80, 90)),
        2 => select(&["web", "dns", "nobody"][..]).prop_map(|n| PortSpec::Named(n.into())),
    ];
    (select(&Protocol::ALL[..]), spec).prop_map(|(protocol, port)| PortMatch { protocol, port })
}

fn rules() -> impl Strategy<Value = Option<Vec<Rule>>> {
    let rule = (
        prop::collection::vec(peer(), 0..3),
        prop::collection::vec(port(), 0..4),
    )
        .prop_map(|(peers, ports)| Rule { peers, ports })
        .boxed();
    // Many: more than a signature's chain takes in.
    let rules = prop_oneof![
        5 => prop::collection::vec(rule.clone(), 0..3),
        1 => prop::collection::vec(rule, 4..7),
    ];
    prop::option::weighted(0.6, rules)
}

fn policy() -> impl Strategy<Value = Policy> {
    let key = (select(&POLICIES[..]), select(&NAMESPACES[..]));
    let allow_only = prop::bool::weighted(0.2);
    (key, pods(), rules(), rules(), allow_only).prop_map(
        |((name, namespace), pod_selector, ingress, egress, allow_only)| Policy {
            key: ObjectKey::new(namespace, name),
            pod_selector,
            ingress,
            egress,
            fault: None,
            allow_only,
        },
    )
}

/// One change of the cluster.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Put(Object),
    Remove(Kind, ObjectKey),
}

fn edit() -> impl Strategy<Value = Edit> {
    let key = |names: &'static [&'static str]| {
        (select(&NAMESPACES[..]), select(names)).prop_map(|(ns, name)| ObjectKey::new(ns, name))
    };
    prop_oneof![
        5 => pod().prop_map(|p| Edit::Put(Object::Pod(p))),
        3 => policy().prop_map(|p| Edit::Put(Object::Policy(p))),
        1 => namespace().prop_map(|n| Edit::Put(Object::Namespace(n))),
        1 => key(&PODS).prop_map(|k| Edit::Remove(Kind::Pod, k)),
        1 => key(&POLICIES).prop_map(|k| Edit::Remove(Kind::NetworkPolicy, k)),
        1 => select(&NAMESPACES[..])
            .prop_map(|n| Edit::Remove(Kind::Namespace, ObjectKey::new("", n))),
    ]
}

/// A cluster of two nodes.
pub(crate) fn snapshot() -> impl Strategy<Value = Snapshot> {
    let namespaces = prop::collection::vec(namespace(), 2..5);
    let pods = prop::collection::vec(pod(), 2..12);
    (namespaces, pods, prop::collection::vec(policy(), 0..7)).prop_map(
        |(namespaces, pods, policies)| {
            let mut snapshot = Snapshot::default();
            let nodes = [1, 2].map(|n| Object::Node(node(n)));
            let all = nodes
                .into_iter()
                .chain(namespaces.into_iter().map(Object::Namespace))
                .chain(pods.into_iter().map(Object::Pod))
                .chain(policies.into_iter().map(Object::Policy));
            for object in all {
                snapshot.apply(object);
            }
            snapshot
        },
    )
}

/// Batches of changes.
pub(crate) fn batches() -> impl Strategy<Value = Vec<Vec<Edit>>> {
    prop::collection::vec(prop::collection::vec(edit(), 1..5), 1..5)
}

fn address(v4: bool) -> impl Strategy<Value = IpAddr> {
    let pod =
        (1..=2u8, 0..8u8, prop::bool::weighted(0.1)).prop_map(move |(node, number, outside)| {
            let all = pod_addresses(node, number, true, outside && v4);
            all[usize::from(!v4)]
        });
    let others: Vec<IpAddr> = if v4 {
        vec![
            ip("192.168.0.1"),
            ip("192.168.0.2"),
            ip("10.1.1.0"),
            ip("10.1.1.1"),
            ip("10.1.2.77"),
            ip("203.0.113.7"),
        ]
    } else {
        vec![
            ip("fd00::1"),
            ip("fd00::2"),
            ip("fd00:1::1"),
            ip("fd00:2::77"),
            ip("2001:db8::7"),
        ]
    };
    prop_oneof![4 => pod, 1 => select(others)]
}

/// A flow between any two addresses of a cluster.
pub(crate) fn flow() -> impl Strategy<Value = Flow> {
    let port = || select(&[80u16, 81, 53, 85, 40_000][..]);
    let ports = (select(&Protocol::ALL[..]), port(), port())
        .prop_map(|(protocol, src, dst)| L4::Ports { protocol, src, dst });
    let l4 = prop_oneof![
        8 => ports,
        1 => select(&[8u8, 128, 135, 143][..]).prop_map(|kind| L4::Icmp { kind }),
        1 => Just(L4::Other(47)),
    ];
    let ends = any::<bool>().prop_flat_map(|v4| (address(v4), address(v4)));
    (ends, l4).prop_map(|((src, dst), l4)| Flow { src, dst, l4 })
}
