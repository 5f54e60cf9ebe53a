//! The parser against policies that were damaged at random.

#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "a test may panic, and its table passes JSON by value"
)]

use proptest::prelude::*;
use ringfence_policy::parse;
use serde_json::{Map, Value, json};

fn valid() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": "shop", "name": "db"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "db"}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{
                "from": [
                    {"podSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}},
                    {"namespaceSelector": {"matchLabels": {"ns": "x"}}, "podSelector": {"matchLabels": {"c": "d"}}},
                    {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
                ],
                "ports": [{"protocol": "TCP", "port": 80, "endPort": 90}, {"port": "http"}],
            }],
            "egress": [{"to": [{"namespaceSelector": {"matchLabels": {"ns": "y"}}}], "ports": [{"port": 53, "protocol": "UDP"}]}],
        },
    })
}

/// Any JSON, with words that mean something to the parser among the strings and keys.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("podSelector".to_owned()),
        Just("ipBlock".to_owned()),
        Just("cidr".to_owned()),
        Just("matchLabels".to_owned()),
        Just("TCP".to_owned()),
        Just("0.0.0.0/0".to_owned()),
        "\\PC{0,12}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0_u32..70_000).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, move |inner| {
        let list = prop::collection::vec(inner.clone(), 0..4);
        let map = prop::collection::vec((word.clone(), inner), 0..4);
        prop_oneof![
            list.prop_map(Value::from),
            map.prop_map(|m| Value::from(m.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

#[derive(Clone, Debug)]
enum Damage {
    Replace(Value),
    Rename(String),
}

fn any_damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        3 => any_json().prop_map(Damage::Replace),
        1 => "[a-zA-Z]{1,9}".prop_map(Damage::Rename),
    ]
}

/// Every node of the tree under `value`, as JSON pointers.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(k, v)| pointers(v, &format!("{at}/{k}"), all)),
        Value::Array(list) => (0..)
            .zip(list)
            .for_each(|(i, v)| pointers(v, &format!("{at}/{i}"), all)),
        _ => {}
    }
}

fn damaged(which: usize, damage: Damage) -> (String, Value) {
    let mut object = valid();
    let mut all = Vec::new();
    pointers(&object["spec"], "/spec", &mut all);
    let at = all[which % all.len()].clone();
    let (parent, last) = at.rsplit_once('/').unwrap();
    match damage {
        Damage::Rename(name) if object.pointer(parent).is_some_and(Value::is_object) => {
            let map = object.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            let value = map.remove(last).unwrap();
            map.insert(name, value);
        }
        Damage::Rename(name) => *object.pointer_mut(&at).unwrap() = name.into(),
        Damage::Replace(value) => *object.pointer_mut(&at).unwrap() = value,
    }
    (at, object)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// No panic, always a policy, and a fault and rules never stand together.
    #[test]
    fn a_damaged_policy_is_sound_or_closed(which: usize, damage in any_damage()) {
        let (at, object) = damaged(which, damage);
        let parsed = parse::policy(&object).unwrap();
        let policy = &parsed.policy;
        prop_assert_eq!(policy.fault.is_some(), !parsed.errors.is_empty());
        if policy.fault.is_some() {
            let rules = [&policy.ingress, &policy.egress];
            prop_assert!(rules.iter().all(|r| r.as_ref().is_none_or(Vec::is_empty)), "{}", at);
            prop_assert!(policy.ingress.is_some() || policy.egress.is_some(), "{}", at);
            // Types that were read are kept, so that a fault elsewhere opens neither.
            if !at.starts_with("/spec/policyTypes") && at != "/spec" {
                prop_assert!(policy.ingress.is_some() && policy.egress.is_some() || object["spec"].get("policyTypes").is_none());
            }
            // The selector stays as it was, or is given up for all pods.
            let whole = parse::policy(&valid()).unwrap().policy.pod_selector;
            prop_assert!(policy.pod_selector == whole || policy.pod_selector.is_everything(), "{}", at);
            for error in &parsed.errors {
                prop_assert!(!error.path.is_empty() && !error.found.is_empty(), "{}", error);
            }
        }
    }

    /// A misspelt field is never skipped.
    #[test]
    fn an_unknown_field_is_a_fault(which: usize, name in "[a-z]{1,9}x") {
        let mut object = valid();
        let mut all = Vec::new();
        pointers(&object["spec"], "/spec", &mut all);
        let labels = |at: &str| at.ends_with("matchLabels");
        let maps: Vec<&String> = all.iter().filter(|at| object.pointer(at).is_some_and(Value::is_object) && !labels(at)).collect();
        let at = maps[which % maps.len()].clone();
        object.pointer_mut(&at).unwrap()[&name] = json!({});
        let policy = parse::policy(&object).unwrap().policy;
        prop_assert!(policy.fault.is_some(), "{}/{}", at, name);
    }

    #[test]
    fn any_json_at_all_does_not_panic(object in any_json(), kind in prop::sample::select(vec!["Pod", "Node", "Namespace", "Service", "NetworkPolicy"])) {
        let _ = parse::policy(&object);
        let _ = parse::object(&object);
        for part in ["metadata", "spec", "status"] {
            let mut whole = json!({"apiVersion": "v1", "kind": kind, "metadata": {"namespace": "a", "name": "b"}});
            whole[part] = object.clone();
            let _ = parse::object(&whole);
        }
    }
}
