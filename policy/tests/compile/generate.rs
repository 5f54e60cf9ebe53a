//! Random clusters and what happens to them. Few names, labels and addresses, so
//! that they meet: pods share and reuse addresses, policies select the same pods.

use crate::NODE;
use ipnet::IpNet;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use ringfence_policy::Snapshot;
use ringfence_policy::model::{
    IpBlock, Labels, Name, Namespace, NamespaceMatch, Node, ObjectKey, Operator, Peer, Phase, Pod,
    PodPort, Policy, PortMatch, PortSpec, Protocol, Requirement, Rule, Selector,
};
use ringfence_policy::snapshot::{Change, Kind, Object};
use std::net::IpAddr;

fn name(choices: &'static [&'static str]) -> impl Strategy<Value = Name> {
    select(choices).prop_map(Name::from)
}

fn namespace_name() -> impl Strategy<Value = Name> {
    name(&["a", "a1", "b", "c"])
}

fn labels() -> impl Strategy<Value = Labels> {
    vec((name(&["app", "tier"]), name(&["x", "y", "z"])), 0..3).prop_map(Labels::new)
}

fn selector() -> impl Strategy<Value = Selector> {
    let values = || vec(name(&["x", "y", "z"]), 1..3);
    let operator = prop_oneof![
        4 => values().prop_map(Operator::In),
        1 => values().prop_map(Operator::NotIn),
        1 => Just(Operator::Exists),
        1 => Just(Operator::DoesNotExist),
    ];
    let requirement = (name(&["app", "tier"]), operator)
        .prop_map(|(key, operator)| Requirement { key, operator });
    vec(requirement, 0..3).prop_map(Selector::new)
}

/// Few addresses, so that pods reuse and share them.
fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (1..7u8).prop_map(|i| IpAddr::from([10, 1, 0, i])),
        (1..4u8).prop_map(|i| format!("fd00::{i}").parse().unwrap()),
    ]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    select(vec![Protocol::Tcp, Protocol::Udp])
}

fn pod() -> impl Strategy<Value = Pod> {
    let port =
        (name(&["http", "dns"]), protocol(), 80..83u16).prop_map(|(name, protocol, port)| {
            PodPort {
                name,
                protocol,
                port,
            }
        });
    let phase = prop_oneof![
        8 => Just(Phase::Running),
        1 => Just(Phase::Pending),
        1 => Just(Phase::Succeeded),
        1 => Just(Phase::Failed),
    ];
    (
        (namespace_name(), name(&["p", "q", "r", "s"])),
        labels(),
        name(&[NODE, NODE, "n2", ""]),
        vec(address(), 0..3),
        prop::bool::weighted(0.1),
        phase,
        prop::bool::weighted(0.2),
        vec(port, 0..3),
    )
        .prop_map(
            |((namespace, name), labels, node, ips, host_network, phase, terminating, ports)| Pod {
                key: ObjectKey { namespace, name },
                labels,
                node,
                ips,
                host_network,
                phase,
                terminating,
                api_client: false,
                ports: ports.into(),
            },
        )
}

fn network() -> impl Strategy<Value = IpNet> {
    select(vec![
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.0.0.0/9",
        "10.128.0.0/9",
        "10.1.0.0/30",
        "::/0",
        "fd00::/8",
        "fd00::/126",
    ])
    .prop_map(|text| text.parse().unwrap())
}

fn rule() -> impl Strategy<Value = Rule> {
    let namespaces = prop_oneof![
        Just(NamespaceMatch::Own),
        selector().prop_map(NamespaceMatch::Labels)
    ];
    let peer = prop_oneof![
        3 => (namespaces, selector())
            .prop_map(|(namespaces, pods)| Peer::Pods { namespaces, pods }),
        1 => (network(), vec(network(), 0..3))
            .prop_map(|(cidr, except)| Peer::Block(IpBlock { cidr, except })),
    ];
    let port = prop_oneof![
        Just(PortSpec::Any),
        (80..84u16, 0..3u16).prop_map(|(first, more)| PortSpec::Range(first, first + more)),
        name(&["http", "dns"]).prop_map(PortSpec::Named),
    ];
    let port = (protocol(), port).prop_map(|(protocol, port)| PortMatch { protocol, port });
    (vec(peer, 0..3), vec(port, 0..3)).prop_map(|(peers, ports)| Rule { peers, ports })
}

