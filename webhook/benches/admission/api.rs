//! As much of an API server as the webhook asks: lists in pages, and watches that stay
//! silent. With it memory is what it is in a cluster; a folder is held as text as well.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::Path as File;
use std::sync::Arc;
use tokio::net::TcpListener;

type Objects = Arc<BTreeMap<&'static str, Vec<Value>>>;

/// Serves objects by their plural name, and writes a kubeconfig for it.
pub async fn serve(objects: BTreeMap<&'static str, Vec<Value>>, kubeconfig: &File) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/api/v1/{plural}", get(answer))
        .route("/apis/networking.k8s.io/v1/{plural}", get(answer))
        .fallback(async || status(404))
        .with_state(Arc::new(objects));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{address}")}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {}}]});
    fs::write(kubeconfig, config.to_string()).unwrap();
}

async fn answer(
    State(objects): State<Objects>,
    Path(plural): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let Some(objects) = objects.get(&*plural) else {
        return status(404);
    };
    if query.contains_key("sendInitialEvents") {
        return status(422);
    }
    if query.contains_key("watch") {
        let silence = futures::stream::pending::<io::Result<Vec<u8>>>();
        return Body::from_stream(silence).into_response();
    }
    let number = |name: &str| query.get(name).and_then(|n| n.parse::<usize>().ok());
    let from = number("continue").unwrap_or(0);
    let to = (from + number("limit").unwrap_or(500)).min(objects.len());
    let next = if to < objects.len() {
        to.to_string()
    } else {
        String::new()
    };
    let list = json!({"metadata": {"resourceVersion": "1", "continue": next},
        "items": objects[from..to]});
    list.to_string().into_response()
}

fn status(code: u16) -> Response {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "message": "not here", "reason": "x"});
    (StatusCode::from_u16(code).unwrap(), body.to_string()).into_response()
}
