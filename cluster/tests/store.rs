//! The store by itself: neither client nor files.
#![allow(clippy::unwrap_used)]

use ringfence_cluster::{Cause, Decoded, Event, Problem, Reason, Severity, Store};
use ringfence_policy::Change;
use ringfence_policy::model::{Labels, Namespace, ObjectKey, Phase, Pod};
use ringfence_policy::snapshot::{Kind, Object};
use std::sync::Arc;

fn pod(name: &str, app: &str) -> Pod {
    Pod {
        key: ObjectKey::new("shop", name),
        labels: Labels::new([("app", app)]),
        node: "n1".into(),
        ips: vec![[10, 0, 0, 1].into()],
        host_network: false,
        phase: Phase::Running,
        terminating: false,
        api_client: false,
        ports: Arc::new([]),
    }
}

fn objects(pods: &[(&str, &str)]) -> Vec<Object> {
    let pods = pods.iter().map(|(name, app)| Object::Pod(pod(name, app)));
    pods.collect()
}

fn decoded(name: &str, object: Option<Object>, faulty: bool) -> Event {
    let key = ObjectKey::new("shop", name);
    let problem = Problem {
        severity: Severity::Error,
        cause: Cause::Field,
        object: Some((Kind::Pod, key.clone())),
        place: None,
        message: "spec: wrong".to_owned(),
    };
    Event::Apply(Decoded {
        kind: Kind::Pod,
        key,
        object,
        problems: faulty.then_some(problem).into_iter().collect(),
        resource_version: Some("5".into()),
    })
}

fn done() -> Event {
    Event::ListDone {
        kind: Kind::Pod,
        resource_version: "9".into(),
    }
}

/// What happened to which pod.
fn told(changes: &[Change]) -> Vec<String> {
    let tell = |change: &Change| match change {
        Change::Pod(None, Some(new)) => format!("+{}", new.key.name),
        Change::Pod(Some(_), Some(new)) => format!("~{}", new.key.name),
        Change::Pod(Some(old), None) => format!("-{}", old.key.name),
        other => format!("{other:?}"),
    };
    changes.iter().map(tell).collect()
}

#[test]
fn a_reset_brings_out_differences_only_deletions_first() {
    let mut store = Store::new([Kind::Pod]);
    let first = store.reset(Kind::Pod, objects(&[("a", "x"), ("b", "x"), ("c", "x")]));
    assert_eq!(told(&first), ["+a", "+b", "+c"]);
    let same = store.reset(Kind::Pod, objects(&[("a", "x"), ("b", "x"), ("c", "x")]));
    assert!(same.is_empty());
    let next = store.reset(Kind::Pod, objects(&[("a", "x"), ("b", "y"), ("d", "x")]));
    assert_eq!(told(&next), ["-c", "~b", "+d"]);
}

#[test]
fn apply_and_delete_say_what_changed() {
    let mut store = Store::new([Kind::Pod]);
    assert!(store.apply(Object::Pod(pod("a", "x"))).is_some());
    assert!(store.apply(Object::Pod(pod("a", "x"))).is_none());
    let key = ObjectKey::new("shop", "a");
    assert!(store.delete(Kind::Pod, &key).is_some());
    assert!(store.delete(Kind::Pod, &key).is_none());
}

#[test]
fn every_kind_must_be_listed_once() {
    let mut store = Store::new([Kind::Pod, Kind::Node]);
    let reason = Reason::Refused {
        address: "https://h:1".into(),
    };
    store.handle(Event::Unavailable {
        kind: Kind::Node,
        reason,
    });
    store.handle(done());
    assert!(!store.is_synced());
    let missing: Vec<_> = store.missing().iter().map(ToString::to_string).collect();
    assert_eq!(missing.len(), 1);
    assert!(
        missing[0].starts_with("nodes: ") && missing[0].contains("https://h:1"),
        "{missing:?}"
    );
    store.handle(Event::ListDone {
        kind: Kind::Node,
        resource_version: "1".into(),
    });
    assert!(store.is_synced() && store.missing().is_empty());
    assert_eq!(store.resource_version(Kind::Pod), Some("9"));
}

