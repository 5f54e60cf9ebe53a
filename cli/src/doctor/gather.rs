//! Asks the API server, and through it the agents.

use super::facts::{Agent, Asked, Facts};
use futures::future::join_all;
use http::{Method, Request};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, ListParams};
use kube::client::Body;
use kube::{Client, Error};
use ringfence_controller::hooks::Hook;
use ringfence_controller::hooks::probe::{Probe, Proof};
use std::fmt::Debug;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::timeout;

/// How long a single question may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Both webhook configurations are called so.
const CONFIGURATION: &str = "ringfence";
/// Our objects carry this label.
const PART: &str = "app.kubernetes.io/part-of=ringfence";
const ENFORCER: &str = "app.kubernetes.io/name=ringfence-enforcer";

/// Sees what there is.
pub async fn facts(client: &Client, namespace: &str) -> Facts {
    let ours = ListParams::default().labels(PART);
    let all = ListParams::default();
    let deployments = Api::<Deployment>::namespaced(client.clone(), namespace);
    let daemon_sets = Api::<DaemonSet>::all(client.clone());
    let config_maps = Api::<ConfigMap>::namespaced(client.clone(), "kube-system");
    let (nodes, validating, mutating) = (
        Api::all(client.clone()),
        Api::all(client.clone()),
        Api::all(client.clone()),
    );
    let (nodes, agents, daemon_sets, kube_proxy, validating, mutating, deployments) = tokio::join!(
        asked(nodes.list(&all)),
        agents(client, namespace),
        asked(daemon_sets.list(&all)),
        asked(config_maps.get_opt("kube-proxy")),
        asked(validating.get_opt(CONFIGURATION)),
        asked(mutating.get_opt(CONFIGURATION)),
        asked(deployments.list(&ours)),
    );
    let registered = matches!(&validating, Ok(Some(_))) || matches!(&mutating, Ok(Some(_)));
    Facts {
        namespace: namespace.to_owned(),
        nodes: nodes.map(|list| list.items),
        agents,
        daemon_sets: daemon_sets.map(|list| list.items),
        kube_proxy,
        validating,
        mutating,
        deployments: deployments.map(|list| list.items),
        answered: if registered {
            Some(probe(client).await)
        } else {
            None
        },
        isolation: None,
        now: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX)),
    }
}

async fn agents(client: &Client, namespace: &str) -> Asked<Vec<Agent>> {
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let pods = asked(pods.list(&ListParams::default().labels(ENFORCER))).await?;
    Ok(join_all(pods.items.into_iter().map(|pod| agent(client, pod))).await)
}

async fn agent(client: &Client, pod: Pod) -> Agent {
    let (ready, generation, metrics) = tokio::join!(
        said(client, &pod, "health", "readyz"),
        said(client, &pod, "health", "generation"),
        said(client, &pod, "metrics", "metrics"),
    );
    let fine = |said: Asked<(u16, String)>| match said? {
        (200, body) => Ok(body),
        (code, body) => Err(format!("{code} {}", body.trim())),
    };
    Agent {
        ready: ready.and_then(|(code, body)| match code {
            200 => Ok(None),
            503 if !body.contains("\"kind\":\"Status\"") => Ok(Some(body.trim().to_owned())),
            _ => Err(format!("{code} {}", body.trim())),
        }),
        generation: fine(generation)
            .and_then(|body| serde_json::from_str(&body).map_err(|e| e.to_string())),
        metrics: fine(metrics),
        pod,
    }
}

/// What the agent answers on its port of this name, through the API server.
async fn said(client: &Client, pod: &Pod, port: &str, path: &str) -> Asked<(u16, String)> {
    let metadata = &pod.metadata;
    let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) else {
        return Err("the pod has no name".into());
    };
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|c| c.ports.iter().flatten());
    let Some(port) = ports.find(|p| p.name.as_deref() == Some(port)) else {
        return Err(format!("the pod has no port named {port:?}"));
    };
    let port = port.container_port;
    let uri = format!("/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy/{path}");
    let request = Request::get(uri).body(Body::empty());
    let answer = timeout(PATIENCE, async {
        let response = client.send(request.map_err(|e| e.to_string())?).await;
        let response = response.map_err(|e| e.to_string())?;
        let code = response.status().as_u16();
        let body = response.into_body().collect_bytes().await;
        let body = body.map_err(|e| e.to_string())?;
        Ok((code, String::from_utf8_lossy(&body).into_owned()))
    });
    answer.await.unwrap_or_else(|_| Err(late()))
}

/// Asks both webhooks by a dry run, as the controller does before it closes the door.
async fn probe(client: &Client) -> Asked<Vec<&'static str>> {
    let probe = Probe::new(u128::from(fastrand::u64(..)) << 64 | u128::from(fastrand::u64(..)));
    let body = serde_json::to_vec(&probe.policy()).map_err(|e| e.to_string())?;
    let uri = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies?dryRun=All";
    let request = Request::builder()
        .method(Method::POST)
        .uri(uri)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Body::from(body))
        .map_err(|e| e.to_string())?;
    let response = timeout(PATIENCE, client.send(request)).await;
    let response = response.map_err(|_| late())?.map_err(|e| e.to_string())?;
    let proof = probe.heard(response.headers());
    if proof == Proof::default() && !response.status().is_success() {
        let code = response.status();
        let body = response.into_body().collect_bytes().await;
        let body = body.map_err(|e| e.to_string())?;
        return Err(format!("{code}: {}", message(&body)));
    }
    let answered = Hook::ALL.into_iter().filter(|hook| proof.proves(*hook));
    Ok(answered.map(Hook::label).collect())
}

/// The words of a `Status`, or the whole text.
fn message(body: &[u8]) -> String {
    let status: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = status.and_then(|s| s["message"].as_str().map(str::to_owned));
    message.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned())
}

async fn asked<T: Debug>(question: impl Future<Output = Result<T, Error>>) -> Asked<T> {
    match timeout(PATIENCE, question).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(words(&error)),
        Err(_) => Err(late()),
    }
}

/// An error as people read it: the API server's own words, where it has any.
pub fn words(error: &Error) -> String {
    match error {
        Error::Api(status) => format!("{}: {}", status.code, status.message),
        other => other.to_string(),
    }
}

fn late() -> String {
    format!("no answer within {} s", PATIENCE.as_secs())
}
