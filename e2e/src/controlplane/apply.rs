//! Any object, from YAML as people write it, in and out of the API server; and the
//! revision of each write, so that a waiter can compare it with what the enforcer says
//! it has applied.

use super::kubelet;
use anyhow::{Context, Result, bail};
use futures::TryStreamExt;
use kube::api::{
    Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::core::{ApiResource, GroupVersionKind};
use kube::discovery::Scope;
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::pin::pin;
use tokio::sync::Mutex;

/// Who owns the fields that the harness sets.
pub(super) const MANAGER: &str = "ringfence-e2e";
/// The server ends a watch by itself after this many seconds.
const WATCH_SECONDS: u32 = 60;
/// How often a write is tried when somebody else was faster.
const CONFLICTS: usize = 20;

/// A revision of the whole cluster: etcd counts every write, of whatever kind, so any two
/// can be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceVersion(pub u64);

impl ResourceVersion {
    /// The revision at which `object` was last written.
    pub fn of(object: &impl ResourceExt) -> Result<Self> {
        let text = object.resource_version().unwrap_or_default();
        let number = text.parse().with_context(|| {
            format!(
                "resourceVersion {text:?} of {} is no number",
                object.name_any()
            )
        })?;
        Ok(Self(number))
    }
}

impl fmt::Display for ResourceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Applies and deletes objects of any kind that the API server knows.
pub struct Applier {
    client: Client,
    kinds: Mutex<BTreeMap<(String, String), (ApiResource, Scope)>>,
}

impl Applier {
    /// With the rights of `client`.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            kinds: Mutex::default(),
        }
    }

    /// Applies every document of `yaml`, in order. Objects without a namespace belong to
    /// `namespace`, which must exist. A `status` is written as well, as a kubelet or a
    /// controller would.
    ///
    /// Returns the revision of the last write; earlier ones are smaller.
    pub async fn apply_yaml(&self, yaml: &str, namespace: &str) -> Result<ResourceVersion> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).context("not YAML")?;
        let mut last = ResourceVersion::default();
        for document in documents.into_iter().filter(|d| !d.is_null()) {
            last = last.max(self.apply(document, namespace).await?);
        }
        Ok(last)
    }

    /// Creates the object or changes it to what is given (server-side apply), status
    /// included. A running pod whose status names no conditions is made ready.
    pub async fn apply(&self, mut object: Value, namespace: &str) -> Result<ResourceVersion> {
        let status = object.as_object_mut().and_then(|o| o.remove("status"));
        let (api, name, label) = self.locate(&object, namespace).await?;
        let parameters = PatchParams::apply(MANAGER).force();
        let applied = api
            .patch(&name, &parameters, &Patch::Apply(&object))
            .await
            .with_context(|| format!("applying {label}"))?;
        let Some(mut status) = status else {
            return ResourceVersion::of(&applied);
        };
        if status["phase"] == "Running" && status.get("conditions").is_none() {
            status["conditions"] = kubelet::ready_conditions();
        }
        let written = write_status(&api, applied, &status)
            .await
            .with_context(|| format!("writing the status of {label}"))?;
        ResourceVersion::of(&written)
    }

    /// Deletes the objects that `yaml` names, last first, and waits until they are gone.
    /// Returns the revision of the last deletion, or `None` when there was nothing.
    pub async fn delete_yaml(
        &self,
        yaml: &str,
        namespace: &str,
    ) -> Result<Option<ResourceVersion>> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).context("not YAML")?;
        let mut last = None;
        for document in documents.iter().rev().filter(|d| !d.is_null()) {
            last = last.max(self.delete(document, namespace).await?);
        }
        Ok(last)
    }

    /// Deletes an object and waits until it is gone: a namespace with all that is in it, a
    /// pod without a grace period.
    pub async fn delete(&self, object: &Value, namespace: &str) -> Result<Option<ResourceVersion>> {
        let (api, name, label) = self.locate(object, namespace).await?;
        delete(&api, &name, &DeleteParams::default().grace_period(0))
            .await
            .with_context(|| format!("deleting {label}"))
    }

    /// An object as the server keeps it; `None` when it is not there.
    pub async fn read(&self, object: &Value, namespace: &str) -> Result<Option<DynamicObject>> {
        let (api, name, label) = self.locate(object, namespace).await?;
        let found = api.get_opt(&name).await;
        found.with_context(|| format!("reading {label}"))
    }

    /// The API of an object's kind, its name, and how messages call it.
    async fn locate(
        &self,
        object: &Value,
        namespace: &str,
    ) -> Result<(Api<DynamicObject>, String, String)> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let (Some(version), Some(kind), Some(name)) =
            (text("/apiVersion"), text("/kind"), text("/metadata/name"))
        else {
            bail!("an object needs apiVersion, kind and metadata.name, this has not: {object}");
        };
        let namespace = text("/metadata/namespace").unwrap_or(namespace);
        let label = format!("{kind} {namespace}/{name}");
        let (resource, scope) = self
            .kind(version, kind)
            .await
            .with_context(|| label.clone())?;
        let api = match scope {
            Scope::Cluster => Api::all_with(self.client.clone(), &resource),
            Scope::Namespaced => Api::namespaced_with(self.client.clone(), namespace, &resource),
        };
        Ok((api, name.to_owned(), label))
    }

    /// Asks the API server once for each kind.
    async fn kind(&self, version: &str, kind: &str) -> Result<(ApiResource, Scope)> {
        let key = (version.to_owned(), kind.to_owned());
        let mut kinds = self.kinds.lock().await;
        if let Some(known) = kinds.get(&key) {
            return Ok(known.clone());
        }
        let (group, version_only) = version.split_once('/').unwrap_or(("", version));
        let gvk = GroupVersionKind::gvk(group, version_only, kind);
        let (resource, capabilities) = kube::discovery::pinned_kind(&self.client, &gvk)
            .await
            .with_context(|| format!("the API server knows no {version} {kind}"))?;
        let found = (resource, capabilities.scope);
        kinds.insert(key, found.clone());
        Ok(found)
    }
}

