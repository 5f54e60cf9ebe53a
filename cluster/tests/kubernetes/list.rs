//! Whole objects, page by page.

use axum::Router;
use axum::http::Uri;
use axum::routing::get;
use kube::Config;
use ringfence_cluster::Kubernetes;
use ringfence_policy::snapshot::Kind;
use serde_json::{Value, json};
use tokio::net::TcpListener;

async fn page(uri: Uri) -> String {
    let is_next = uri.query().is_some_and(|q| q.contains("continue=2"));
    let answer = if is_next {
        json!({"metadata": {}, "items": [{"metadata": {"name": "b"}}]})
    } else {
        json!({"metadata": {"continue": "2"}, "items": [{"metadata": {"name": "a"}}]})
    };
    answer.to_string()
}

async fn kubernetes() -> Kubernetes {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/apis/networking.k8s.io/v1/networkpolicies", get(page));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let config = Config::new(format!("http://{address}").parse().unwrap());
    Kubernetes::with_config(config).unwrap()
}

#[tokio::test]
async fn items_of_every_page_say_what_they_are() {
    let objects = kubernetes().await.list(Kind::NetworkPolicy).await.unwrap();
    let names: Vec<&Value> = objects.iter().map(|o| &o["metadata"]["name"]).collect();
    assert_eq!(names, ["a", "b"]);
    for object in &objects {
        assert_eq!(object["kind"], "NetworkPolicy");
        assert_eq!(object["apiVersion"], "networking.k8s.io/v1");
    }
}

#[tokio::test]
async fn a_refusal_names_what_was_asked() {
    let error = kubernetes().await.list(Kind::Service).await.unwrap_err();
    assert!(format!("{error:#}").contains("cannot read services of http://127.0.0.1"));
}
