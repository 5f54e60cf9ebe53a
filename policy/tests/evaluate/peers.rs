//! Isolation, directions, union, peers.

use crate::world::{World, denied, key};
use ringfence_policy::evaluate::{Ground, Side};
use serde_json::{Value, json};
use test_case::test_case;

const PODS: [&str; 8] = ["x/a", "x/b", "x/c", "y/a", "y/b", "y/c", "z/a", "z/c"];

#[test_case(json!({"podSelector": {}}), ""; "no rules")]
#[test_case(json!({"podSelector": {}, "ingress": []}), ""; "empty ingress")]
#[test_case(json!({"podSelector": {}, "ingress": null}), ""; "null ingress")]
#[test_case(json!({}), ""; "no selector at all selects all")]
#[test_case(json!({"ingress": [{}]}), "x/b x/c y/a y/b y/c z/a z/c"; "an empty rule allows everyone")]
#[test_case(json!({"ingress": [{"from": []}]}), "x/b x/c y/a y/b y/c z/a z/c"; "empty from")]
#[test_case(json!({"ingress": [{"from": null}]}), "x/b x/c y/a y/b y/c z/a z/c"; "null from")]
#[test_case(json!({"ingress": [{"from": [{"podSelector": {}}]}]}), "x/b x/c"; "podSelector alone is the own namespace")]
#[test_case(json!({"ingress": [{"from": [{"podSelector": {"matchLabels": {"pod": "c"}}}]}]}), "x/c"; "by pod label")]
#[test_case(json!({"ingress": [{"from": [{"namespaceSelector": {}}]}]}), "x/b x/c y/a y/b y/c z/a z/c"; "all namespaces")]
#[test_case(json!({"ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"ns": "y"}}}]}]}), "y/a y/b y/c"; "by namespace label")]
#[test_case(json!({"ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "z"}}}]}]}), "z/a z/c"; "by the name label of a namespace")]
#[test_case(json!({"ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"ns": "y"}}, "podSelector": {"matchLabels": {"pod": "b"}}}]}]}), "y/b"; "AND in one item")]
#[test_case(json!({"ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"ns": "y"}}}, {"podSelector": {"matchLabels": {"pod": "b"}}}]}]}), "x/b y/a y/b y/c"; "OR in two items")]
#[test_case(json!({"ingress": [{"from": [{"podSelector": {"matchLabels": {"pod": "b"}}}]}, {"from": [{"podSelector": {"matchLabels": {"pod": "c"}}}]}]}), "x/b x/c"; "two rules add up")]
#[test_case(json!({"ingress": [{"from": [{"namespaceSelector": {"matchExpressions": [{"key": "ns", "operator": "NotIn", "values": ["x", "y"]}]}}]}]}), "z/a z/c"; "NotIn")]
#[test_case(json!({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.2.0/24"}}]}]}), "x/c y/c z/c"; "ipBlock matches pods")]
#[test_case(json!({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/16", "except": ["10.0.1.0/24"]}}]}]}), "x/c y/c z/c"; "except")]
#[test_case(json!({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.2.0/24", "except": ["10.0.2.0/24"]}}]}]}), ""; "except that leaves nothing")]
#[test_case(json!({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/16", "except": ["10.0.1.0/24"]}}, {"ipBlock": {"cidr": "10.0.1.21/32"}}]}]}), "x/c y/a y/c z/c"; "except belongs to its own cidr")]
#[test_case(json!({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.2.13/24"}}]}]}), "x/c y/c z/c"; "host bits are cut off")]
#[test_case(json!({"ingress": [{"from": [{"ipBlock": {"cidr": "::/0"}}]}]}), ""; "another family matches nothing")]
#[test_case(json!({"podSelector": {"matchLabels": {"pod": "b"}}}), "x/b x/c y/a y/b y/c z/a z/c"; "a pod that is not selected is open")]
#[test_case(json!({"policyTypes": ["Egress"]}), "y/a y/b y/c z/a z/c"; "egress isolation judges the sources only")]
fn ingress_of_x_a(spec: Value, expected: &str) {
    let world = World::new().policy("x/p", spec);
    let others = PODS.iter().filter(|p| **p != "x/a");
    let others: Vec<&str> = others.copied().collect();
    assert_eq!(world.who_reaches("x/a", "80/tcp", &others), expected);
}

