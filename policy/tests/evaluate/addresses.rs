//! Who an address is: phases, reuse, nodes, unknown pods, own address.

use crate::world::{World, denied, pod_object};
use ringfence_policy::evaluate::{Exemption, Side};
use serde_json::{Value, json};
use test_case::test_case;

const X_A: &str = "10.0.1.11";

fn from_pod(label: &str) -> Value {
    json!({"ingress": [{"from": [{"podSelector": {"matchLabels": {"pod": label}}}]}]})
}

/// Another pod of namespace x at the address of x/a.
fn second(change: impl FnOnce(&mut Value)) -> Value {
    let mut object = pod_object("x/second", "n1", &[X_A]);
    change(&mut object);
    object
}

fn terminating(object: &mut Value) {
    object["metadata"]["deletionTimestamp"] = json!("2024-01-01T00:00:00Z");
}

#[test_case("Succeeded", true; "a pod that succeeded has no address")]
#[test_case("Failed", true; "a pod that failed has no address")]
#[test_case("Pending", false; "pending")]
#[test_case("Running", false; "running")]
#[test_case("Unknown", false; "unknown")]
fn phases(phase: &str, only_a: bool) {
    let other = second(|pod| pod["status"]["phase"] = json!(phase));
    let world = World::new().policy("x/p", from_pod("a")).with(other);
    let claimants = world.evaluator().claimants(X_A.parse().unwrap()).count();
    assert_eq!(claimants, if only_a { 1 } else { 2 });
    assert_eq!(world.allows("x/a", "x/b", "80/tcp"), only_a);
}

#[test]
fn a_terminating_pod_gives_way_to_the_new_owner_of_its_address() {
    let world = World::new()
        .policy("x/p", from_pod("a"))
        .with(second(terminating));
    assert!(world.allows(X_A, "x/b", "80/tcp"));
    let world = World::new()
        .policy("x/p", from_pod("second"))
        .with(second(terminating));
    assert!(!world.allows(X_A, "x/b", "80/tcp"));
}

#[test]
fn a_terminating_pod_stays_enforced_until_it_is_gone() {
    let mut object = pod_object("x/d", "n1", &["10.0.1.14"]);
    terminating(&mut object);
    let world = World::new().policy("x/p", from_pod("d")).with(object);
    assert_eq!(
        denied(&world.judge("x/a", "x/d", "80/tcp").ingress),
        ["x/p"]
    );
    assert!(world.allows("x/d", "x/a", "80/tcp"));
}

#[test]
fn all_claimants_of_one_address_must_match_and_must_allow() {
    let world = World::new().with(second(|_| {}));
    let world = world.policy("y/by-label", from_pod("a"));
    assert!(!world.allows(X_A, "y/b", "80/tcp"));

    let shut = json!({"podSelector": {"matchLabels": {"pod": "second"}}, "ingress": []});
    let world = World::new().with(second(|_| {})).policy("x/shut", shut);
    let Side::Denied { pod, .. } = world.judge("y/a", X_A, "80/tcp").ingress else {
        panic!("the second claimant denies");
    };
    assert_eq!(pod.to_string(), "x/second");
}

#[test_case(8080, false; "another number under the name")]
#[test_case(80, true; "the same number under the name")]
fn all_claimants_must_name_the_port_alike(number: u16, expected: bool) {
    let containers = json!([{"ports": [{"name": "web", "containerPort": number}]}]);
    let other = second(|pod| pod["spec"]["containers"] = containers);
    let spec = json!({"ingress": [{"ports": [{"port": "web"}]}]});
    let world = World::new().with(other).policy("x/p", spec);
    assert_eq!(world.allows("y/a", X_A, "80/tcp"), expected);
}

#[test]
fn an_address_that_lists_twice_is_one_claimant() {
    let object = pod_object("x/d", "n1", &["10.0.1.14", "10.0.1.14"]);
    let world = World::new().with(object);
    let address = "10.0.1.14".parse().unwrap();
    assert_eq!(world.evaluator().claimants(address).count(), 1);
}

#[test]
fn host_network_pods_are_node_addresses() {
    let mut host = pod_object("x/host", "n2", &["192.168.0.2"]);
    host["spec"]["hostNetwork"] = json!(true);
    let all_pods = json!({"ingress": [{"from": [{"namespaceSelector": {}}]}]});
    let world = World::new().with(host).policy("x/p", all_pods);
    // Neither a selector peer nor a target, and remote: x/a lives on n1.
    assert!(!world.allows("192.168.0.2", "x/a", "80/tcp"));
    assert_eq!(
        world.judge("y/a", "192.168.0.2", "80/tcp").ingress,
        Side::NoPod
    );
    let block = json!({"ingress": [{"from": [{"ipBlock": {"cidr": "192.168.0.2/32"}}]}]});
    assert!(
        world
            .policy("x/block", block)
            .allows("192.168.0.2", "x/a", "80/tcp")
    );
}

