//! A cluster with the manifests in it, but for the webhook, and controllers with the rights
//! of their service account.

use anyhow::{Context, Result, bail, ensure};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
};
use ringfence_e2e::controlplane::{Applier, ControlPlane, Identity, Options, Programs};
use ringfence_e2e::fabric::netns::CONTROL_ADDRESS;
use ringfence_e2e::fabric::{Process, World};
use ringfence_e2e::patience;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Of the first replica's health.
const FIRST_PORT: u16 = 9450;
const PATIENCE: Duration = Duration::from_mins(2);

pub struct Lab<'a> {
    replicas: BTreeMap<String, Process>,
    pub plane: ControlPlane,
    /// The manifests of the custom resources.
    pub crds: Vec<Value>,
    world: &'a World,
    applier: Applier,
    started: u16,
}

impl<'a> Lab<'a> {
    pub async fn start(programs: &Programs, world: &'a World) -> Result<Self> {
        let options = Options::new(CONTROL_ADDRESS.into());
        let plane = ControlPlane::start(programs, world.control(), options).await?;
        // All of the base, and the rights that companions need.
        let manifests = kustomize(programs)?;
        let is_crd = |object: &&Value| object["kind"] == "CustomResourceDefinition";
        let crds = manifests.iter().filter(is_crd).cloned().collect();
        let lab = Self {
            replicas: BTreeMap::new(),
            applier: Applier::new(plane.client()),
            plane,
            crds,
            world,
            started: 0,
        };
        // A webhook that nobody serves would only slow everything down.
        let hook = |o: &&Value| {
            !o["kind"]
                .as_str()
                .unwrap_or("")
                .ends_with("WebhookConfiguration")
        };
        for object in manifests.iter().filter(hook) {
            lab.apply(object.clone()).await?;
        }
        lab.established().await?;
        Ok(lab)
    }

    /// Waits until the custom resources are served.
    pub async fn established(&self) -> Result<()> {
        for kind in ["IsolationConfig", "NamespaceIsolation", "IsolationRule"] {
            let what = format!("{kind} is served");
            self.until(&what, async |lab| Ok(lab.list(kind, None).await.is_ok()))
                .await?;
        }
        Ok(())
    }

    pub fn controller(&mut self, name: &str) -> Result<()> {
        self.controller_with(name, &[])
    }

    /// Starts a replica with more flags.
    pub fn controller_with(&mut self, name: &str, flags: &[String]) -> Result<()> {
        let port = FIRST_PORT + self.started;
        self.started += 1;
        let kubeconfig = self.plane.kubeconfig(Identity::Controller);
        let mut all = vec![
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--identity={name}"),
            format!("--health-port={port}"),
            "--certs=external".to_owned(),
            "--log-level=debug,kube=info,hyper=info,hyper_util=info,tower=info,rustls=info"
                .to_owned(),
        ];
        all.extend_from_slice(flags);
        let program = Path::new(env!("CARGO_BIN_EXE_ringfence-controller"));
        let control = self.world.control();
        let process = control.spawn(&format!("controller-{name}"), program, &all, &[])?;
        self.replicas.insert(name.to_owned(), process);
        Ok(())
    }

    /// Ends a replica as an orderly shutdown does: the Lease is given back.
    pub fn stop(&mut self, name: &str) -> Result<()> {
        let mut replica = self.replicas.remove(name).context("no such replica")?;
        let status = replica.stop(nix::sys::signal::Signal::SIGTERM, PATIENCE)?;
        ensure!(
            status.success(),
            "{name}: {status}\n{}",
            replica.log_tail(20)
        );
        Ok(())
    }

    /// Kills a replica and frees its Lease, as time would.
    pub async fn kill(&mut self, name: &str) -> Result<()> {
        drop(self.replicas.remove(name).context("no such replica")?);
        self.free_the_lease().await
    }

    /// Takes the Lease away from whoever has it.
    pub async fn free_the_lease(&self) -> Result<()> {
        let leases = self.api("Lease", Some("ringfence-system"));
        let none = DeleteParams::default();
        match leases.delete("ringfence-controller", &none).await {
            // Killed before it had one.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            result => result.map(drop).context("freeing the Lease"),
        }
    }

    /// A folder for files of this run.
    pub fn folder(&self) -> &Path {
        self.world.control().folder()
    }

    pub fn replicas(&self) -> impl Iterator<Item = &Process> {
        self.replicas.values()
    }

    /// Looks until it is so.
    pub async fn until(&self, what: &str, so: impl AsyncFn(&Self) -> Result<bool>) -> Result<()> {
        patience::until(PATIENCE, what, async || so(self).await).await
    }

    pub fn api(&self, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
        let (group, version) = match kind {
            "IsolationConfig" | "NamespaceIsolation" | "IsolationRule" => {
                ("ringfence.dev", "v1alpha1")
            }
            "NetworkPolicy" => ("networking.k8s.io", "v1"),
            "Lease" => ("coordination.k8s.io", "v1"),
            "Event" => ("events.k8s.io", "v1"),
            "CustomResourceDefinition" => ("apiextensions.k8s.io", "v1"),
            _ => ("", "v1"),
        };
        let mut resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        if kind == "NetworkPolicy" {
            "networkpolicies".clone_into(&mut resource.plural);
        }
        match namespace {
            Some(namespace) => Api::namespaced_with(self.plane.client(), namespace, &resource),
            None => Api::all_with(self.plane.client(), &resource),
        }
    }

    pub async fn list(&self, kind: &str, namespace: Option<&str>) -> Result<Vec<DynamicObject>> {
        let api = self.api(kind, namespace);
        Ok(api.list(&ListParams::default()).await?.items)
    }