#[test_case(json!({"ingress": []}), true, false; "inferred: ingress")]
#[test_case(json!({}), true, false; "inferred without sections: ingress")]
#[test_case(json!({"egress": []}), true, false; "inferred: an empty egress section is none")]
#[test_case(json!({"egress": [{}]}), true, true; "inferred: egress rules isolate both")]
#[test_case(json!({"policyTypes": [], "egress": [{}]}), true, true; "empty policyTypes are absent")]
#[test_case(json!({"policyTypes": ["Ingress"], "egress": [{}]}), true, false; "egress rules without the type are ignored")]
#[test_case(json!({"policyTypes": ["Egress"], "ingress": [{}]}), false, true; "ingress rules without the type are ignored")]
#[test_case(json!({"policyTypes": ["Ingress", "Egress"]}), true, true; "both")]
fn policy_types(spec: Value, ingress: bool, egress: bool) {
    let world = World::new().policy("x/p", spec);
    let policy = &world.snapshot.policies[&key("x/p")];
    assert_eq!(
        (policy.ingress.is_some(), policy.egress.is_some()),
        (ingress, egress)
    );
    let open = |side: &Side| matches!(side, Side::Open(_));
    assert_eq!(open(&world.judge("y/a", "x/a", "80/tcp").ingress), !ingress);
    assert_eq!(
        open(&world.judge("x/a", "y/a", "80/tcp").egress),
        policy.egress.is_none()
    );
}

#[test]
fn policies_add_up_and_never_override() {
    let from = |pod: &str| {
        json!({"podSelector": {"matchLabels": {"pod": "a"}},
               "ingress": [{"from": [{"podSelector": {"matchLabels": {"pod": pod}}}]}]})
    };
    let world = World::new()
        .policy("x/deny", json!({}))
        .policy("x/from-b", from("b"))
        .policy("x/from-c", from("c"));
    assert_eq!(
        world.who_reaches("x/a", "80/tcp", &["x/b", "x/c", "y/a"]),
        "x/b x/c"
    );
    let denied_by = denied(&world.judge("y/a", "x/a", "80/tcp").ingress);
    assert_eq!(denied_by, ["x/deny", "x/from-b", "x/from-c"]);
    assert_eq!(
        denied(&world.judge("y/a", "x/b", "80/tcp").ingress),
        ["x/deny"]
    );
}

#[test]
fn both_ends_must_allow_and_are_judged_apart() {
    let ingress =
        json!({"policyTypes": ["Ingress"], "ingress": [{"from": [{"namespaceSelector": {}}]}]});
    let world = World::new()
        .policy("x/in", ingress)
        .policy("y/shut", json!({"policyTypes": ["Egress"]}));
    let verdict = world.judge("y/a", "x/a", "80/tcp");
    assert!(!verdict.allowed());
    assert_eq!(denied(&verdict.egress), ["y/shut"]);
    assert!(verdict.ingress.allowed());
    assert!(world.allows("z/a", "x/a", "80/tcp"));
}

/// kube-router: one direction's allow of a policy with both types opens the other.
#[test]
fn one_directions_rule_does_not_open_the_other() {
    let to_y = json!([{"to": [{"namespaceSelector": {"matchLabels": {"ns": "y"}}}]}]);
    let spec = json!({"policyTypes": ["Ingress", "Egress"], "egress": to_y});
    let world = World::new().policy("x/p", spec);
    assert!(world.allows("x/a", "y/a", "80/tcp"));
    assert!(!world.allows("y/a", "x/a", "80/tcp"));
}

