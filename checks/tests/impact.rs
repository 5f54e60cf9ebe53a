//! What `impact::compare` says against the oracle, flow by flow.
#![expect(clippy::unwrap_used, reason = "a test's helpers may panic too")]

#[path = "../../policy/tests/compile/generate.rs"]
mod generate;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index as Pick, select};
use ringfence_checks::Index;
use ringfence_checks::impact::{Edit, Limits, NotComputed, Port, compare};
use ringfence_policy::evaluate::Evaluator;
use ringfence_policy::model::{
    Direction, Flow, Labels, Name, Namespace, ObjectKey, Pod, Policy, Protocol, Service,
    ServicePort, ServiceType, TargetPort, TrafficPolicy,
};
use ringfence_policy::snapshot::{Kind, Object};
use ringfence_policy::{Settings, Snapshot};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

/// For the generator.
const NODE: &str = "n1";

/// Gives every pod an address of its own, in the family that it had, where the generator's
/// blocks are.
fn addressed(mut snapshot: Snapshot) -> Snapshot {
    let pods: Vec<Pod> = snapshot.pods.values().map(|p| Pod::clone(p)).collect();
    for (number, mut pod) in (1_u8..).zip(pods) {
        pod.ips = match pod.ips.first() {
            Some(IpAddr::V6(_)) => {
                vec![Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(number)).into()]
            }
            _ => vec![[10, 1, 0, number].into()],
        };
        snapshot.apply(Object::Pod(pod));
    }
    snapshot
}

fn service() -> impl Strategy<Value = Object> {
    let target = prop_oneof![
        (80..84_u16).prop_map(TargetPort::Number),
        Just(TargetPort::Named("http".into())),
    ];
    (
        select(vec!["a", "a1", "b"]),
        select(vec!["s", "t"]),
        select(vec!["x", "y"]),
        target,
    )
        .prop_map(|(namespace, name, app, target)| {
            Object::Service(Service {
                key: ObjectKey::new(namespace, name),
                service_type: ServiceType::ClusterIp,
                cluster_ips: Vec::new(),
                external_ips: Vec::new(),
                selector: Some(Labels::new([("app", app)])),
                ports: vec![ServicePort {
                    name: "p".into(),
                    protocol: Protocol::Tcp,
                    port: 8000,
                    target,
                    node_port: None,
                }],
                external_traffic_policy: TrafficPolicy::Cluster,
                internal_traffic_policy: TrafficPolicy::Cluster,
                source_ranges: Vec::new(),
            })
        })
}

/// One thing that is edited.
#[derive(Clone, Debug)]
enum Act {
    Put(Object),
    Remove(Pick),
}

fn act() -> impl Strategy<Value = Act> {
    let decides = |object: &Object| matches!(object, Object::Policy(_) | Object::Namespace(_));
    prop_oneof![
        4 => generate::object().prop_filter("pods do not change", decides).prop_map(Act::Put),
        1 => any::<Pick>().prop_map(Act::Remove),
    ]
}

/// The edit, and the cluster after it.
fn edited(before: &Snapshot, acts: &[Act]) -> (Edit, Snapshot) {
    let (mut edit, mut after) = (Edit::default(), before.clone());
    for act in acts {
        match act {
            Act::Put(object) => {
                edit = match object {
                    Object::Policy(policy) => edit.put(policy.clone()),
                    Object::Namespace(Namespace { name, labels }) => {
                        edit.relabel(Name::clone(name), labels.clone())
                    }
                    _ => edit,
                };
                after.apply(object.clone());
            }
            Act::Remove(pick) => {
                let keys = before.keys(Kind::NetworkPolicy);
                if !keys.is_empty() {
                    let key = pick.get(&keys);
                    edit = edit.remove(key.clone());
                    after.remove(Kind::NetworkPolicy, key);
                }
            }
        }
    }
    (edit, after)
}