fn policy() -> impl Strategy<Value = Policy> {
    let rules = || prop::option::of(vec(rule(), 0..3));
    (
        (namespace_name(), name(&["k", "l", "m"])),
        selector(),
        rules(),
        rules(),
        prop::bool::weighted(0.2),
    )
        .prop_map(
            |((namespace, name), pod_selector, ingress, egress, allow_only)| Policy {
                key: ObjectKey { namespace, name },
                pod_selector,
                ingress,
                egress,
                fault: None,
                allow_only,
            },
        )
}

fn node() -> impl Strategy<Value = Node> {
    (name(&[NODE, "n2"]), vec(network(), 0..3)).prop_map(|(name, pod_cidrs)| Node {
        name,
        addresses: vec![],
        pod_cidrs,
    })
}

pub fn object() -> impl Strategy<Value = Object> {
    prop_oneof![
        10 => pod().prop_map(Object::Pod),
        4 => policy().prop_map(Object::Policy),
        3 => (namespace_name(), labels())
            .prop_map(|(name, labels)| Object::Namespace(Namespace { name, labels })),
        1 => node().prop_map(Object::Node),
    ]
}

/// What happens to a snapshot.
#[derive(Clone, Debug)]
pub enum Step {
    /// An object comes or changes.
    Put(Object),
    /// Any object of the kind goes; a namespace may go before its pods.
    Take(Kind, Index),
    /// A pod that exists changes.
    Relabel(Index, Labels),
    /// It is being deleted.
    Terminate(Index),
    /// It succeeds.
    End(Index),
    /// It gets other addresses.
    Readdress(Index, Vec<IpAddr>),
}

pub fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    prop_oneof![
        6 => object().prop_map(Step::Put),
        3 => (select(Kind::ALL.to_vec()), index()).prop_map(|(kind, i)| Step::Take(kind, i)),
        1 => (index(), labels()).prop_map(|(i, labels)| Step::Relabel(i, labels)),
        1 => index().prop_map(Step::Terminate),
        1 => index().prop_map(Step::End),
        1 => (index(), vec(address(), 0..3)).prop_map(|(i, ips)| Step::Readdress(i, ips)),
    ]
}

fn change_pod(snapshot: &mut Snapshot, index: Index, change: impl Fn(&mut Pod)) -> Option<Change> {
    if snapshot.pods.is_empty() {
        return None;
    }
    let at = index.index(snapshot.pods.len());
    let mut pod = Pod::clone(snapshot.pods.values().nth(at).unwrap());
    change(&mut pod);
    snapshot.apply(Object::Pod(pod))
}

pub fn apply(snapshot: &mut Snapshot, step: Step) -> Option<Change> {
    match step {
        Step::Put(object) => snapshot.apply(object),
        Step::Take(kind, index) => {
            let keys = snapshot.keys(kind);
            (!keys.is_empty())
                .then(|| snapshot.remove(kind, &keys[index.index(keys.len())]))
                .flatten()
        }
        Step::Relabel(index, labels) => change_pod(snapshot, index, |p| p.labels = labels.clone()),
        Step::Terminate(index) => change_pod(snapshot, index, |p| p.terminating = true),
        Step::End(index) => change_pod(snapshot, index, |p| p.phase = Phase::Succeeded),
        Step::Readdress(index, ips) => change_pod(snapshot, index, |p| p.ips.clone_from(&ips)),
    }
}
