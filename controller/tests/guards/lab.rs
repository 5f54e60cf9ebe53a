//! A cluster with the guards in it, and people with few rights.

use anyhow::{Context, Result, bail, ensure};
use kube::Client;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams,
};
use ringfence_e2e::controlplane::{Applier, ControlPlane, Identity, Options, Programs};
use ringfence_e2e::fabric::World;
use ringfence_e2e::fabric::netns::CONTROL_ADDRESS;
use ringfence_e2e::patience;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub const OWNED: &str = "ringfence-isolation";
const PATIENCE: Duration = Duration::from_mins(1);

pub struct Lab {
    pub applier: Applier,
    pub admin: Client,
    pub controller: Client,
    /// Writes policies, rules and namespaces, and may isolate, but not end an isolation.
    pub tenant: Client,
    /// May end it as well.
    pub owner: Client,
    pub guards: Vec<Value>,
    _plane: ControlPlane,
}

impl Lab {
    pub async fn start(programs: &Programs, world: &World) -> Result<Self> {
        let control = world.control();
        let options = Options::new(CONTROL_ADDRESS.into());
        let plane = ControlPlane::start(programs, control, options).await?;
        let applier = Applier::new(plane.client());
        let guards = manifests(programs)?;
        for object in &guards {
            applier.apply(object.clone(), "default").await?;
        }
        let lab = Self {
            applier,
            admin: plane.client(),
            controller: plane.client_as(Identity::Controller, control)?,
            tenant: plane.client_as(Identity::Tenant, control)?,
            owner: plane.client_as(Identity::Stranger, control)?,
            guards,
            _plane: plane,
        };
        for to in [Identity::Tenant, Identity::Stranger, Identity::Controller] {
            let name = to.user().replace(':', "-");
            lab.grant(&name, &rights(to != Identity::Tenant), to)
                .await?;
        }
        lab.namespace("default", &json!({})).await?;
        lab.until("the guards are on", async |lab| {
            let made = lab.create(&lab.tenant, &owned("default")).await;
            if made.is_ok() {
                lab.delete(&lab.admin, &owned("default")).await?;
            }
            Ok(made.is_err())
        })
        .await?;
        println!("ok: a real API server takes the guards");
        Ok(lab)
    }

    /// Gives an identity rights in the whole cluster, and waits until they count.
    pub async fn grant(&self, name: &str, rules: &Value, to: Identity) -> Result<()> {
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": name}, "rules": rules,
        });
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": to.user()}],
        });
        self.apply(&role).await?;
        self.apply(&binding).await
    }

    pub async fn namespace(&self, name: &str, labels: &Value) -> Result<()> {
        self.apply(&json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels},
        }))
        .await
    }

    /// As an administrator.
    pub async fn apply(&self, object: &Value) -> Result<()> {
        self.applier
            .apply(object.clone(), "default")
            .await
            .map(drop)
    }

    pub async fn create(&self, who: &Client, object: &Value) -> kube::Result<DynamicObject> {
        let typed = serde_json::from_value(object.clone()).map_err(kube::Error::SerdeError)?;
        api(who, object)
            .create(&PostParams::default(), &typed)
            .await
    }

    pub async fn merge(&self, who: &Client, object: &Value, change: Value) -> kube::Result<()> {
        let patch = Patch::Merge(change);
        let done = api(who, object)
            .patch(name(object), &PatchParams::default(), &patch)
            .await;
        done.map(drop)
    }

    pub async fn delete(&self, who: &Client, object: &Value) -> kube::Result<()> {
        let done = api(who, object)
            .delete(name(object), &DeleteParams::default())
            .await;
        done.map(drop)
    }

    pub async fn is_there(&self, object: &Value) -> Result<bool> {
        Ok(api(&self.admin, object)
            .get_opt(name(object))
            .await?
            .is_some())
    }

    /// Looks until it is so.
    pub async fn until(&self, what: &str, so: impl AsyncFn(&Self) -> Result<bool>) -> Result<()> {
        patience::until(PATIENCE, what, async || so(self).await).await
    }
}

/// What people of a team have, and more than most: every verb on policies, and namespaces
/// with their subresources.
fn rights(may_end: bool) -> Value {
    let verbs = "get list watch create update patch delete deletecollection";
    let all: Vec<&str> = verbs.split(' ').collect();
    let most = if may_end { &all[..] } else { &all[..4] };
    json!([
        {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": all},
        {"apiGroups": ["ringfence.dev"], "resources": ["isolationrules"], "verbs": all},
        {"apiGroups": ["ringfence.dev"], "resources": ["namespaceisolations"], "verbs": most},
        {"apiGroups": [""], "resources": ["namespaces", "namespaces/status"], "verbs": all},
    ])
}

/// The policy that Ringfence keeps.
pub fn owned(namespace: &str) -> Value {
    let mut policy = foreign(namespace, OWNED);
    policy["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "ringfence"});
    policy
}

/// A policy of somebody else.
pub fn foreign(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]},
    })
}

pub fn isolation(namespace: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "ringfence.dev/v1alpha1", "kind": "NamespaceIsolation",
        "metadata": {"name": "default", "namespace": namespace}, "spec": spec,
    })
}

pub fn configuration(spec: &Value) -> Value {
    json!({
        "apiVersion": "ringfence.dev/v1alpha1", "kind": "IsolationConfig",
        "metadata": {"name": "default"}, "spec": spec,
    })
}

pub fn api(who: &Client, object: &Value) -> Api<DynamicObject> {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let (group, version) = text("apiVersion")
        .split_once('/')
        .unwrap_or(("", text("apiVersion")));
    let mut resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, text("kind")));
    if resource.kind == "NetworkPolicy" {
        "networkpolicies".clone_into(&mut resource.plural);
    }
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(who.clone(), namespace, &resource),
        None => Api::all_with(who.clone(), &resource),
    }
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// It was refused, in these words.
pub fn refused<T>(what: &str, done: kube::Result<T>, words: &str) -> Result<()> {
    match done {
        Ok(_) => bail!("{what}: done"),
        Err(kube::Error::Api(status)) => {
            let said = format!("{} {}", status.code, status.message);
            ensure!(status.code == 403 && said.contains(words), "{what}: {said}");
            Ok(())
        }
        Err(error) => Err(error).with_context(|| what.to_owned()),
    }
}

/// The custom resources and the guards, without the rest of Ringfence.
fn manifests(programs: &Programs) -> Result<Vec<Value>> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/base");
    let mut objects = Vec::new();
    for entry in fs::read_dir(base.join("crds"))? {
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(&fs::read_to_string(entry?.path())?)?;
        objects.extend(documents);
    }
    let output = Command::new(programs.path("kubectl"))
        .arg("kustomize")
        .arg(base.join("guards"))
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "kustomize: {said}");
    let guards: Vec<Value> = serde_saphyr::from_multiple(&String::from_utf8(output.stdout)?)?;
    objects.extend(guards);
    objects.retain(|object| object["kind"] != "Kustomization");
    Ok(objects)
}
