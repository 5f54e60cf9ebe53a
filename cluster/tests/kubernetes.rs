//! The API server as a source, against a server that follows a script.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use kube::Config;
use ringfence_cluster::kubernetes::Pace;
use ringfence_cluster::{Event, Feed, Kubernetes, Reason, Store};
use ringfence_policy::Change;
use ringfence_policy::model::ObjectKey;
use ringfence_policy::snapshot::Kind;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use test_case::test_case;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// What the server answers to one request.
enum Answer {
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
struct Script {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    asked: Arc<Mutex<Vec<String>>>,
    tear: Arc<Notify>,
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

struct Watched {
    feed: Feed,
    store: Store,
    script: Script,
    problems: usize,
}

const PACE: Pace = Pace {
    first: Duration::from_millis(1),
    longest: Duration::from_millis(5),
    silence: Duration::from_secs(20),
};

async fn watched_as(kind: Kind, answers: Vec<Answer>) -> Watched {
    watched_at(kind, PACE, answers).await
}

async fn watched_at(kind: Kind, pace: Pace, answers: Vec<Answer>) -> Watched {
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

async fn watched(answers: Vec<Answer>) -> Watched {
    watched_as(Kind::Pod, answers).await
}

/// With a pace at which silence is soon too long.
async fn impatient(answers: Vec<Answer>) -> Watched {
    let silence = Duration::from_millis(50);
    watched_at(Kind::Pod, Pace { silence, ..PACE }, answers).await
}

impl Watched {
    async fn step(&mut self) -> Vec<Change> {
        let event = tokio::time::timeout(Duration::from_secs(20), self.feed.next());
        let event = event.await.expect("an event of the server").unwrap();
        self.problems += usize::from(matches!(event, Event::Problem(_)));
        self.store.handle(event)
    }

    /// Steps until the condition holds; returns what changed meanwhile.
    async fn until(&mut self, condition: impl Fn(&Store) -> bool) -> Vec<Change> {
        let mut changes = Vec::new();
        while !condition(&self.store) {
            changes.extend(self.step().await);
        }
        changes
    }

    async fn reaches(&mut self, version: &str) -> Vec<Change> {
        self.until(|store| store.is_settled() && store.resource_version(Kind::Pod) == Some(version))
            .await
    }

    fn pods(&self) -> Vec<String> {
        self.store
            .snapshot()
            .pods
            .keys()
            .map(ToString::to_string)
            .collect()
    }

    fn asked(&self) -> Vec<String> {
        self.script.asked.lock().unwrap().clone()
    }
}

fn pod(name: &str, version: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop", "resourceVersion": version},
           "spec": {"nodeName": "n1"}, "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]}})
}

fn line(kind: &str, object: &Value) -> String {
    json!({"type": kind, "object": object}).to_string()
}

fn added(name: &str, version: &str) -> String {
    line("ADDED", &pod(name, version))
}

fn bookmark(version: &str) -> String {
    line(
        "BOOKMARK",
        &json!({"kind": "Pod", "metadata": {"resourceVersion": version}}),
    )
}

fn end_of_list(version: &str) -> String {
    let note = json!({"k8s.io/initial-events-end": "true"});
    line(
        "BOOKMARK",
        &json!({"metadata": {"resourceVersion": version, "annotations": note}}),
    )
}

fn status(code: u16, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": "", "code": code})
}

fn refusal(code: u16, message: &str) -> Answer {
    Answer::Whole(code, status(code, message).to_string())
}

fn page(pods: &[Value], version: &str, next: &str) -> Answer {
    let meta = json!({"resourceVersion": version, "continue": next});
    Answer::Whole(
        200,
        json!({"kind": "PodList", "metadata": meta, "items": pods}).to_string(),
    )
}

#[tokio::test]
async fn a_streaming_list_goes_over_into_a_watch() {
    let lines = vec![
        added("a", "3"),
        added("b", "4"),
        end_of_list("7"),
        added("c", "8"),
    ];
    let mut watched = watched(vec![Answer::Open(lines)]).await;
    watched
        .until(|store| store.snapshot().pods.len() == 2)
        .await;
    assert!(
        !watched.store.is_synced(),
        "before the end of the list nothing is synced"
    );
    watched.until(Store::is_synced).await;
    watched.reaches("8").await;
    assert_eq!(watched.pods(), ["shop/a", "shop/b", "shop/c"]);
    let asked = watched.asked();
    assert_eq!(asked.len(), 1);
    for part in [
        "/api/v1/pods?",
        "sendInitialEvents=true",
        "resourceVersionMatch=NotOlderThan",
        "allowWatchBookmarks=true",
    ] {
        assert!(asked[0].contains(part), "{asked:?}");
    }
}

/// 422 of a server whose feature gate is off, 400 of others.
#[test_case(422)]
#[test_case(400)]
#[tokio::test]
async fn without_streaming_lists_it_pages(code: u16) {
    let mut watched = watched(vec![
        refusal(code, "sendInitialEvents is forbidden"),
        page(&[pod("a", "3")], "7", "token"),
        page(&[pod("b", "4")], "7", ""),
        Answer::Open(vec![line("DELETED", &pod("a", "8"))]),
    ])
    .await;
    watched.until(Store::is_synced).await;
    assert_eq!(watched.pods(), ["shop/a", "shop/b"]);
    assert_eq!(
        watched
            .until(|store| store.snapshot().pods.len() == 1)
            .await
            .len(),
        1
    );
    let asked = watched.asked();
    assert!(
        asked[1].contains("limit=500") && !asked[1].contains("continue"),
        "{asked:?}"
    );
    assert!(asked[2].contains("continue=token"), "{asked:?}");
    assert!(
        asked[3].contains("watch=true") && asked[3].contains("resourceVersion=7"),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_watch_that_ends_is_taken_up_where_it_was() {
    let mut watched = watched(vec![
        Answer::Watch(vec![end_of_list("7"), bookmark("20")]),
        Answer::Torn(added("a", "21") + "\n{\"type\":\"ADDED\",\"obj"),
        Answer::Open(vec![added("b", "22")]),
    ])
    .await;
    watched.reaches("21").await;
    watched.script.tear.notify_one();
    watched.reaches("22").await;
    assert_eq!(watched.pods(), ["shop/a", "shop/b"]);
    let asked = watched.asked();
    assert!(asked[1].contains("resourceVersion=20"), "{asked:?}");
    assert!(asked[2].contains("resourceVersion=21"), "{asked:?}");
    assert!(!asked[1].contains("sendInitialEvents"), "{asked:?}");
}

/// 410 as an event of the watch and as the answer to the request.
#[test_case(true)]
#[test_case(false)]
#[tokio::test]
async fn after_410_only_differences_come_out(as_event: bool) {
    let gone = "too old resource version";
    let mut answers = vec![Answer::Watch(vec![
        added("a", "3"),
        added("b", "4"),
        added("c", "5"),
        end_of_list("7"),
    ])];
    answers.push(if as_event {
        Answer::Watch(vec![line("ERROR", &status(410, gone))])
    } else {
        refusal(410, gone)
    });
    let moved = json!({"metadata": {"name": "c", "namespace": "shop", "resourceVersion": "80"}, "spec": {"nodeName": "n2"}});
    answers.push(Answer::Open(vec![
        added("a", "3"),
        line("ADDED", &moved),
        end_of_list("90"),
    ]));
    let mut watched = watched(answers).await;
    watched.until(Store::is_synced).await;
    let changes = watched.reaches("90").await;
    assert!(
        matches!(
            &changes[..],
            [Change::Pod(Some(_), Some(_)), Change::Pod(Some(_), None)]
        ),
        "{changes:?}"
    );
    assert_eq!(watched.pods(), ["shop/a", "shop/c"]);
    assert!(watched.store.is_synced());
}

#[tokio::test]
async fn a_malformed_object_is_named_and_the_watch_goes_on() {
    let mut bad = pod("a", "9");
    bad["spec"]["nodeName"] = json!(5);
    let lines = vec![
        added("a", "3"),
        end_of_list("7"),
        line("MODIFIED", &bad),
        line("ADDED", &json!({"metadata": {}})),
        added("b", "10"),
    ];
    let mut watched = watched(vec![Answer::Open(lines)]).await;
    watched.reaches("10").await;
    let said: Vec<_> = watched.store.problems().map(ToString::to_string).collect();
    assert!(said[0].starts_with("Pod shop/a: spec.nodeName"), "{said:?}");
    assert_eq!((said.len(), watched.problems), (2, 1));
    // What was known of it stands.
    assert_eq!(
        &*watched.store.snapshot().pods[&ObjectKey::new("shop", "a")].node,
        "n1"
    );
    assert_eq!(watched.asked().len(), 1);
}

#[tokio::test]
async fn a_malformed_policy_is_closed() {
    let policy = json!({"metadata": {"name": "p", "namespace": "shop", "resourceVersion": "3"}, "spec": {"podSelector": {}, "ingress": "all"}});
    let lines = vec![line("ADDED", &policy), end_of_list("7")];
    let mut watched = watched_as(Kind::NetworkPolicy, vec![Answer::Open(lines)]).await;
    watched.until(Store::is_synced).await;
    assert!(
        watched.store.snapshot().policies[&ObjectKey::new("shop", "p")]
            .fault
            .is_some()
    );
    assert!(watched.asked()[0].starts_with("/apis/networking.k8s.io/v1/networkpolicies?"));
}

/// A frame that is no JSON may have been any object's: list again.
#[tokio::test]
async fn a_frame_that_is_no_json_lists_again() {
    let mut watched = watched(vec![
        Answer::Open(vec![
            added("a", "3"),
            end_of_list("7"),
            "rubbish".to_owned(),
        ]),
        Answer::Open(vec![added("b", "4"), end_of_list("9")]),
    ])
    .await;
    watched
        .until(|store| store.unavailable().next().is_some())
        .await;
    assert_eq!(watched.pods(), ["shop/a"]);
    watched.reaches("9").await;
    assert_eq!(watched.pods(), ["shop/b"]);
    assert!(watched.store.unavailable().next().is_none());
}

#[test_case(Kind::NetworkPolicy, "{apiGroups: [\"networking.k8s.io\"], resources: [\"networkpolicies\"], verbs: [\"list\", \"watch\"]}"; "a group")]
#[test_case(Kind::Pod, "{apiGroups: [\"\"], resources: [\"pods\"], verbs: [\"list\", \"watch\"]}"; "core")]
#[tokio::test]
async fn forbidden_writes_out_the_rule(kind: Kind, rule: &str) {
    let mut watched = watched_as(kind, vec![refusal(403, "User \"x\" cannot list")]).await;
    watched
        .until(|store| store.unavailable().next().is_some())
        .await;
    let said = watched.store.missing()[0].to_string();
    assert!(
        said.contains(rule) && said.starts_with(kind.plural()),
        "{said}"
    );
}

#[tokio::test]
async fn unauthorized_and_other_answers_are_told_apart() {
    let mut watched = watched(vec![
        refusal(401, "Unauthorized"),
        refusal(500, "etcd is away"),
        Answer::Whole(200, "<html>a proxy</html>\n".to_owned()),
        Answer::Open(vec![end_of_list("7")]),
    ])
    .await;
    let mut said = Vec::new();
    while !watched.store.is_synced() {
        watched.step().await;
        said.extend(
            watched
                .store
                .unavailable()
                .map(|(_, reason)| reason.clone())
                .next(),
        );
    }
    assert!(matches!(&said[0], Reason::Unauthorized { .. }), "{said:?}");
    assert!(
        said.iter()
            .any(|r| matches!(r, Reason::Server { code: 500, .. })),
        "{said:?}"
    );
    assert!(
        said.iter().any(|r| matches!(r, Reason::Protocol { .. })),
        "{said:?}"
    );
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let config = Config::new(format!("http://{address}").parse().unwrap());
    let kubernetes = Kubernetes::with_config(config).unwrap().with_pace(PACE);
    let mut feed = Feed::kubernetes(&kubernetes, [Kind::Node]);
    let mut store = Store::new([Kind::Node]);
    store.handle(feed.next().await.unwrap());
    let said = store.missing()[0].to_string();
    assert!(
        said.starts_with("nodes: nothing listens") && said.contains(&address.to_string()),
        "{said}"
    );
}

#[tokio::test]
async fn a_server_that_speaks_no_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new()).await });
    let mut config = Config::new(format!("https://{address}").parse().unwrap());
    config.accept_invalid_certs = true;
    let kubernetes = Kubernetes::with_config(config).unwrap().with_pace(PACE);
    let mut feed = Feed::kubernetes(&kubernetes, [Kind::Node]);
    let event = feed.next().await.unwrap();
    assert!(
        matches!(
            &event,
            Event::Unavailable {
                reason: Reason::Tls { .. },
                ..
            }
        ),
        "{event:?}"
    );
}

/// The server goes away and comes back: what is known stands and nothing flaps.
#[tokio::test]
async fn a_server_that_is_away_changes_nothing() {
    let mut answers = vec![Answer::Watch(vec![added("a", "3"), end_of_list("7")])];
    answers.extend((0..4).map(|_| refusal(503, "starting")));
    answers.push(Answer::Open(vec![bookmark("30")]));
    let mut watched = watched(answers).await;
    watched.until(Store::is_synced).await;
    watched
        .until(|store| store.unavailable().next().is_some())
        .await;
    assert!(watched.store.is_synced() && watched.store.is_settled());
    assert_eq!(watched.reaches("30").await.len(), 0);
    assert!(watched.store.unavailable().next().is_none());
    assert_eq!(watched.pods(), ["shop/a"]);
}

/// A list that breaks off says nothing about what it did not reach.
#[tokio::test]
async fn a_list_that_breaks_off_deletes_nothing() {
    let mut watched = watched(vec![
        Answer::Watch(vec![added("a", "3"), added("b", "4"), end_of_list("7")]),
        refusal(410, "gone"),
        Answer::Watch(vec![added("a", "3"), line("ERROR", &status(500, "broken"))]),
        Answer::Open(vec![added("a", "3"), added("b", "4"), end_of_list("9")]),
    ])
    .await;
    watched.until(Store::is_synced).await;
    assert_eq!(watched.reaches("9").await.len(), 0);
    assert_eq!(watched.pods(), ["shop/a", "shop/b"]);
}

/// A status update that changes nothing we keep.
#[tokio::test]
async fn an_update_that_decides_nothing_is_no_change() {
    let mut update = pod("a", "9");
    update["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
    let mut watched = watched(vec![Answer::Open(vec![
        added("a", "3"),
        end_of_list("7"),
        line("MODIFIED", &update),
    ])])
    .await;
    watched.until(Store::is_synced).await;
    assert_eq!(watched.reaches("9").await.len(), 0);
}

/// A server older than streaming lists sends everything and never says it was all.
#[tokio::test]
async fn a_streaming_list_that_never_ends_is_paged() {
    let mut watched = impatient(vec![
        Answer::Open(vec![added("a", "3")]),
        page(&[pod("a", "3")], "7", ""),
    ])
    .await;
    watched.until(Store::is_synced).await;
    assert_eq!(watched.pods(), ["shop/a"]);
    assert!(watched.asked()[1].contains("limit=500"));
}

/// A peer that died without a word.
#[tokio::test]
async fn a_silent_watch_is_taken_up_elsewhere() {
    let mut watched = impatient(vec![
        Answer::Open(vec![added("a", "3"), end_of_list("7")]),
        Answer::Open(vec![added("b", "8")]),
    ])
    .await;
    watched.reaches("8").await;
    assert!(watched.asked()[1].contains("resourceVersion=7"));
    assert_eq!(watched.pods(), ["shop/a", "shop/b"]);
}

#[tokio::test]
async fn a_kubeconfig_that_is_not_there_is_named() {
    let path = std::path::Path::new("/nonexistent/kubeconfig");
    let error = Kubernetes::new(Some(path)).await.err().unwrap();
    assert!(format!("{error:#}").contains("/nonexistent/kubeconfig"));
}
