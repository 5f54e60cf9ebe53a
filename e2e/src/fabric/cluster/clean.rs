//! Away with what the harness has made in a cluster, and with nothing else.

use super::installed::{FENCES, fences};
use super::lab::Lab;
use super::outside;
use super::pods::{MADE, is_foreign};
use crate::controlplane::{Applier, ResourceVersion};
use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fmt::Debug;

/// Deletes what cases have left, also those that broke off: policies, Services, objects of
/// isolation. In namespaces of the harness every policy is one of them: people's, and the
/// controller's. Returns when the last policy was deleted: enforcers hear of it later.
pub(super) async fn purge(lab: &Lab) -> Result<Option<ResourceVersion>> {
    let client = lab.client();
    let made = ListParams::default().labels(MADE);
    if lab.installed().has_controller() {
        // What isolates goes first, so that nothing is rendered anew.
        for kind in FENCES {
            let all: Api<DynamicObject> = Api::all_with(client.clone(), &fences(kind));
            let found = all.list(&made).await;
            for object in found.with_context(|| format!("listing {kind}"))? {
                let own = match object.namespace() {
                    Some(namespace) => {
                        Api::namespaced_with(client.clone(), &namespace, &fences(kind))
                    }
                    None => all.clone(),
                };
                gone(&own, &object.name_any()).await?;
            }
        }
    }
    let ours = own_namespaces(client).await?;
    let policies: Api<NetworkPolicy> = Api::all(client.clone());
    let found = policies.list(&ListParams::default()).await;
    let applier = Applier::new(client.clone());
    let mut last = None;
    for policy in found.context("listing policies")? {
        let namespace = policy.namespace().unwrap_or_default();
        if !is_foreign(&policy) || ours.contains(&namespace) {
            let object = serde_json::to_value(&policy)?;
            last = last.max(applier.delete(&object, &namespace).await?);
        }
    }
    let services: Api<Service> = Api::all(client.clone());
    for service in services.list(&made).await.context("listing Services")? {
        delete(client, &service).await?;
    }
    Ok(last)
}

/// Removes everything that the harness has made.
pub(super) async fn all(lab: &Lab) -> Result<()> {
    purge(lab).await?;
    let client = lab.client();
    let made = ListParams::default().labels(MADE);
    // Some are in namespaces of the cluster's own.
    let pods: Api<Pod> = Api::all(client.clone());
    for pod in pods.list(&made).await? {
        delete(client, &pod).await?;
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    for namespace in own_namespaces(client).await? {
        gone(&namespaces, &namespace).await?;
    }
    if lab.has_any_outside() {
        outside::remove().await?;
    }
    Ok(())
}

async fn own_namespaces(client: &Client) -> Result<BTreeSet<String>> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let made = ListParams::default().labels(MADE);
    let found = namespaces.list(&made).await.context("listing namespaces")?;
    Ok(found.iter().map(ResourceExt::name_any).collect())
}

async fn delete<K>(client: &Client, object: &K) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    K: Clone + DeserializeOwned + Debug,
{
    let namespace = object.namespace().unwrap_or_default();
    let own: Api<K> = Api::namespaced(client.clone(), &namespace);
    gone(&own, &object.name_any()).await
}

/// Deletes, unless somebody else was faster.
async fn gone<K: Clone + DeserializeOwned + Debug>(api: &Api<K>, name: &str) -> Result<()> {
    match api.delete(name, &DeleteParams::default()).await {
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(()),
        other => other.map(drop).with_context(|| format!("deleting {name}")),
    }
}
