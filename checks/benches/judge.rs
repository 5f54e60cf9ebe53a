//! What judging costs beside 10,000 pods, 1,000 policies and 500 Services.

#![allow(missing_docs, clippy::expect_used)]

#[path = "../../policy/benches/scale/mod.rs"]
mod scale;

use criterion::{Criterion, criterion_group, criterion_main};
use ringfence_checks::impact::{Edit, Limits, compare};
use ringfence_checks::{Before, Config, Facts, Index, Occasion, Report, Subject, World, judge};
use ringfence_policy::Snapshot;
use ringfence_policy::model::{ObjectKey, Rule};
use ringfence_policy::parse;
use ringfence_policy::snapshot::Kind;
use scale::{LARGE, Scale};
use serde_json::{Value, json};
use std::hint::black_box;

const SERVICES: usize = 500;

/// Policy number `i`: each namespace gets a default deny first, then what opens it.
fn policy(i: usize) -> Value {
    let (namespace, kind) = (i % LARGE.namespaces, i / LARGE.namespaces);
    let apps = |app: usize| json!({"matchLabels": {"app": format!("app-{}", app % 10)}});
    let named = |i: usize| {
        let name = format!("ns-{i:04}");
        json!({"matchLabels": {"kubernetes.io/metadata.name": name}})
    };
    let spec = match kind % 5 {
        0 => json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}),
        1 => json!({
            "podSelector": {"matchLabels": {"tier": "back"}},
            "policyTypes": ["Ingress"],
            "ingress": [{
                "from": [{"podSelector": apps(kind)}],
                "ports": [{"port": "http"}],
            }],
        }),
        2 => json!({
            "podSelector": apps(namespace),
            "policyTypes": ["Ingress"],
            "ingress": [{
                "from": [{
                    "namespaceSelector": {"matchLabels": {"team": format!("team-{}", namespace % 20)}},
                    "podSelector": apps(namespace),
                }],
                "ports": [{"port": 8080, "endPort": 8090}],
            }],
        }),
        3 => json!({
            "podSelector": apps(namespace + 1),
            "policyTypes": ["Egress"],
            "egress": [
                {"to": [
                    {"namespaceSelector": named(0)},
                    {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}},
                ]},
                {"to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
                 "ports": [{"port": 53, "protocol": "UDP"}]},
            ],
        }),
        _ => json!({
            "podSelector": {},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [{"namespaceSelector": named(1)}], "ports": [{"port": 9090}]}],
            "egress": [{"to": [{"podSelector": {}}], "ports": [{"port": 80}]}],
        }),
    };
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": format!("policy-{kind}"), "namespace": format!("ns-{namespace:04}")},
        "spec": spec,
    })
}

/// Service number `i`, before the pods of one app.
fn service(i: usize) -> Value {
    let (namespace, app) = (i % LARGE.namespaces, i / LARGE.namespaces);
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": format!("app-{app}"), "namespace": format!("ns-{namespace:04}")},
        "spec": {
            "clusterIP": format!("10.96.{}.{}", i / 250, i % 250 + 1),
            "selector": {"app": format!("app-{app}")},
            "ports": [{"port": 80, "targetPort": "http"}],
        },
    })
}

/// The cluster.
fn snapshot(policies: &[Value]) -> Snapshot {
    let mut snapshot = Scale {
        policies: 0,
        ..LARGE
    }
    .snapshot();
    let services: Vec<Value> = (0..SERVICES).map(service).collect();
    for value in policies.iter().chain(&services) {
        let (object, errors) = parse::object(value).expect("an object");
        assert!(errors.is_empty(), "{errors:?}");
        snapshot.apply(object);
    }
    snapshot
}

fn read(policies: &[Value]) -> Vec<Subject<'_>> {
    let subjects = policies.iter().map(Subject::read);
    subjects.collect::<Result<_, _>>().expect("policies")
}