#[test]
fn a_node_and_its_pods() {
    let shut = json!({"policyTypes": ["Ingress", "Egress"]});
    let mut world = World::new().policy("x/p", shut);
    let node = Side::Exempt(Exemption::NodeTraffic);
    for address in ["192.168.0.1", "fd00:1::1"] {
        assert_eq!(world.judge(address, "x/a", "80/tcp").ingress, node);
        assert_eq!(world.judge("x/a", address, "80/tcp").egress, node);
    }
    assert_eq!(
        denied(&world.judge("192.168.0.2", "x/a", "80/tcp").ingress),
        ["x/p"]
    );
    assert_eq!(
        denied(&world.judge("x/a", "192.168.0.2", "80/tcp").egress),
        ["x/p"]
    );

    world.settings.enforce_node_traffic = true;
    let verdict = world.judge("x/a", "192.168.0.1", "80/tcp");
    assert_eq!(
        (denied(&verdict.egress), verdict.ingress),
        (vec!["x/p".to_owned()], Side::NoPod)
    );
    assert_eq!(world.judge("192.168.0.1", "x/a", "80/tcp").ingress, node);
}

/// A node address that a pod claims is that pod, or its identity would open all pods.
#[test]
fn a_pod_at_a_node_address_is_no_node() {
    let pod = pod_object("y/odd", "n1", &["192.168.0.1"]);
    let world = World::new().with(pod).policy("x/p", json!({}));
    assert!(!world.allows("192.168.0.1", "x/a", "80/tcp"));
}

#[test]
fn own_address() {
    let world = World::new().policy("x/p", json!({"policyTypes": ["Ingress", "Egress"]}));
    let own = Side::Exempt(Exemption::OwnAddress);
    let verdict = world.judge("x/a", "x/a", "80/tcp");
    assert_eq!((verdict.egress, verdict.ingress), (own.clone(), own));
    assert_eq!(
        world.judge("8.8.8.8", "8.8.8.8", "80/tcp").ingress,
        Side::NoPod
    );
}

#[test]
fn a_node_reaches_a_pod_of_its_own_that_nobody_knows_yet() {
    let mut world = World::new();
    world.settings.drop_unknown_pods = true;
    let node = world.snapshot.nodes["n1"].addresses[0].to_string();
    let other = world.snapshot.nodes["n2"].addresses[0].to_string();
    let probe = world.judge(&node, "10.0.1.99", "80/tcp");
    assert_eq!(probe.ingress, Side::Exempt(Exemption::NodeTraffic));
    assert!(!world.judge(&other, "10.0.1.99", "80/tcp").allowed());
}

#[test_case("fd00:10:1::11", "icmp 135", true; "neighbour solicitation")]
#[test_case("fd00:10:1::11", "icmp 130", true; "first of the range")]
#[test_case("fd00:10:1::11", "icmp 137", true; "last of the range")]
#[test_case("fd00:10:1::11", "icmp 143", true; "MLDv2 report")]
#[test_case("fd00:10:1::11", "icmp 129", false; "echo reply")]
#[test_case("fd00:10:1::11", "icmp 138", false; "beyond the range")]
#[test_case("10.0.1.11", "icmp 135", false; "the same number in IPv4")]
fn neighbour_discovery(to: &str, port: &str, allowed: bool) {
    let world = World::new().policy("x/p", json!({"policyTypes": ["Ingress", "Egress"]}));
    let from = if to.contains(':') {
        "fd00:10:1::21"
    } else {
        "10.0.1.21"
    };
    let verdict = world.judge(from, to, port);
    assert_eq!(verdict.allowed(), allowed);
    let exempt = Side::Exempt(Exemption::NeighbourDiscovery);
    assert_eq!(
        verdict.egress == exempt && verdict.ingress == exempt,
        allowed
    );
}

#[test_case("10.0.1.99", Some("n1"); "nobody's")]
#[test_case("10.0.2.99", Some("n2"); "nobody's, in another node's range")]
#[test_case("fd00:10:1::99", Some("n1"); "nobody's of IPv6")]
#[test_case("10.0.1.0", None; "the network address is a tunnel's")]
#[test_case("10.0.1.1", None; "the next is a bridge's")]
#[test_case("fd00:10:1::", None; "the network address of IPv6")]
#[test_case("fd00:10:1::1", None; "the next of IPv6")]
#[test_case("10.0.9.9", None; "in no node's range")]
#[test_case("10.0.1.50", None; "a node's tunnel inside of the range")]
#[test_case("10.0.1.60", Some("n1"); "a pod that ended")]
fn unknown_pods(address: &str, node: Option<&str>) {
    let mut ended = pod_object("x/ended", "n1", &["10.0.1.60"]);
    ended["status"]["phase"] = json!("Succeeded");
    let mut world = World::new().with(ended).with(json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "n3", "annotations": {"projectcalico.org/IPv4VXLANTunnelAddr": "10.0.1.50"}},
    }));
    let peer = if address.contains(':') {
        "fd00:10:1::11"
    } else {
        X_A
    };
    assert!(world.allows(address, peer, "80/tcp") && world.allows(peer, address, "80/tcp"));

    world.settings.drop_unknown_pods = true;
    let expected = match node {
        Some(node) => Side::UnknownPod { node: node.into() },
        None => Side::NoPod,
    };
    let from = world.judge(address, peer, "80/tcp");
    assert_eq!((&from.egress, from.ingress.allowed()), (&expected, true));
    let to = world.judge(peer, address, "80/tcp");
    assert_eq!((to.egress.allowed(), &to.ingress), (true, &expected));
    assert_eq!(from.allowed(), node.is_none());
}
