//! Ports and protocols.

use crate::world::World;
use serde_json::{Value, json};
use test_case::test_case;

const PROBES: [&str; 10] = [
    "80/tcp", "81/tcp", "8080/tcp", "5353/tcp", "53/udp", "80/udp", "80/sctp", "ping", "icmp 3",
    "47",
];

#[test_case(json!(null), "80/tcp 81/tcp 8080/tcp 5353/tcp 53/udp 80/udp 80/sctp ping icmp 3 47"; "no ports is every protocol")]
#[test_case(json!([]), "80/tcp 81/tcp 8080/tcp 5353/tcp 53/udp 80/udp 80/sctp ping icmp 3 47"; "empty ports is every protocol")]
#[test_case(json!([{}]), "80/tcp 81/tcp 8080/tcp 5353/tcp"; "an empty item is TCP")]
#[test_case(json!([{"port": 80}]), "80/tcp"; "the protocol defaults to TCP")]
#[test_case(json!([{"protocol": "UDP"}]), "53/udp 80/udp"; "every UDP port")]
#[test_case(json!([{"protocol": "UDP", "port": 80}]), "80/udp"; "UDP does not leak into TCP")]
#[test_case(json!([{"protocol": "SCTP", "port": 80}]), "80/sctp"; "SCTP does not leak into TCP")]
#[test_case(json!([{"port": 80, "endPort": 81}]), "80/tcp 81/tcp"; "range")]
#[test_case(json!([{"port": 81, "endPort": 81}]), "81/tcp"; "range of one")]
#[test_case(json!([{"port": 1, "endPort": 65535}]), "80/tcp 81/tcp 8080/tcp 5353/tcp"; "range of all, no ICMP")]
#[test_case(json!([{"port": 81}, {"protocol": "UDP", "port": 53}]), "81/tcp 53/udp"; "any of the ports")]
#[test_case(json!([{"port": "web"}]), "80/tcp"; "named")]
#[test_case(json!([{"port": "dns"}]), "5353/tcp"; "one name, by TCP")]
#[test_case(json!([{"protocol": "UDP", "port": "dns"}]), "53/udp"; "one name, by UDP")]
#[test_case(json!([{"protocol": "SCTP", "port": "dns"}]), ""; "a name that another protocol has")]
#[test_case(json!([{"port": "nothing"}]), ""; "a name that the pod lacks")]
fn into_x_a_and_out_of_it(ports: Value, expected: &str) {
    let spec = json!({"podSelector": {"matchLabels": {"pod": "a"}}, "ingress": [{"ports": ports}]});
    let world = World::new().policy("x/p", spec);
    let reaching = |world: &World, from: &str, to: &str| {
        let passing = PROBES.iter().filter(|port| world.allows(from, to, port));
        passing.copied().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(reaching(&world, "x/b", "x/a"), expected);

    // The same ports of y/a, seen from the other end with an empty `to`.
    let spec = json!({"policyTypes": ["Egress"], "egress": [{"ports": ports}]});
    let world = World::new().policy("x/p", spec);
    assert_eq!(reaching(&world, "x/b", "y/a"), expected);
}

/// One rule for pods that give one name different numbers.
#[test_case("x/a", "80/tcp", true)]
#[test_case("x/a", "8080/tcp", false; "the number that b has")]
#[test_case("x/b", "8080/tcp", true)]
#[test_case("x/b", "80/tcp", false; "the number that a has")]
#[test_case("x/c", "80/tcp", false; "the port has no name there")]
fn names_resolve_per_pod(to: &str, port: &str, expected: bool) {
    let rules = json!([{"ports": [{"port": "web"}]}]);
    let ingress = World::new().policy("x/p", json!({"ingress": rules}));
    assert_eq!(ingress.allows("y/c", to, port), expected);
    let egress = json!({"policyTypes": ["Egress"], "egress": rules});
    let egress = World::new().policy("y/p", egress);
    assert_eq!(egress.allows("y/c", to, port), expected);
}

#[test]
fn a_name_on_egress_means_pods_only_and_joins_the_peer_by_and() {
    let spec = |to: Value| json!({"policyTypes": ["Egress"], "egress": [{"to": to, "ports": [{"port": "web"}]}]});
    let world = World::new().policy("x/p", spec(json!([])));
    assert!(!world.allows("x/c", "8.8.8.8", "80/tcp"));
    let block = json!([{"ipBlock": {"cidr": "10.0.1.21/32"}}]);
    let world = World::new().policy("x/p", spec(block));
    assert!(world.allows("x/c", "y/a", "80/tcp"));
    assert!(!world.allows("x/c", "z/a", "80/tcp"));
    let namespace = json!([{"namespaceSelector": {"matchLabels": {"ns": "y"}}}]);
    let world = World::new().policy("x/p", spec(namespace));
    assert!(world.allows("x/c", "y/b", "8080/tcp"));
    assert!(!world.allows("x/c", "z/b", "8080/tcp"));
}