/// The ports of a pod, from scratch.
fn ports(snapshot: &Snapshot, pod: &Pod) -> Vec<Port> {
    let mut ports: Vec<Port> = pod
        .ports
        .iter()
        .map(|p| Some((p.protocol, p.port)))
        .collect();
    for service in snapshot.services.values() {
        let selector = service.selector.as_ref().unwrap();
        if service.key.namespace != pod.key.namespace
            || !selector.iter().all(|(k, v)| pod.labels.get(k) == Some(v))
        {
            continue;
        }
        for port in &service.ports {
            let number = match &port.target {
                TargetPort::Number(number) => Some(*number),
                TargetPort::Named(name) => pod.named_port(name, port.protocol),
            };
            ports.extend(number.map(|number| Some((port.protocol, number))));
        }
    }
    ports.sort_unstable();
    ports.dedup();
    if ports.is_empty() {
        ports.push(None);
    }
    ports
}

/// The same policies, whose rules say nothing of ports.
fn without_ports(snapshot: &Snapshot) -> Snapshot {
    let mut stripped = snapshot.clone();
    for policy in snapshot.policies.values() {
        let mut policy = Policy::clone(policy);
        for rules in [&mut policy.ingress, &mut policy.egress] {
            for rule in rules.iter_mut().flatten() {
                rule.ports.clear();
            }
        }
        stripped.apply(Object::Policy(policy));
    }
    stripped
}

type Told = (Name, Name, Port);

/// Every flow that passes, with the namespaces of its ends.
fn passing(snapshot: &Snapshot) -> BTreeMap<(ObjectKey, ObjectKey, Port), Told> {
    let stripped = without_ports(snapshot);
    let settings = Settings::default();
    let exact = Evaluator::new(snapshot, settings);
    let any = Evaluator::new(&stripped, settings);
    let pods: Vec<&Pod> = snapshot
        .pods
        .values()
        .map(AsRef::as_ref)
        .filter(|p| p.is_target() && !p.terminating)
        .collect();
    let mut passing = BTreeMap::new();
    for from in &pods {
        for to in pods.iter().filter(|to| to.key != from.key) {
            for port in ports(snapshot, to) {
                let (protocol, number) = port.unwrap_or((Protocol::Tcp, 1));
                let flow = Flow::new(protocol, from.ips[0], to.ips[0], number);
                let judge = if port.is_some() { &exact } else { &any };
                if judge.judge(&flow).allowed() {
                    let told = (from.key.namespace.clone(), to.key.namespace.clone(), port);
                    passing.insert((from.key.clone(), to.key.clone(), port), told);
                }
            }
        }
    }
    passing
}

/// How many flows pass in one and not in the other, by namespace.
fn only(
    one: &BTreeMap<(ObjectKey, ObjectKey, Port), Told>,
    other: &BTreeMap<(ObjectKey, ObjectKey, Port), Told>,
) -> BTreeMap<Told, u64> {
    let mut only = BTreeMap::new();
    for (_, told) in one.iter().filter(|(flow, _)| !other.contains_key(*flow)) {
        *only.entry(told.clone()).or_default() += 1;
    }
    only
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn says_what_the_oracle_says(
        steps in vec(generate::step(), 20..70),
        services in vec(service(), 0..3),
        acts in vec(act(), 1..4),
    ) {
        let mut snapshot = Snapshot::default();
        for step in steps {
            generate::apply(&mut snapshot, step);
        }
        for service in services {
            snapshot.apply(service);
        }
        let before = addressed(snapshot);
        let (edit, after) = edited(&before, &acts);
        let index = Index::new(before.clone());
        let impact = compare(&index, &edit, &Limits::FULL).unwrap();
        let (now, then) = (passing(&before), passing(&after));
        for (flows, expected) in [(impact.cut, only(&now, &then)), (impact.opened, only(&then, &now))] {
            let mut found: BTreeMap<Told, u64> = BTreeMap::new();
            for (row, count) in &flows.rows {
                let told = (row.from.namespace.clone(), row.to.namespace.clone(), row.port);
                *found.entry(told).or_default() += count;
            }
            prop_assert_eq!(flows.count, expected.values().sum::<u64>());
            prop_assert_eq!(found, expected);
            prop_assert!(!flows.more);
        }
        let tight = Limits { steps: 10, ..Limits::FULL };
        let computed = compare(&index, &edit, &tight);
        let refused = computed == Err(NotComputed { steps: 10 });
        prop_assert!(refused || now == then);
    }
}

#[test]
fn directions_are_two() {
    // `Ground` and the comparison keep two sets, by the number of the direction.
    assert_eq!(
        [Direction::Ingress as usize, Direction::Egress as usize],
        [0, 1]
    );
}