#[test]
fn the_ground_names_policy_rule_peer_and_port() {
    let spec = json!({"ingress": [
        {"from": [{"podSelector": {"matchLabels": {"pod": "nobody"}}}]},
        {"from": [{"podSelector": {"matchLabels": {"pod": "c"}}}, {"podSelector": {}}],
         "ports": [{"port": 443}, {"port": 80}]},
    ]});
    let world = World::new()
        .policy("x/b-later", json!({"ingress": [{}]}))
        .policy("x/a-first", spec);
    let ground = |rule, peer, port| {
        Side::Allowed(Ground {
            pod: key("x/a"),
            policy: key("x/a-first"),
            rule,
            peer,
            port,
        })
    };
    let verdict = world.judge("x/b", "x/a", "80/tcp");
    assert_eq!(verdict.ingress, ground(1, Some(1), Some(1)));
    let Side::Allowed(everyone) = world.judge("y/b", "x/a", "80/tcp").ingress else {
        panic!("the second policy allows everyone");
    };
    assert_eq!(
        (&*everyone.policy.name, everyone.peer, everyone.port),
        ("b-later", None, None)
    );
}

#[test]
fn a_pod_whose_namespace_is_gone_has_the_name_label_only() {
    let by = |label: &str, value: &str| json!({"ingress": [{"from": [{"namespaceSelector": {"matchLabels": {label: value}}}]}]});
    let by_label = by("ns", "y");
    let by_name = by("kubernetes.io/metadata.name", "y");
    for (spec, expected) in [(by_label, false), (by_name, true)] {
        let mut world = World::new().policy("x/p", spec);
        world.snapshot.namespaces.remove("y");
        assert_eq!(world.allows("y/a", "x/a", "80/tcp"), expected);
    }
}

#[test]
fn a_faulty_policy_closes_its_pods_and_others_still_add() {
    let faulty = json!({"ingress": [{}, {"from": [{"ipBlock": {"cidr": "10.0.0.0/33"}}]}]});
    let world = World::new().policy("x/faulty", faulty);
    assert_eq!(
        denied(&world.judge("y/a", "x/a", "80/tcp").ingress),
        ["x/faulty"]
    );
    let sound =
        json!({"ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"ns": "y"}}}]}]});
    let world = world.policy("x/sound", sound);
    assert_eq!(world.who_reaches("x/a", "80/tcp", &["y/a", "z/a"]), "y/a");
}

#[test]
fn outside_addresses() {
    let block = json!([{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}]}]);
    let world = World::new()
        .policy("x/out", json!({"policyTypes": ["Egress"], "egress": block}))
        .policy("x/in", json!({"policyTypes": ["Ingress"], "ingress": [{"from": [{"ipBlock": {"cidr": "203.0.113.7/32"}}]}]}));
    assert!(world.allows("x/a", "8.8.8.8", "53/udp"));
    assert!(!world.allows("x/a", "y/a", "53/udp"));
    assert_eq!(
        world.who_reaches("x/a", "80/tcp", &["203.0.113.7", "203.0.113.8"]),
        "203.0.113.7"
    );
    assert_eq!(
        world.judge("203.0.113.7", "x/a", "80/tcp").egress,
        Side::NoPod
    );
}

#[test]
fn ipv6_beside_ipv4() {
    let by_label = json!([{"podSelector": {"matchLabels": {"pod": "b"}}}]);
    let by_block = json!([{"ipBlock": {"cidr": "fd00:10::/32", "except": ["fd00:10:1::/64"]}}]);
    for (from, expected) in [(by_label, ["x/b", "x/b"]), (by_block, ["", "x/c"])] {
        let world = World::new().policy("x/p", json!({"ingress": [{"from": from}]}));
        for (family, expected) in expected.iter().enumerate() {
            let dst = world.addresses("x/a")[family].to_string();
            let reaching = ["x/b", "x/c"].into_iter().filter(|pod| {
                let src = world.addresses(pod)[family].to_string();
                world.allows(&src, &dst, "80/tcp")
            });
            assert_eq!(reaching.collect::<Vec<_>>().join(" "), *expected);
        }
    }
}