    pub async fn apply(&self, object: Value) -> Result<()> {
        self.applier.apply(object, "default").await.map(drop)
    }

    pub async fn namespace(&self, name: &str, metadata: Value) -> Result<()> {
        let mut object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        object["metadata"]["name"] = name.into();
        self.apply(object).await
    }

    /// Applies an object of isolation.
    pub async fn isolate(&self, namespace: &str, spec: Value) -> Result<()> {
        self.apply(json!({
            "apiVersion": "ringfence.dev/v1alpha1", "kind": "NamespaceIsolation",
            "metadata": {"name": "default", "namespace": namespace}, "spec": spec,
        }))
        .await
    }

    pub async fn rule(&self, namespace: &str, name: &str, spec: Value) -> Result<()> {
        self.apply(json!({
            "apiVersion": "ringfence.dev/v1alpha1", "kind": "IsolationRule",
            "metadata": {"name": name, "namespace": namespace}, "spec": spec,
        }))
        .await
    }

    pub async fn get(&self, kind: &str, namespace: &str, name: &str) -> Result<Option<Value>> {
        let object = self.api(kind, Some(namespace)).get_opt(name).await?;
        Ok(object.map(serde_json::to_value).transpose()?)
    }

    /// Deletes an object; others may still be deleted for its sake.
    pub async fn delete(&self, kind: &str, namespace: Option<&str>, name: &str) -> Result<()> {
        let api = self.api(kind, namespace);
        api.delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Changes an object by a JSON Patch, as a person would.
    pub async fn edit(&self, kind: &str, namespace: &str, name: &str, patch: Value) -> Result<()> {
        let patch = Patch::Json::<()>(serde_json::from_value(patch)?);
        let api = self.api(kind, Some(namespace));
        api.patch(name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// The policy that isolates a namespace.
    pub async fn policy(&self, namespace: &str) -> Result<Option<Value>> {
        self.get("NetworkPolicy", namespace, "ringfence-isolation")
            .await
    }

    /// Where the rules of the policy come from; `-` when there is none.
    pub async fn sources(&self, namespace: &str) -> Result<String> {
        let Some(policy) = self.policy(namespace).await? else {
            return Ok("-".to_owned());
        };
        let annotation = |name: &str| {
            let key = format!("isolation.ringfence.dev/{name}");
            policy["metadata"]["annotations"][key]
                .as_str()
                .map(str::to_owned)
        };
        let ingress = annotation("ingress").unwrap_or_default();
        Ok(match annotation("egress") {
            Some(egress) => format!("{ingress} | {egress}"),
            None => ingress,
        })
    }

    /// Waits for [`Self::sources`].
    pub async fn until_sources(&self, namespace: &str, wanted: &str) -> Result<()> {
        let what = format!("the policy of {namespace} is {wanted}");
        let result = self
            .until(&what, async |lab| {
                Ok(lab.sources(namespace).await? == wanted)
            })
            .await;
        if result.is_err() {
            bail!("{what}; it is {}", self.sources(namespace).await?);
        }
        Ok(())
    }

    /// `STATUS REASON` of a condition; empty while there is none.
    pub async fn condition(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        condition: &str,
    ) -> Result<String> {
        let object = self.get(kind, namespace, name).await?.unwrap_or_default();
        let all = object["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let found = all.iter().find(|c| c["type"] == condition);
        let text = |c: &Value| {
            let field = |f: &str| c[f].as_str().unwrap_or_default().to_owned();
            format!("{} {}", field("status"), field("reason"))
        };
        Ok(found.map(text).unwrap_or_default())
    }

    /// Waits for a condition of a `NamespaceIsolation` (`name` is None) or of a rule.
    pub async fn until_condition(
        &self,
        namespace: &str,
        rule: Option<&str>,
        condition: &str,
        wanted: &str,
    ) -> Result<()> {
        let kind = rule.map_or("NamespaceIsolation", |_| "IsolationRule");
        let name = rule.unwrap_or("default");
        let what = format!("{kind} {namespace}/{name}: {condition} is {wanted}");
        let is =
            async |lab: &Self| Ok(lab.condition(kind, namespace, name, condition).await? == wanted);
        if self.until(&what, is).await.is_err() {
            let object = self.get(kind, namespace, name).await?;
            bail!("{what}; found {}", object.unwrap_or_default()["status"]);
        }
        Ok(())
    }

    /// Waits for an Event in a namespace.
    pub async fn until_event(&self, namespace: &str, reason: &str) -> Result<()> {
        let what = format!("an Event {reason} in {namespace}");
        self.until(&what, async |lab| {
            let all = lab.list("Event", Some(namespace)).await?;
            Ok(all.iter().any(|event| event.data["reason"] == reason))
        })
        .await
    }

    /// Takes the people's role in a namespace away; a binding's role cannot be changed.
    pub async fn delete_binding(&self, namespace: &str) -> Result<()> {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "people", "namespace": namespace},
        });
        self.applier.delete(&binding, namespace).await.map(drop)
    }

    pub fn objects_as(&self, identity: Identity) -> Result<Applier> {
        let client = self.plane.client_as(identity, self.world.control())?;
        Ok(Applier::new(client))
    }
}

/// The objects of the base, and of companions.
fn kustomize(programs: &Programs) -> Result<Vec<Value>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/overlays/companion");
    let output = Command::new(programs.path("kubectl"))
        .arg("kustomize")
        .arg(&path)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", path.display());
    let text = String::from_utf8(output.stdout)?;
    serde_saphyr::from_multiple(&text).context("kustomize's YAML")
}