/// Replaces a status (not merged: what is no longer given goes away). Controllers write to
/// nodes and pods as well: who comes second reads again.
async fn write_status(
    api: &Api<DynamicObject>,
    mut object: DynamicObject,
    status: &Value,
) -> Result<DynamicObject> {
    let name = object.name_any();
    for _ in 0..CONFLICTS {
        object.data["status"] = status.clone();
        match api
            .replace_status(&name, &PostParams::default(), &object)
            .await
        {
            Err(kube::Error::Api(answer)) if answer.code == 409 => object = api.get(&name).await?,
            other => return Ok(other?),
        }
    }
    bail!("somebody else wrote to it {CONFLICTS} times in between")
}

/// Creates an object, and says which when it fails.
pub(super) async fn create<K>(api: &Api<K>, object: &K) -> Result<K>
where
    K: Resource<DynamicType = ()> + Clone + serde::Serialize + DeserializeOwned + Debug,
{
    let label = || format!("creating {} {}", K::kind(&()), object.name_any());
    api.create(&PostParams::default(), object)
        .await
        .with_context(label)
}

/// Deletes an object and waits for the watch event that says it is gone, which carries
/// the revision that every other watcher sees. `None` when there was no such object.
pub(super) async fn delete<K>(
    api: &Api<K>,
    name: &str,
    parameters: &DeleteParams,
) -> Result<Option<ResourceVersion>>
where
    K: Clone + DeserializeOwned + Debug + Resource,
{
    let Some(found) = api.get_opt(name).await? else {
        return Ok(None);
    };
    match api.delete(name, parameters).await {
        // Somebody else was faster: a controller, or garbage collection.
        Err(kube::Error::Api(answer)) if answer.code == 404 => {}
        other => drop(other?),
    }
    // A watch replays what came after the revision that it starts from: nothing is missed.
    let version = found.resource_version().unwrap_or_default();
    let only = WatchParams::default()
        .fields(&format!("metadata.name={name}"))
        .timeout(WATCH_SECONDS);
    let mut events = pin!(api.watch(&only, &version).await?);
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Deleted(gone) => return ResourceVersion::of(&gone).map(Some),
            WatchEvent::Error(status) => bail!("watching {name}: {}", status.message),
            WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Bookmark(_) => {}
        }
    }
    bail!("{name} is still there after {WATCH_SECONDS} s: a finalizer, or no controller is running")
}
