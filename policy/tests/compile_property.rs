//! However a state came about, the program is the one that compiling it from
//! nothing gives, and every update says exactly what it did.

#![allow(clippy::unwrap_used)]

use ipnet::IpNet;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use ringfence_policy::compile::{Element, Id, Program, SetSpec, Update};
use ringfence_policy::model::{
    IpBlock, Labels, Name, Namespace, NamespaceMatch, Node, ObjectKey, Operator, Peer, Phase, Pod,
    PodPort, Policy, PortMatch, PortSpec, Protocol, Requirement, Rule, Selector,
};
use ringfence_policy::snapshot::{Change, Kind, Object};
use ringfence_policy::{Compiler, Settings, Snapshot, compile};
use std::collections::BTreeSet;
use std::net::IpAddr;

const NODE: &str = "n1";

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
    )
        .prop_map(
            |((namespace, name), pod_selector, ingress, egress)| Policy {
                key: ObjectKey { namespace, name },
                pod_selector,
                ingress,
                egress,
                fault: None,
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

fn object() -> impl Strategy<Value = Object> {
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
enum Step {
    Put(Object),
    /// Any object of the kind goes; a namespace may go before its pods.
    Take(Kind, Index),
    /// A pod that exists changes.
    Relabel(Index, Labels),
    Terminate(Index),
    End(Index),
    Readdress(Index, Vec<IpAddr>),
}

fn step() -> impl Strategy<Value = Step> {
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

fn apply(snapshot: &mut Snapshot, step: Step) -> Option<Change> {
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

/// The pods that count for an address, found the slow way.
fn claimants(snapshot: &Snapshot, ip: IpAddr) -> Vec<&Pod> {
    let all = || {
        let pods = snapshot.pods.values().map(|pod| &**pod);
        pods.filter(move |pod| pod.is_target() && pod.ips.contains(&ip))
    };
    let some_stay = all().any(|pod| !pod.terminating);
    all()
        .filter(|pod| !(some_stay && pod.terminating))
        .collect()
}

fn addresses(snapshot: &Snapshot) -> BTreeSet<IpAddr> {
    let pods = snapshot.pods.values();
    pods.flat_map(|pod| pod.ips.iter().copied()).collect()
}

/// Members of a set, found the slow way.
fn expected_members(snapshot: &Snapshot, program: &Program, spec: &SetSpec) -> BTreeSet<Element> {
    use ringfence_policy::compile::PodSetNamespaces;
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

/// What must hold in every program.
fn well_formed(snapshot: &Snapshot, program: &Program) -> Result<(), TestCaseError> {
    let structure = &program.structure;
    let ids = |map: &std::collections::BTreeMap<Id, BTreeSet<Element>>| -> Vec<Id> {
        map.keys().copied().collect()
    };
    prop_assert_eq!(
        ids(&program.members),
        structure.sets.keys().copied().collect::<Vec<_>>()
    );
    for (id, spec) in &structure.sets {
        prop_assert_eq!(*id, spec.id());
        let expected = expected_members(snapshot, program, spec);
        prop_assert_eq!(&program.members[id], &expected, "{}", spec);
    }
    for set in structure.chains.values().flat_map(|chain| chain.sets()) {
        prop_assert!(structure.sets.contains_key(&set));
    }
    let signatures: BTreeSet<&Id> = structure
        .endpoints
        .values()
        .flat_map(|e| e.ingress.iter().chain(&e.egress))
        .collect();
    prop_assert_eq!(signatures, structure.signatures.keys().collect());
    let chains: BTreeSet<&Id> = structure
        .signatures
        .values()
        .flat_map(|s| &s.chains)
        .collect();
    prop_assert_eq!(chains, structure.chains.keys().collect());
    Ok(())
}

/// The update turns `old` into `new`, and says nothing besides.
fn exact(old: &Program, new: &Program, update: &Update) -> Result<(), TestCaseError> {
    prop_assert_eq!(&update.structure, &new.structure);
    prop_assert_eq!(update.previous.is_some(), old.structure != new.structure);
    if let Some(previous) = &update.previous {
        prop_assert_eq!(previous, &old.structure);
    }
    for (id, now) in &new.members {
        let Some(before) = old.members.get(id) else {
            prop_assert!(!update.members.contains_key(id), "a new set is no change");
            continue;
        };
        let removed: BTreeSet<Element> = before.difference(now).copied().collect();
        let added: BTreeSet<Element> = now.difference(before).copied().collect();
        match update.members.get(id) {
            Some(change) => {
                prop_assert_eq!(change, &(removed, added));
                prop_assert!(!(change.0.is_empty() && change.1.is_empty()));
            }
            None => prop_assert!(removed.is_empty() && added.is_empty()),
        }
    }
    prop_assert!(update.members.keys().all(|id| new.members.contains_key(id)));
    Ok(())
}

/// The addresses whose claimants, as a policy sees them, are others than before.
fn moved(old: &Snapshot, new: &Snapshot) -> BTreeSet<IpAddr> {
    let seen = |snapshot: &Snapshot, ip| {
        let pods = claimants(snapshot, ip).into_iter();
        pods.map(|p| {
            (
                p.key.clone(),
                p.labels.clone(),
                p.node.clone(),
                p.ports.clone(),
            )
        })
        .collect::<Vec<_>>()
    };
    let ips = addresses(old).into_iter().chain(addresses(new));
    ips.filter(|ip| seen(old, *ip) != seen(new, *ip)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn updates_lead_where_compiling_leads(
        first in vec(object(), 0..40),
        batches in vec((vec(step(), 0..5), prop::bool::weighted(0.1)), 1..12),
        drop_unknown_pods in any::<bool>(),
        enforce_node_traffic in any::<bool>(),
    ) {
        let node = Name::from(NODE);
        let settings = Settings { enforce_node_traffic, drop_unknown_pods };
        let mut snapshot = Snapshot::default();
        for object in first {
            snapshot.apply(object);
        }
        let mut compiler = Compiler::new(node.clone(), settings);
        prop_assert_eq!(compiler.program(), &Program::default());
        let update = compiler.update(&snapshot, &[]);
        prop_assert_eq!(compiler.program(), &compile(&snapshot, &node, settings));
        exact(&Program::default(), compiler.program(), &update)?;
        well_formed(&snapshot, compiler.program())?;

        for (steps, rebuild) in batches {
            let old_snapshot = snapshot.clone();
            let old = compiler.program().clone();
            let changes: Vec<Change> =
                steps.into_iter().filter_map(|step| apply(&mut snapshot, step)).collect();
            let update = if rebuild {
                compiler.rebuild(&snapshot)
            } else {
                compiler.update(&snapshot, &changes)
            };
            let new = compiler.program();
            prop_assert_eq!(new, &compile(&snapshot, &node, settings));
            exact(&old, new, &update)?;
            well_formed(&snapshot, new)?;
            let moved = moved(&old_snapshot, &snapshot);
            prop_assert!(moved.is_subset(&update.moved), "{:?} {:?}", moved, update.moved);
            let summary = new.summary();
            prop_assert!(summary.contains("Pods on this node"));
        }
    }
}