#[test]
fn what_a_list_does_not_name_goes_when_it_is_through() {
    let mut store = Store::new([Kind::Pod]);
    store.reset(Kind::Pod, objects(&[("a", "x"), ("b", "x"), ("c", "x")]));
    store.handle(Event::ListStarted(Kind::Pod));
    assert!(!store.is_settled() && store.is_synced());
    assert!(
        store
            .handle(decoded("a", Some(Object::Pod(pod("a", "x"))), false))
            .is_empty()
    );
    // Listed, though unusable: what is known of it stands.
    assert!(store.handle(decoded("b", None, true)).is_empty());
    assert_eq!(told(&store.handle(done())), ["-c"]);
    assert!(store.is_settled());
    assert_eq!(store.problems().count(), 1);
}

#[test]
fn a_problem_goes_when_its_object_is_mended_or_gone() {
    let mut store = Store::new([Kind::Pod]);
    store.handle(decoded("a", None, true));
    store.handle(decoded("b", None, true));
    store.handle(decoded("c", None, true));
    assert_eq!(store.problems().count(), 3);
    store.handle(decoded("a", Some(Object::Pod(pod("a", "x"))), false));
    store.handle(Event::Delete(Kind::Pod, ObjectKey::new("shop", "b")));
    assert_eq!(store.problems().count(), 1);
    // Never seen whole, and not in the list any more.
    store.handle(Event::ListStarted(Kind::Pod));
    store.handle(done());
    assert_eq!(store.problems().count(), 0);
}

#[test]
fn problems_of_no_object_do_not_grow_without_bound() {
    let mut store = Store::new([Kind::Pod]);
    for n in 0..1000 {
        store.handle(Event::Problem(Problem {
            severity: Severity::Error,
            cause: Cause::Syntax,
            object: None,
            place: None,
            message: n.to_string(),
        }));
    }
    assert_eq!(store.problems().count(), 100);
    assert_eq!(store.problems().last().unwrap().message, "999");
}

#[test]
fn equal_strings_are_shared_and_unused_ones_dropped() {
    let mut store = Store::new([Kind::Pod]);
    let mut watched = None;
    for n in 0..5000 {
        let new = pod(&format!("p{n}"), &format!("app-{n}"));
        store.apply(Object::Pod(new));
        if n == 0 {
            let stored = &store.snapshot().pods[&ObjectKey::new("shop", "p0")];
            watched = Some(Arc::downgrade(stored.labels.get("app").unwrap()));
        }
    }
    let pods: Vec<_> = store.snapshot().pods.values().cloned().collect();
    assert!(pods.iter().all(|p| Arc::ptr_eq(&p.node, &pods[0].node)));
    assert!(
        pods.iter()
            .all(|p| Arc::ptr_eq(&p.key.namespace, &pods[0].key.namespace))
    );
    assert!(Arc::ptr_eq(
        pods[0].labels.iter().next().unwrap().0,
        pods[1].labels.iter().next().unwrap().0
    ));
    drop(pods);
    // Other pods come in their place; what only they used must not pile up.
    for n in 0..5000 {
        store.delete(Kind::Pod, &ObjectKey::new("shop", format!("p{n}")));
    }
    for n in 0..40_000 {
        store.apply(Object::Pod(pod("one", &format!("other-{n}"))));
    }
    assert!(watched.unwrap().upgrade().is_none());
}

#[test]
fn cluster_scoped_objects_are_told_by_name() {
    let mut store = Store::new([Kind::Namespace]);
    let namespace = Namespace {
        name: "shop".into(),
        labels: Labels::default(),
    };
    store.reset(Kind::Namespace, vec![Object::Namespace(namespace)]);
    assert_eq!(store.reset(Kind::Namespace, Vec::new()).len(), 1);
}
