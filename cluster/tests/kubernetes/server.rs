//! A server that follows a script, and a client of it.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use kube::Config;
use ringfence_cluster::kubernetes::Pace;
use ringfence_cluster::{Event, Feed, Kubernetes, Store};
use ringfence_policy::Change;
use ringfence_policy::snapshot::Kind;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// What the server answers to one request.
pub enum Answer {
    /// A status and a body.
    Whole(u16, String),
    /// Lines, and then the end of the stream.
    Watch(Vec<String>),
    /// Lines, and then silence for ever.
    Open(Vec<String>),
    /// Bytes, and, once the test says so, a broken connection.
    Torn(String),
}

#[derive(Clone, Default)]
pub struct Script {
    pub answers: Arc<Mutex<VecDeque<Answer>>>,
    pub asked: Arc<Mutex<Vec<String>>>,
    pub tear: Arc<Notify>,
}

async fn answer(State(script): State<Script>, request: Request) -> Response {
    script.asked.lock().unwrap().push(request.uri().to_string());
    let next = script.answers.lock().unwrap().pop_front();
    let lines = |lines: Vec<String>| {
        let lines = lines
            .into_iter()
            .map(|line| Ok::<_, Infallible>(Bytes::from(line + "\n")));
        stream::iter(lines)
    };
    match next {
        None => std::future::pending().await,
        Some(Answer::Whole(status, body)) => {
            (StatusCode::from_u16(status).unwrap(), body).into_response()
        }
        Some(Answer::Watch(all)) => Body::from_stream(lines(all)).into_response(),
        Some(Answer::Open(all)) => {
            Body::from_stream(lines(all).chain(stream::pending())).into_response()
        }
        Some(Answer::Torn(text)) => {
            let tear = async move {
                script.tear.notified().await;
                Err(std::io::Error::other("torn"))
            };
            let text = stream::iter([Ok(Bytes::from(text))]);
            Body::from_stream(text.chain(stream::once(tear))).into_response()
        }
    }
}

pub struct Watched {
    pub feed: Feed,
    pub store: Store,
    pub script: Script,
    pub problems: usize,
}

pub const PACE: Pace = Pace {
    first: Duration::from_millis(1),
    longest: Duration::from_millis(5),
    silence: Duration::from_secs(20),
};

pub async fn watched_as(kind: Kind, answers: Vec<Answer>) -> Watched {
    watched_at(kind, PACE, answers).await
}

pub async fn watched_at(kind: Kind, pace: Pace, answers: Vec<Answer>) -> Watched {
    let script = Script::default();
    script.answers.lock().unwrap().extend(answers);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(answer).with_state(script.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let config = Config::new(format!("http://{address}").parse().unwrap());
    let kubernetes = Kubernetes::with_config(config).unwrap().with_pace(pace);
    Watched {
        feed: Feed::kubernetes(&kubernetes, [kind]),
        store: Store::new([kind]),
        script,
        problems: 0,
    }
}

pub async fn watched(answers: Vec<Answer>) -> Watched {
    watched_as(Kind::Pod, answers).await
}

/// With a pace at which silence is soon too long.
pub async fn impatient(answers: Vec<Answer>) -> Watched {
    let silence = Duration::from_millis(50);
    watched_at(Kind::Pod, Pace { silence, ..PACE }, answers).await
}

impl Watched {
    pub async fn step(&mut self) -> Vec<Change> {
        let event = tokio::time::timeout(Duration::from_secs(20), self.feed.next());
        let event = event.await.expect("an event of the server").unwrap();
        self.problems += usize::from(matches!(event, Event::Problem(_)));
        self.store.handle(event)
    }

    /// Steps until the condition holds; returns what changed meanwhile.
    pub async fn until(&mut self, condition: impl Fn(&Store) -> bool) -> Vec<Change> {
        let mut changes = Vec::new();
        while !condition(&self.store) {
            changes.extend(self.step().await);
        }
        changes
    }

    pub async fn reaches(&mut self, version: &str) -> Vec<Change> {
        self.until(|store| store.is_settled() && store.resource_version(Kind::Pod) == Some(version))
            .await
    }

    pub fn pods(&self) -> Vec<String> {
        self.store
            .snapshot()
            .pods
            .keys()
            .map(ToString::to_string)
            .collect()
    }

    pub fn asked(&self) -> Vec<String> {
        self.script.asked.lock().unwrap().clone()
    }
}

pub fn pod(name: &str, version: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop", "resourceVersion": version},
           "spec": {"nodeName": "n1"}, "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]}})
}

pub fn line(kind: &str, object: &Value) -> String {
    json!({"type": kind, "object": object}).to_string()
}

pub fn added(name: &str, version: &str) -> String {
    line("ADDED", &pod(name, version))
}

pub fn bookmark(version: &str) -> String {
    line(
        "BOOKMARK",
        &json!({"kind": "Pod", "metadata": {"resourceVersion": version}}),
    )
}

pub fn end_of_list(version: &str) -> String {
    let note = json!({"k8s.io/initial-events-end": "true"});
    line(
        "BOOKMARK",
        &json!({"metadata": {"resourceVersion": version, "annotations": note}}),
    )
}

pub fn status(code: u16, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": "", "code": code})
}

pub fn refusal(code: u16, message: &str) -> Answer {
    Answer::Whole(code, status(code, message).to_string())
}

pub fn page(pods: &[Value], version: &str, next: &str) -> Answer {
    let meta = json!({"resourceVersion": version, "continue": next});
    Answer::Whole(
        200,
        json!({"kind": "PodList", "metadata": meta, "items": pods}).to_string(),
    )
}
