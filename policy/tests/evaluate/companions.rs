//! Policies that only allow: they add where another policy isolates, and isolate nothing.

use crate::world::{World, key};
use ringfence_policy::parse;
use ringfence_policy::snapshot::Object;
use serde_json::{Value, json};
use test_case::test_case;

const OWNED: &str = r#"{"ownerReferences": [{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "name": "author", "uid": "1"}], "labels": {"ringfence.dev/companion": "true"}}"#;

/// Egress of x/a to z, for `metadata` beside the name.
fn companion(world: World, metadata: &str, to: &Value) -> World {
    let mut metadata: Value = serde_json::from_str(metadata).unwrap();
    metadata["namespace"] = "x".into();
    metadata["name"] = "companion".into();
    let parsed = parse::policy(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata,
        "spec": {
            "podSelector": {"matchLabels": {"pod": "a"}}, "policyTypes": ["Ingress", "Egress"],
            "egress": [{"to": [to]}],
        },
    }));
    let mut world = world;
    world.snapshot.apply(Object::Policy(parsed.unwrap().policy));
    world
}

fn to_z() -> Value {
    json!({"namespaceSelector": {"matchLabels": {"ns": "z"}}})
}

fn author() -> World {
    let spec = json!({"podSelector": {"matchLabels": {"pod": "a"}}, "policyTypes": ["Egress"]});
    World::new().policy("x/author", spec)
}

#[test]
fn beside_its_author_it_adds() {
    let world = companion(author(), OWNED, &to_z());
    assert!(world.snapshot.policies[&key("x/companion")].allow_only);
    assert!(world.allows("x/a", "z/a", "80/tcp"));
    assert!(!world.allows("x/a", "y/a", "80/tcp"));
    assert!(
        world.allows("y/a", "x/a", "80/tcp"),
        "nobody isolates ingress"
    );
}

#[test]
fn without_its_author_it_isolates_nothing() {
    let world = companion(World::new(), OWNED, &to_z());
    assert!(world.allows("x/a", "y/a", "80/tcp") && world.allows("y/a", "x/a", "80/tcp"));
}

#[test_case(r#"{"labels": {"ringfence.dev/companion": "true"}}"#; "the label alone")]
#[test_case(r#"{"labels": {"ringfence.dev/companion": "yes"}, "ownerReferences": [{"kind": "NetworkPolicy"}]}"#; "another value")]
#[test_case(r#"{"labels": {"ringfence.dev/companion": "true"}, "ownerReferences": [{"kind": "Deployment"}]}"#; "owned by something else")]
#[test_case(r#"{"ownerReferences": [{"kind": "NetworkPolicy"}]}"#; "no label")]
fn what_is_no_companion_isolates(metadata: &str) {
    let world = companion(World::new(), metadata, &to_z());
    assert!(!world.allows("x/a", "y/a", "80/tcp"));
}

#[test]
fn a_faulty_one_is_closed_as_any_other() {
    let world = companion(World::new(), OWNED, &json!({"nonsense": {}}));
    assert!(!world.allows("x/a", "y/a", "80/tcp"));
}
