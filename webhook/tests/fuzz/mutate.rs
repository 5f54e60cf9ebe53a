//! Requests gone wrong, and what has to hold of every answer.

use fastrand::Rng;
use ringfence_checks::{Config, Facts, Index};
use ringfence_policy::{Snapshot, parse};
use ringfence_webhook::admit::Hook;
use ringfence_webhook::metrics::Metrics;
use ringfence_webhook::review;
use ringfence_webhook::service::{Answers, Known, NoAnswer, Service};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

/// What stands in requests and may stand elsewhere in them.
const WORDS: [&str; 24] = [
    "",
    "0.0.0.0/0",
    "::/0",
    "10.0.0.0/8",
    "10.0.0.0/33",
    "1.2.3.4",
    "In",
    "NotIn",
    "Exists",
    "Ingress",
    "Egress",
    "TCP",
    "SCTP",
    "http",
    "DELETE",
    "UPDATE",
    "NetworkPolicy",
    "Service",
    "until=2099-01-01 x",
    "off",
    "kube-system",
    "\u{0}\n\u{202e}",
    "ä€😀",
    "a/b c",
];
const KEYS: [&str; 20] = [
    "spec",
    "podSelector",
    "ingress",
    "egress",
    "from",
    "to",
    "ports",
    "port",
    "endPort",
    "ipBlock",
    "cidr",
    "except",
    "matchLabels",
    "matchExpressions",
    "annotations",
    "metadata",
    "deletionTimestamp",
    "injected.ringfence.dev/dns",
    "ignore.ringfence.dev/types-mismatch",
    "kubectl.kubernetes.io/last-applied-configuration",
];

/// Sends requests gone wrong while `go_on` of their number; returns their number.
pub fn run(seed: u64, go_on: impl Fn(u64) -> bool) -> u64 {
    let services = services();
    let seeds = seeds();
    let mut rng = Rng::with_seed(seed);
    let mut done = 0;
    while go_on(done) {
        let bytes = spoil(&seeds, &mut rng);
        // What stands there when it panics is what is to become a seed.
        let case = std::panic::AssertUnwindSafe(|| {
            for service in &services {
                for hook in Hook::ALL {
                    check(service, hook, &bytes);
                }
            }
        });
        if let Err(panic) = std::panic::catch_unwind(case) {
            eprintln!(
                "seed {seed}, request {done}:\n{}",
                String::from_utf8_lossy(&bytes)
            );
            std::panic::resume_unwind(panic);
        }
        done += 1;
    }
    done
}

/// What has to hold of an answer.
fn check(service: &Service, hook: Hook, bytes: &[u8]) {
    let beginning = review::uid_of_beginning(&bytes[..bytes.len().min(4096)]);
    assert!(beginning.is_none_or(|uid| !uid.is_empty()));
    let answer = match service.answer(hook, bytes) {
        Ok(answer) => answer,
        Err(NoAnswer::NoReview(error)) => {
            assert!(error.to_string().starts_with("expected"));
            return;
        }
        Err(error @ NoAnswer::Render(_)) => panic!("{error}"),
    };
    let review: Value = serde_json::from_slice(&answer).unwrap();
    let response = &review["response"];
    let request = review::parse(bytes).unwrap();
    assert_eq!(response["uid"], *request.uid);
    let warnings = response["warnings"].as_array();
    for warning in warnings.into_iter().flatten() {
        let warning = warning.as_str().unwrap();
        assert!(
            warning.len() <= 240 && !warning.contains(char::is_control),
            "{warning}"
        );
    }
    assert!(warnings.is_none_or(|w| w.len() <= 13));
    if hook == Hook::Validate {
        assert!(response.get("patch").is_none());
    }
}

