//! What is known about a namespace: from a folder everything, from a cluster what whoever
//! asks may read. Only its policies have to be among that.

use crate::isolation::ask::{self, Ask, as_kind};
use anyhow::{Context, Result, bail};
use ringfence_api::{
    GROUP, IsolationConfig, IsolationConfigSpec, IsolationRule, NamespaceIsolation, SINGLETON,
    VERSION,
};
use ringfence_checks::facts::enforcement::{ENFORCER, Enforcement};
use ringfence_checks::facts::masquerade_all;
use ringfence_cluster::{Severity, folder};
use ringfence_isolation::render::{EGRESS, INGRESS};
use ringfence_policy::model::{Direction, ObjectKey};
use ringfence_policy::{Snapshot, parse};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// What was read.
#[derive(Debug, Default)]
pub struct Known {
    /// The objects of the namespace, nodes, and namespaces.
    pub snapshot: Snapshot,
    /// `IsolationConfig default`, or the defaults.
    pub config: IsolationConfigSpec,
    /// `NamespaceIsolation default`
    pub isolation: Option<NamespaceIsolation>,
    /// The rules of the namespace.
    pub rules: Vec<IsolationRule>,
    /// Where each rule of a policy comes from, as its annotations say.
    pub sources: BTreeMap<(ObjectKey, Direction), Vec<String>>,
    /// kube-proxy replaces the source of every connection to a Service; `None`: unknown.
    pub masquerade_all: Option<bool>,
    /// Who carries policies out; `None`: unknown, or not asked.
    pub enforcement: Option<Enforcement>,
    /// A folder: nobody else renders policies there, and everything is in it.
    pub folder: bool,
    /// What could not be read, and why.
    pub unknown: Vec<String>,
}

impl Known {
    /// Whether the namespace has this policy. (Only policies of the namespace are read.)
    pub fn has_policy(&self, name: &str) -> bool {
        self.snapshot.policies.keys().any(|key| *key.name == *name)
    }

    /// Takes an object in; what of it cannot be understood is said.
    pub fn object(&mut self, value: &Value) {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
        match parse::object(value) {
            Ok((object, errors)) => {
                self.unknown.extend(errors.iter().map(ToString::to_string));
                self.snapshot.apply(object);
            }
            Err(error) => self.unknown.push(error.to_string()),
        }
        if text("/kind") != Some("NetworkPolicy") {
            return;
        }
        let key = ObjectKey::new(
            text("/metadata/namespace").unwrap_or_default(),
            text("/metadata/name").unwrap_or_default(),
        );
        let annotations = &value["metadata"]["annotations"];
        for (direction, name) in [(Direction::Ingress, INGRESS), (Direction::Egress, EGRESS)] {
            if let Some(list) = annotations[name].as_str() {
                let list = list.split(',').map(str::to_owned).collect();
                self.sources.insert((key.clone(), direction), list);
            }
        }
    }
}

/// From manifests.
pub fn folder(path: &Path, namespace: &str) -> Result<Known> {
    let documents = folder::documents(path, "default")
        .with_context(|| format!("--folder {}", path.display()))?;
    let problems = documents.problems.iter();
    let errors = problems.filter(|p| p.severity == Severity::Error);
    let mut known = Known {
        folder: true,
        unknown: errors.map(ToString::to_string).collect(),
        ..Known::default()
    };
    if !documents.snapshot.namespaces.contains_key(namespace)
        && documents
            .snapshot
            .pods
            .keys()
            .all(|k| *k.namespace != *namespace)
    {
        let names: Vec<&str> = documents
            .snapshot
            .namespaces
            .keys()
            .map(AsRef::as_ref)
            .collect();
        bail!(
            "no namespace {namespace} in {}; there are: {}",
            path.display(),
            names.join(", ")
        );
    }
    for written in &documents.written {
        let value = &written.value;
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
        let here = text("/metadata/namespace").unwrap_or("default") == namespace;
        let ours = text("/apiVersion").is_some_and(|v| v.split('/').next() == Some(GROUP));
        let default = text("/metadata/name") == Some(SINGLETON);
        match text("/kind").unwrap_or_default() {
            "IsolationConfig" if ours && default => {
                known.config = typed::<IsolationConfig>(value)?.spec;
            }
            "NamespaceIsolation" if ours && here && default => {
                known.isolation = Some(typed(value)?);
            }
            "IsolationRule" if ours && here => known.rules.push(typed(value)?),
            "NetworkPolicy" if here => known.object(value),
            "ConfigMap" if ringfence_checks::facts::is_kube_proxy(value) => {
                known.masquerade_all = masquerade_all(value);
            }
            _ => {}
        }
    }
    let policies = std::mem::take(&mut known.snapshot.policies);
    known.snapshot = documents.snapshot;
    known.snapshot.policies = policies;
    Ok(known)
}

