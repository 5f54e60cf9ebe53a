use super::*;
use crate::model::{Labels, Namespace, ObjectKey, Phase, Protocol, TargetPort};
use crate::snapshot::Object;
use test_case::test_case;

fn world(external: TrafficPolicy) -> (Snapshot, Arc<Service>) {
    let mut s = Snapshot::default();
    for (name, address) in [
        ("n1", "192.0.2.1"),
        ("n2", "192.0.2.2"),
        ("n3", "192.0.2.3"),
    ] {
        s.apply(Object::Node(Node {
            name: name.into(),
            addresses: vec![address.parse().unwrap()],
            pod_cidrs: vec![],
        }));
    }
    s.apply(Object::Namespace(Namespace {
        name: "x".into(),
        labels: Labels::default(),
    }));
    let pod = |name: &str, node: &str, ip: &str| Pod {
        key: ObjectKey::new("x", name),
        labels: Labels::new([("app", name)]),
        node: node.into(),
        ips: vec![ip.parse().unwrap()],
        host_network: false,
        phase: Phase::Running,
        terminating: false,
        api_client: false,
        ports: Arc::new([]),
    };
    s.apply(Object::Pod(pod("web", "n2", "10.1.2.9")));
    s.apply(Object::Pod(pod("c1", "n1", "10.1.1.9")));
    s.apply(Object::Pod(pod("c2", "n2", "10.1.2.8")));
    s.apply(Object::Service(Service {
        key: ObjectKey::new("x", "web"),
        service_type: ServiceType::NodePort,
        cluster_ips: vec!["10.96.0.9".parse().unwrap()],
        external_ips: vec![],
        selector: Some(Labels::new([("app", "web")])),
        ports: vec![ServicePort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port: 80,
            target: TargetPort::Number(8080),
            node_port: Some(31_602),
        }],
        external_traffic_policy: external,
        internal_traffic_policy: TrafficPolicy::Cluster,
        source_ranges: vec![],
    }));
    let service = Arc::clone(s.services.values().next().unwrap());
    (s, service)
}

/// (source the endpoint's policy sees) or "none".
fn seen(external: TrafficPolicy, all: bool, from: &str, door: Option<&str>) -> String {
    let (s, service) = world(external);
    let origin = Origin::of(&s, from.parse().unwrap());
    let door = door.map_or(Door::ClusterIp, |n| Door::NodePort(Arc::clone(&s.nodes[n])));
    let proxy = Proxy {
        masquerade_all: all,
    };
    match ways(&s, proxy, &origin, &service, &service.ports[0], &door) {
        Ways::None(_) => "none".to_owned(),
        Ways::Some(w) => w[0].ingress.src.to_string(),
    }
}

use TrafficPolicy::{Cluster, Local};
#[test_case(Cluster, false, "10.1.1.9", None => "10.1.1.9"; "pod to ClusterIP")]
#[test_case(Cluster, true, "10.1.1.9", None => "192.0.2.1"; "masqueradeAll, endpoint elsewhere")]
#[test_case(Cluster, true, "10.1.2.8", None => "10.1.2.8"; "masqueradeAll, endpoint here")]
#[test_case(Cluster, false, "203.0.113.5", Some("n2") => "203.0.113.5"; "outside, endpoint's node")]
#[test_case(Cluster, false, "203.0.113.5", Some("n1") => "192.0.2.1"; "outside, other node")]
#[test_case(Local, false, "203.0.113.5", Some("n2") => "203.0.113.5"; "outside, endpoint's node, Local")]
#[test_case(Local, false, "203.0.113.5", Some("n1") => "none"; "outside, other node, Local")]
#[test_case(Cluster, false, "10.1.1.9", Some("n1") => "192.0.2.1"; "pod, own node")]
#[test_case(Local, false, "10.1.1.9", Some("n1") => "10.1.1.9"; "pod, own node, Local")]
#[test_case(Cluster, false, "10.1.1.9", Some("n2") => "192.0.2.1"; "pod, endpoint's node")]
#[test_case(Local, false, "10.1.1.9", Some("n2") => "192.0.2.1"; "pod, endpoint's node, Local")]
#[test_case(Cluster, false, "10.1.1.9", Some("n3") => "192.0.2.3"; "pod, third node")]
#[test_case(Local, false, "10.1.1.9", Some("n3") => "none"; "pod, third node, Local")]
#[test_case(Cluster, false, "203.0.113.5", None => "none"; "outside to ClusterIP")]
fn source_that_policy_sees(e: TrafficPolicy, all: bool, from: &str, door: Option<&str>) -> String {
    seen(e, all, from, door)
}

#[test]
fn masqueraded_packets_leave_with_the_tunnels_address() {
    let (mut s, service) = world(Cluster);
    let mut node = Node::clone(&s.nodes["n1"]);
    node.addresses.push("10.1.1.0".parse().unwrap());
    node.pod_cidrs.push("10.1.1.0/24".parse().unwrap());
    s.apply(Object::Node(node));
    let sees = |from: &str, door: Door| {
        let origin = Origin::of(&s, from.parse().unwrap());
        let port = &service.ports[0];
        match ways(&s, Proxy::default(), &origin, &service, port, &door) {
            Ways::Some(w) => w[0].ingress.src.to_string(),
            Ways::None(why) => why,
        }
    };
    let entry = || Door::NodePort(Arc::clone(&s.nodes["n1"]));
    assert_eq!(sees("203.0.113.5", entry()), "10.1.1.0", "seed 002's hole");
    assert_eq!(
        sees("192.0.2.1", Door::ClusterIp),
        "10.1.1.0",
        "the node itself"
    );
}

#[test]
fn egress_sees_the_node_port_where_dnat_is_elsewhere() {
    let (s, service) = world(Cluster);
    let origin = Origin::of(&s, "10.1.1.9".parse().unwrap());
    let door = Door::NodePort(Arc::clone(&s.nodes["n3"]));
    let Ways::Some(w) = ways(
        &s,
        Proxy::default(),
        &origin,
        &service,
        &service.ports[0],
        &door,
    ) else {
        panic!("there is an endpoint");
    };
    assert_eq!(w[0].egress.to_string(), "TCP 10.1.1.9 -> 192.0.2.3:31602");
    assert_eq!(w[0].ingress.to_string(), "TCP 192.0.2.3 -> 10.1.2.9:8080");
}
