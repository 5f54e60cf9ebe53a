//! The API server as a source, against a server that follows a script.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod facts;
mod list;
mod server;

use axum::Router;
use kube::Config;
use ringfence_cluster::{Event, Feed, Kubernetes, Reason, Store};
use ringfence_policy::Change;
use ringfence_policy::model::ObjectKey;
use ringfence_policy::snapshot::Kind;
use serde_json::json;
use server::{
    Answer, PACE, added, bookmark, end_of_list, impatient, line, page, pod, refusal, status,
    watched, watched_as,
};
use test_case::test_case;
use tokio::net::TcpListener;

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

/// Who waits for the revision of a deletion must see it reached.
#[tokio::test]
async fn a_deletion_is_a_revision_too() {
    let mut watched = watched(vec![Answer::Open(vec![
        added("a", "3"),
        end_of_list("7"),
        line("DELETED", &pod("a", "9")),
    ])])
    .await;
    watched.until(Store::is_synced).await;
    assert_eq!(watched.reaches("9").await.len(), 1);
    assert!(watched.pods().is_empty());
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