/// From a cluster.
pub fn cluster(kubeconfig: Option<&Path>, namespace: &str) -> Result<Known> {
    ask::with(kubeconfig, async |ask| everything(ask, namespace).await)
}

async fn everything(ask: &Ask, namespace: &str) -> Result<Known> {
    let mut known = Known::default();
    let policies = format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies");
    for policy in ask
        .list(&policies)
        .await?
        .context("no NetworkPolicies here")?
    {
        known.object(&as_kind(policy, "networking.k8s.io/v1", "NetworkPolicy"));
    }
    for (kind, path) in [
        ("Namespace", "/api/v1/namespaces".to_owned()),
        ("Node", "/api/v1/nodes".to_owned()),
        ("Pod", format!("/api/v1/namespaces/{namespace}/pods")),
        (
            "Service",
            format!("/api/v1/namespaces/{namespace}/services"),
        ),
    ] {
        match ask.list(&path).await {
            Ok(objects) => {
                for object in objects.into_iter().flatten() {
                    known.object(&as_kind(object, "v1", kind));
                }
            }
            Err(error) => known.unknown.push(format!("{error:#}")),
        }
    }
    let namespaces = &known.snapshot.namespaces;
    if !namespaces.is_empty() && !namespaces.contains_key(namespace) {
        bail!("the cluster has no namespace {namespace}");
    }
    let group = format!("/apis/{GROUP}/{VERSION}");
    let here = format!("{group}/namespaces/{namespace}");
    match ask
        .get(&format!("{group}/isolationconfigs/{SINGLETON}"))
        .await
    {
        Ok(Some(config)) => known.config = typed::<IsolationConfig>(&config)?.spec,
        Ok(None) => {}
        Err(error) => known.unknown.push(format!("{error:#}")),
    }
    let isolation = format!("{here}/namespaceisolations/{SINGLETON}");
    if let Some(isolation) = ask.get(&isolation).await? {
        known.isolation = Some(typed(&isolation)?);
    }
    for rule in ask
        .list(&format!("{here}/isolationrules"))
        .await?
        .into_iter()
        .flatten()
    {
        known.rules.push(typed(&rule)?);
    }
    match enforcement(ask).await {
        Ok(found) => known.enforcement = Some(found),
        Err(error) => known.unknown.push(format!("{error:#}")),
    }
    let proxy = "/api/v1/namespaces/kube-system/configmaps/kube-proxy";
    match ask.get(proxy).await {
        Ok(Some(map)) => known.masquerade_all = masquerade_all(&map),
        Ok(None) => {}
        Err(error) => known.unknown.push(format!("{error:#}")),
    }
    Ok(known)
}

async fn enforcement(ask: &Ask) -> Result<Enforcement> {
    let sets = ask.list("/apis/apps/v1/daemonsets").await?;
    let pods = format!("/api/v1/pods?labelSelector=app.kubernetes.io/name={ENFORCER}");
    let pods = ask.list(&pods).await?;
    Ok(Enforcement::of(
        sets.iter().flatten(),
        pods.iter().flatten(),
    ))
}

fn typed<T: DeserializeOwned>(value: &Value) -> Result<T> {
    let name = &value["metadata"]["name"];
    serde_json::from_value(value.clone()).with_context(|| {
        format!(
            "{} {name} does not follow its schema (`kubectl explain`)",
            value["kind"]
        )
    })
}
