//! What is asked of the server besides watches, and what a refusal leaves unknown.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use kube::Config;
use ringfence_checks::Facts;
use ringfence_cluster::Kubernetes;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

type Objects = BTreeMap<&'static str, Result<Value, u16>>;
type Asked = Arc<Mutex<Vec<String>>>;

async fn answer(
    State((objects, asked)): State<(Arc<Objects>, Asked)>,
    request: Request,
) -> Response {
    let path = request.uri().path();
    asked.lock().unwrap().push(request.uri().to_string());
    let last = path.rsplit('/').next().unwrap();
    let status = |code: u16| {
        let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
            "code": code, "message": "no", "reason": "x"});
        (StatusCode::from_u16(code).unwrap(), body.to_string()).into_response()
    };
    match objects.get(last) {
        Some(Ok(value)) => value.to_string().into_response(),
        Some(Err(code)) => status(*code),
        None => status(404),
    }
}

/// The first facts that are told by a server with these objects, and what it was asked.
async fn told(objects: Objects) -> (Facts, Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Asked::default();
    let state = (Arc::new(objects), Arc::clone(&asked));
    let router = Router::new().fallback(answer).with_state(state);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let config = Config::new(format!("http://{address}").parse().unwrap());
    let kubernetes = Kubernetes::with_config(config).unwrap();
    let (sender, mut receiver) = watch::channel(Arc::new(Facts::default()));
    tokio::spawn(kubernetes.facts(sender));
    let changed = timeout(Duration::from_secs(20), receiver.changed()).await;
    changed.expect("facts within the time").unwrap();
    let facts = Facts::clone(&receiver.borrow());
    let asked = asked.lock().unwrap().clone();
    (facts, asked)
}

fn items(items: &Value) -> Value {
    json!({"metadata": {}, "items": items})
}

fn cluster() -> Objects {
    let service_cidrs = json!([{"spec": {"cidrs": ["10.96.0.0/12", "fd00::/112"]}}]);
    let kube_proxy = json!({"data": {"config.conf": "iptables: {masqueradeAll: true}"}});
    let webhooks =
        json!([{"webhooks": [{"clientConfig": {"service": {"namespace": "a", "name": "b"}}}]}]);
    let api_services = json!([{"spec": {"service": {"namespace": "c", "name": "d"}}}]);
    let ingresses = json!([{"metadata": {"namespace": "e"},
        "spec": {"defaultBackend": {"service": {"name": "f"}}}}]);
    let slices = json!([{"endpoints": [{"addresses": ["192.0.2.1"]}], "ports": [{"port": 6443}]}]);
    let ours = json!({"app.kubernetes.io/name": "ringfence-enforcer"});
    let daemon_sets = json!([{"metadata": {"name": "ringfence-enforcer", "labels": ours}}]);
    let pods = json!([{"metadata": {"labels": ours}, "spec": {"nodeName": "n1"},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}}]);
    BTreeMap::from([
        ("endpointslices", Ok(items(&slices))),
        ("daemonsets", Ok(items(&daemon_sets))),
        ("pods", Ok(items(&pods))),
        ("servicecidrs", Ok(items(&service_cidrs))),
        ("kube-proxy", Ok(kube_proxy)),
        ("validatingwebhookconfigurations", Ok(items(&webhooks))),
        ("apiservices", Ok(items(&api_services))),
        ("ingresses", Ok(items(&ingresses))),
    ])
}

fn names(
    keys: Option<std::collections::BTreeSet<ringfence_policy::model::ObjectKey>>,
) -> Vec<String> {
    keys.unwrap().iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn what_the_server_tells_is_known_and_an_api_it_has_not_holds_nothing() {
    let (facts, asked) = told(cluster()).await;
    assert_eq!(facts.service_ranges.unwrap().len(), 2);
    assert_eq!(facts.masquerade_all, Some(true));
    assert_eq!(names(facts.webhook_services), ["a/b", "c/d"]);
    assert_eq!(names(facts.ingress_services), ["e/f"]);
    assert_eq!(
        facts.api_servers.unwrap(),
        ["192.0.2.1:6443".parse().unwrap()].into()
    );
    let enforcement = facts.enforcement.unwrap();
    assert!(enforcement.installed && enforcement.ready.contains("n1"));
    // Of the pods, only ours; of the slices, only those of one Service.
    let labelled = |path: &str| {
        asked
            .iter()
            .any(|a| a.contains(path) && a.contains("labelSelector="))
    };
    assert!(labelled("/api/v1/pods?") && labelled("/namespaces/default/endpointslices?"));
    // One ConfigMap is read, not all of them: RBAC may allow that one by its name.
    let config_maps: Vec<_> = asked.iter().filter(|a| a.contains("configmaps")).collect();
    assert_eq!(config_maps.len(), 1);
    assert!(config_maps[0].contains("/kube-system/configmaps/kube-proxy"));
}

#[tokio::test]
async fn what_must_not_be_read_stays_unknown_and_the_rest_is_known() {
    let mut objects = cluster();
    for kind in [
        "servicecidrs",
        "kube-proxy",
        "apiservices",
        "endpointslices",
        "daemonsets",
    ] {
        objects.insert(kind, Err(403));
    }
    let (facts, _) = told(objects).await;
    assert_eq!(facts.service_ranges, None);
    assert_eq!(facts.masquerade_all, None);
    assert_eq!((facts.api_servers, facts.enforcement), (None, None));
    assert_eq!(
        facts.webhook_services, None,
        "half a list would be a wrong list"
    );
    assert_eq!(names(facts.ingress_services), ["e/f"]);
}

#[tokio::test]
async fn ranges_no_server_tells_are_unknown_and_no_kube_proxy_masquerades_nothing() {
    let mut objects = cluster();
    objects.remove("servicecidrs");
    objects.remove("kube-proxy");
    let (facts, _) = told(objects).await;
    assert_eq!(facts.service_ranges, None);
    assert_eq!(facts.masquerade_all, Some(false));
}
