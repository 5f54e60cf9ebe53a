//! Sentences: verdicts, and what would change them.

use crate::world::{World, pod_object};
use ringfence_policy::evaluate::explain::what_would_change;
use serde_json::{Value, json};
use test_case::test_case;

fn sentences(world: &World, from: &str, to: &str, port: &str) -> Vec<String> {
    what_would_change(&world.evaluator(), &world.flow(from, to, port))
}

fn shop() -> World {
    let mut frontend = pod_object("y/frontend", "n1", &["10.0.1.24"]);
    frontend["metadata"]["labels"] = json!({"app": "frontend", "pod-template-hash": "5d4f"});
    World::new().with(frontend)
}

#[test_case("y/frontend", "80/tcp", "from podSelector app=frontend (namespace y) port TCP/80"; "a pod by its lasting labels")]
#[test_case("203.0.113.9", "53/udp", "from ipBlock 203.0.113.9/32 port UDP/53"; "an outside address")]
#[test_case("y/frontend", "ping", "without ports (a rule with ports matches no ICMP)"; "ICMP")]
fn the_rule_that_would_allow(from: &str, port: &str, rule: &str) {
    let world = shop()
        .policy("x/db-allow", json!({"ingress": []}))
        .policy("x/other", json!({}));
    let all = sentences(&world, from, "x/a", port);
    let ingress = all.last().unwrap();
    let isolated = "ingress of x/a is isolated by x/db-allow, x/other: add to spec.ingress of x/db-allow a rule";
    assert!(ingress.starts_with(isolated), "{ingress}");
    assert!(ingress.contains(rule), "{ingress}");
}

#[test]
fn following_the_advice_allows() {
    let deny = json!({"policyTypes": ["Ingress"]});
    let world = shop().policy("x/p", deny);
    assert!(!world.allows("y/frontend", "x/a", "80/tcp"));
    let advised = json!({"ingress": [{
        "from": [{"podSelector": {"matchLabels": {"app": "frontend"}},
                  "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "y"}}}],
        "ports": [{"protocol": "TCP", "port": 80}]}]});
    assert!(
        world
            .policy("x/p", advised)
            .allows("y/frontend", "x/a", "80/tcp")
    );
}

#[test]
fn the_rules_whose_removal_would_deny() {
    let open = json!({"ingress": [{"ports": [{"port": 443}]}, {}]});
    let world = World::new()
        .policy("x/one", open.clone())
        .policy("x/two", open);
    let all = sentences(&world, "y/a", "x/a", "80/tcp");
    let expected = "ingress of x/a would be denied without spec.ingress[1] of x/one and spec.ingress[1] of x/two.";
    assert_eq!(all[1], expected);
    assert!(
        all[0].starts_with("egress of y/a is open: any policy of type Egress"),
        "{}",
        all[0]
    );
}

#[test]
fn a_faulty_policy_is_to_be_mended() {
    let faulty = json!({"ingress": [{"from": [{"ipBlock": {"cidr": "x"}}]}]});
    let world = World::new().policy("x/p", faulty);
    let ingress = sentences(&world, "y/a", "x/a", "80/tcp").pop().unwrap();
    assert!(
        ingress.contains("mend x/p (spec.ingress[0].from[0].ipBlock.cidr: found \"x\""),
        "{ingress}"
    );
}

#[test]
fn what_no_policy_can_change() {
    let world = World::new().policy("x/p", json!({"policyTypes": ["Ingress", "Egress"]}));
    let own = sentences(&world, "x/a", "x/a", "80/tcp");
    assert_eq!(
        own,
        ["No policy can deny this, it is always allowed from a pod to itself."]
    );
    let node = sentences(&world, "x/a", "192.168.0.1", "80/tcp");
    assert!(node[0].contains("--node-traffic=enforce"), "{node:?}");
}

#[test]
fn unknown_pods() {
    let mut world = World::new();
    world.settings.drop_unknown_pods = true;
    let all = sentences(&world, "10.0.1.99", "8.8.8.8", "80/tcp");
    assert!(all[0].contains("--unknown-pods=allow"), "{all:?}");
}

#[test_case(json!({}), "denied. Egress: no policy isolates y/a. Ingress: x/a is isolated by x/p, and no rule allows this."; "denied")]
#[test_case(json!({"ingress": [{"from": [{"namespaceSelector": {}}], "ports": [{"port": 80}]}]}), "allowed. Egress: no policy isolates y/a. Ingress: allowed for x/a by rule 0 of x/p (peer 0, ports[0])."; "allowed")]
fn a_verdict_in_words(spec: Value, expected: &str) {
    let world = World::new().policy("x/p", spec);
    assert_eq!(world.judge("y/a", "x/a", "80/tcp").to_string(), expected);
}

#[test]
fn advice_is_for_the_policy_about_this_pod_and_only_for_the_end_that_denies() {
    let labels = json!({"podSelector": {"matchLabels": {"pod": "a"}}});
    let world = shop().policy("x/all", json!({})).policy("x/narrow", labels);
    let all = sentences(&world, "y/frontend", "x/a", "80/tcp");
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(
        all[0].contains("add to spec.ingress of x/narrow"),
        "{}",
        all[0]
    );
}