fn bench(c: &mut Criterion) {
    let policies: Vec<Value> = (0..LARGE.policies).map(policy).collect();
    let snapshot = snapshot(&policies);
    c.bench_function("judge/an index of 10,000 pods", |b| {
        b.iter_with_large_drop(|| Index::new(black_box(&snapshot).clone()));
    });
    // The pods of a StatefulSet differ in a label each: the worst case for the index.
    let mut stateful = snapshot.clone();
    for (i, key) in snapshot.keys(Kind::Pod).into_iter().enumerate() {
        rename(&mut stateful, &key, i);
    }

    let config = Config::default();
    let facts = Facts {
        service_ranges: Some(vec!["10.96.0.0/16".parse().expect("a network")]),
        masquerade_all: Some(false),
        ..Facts::default()
    };
    let subjects = read(&policies);
    let hostile = [hostile()];
    let hostile = read(&hostile);
    for (what, snapshot) in [("deployments", snapshot), ("stateful", stateful)] {
        let index = Index::new(snapshot);
        let world = World {
            index: Some(&index),
            facts: &facts,
            config: &config,
            now: "2026-06-01T12:00:00Z".parse().expect("a time"),
            occasion: Occasion::Update,
        };
        let one = |subject: &Subject| -> Report {
            judge(black_box(subject), Before::Known(subject), &world)
        };
        let mut next = subjects.iter().cycle();
        c.bench_function(&format!("judge/one policy, {what}"), |b| {
            b.iter(|| one(next.next().expect("a cycle")));
        });
        impacts(c, what, &index, &subjects);
        c.bench_function(&format!("judge/10,000 rules, {what}"), |b| {
            b.iter(|| one(&hostile[0]));
        });
        gives_up(c, what, &index, &hostile[0]);
        c.bench_function(&format!("judge/1,000 policies, {what}"), |b| {
            b.iter(|| {
                subjects
                    .iter()
                    .map(one)
                    .map(|r| r.findings.len())
                    .sum::<usize>()
            });
        });
    }
}

/// What each policy would change if it were not there yet, and what the worst one does.
fn impacts(c: &mut Criterion, what: &str, index: &Index, subjects: &[Subject]) {
    c.bench_function(&format!("impact/the ground, {what}"), |b| {
        b.iter(|| Index::new(black_box(index.snapshot()).clone()).prepare());
    });
    index.prepare();
    let fresh = |i: usize| {
        let mut policy = subjects[i].policy().expect("a policy").clone();
        policy.key = ObjectKey::new(policy.key.namespace.clone(), "new");
        Edit::default().put(policy)
    };
    let edits: Vec<Edit> = (0..subjects.len()).map(fresh).collect();
    let mut next = edits.iter().cycle();
    c.bench_function(&format!("impact/one policy, {what}"), |b| {
        b.iter(|| {
            compare(index, next.next().expect("a cycle"), &Limits::FULL).map(|i| i.cut.count)
        });
    });
    // Open to all in a namespace that was shut.
    let mut open = subjects[0].policy().expect("a policy").clone();
    open.ingress = Some(vec![Rule::default()]);
    open.egress = Some(vec![Rule::default()]);
    let open = Edit::default().put(open);
    c.bench_function(&format!("impact/a namespace opens, {what}"), |b| {
        b.iter(|| compare(index, &open, &Limits::FULL).map(|i| i.opened.count));
    });
}

/// How long it takes to find that a change is too large to be worked out.
fn gives_up(c: &mut Criterion, what: &str, index: &Index, hostile: &Subject) {
    let edit = Edit::default().put(hostile.policy().expect("a policy").clone());
    let limits = Limits::ADMISSION;
    assert!(
        compare(index, &edit, &limits).is_err(),
        "it was not too large"
    );
    c.bench_function(&format!("impact/too much to do, {what}"), |b| {
        b.iter(|| compare(index, black_box(&edit), &limits).is_err());
    });
}

/// What a tenant could write to keep the webhook busy: many rules, none of which meets
/// anybody.
fn hostile() -> Value {
    let rule = |i: usize| {
        json!({
            "from": [{
                "namespaceSelector": {},
                "podSelector": {"matchExpressions": [
                    {"key": "app", "operator": "NotIn", "values": [format!("x-{i}")]},
                    {"key": "app", "operator": "DoesNotExist"},
                ]},
            }],
            "ports": [{"port": format!("p-{i}")}, {"port": i + 1}],
        })
    };
    let rules: Vec<Value> = (0..10_000).map(rule).collect();
    let mut policy = policy(0);
    policy["spec"] =
        json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": rules});
    policy
}

/// Gives a pod a label that no other pod has.
fn rename(snapshot: &mut Snapshot, key: &ObjectKey, i: usize) {
    use ringfence_policy::model::{Labels, Name};
    use std::sync::Arc;
    let Some(pod) = snapshot.pods.get_mut(key) else {
        return;
    };
    let own = (
        Name::from("apps.kubernetes.io/pod-index"),
        Name::from(i.to_string()),
    );
    let labels = pod
        .labels
        .iter()
        .map(|(k, v)| (Name::clone(k), Name::clone(v)));
    Arc::make_mut(pod).labels = Labels::new(labels.chain([own]));
}

criterion_group!(benches, bench);
criterion_main!(benches);
