//! What somebody does while the controller writes.

use super::*;
use crate::isolation::duty::Duty;
use crate::isolation::jobs::{Done, Written};
use crate::isolation::notices;
use crate::metrics::Metrics;
use http::{Request, Response};
use kube::Client;
use kube::api::DynamicObject;
use kube::client::Body;
use kube::runtime::watcher;
use ringfence_api::IsolationRule;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Semaphore;

const NS: &str = "own";

fn desk() -> Desk {
    let nobody = tower::service_fn(async |_: Request<Body>| {
        Err::<Response<Body>, _>(tower::BoxError::from("nobody answers"))
    });
    let (notices, _) =
        notices::channel(Client::new(nobody, NS), "test", Arc::new(Semaphore::new(1)));
    let health = Health {
        status: Arc::default(),
        metrics: Arc::new(Metrics::default()),
    };
    Desk::new(health, notices, Mirror::new([]))
}

fn rule(version: &str, friend: &str) -> IsolationRule {
    let value = json!({
        "metadata": {"namespace": NS, "name": "a", "uid": "r-1", "resourceVersion": version},
        "spec": {"direction": "Ingress", "peer": {"namespace": friend}},
    });
    serde_json::from_value(value).unwrap()
}

fn policy(version: &str, ingress: &Value) -> DynamicObject {
    let value = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {
            "namespace": NS, "name": "ringfence-isolation", "uid": "p-1",
            "resourceVersion": version,
        },
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": ingress},
    });
    serde_json::from_value(value).unwrap()
}

fn done(written: Written) -> Done {
    Done {
        namespace: NS.into(),
        written,
        refusal: None,
    }
}

#[tokio::test]
async fn an_edit_that_comes_with_the_answer_to_a_status_is_due() {
    for (answer, due) in [(rule("2", "friend"), false), (rule("3", "other"), true)] {
        let mut desk = desk();
        let seen = watcher::Event::Apply(rule("1", "friend"));
        desk.note(Event::Rule(Ok(seen)));
        desk.policies.clear();
        desk.done(done(Written::Status {
            rules: vec![answer],
            isolation: None,
            notices: Vec::new(),
        }));
        assert_eq!(desk.policies.contains(NS), due);
    }
}

#[tokio::test]
async fn what_somebody_did_after_a_repair_stands_when_its_answer_is_late() {
    let mut desk = desk();
    for event in [
        watcher::Event::Apply(policy("2", &json!([]))),
        watcher::Event::Apply(policy("3", &json!([{}]))),
    ] {
        desk.note(Event::Policy(Ok(event)));
    }
    let repair = Box::new(policy("2", &json!([])));
    let duty = Duty::Update(json!({"metadata": {}}));
    desk.done(done(Written::Duty(duty, Some(repair))));
    let version = desk.seen.policy(NS).map(|policy| policy.version.clone());
    assert_eq!(version.as_deref(), Some("3"));
    assert!(desk.policies.contains(NS), "and is looked at");
}