/// With a cluster and strict, and without either.
fn services() -> [Service; 2] {
    let mut snapshot = Snapshot::default();
    for object in [
        json!({"kind": "Namespace", "metadata": {"name": "shop"}}),
        json!({"kind": "Node", "metadata": {"name": "n"}, "spec": {"podCIDR": "10.0.0.0/24"},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.1"}]}}),
        json!({"kind": "Pod", "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
            "status": {"podIP": "10.0.0.7"}}),
        json!({"kind": "Service", "metadata": {"name": "kube-dns", "namespace": "kube-system"},
            "spec": {"clusterIP": "10.96.0.10", "selector": {"k8s-app": "kube-dns"},
                "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]}}),
    ] {
        snapshot.apply(parse::object(&object).unwrap().0);
    }
    let strict = json!({"profile": "strict", "monitoring": {"namespaces": ["monitoring"]},
        "defaultExternalTrafficPolicyLocal": true});
    let service = |index, config| Service {
        known: Known {
            index: watch::channel(index).1,
            facts: watch::channel(Arc::new(Facts::default())).1,
            config: watch::channel(Arc::new(config)).1,
            fences: watch::channel(Some(Arc::default())).1,
        },
        metrics: Arc::new(Metrics::default()),
    };
    [
        service(
            Some(Arc::new(Index::new(snapshot))),
            Config::from_value(&strict).unwrap(),
        ),
        service(None, Config::default()),
    ]
}

fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// One request gone wrong: in its structure, in its bytes, or in both.
fn spoil(seeds: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let seed = rng.choice(seeds).unwrap();
    let mut bytes = seed.clone();
    if rng.u8(0..8) > 0 {
        let mut value: Value = serde_json::from_slice(seed).unwrap();
        for _ in 0..rng.usize(1..6) {
            // In the objects there is more to break than in what is around them.
            let place = *rng
                .choice(&["/request/object", "/request/oldObject", ""])
                .unwrap();
            if let Some(place) = value.pointer_mut(place) {
                disturb(place, rng);
            }
        }
        bytes = serde_json::to_vec(&value).unwrap();
    }
    if rng.u8(0..4) == 0 {
        for _ in 0..rng.usize(1..8) {
            scramble(&mut bytes, seeds, rng);
        }
    }
    bytes
}

/// Changes something somewhere below.
fn disturb(value: &mut Value, rng: &mut Rng) {
    let deeper = rng.u8(0..6) > 0;
    match value {
        Value::Object(map) if deeper && !map.is_empty() => {
            let at = rng.usize(0..map.len());
            disturb(map.values_mut().nth(at).unwrap(), rng);
        }
        Value::Array(list) if deeper && !list.is_empty() => {
            let at = rng.usize(0..list.len());
            disturb(&mut list[at], rng);
        }
        Value::Object(map) if rng.bool() => change_map(map, rng),
        Value::Array(list) if rng.bool() => match rng.u8(0..3) {
            0 => list.clear(),
            1 => list.push(any(rng, 3)),
            _ => list.extend(list.clone()),
        },
        other => *other = any(rng, 3),
    }
}

fn change_map(map: &mut Map<String, Value>, rng: &mut Rng) {
    let key = (*rng.choice(&KEYS).unwrap()).to_owned();
    if rng.bool() && !map.is_empty() {
        let at = rng.usize(0..map.len());
        let gone = map.keys().nth(at).unwrap().clone();
        let value = map.remove(&gone).unwrap();
        if rng.bool() {
            map.insert(key, value);
        }
    } else {
        map.insert(key, any(rng, 3));
    }
}

fn any(rng: &mut Rng, depth: usize) -> Value {
    match rng.u8(0..if depth == 0 { 6 } else { 8 }) {
        0 => Value::Null,
        1 => rng.bool().into(),
        2 => rng.i64(-2..70_000).into(),
        3 => (rng.f64() * 1e300).into(),
        4 | 5 => (*rng.choice(&WORDS).unwrap()).into(),
        6 => (0..rng.usize(0..4)).map(|_| any(rng, depth - 1)).collect(),
        _ => (0..rng.usize(0..4))
            .map(|_| {
                (
                    (*rng.choice(&KEYS).unwrap()).to_owned(),
                    any(rng, depth - 1),
                )
            })
            .collect::<Map<_, _>>()
            .into(),
    }
}

fn scramble(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &mut Rng) {
    if bytes.is_empty() {
        return;
    }
    let at = rng.usize(0..bytes.len());
    match rng.u8(0..6) {
        0 => bytes[at] = rng.u8(..),
        1 => bytes[at] ^= 1 << rng.u8(0..8),
        2 => bytes.truncate(at),
        3 => bytes.insert(at, *rng.choice(b"{}[]\",:\\\x00\xff9").unwrap()),
        4 => {
            let end = (at + rng.usize(0..64)).min(bytes.len());
            bytes.drain(at..end);
        }
        _ => {
            let other = rng.choice(seeds).unwrap();
            let from = rng.usize(0..other.len());
            let piece = &other[from..(from + rng.usize(0..128)).min(other.len())];
            bytes.splice(at..at, piece.iter().copied());
        }
    }
}
