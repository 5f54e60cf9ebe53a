//! Project isolation in a world: the custom resources in its API server, and the controller
//! on the control machine, with the rights of its manifest.

use crate::admission::install_controller;
use crate::binaries;
use crate::controlplane::{ApiServer, Identity};
use crate::fabric::{Process, World};
use crate::objects::documents;
use crate::patience::eventually;
use anyhow::{Context, Result};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use serde_json::{Value, json};

/// A file below `manifests/base`.
macro_rules! manifest {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../manifests/base/",
            $name
        ))
    };
}

const CRDS: [&str; 3] = [
    manifest!("crds/isolationconfigs.yaml"),
    manifest!("crds/isolationrules.yaml"),
    manifest!("crds/namespaceisolations.yaml"),
];
const OTHERS: [&str; 2] = [
    manifest!("namespace.yaml"),
    manifest!("controller/users.yaml"),
];
/// Where a reader finds out what a cluster's controller does.
pub const WHERE_TO_LOOK: &str =
    "its log: kubectl -n ringfence-system logs deployment/ringfence-controller";
/// The kinds.
const KINDS: [&str; 3] = ["NamespaceIsolation", "IsolationRule", "IsolationConfig"];

/// The controller.
pub struct Isolation {
    process: Option<Process>,
}

// === impl Isolation ===

impl Isolation {
    /// Installs what is needed, and starts the controller.
    pub fn start(server: &mut ApiServer, world: &World) -> Result<Self> {
        install(server)?;
        let mut isolation = Self { process: None };
        isolation.resume(server, world)?;
        Ok(isolation)
    }

    /// Starts the controller, after [`Self::kill`] again.
    pub fn resume(&mut self, server: &ApiServer, world: &World) -> Result<()> {
        let kubeconfig = server.kubeconfig(Identity::Controller);
        let flags = [
            format!("--kubeconfig={}", kubeconfig.display()),
            "--identity=e2e".to_owned(),
            "--certs=external".to_owned(),
            "--log-level=debug,kube=info,hyper=info,hyper_util=info,tower=info".to_owned(),
        ];
        let program = binaries::find("ringfence-controller")?;
        let control = world.control();
        self.process = Some(control.spawn("isolation", &program, &flags, &[])?);
        Ok(())
    }

    /// Ends the controller with SIGKILL, and frees its Lease as time would.
    pub fn kill(&mut self, server: &mut ApiServer) -> Result<()> {
        self.process = None;
        server.uninstall(&json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"namespace": "ringfence-system", "name": "ringfence-controller"},
        }))
    }

    /// Fails when the controller has ended by itself.
    pub fn check_running(&mut self) -> Result<()> {
        self.process.as_mut().map_or(Ok(()), Process::check_running)
    }

    /// The end of the controller's log.
    pub fn log_tail(&self, lines: usize) -> String {
        let process = self.process.as_ref();
        process.map_or_else(String::new, |process| process.log_tail(lines))
    }
}

/// What the manifests install: the custom resources, and the controller's rights.
pub fn install(server: &mut ApiServer) -> Result<()> {
    for text in OTHERS.into_iter().chain(CRDS) {
        for object in documents(text, "default")? {
            server.install(&object)?;
        }
    }
    install_controller(server)?;
    eventually("the custom resources are served", || {
        let list = |kind: &&str| server.block_on(api(server, kind).list(&ListParams::default()));
        Ok(KINDS.iter().map(list).all(|answer| answer.is_ok()))
    })
}

/// Where the rules of a namespace's policy come from, by its annotations: ingress, and behind
/// a bar egress where that is restricted; `-` when there is no policy.
pub fn sources(policy: Option<&Value>) -> String {
    let Some(policy) = policy else {
        return "-".to_owned();
    };
    let annotation = |name: &str| {
        let key = format!("isolation.ringfence.dev/{name}");
        policy["metadata"]["annotations"][key].as_str()
    };
    let ingress = annotation("ingress").unwrap_or_default();
    match annotation("egress") {
        Some(egress) => format!("{ingress} | {egress}"),
        None => ingress.to_owned(),
    }
}

/// An object of isolation, written `Kind namespace/name` or `Kind name`, by its names alone.
pub fn named(object: &str) -> Result<Value> {
    let (kind, key) = object
        .split_once(' ')
        .with_context(|| format!("{object:?}: write Kind namespace/name"))?;
    let metadata = match key.split_once('/') {
        Some((namespace, name)) => json!({"namespace": namespace, "name": name}),
        None => json!({"name": key}),
    };
    Ok(json!({"apiVersion": "ringfence.dev/v1alpha1", "kind": kind, "metadata": metadata}))
}

/// A condition of an object of isolation as `STATUS REASON`.
pub fn condition(object: &Value, name: &str) -> String {
    let all = object["status"]["conditions"].as_array();
    let condition = all.into_iter().flatten().find(|c| c["type"] == name);
    let text = |field: &str| {
        condition
            .and_then(|c| c[field].as_str())
            .unwrap_or_default()
    };
    format!("{} {}", text("status"), text("reason"))
}

fn api(server: &ApiServer, kind: &str) -> Api<DynamicObject> {
    Api::all_with(server.client(), &resource(kind))
}

fn resource(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("ringfence.dev", "v1alpha1", kind))
}
