//! The control plane as the place where a case's objects go: blocking, as cases are.

use super::{Applier, ControlPlane, Identity, KubeProxy, Kubelet, Options, Programs, ProxyOptions};
use super::{Leads, ResourceVersion, scale, services};
use crate::fabric::{Node, World};
use crate::objects::{Mark, Objects, Reference, Watcher, Written};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tokio::runtime::{Builder, Runtime};

/// Namespaces that an API server never deletes.
const PERMANENT: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// A control plane with a runtime of its own, and what was last written to it.
pub struct ApiServer {
    proxies: BTreeMap<String, KubeProxy>,
    // Ended before the runtime: its client's connections live there.
    plane: ControlPlane,
    applier: Applier,
    kubelet: Kubelet,
    written: Written,
    runtime: Runtime,
}

impl ApiServer {
    /// Starts a control plane on the control machine, see [`ControlPlane::start`].
    pub fn start(programs: &Programs, control: &Node, options: Options) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("api-client")
            .enable_all()
            .build()
            .context("starting a runtime for the API server's client")?;
        let plane = runtime.block_on(ControlPlane::start(programs, control, options))?;
        Ok(Self {
            applier: Applier::new(plane.client()),
            kubelet: Kubelet::new(plane.client()),
            plane,
            proxies: BTreeMap::new(),
            written: Written::default(),
            runtime,
        })
    }

    /// The programs, their logs and kubeconfigs.
    pub fn plane(&mut self) -> &mut ControlPlane {
        &mut self.plane
    }

    /// A client that may do everything; use it inside [`Self::block_on`].
    pub fn client(&self) -> kube::Client {
        self.plane.client()
    }

    /// A kubeconfig for programs on any machine of the world.
    pub fn kubeconfig(&self, identity: Identity) -> PathBuf {
        self.plane.kubeconfig(identity)
    }

    /// Kills the API server; everything else stays.
    pub fn stop(&mut self) {
        self.plane.stop_apiserver();
    }

    /// Starts it again and waits until it is ready.
    pub fn resume(&mut self, control: &Node) -> Result<()> {
        self.runtime.block_on(self.plane.start_apiserver(control))
    }

    /// Starts kube-proxy on a node whose Node object was applied.
    pub fn kube_proxy(&self, node: &Node, options: &ProxyOptions) -> Result<KubeProxy> {
        self.plane.kube_proxy(node, options)
    }

    /// Applies an object that is not part of a case, see [`Applier::apply`].
    pub fn install(&mut self, object: &Value) -> Result<()> {
        self.runtime
            .block_on(self.applier.apply(object.clone(), "default"))
            .map(drop)
    }

    /// Deletes an object that is not part of a case, and waits until it is gone.
    pub fn uninstall(&mut self, object: &Value) -> Result<()> {
        self.runtime
            .block_on(self.applier.delete(object, "default"))
            .map(drop)
    }

    /// Creates many objects, see [`scale::populate`].
    pub fn populate(&mut self, scale: &scale::Scale) -> Result<()> {
        let last = self
            .runtime
            .block_on(scale::populate(&self.plane.client(), scale))?;
        // Pods were the last to be written.
        self.written.wrote("Pod", last);
        Ok(())
    }

    /// Runs something with the client, as [`Kubelet`] and [`Applier`] want it.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Runs something beside, until it ends or is aborted.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(work)
    }

    /// An object as the server keeps it, whoever wrote it: what enforcers have to reach
    /// includes it from now on. `None` when it is not there.
    pub fn adopt(&mut self, object: &Value) -> Result<Option<Value>> {
        let found = self
            .runtime
            .block_on(self.applier.read(object, "default"))?;
        let Some(found) = found else { return Ok(None) };
        let kind = Reference::of(object)?.kind;
        self.written.wrote(&kind, ResourceVersion::of(&found)?);
        Ok(Some(serde_json::to_value(&found)?))
    }

    /// As a kubelet.
    pub fn kubelet(&self) -> &Kubelet {
        &self.kubelet
    }

    /// Applies a pod. What a pod is made of cannot change, so another pod of the same name
    /// takes the place of the first; one that terminates is asked to.
    async fn apply_pod(
        applier: &Applier,
        kubelet: &Kubelet,
        mut pod: Value,
        reference: &Reference,
    ) -> Result<ResourceVersion> {
        let metadata = pod["metadata"]
            .as_object_mut()
            .context("a pod without metadata")?;
        let terminating = metadata.remove("deletionTimestamp").is_some();
        metadata.remove("deletionGracePeriodSeconds");
        let version = match applier.apply(pod.clone(), "default").await {
            Err(error) if refused_as_invalid(&error) => {
                applier.delete(&pod, "default").await?;
                applier.apply(pod, "default").await?
            }
            other => other?,
        };
        if terminating {
            let namespace = if reference.namespace.is_empty() {
                "default"
            } else {
                &reference.namespace
            };
            return kubelet.terminate(namespace, &reference.name).await;
        }
        Ok(version)
    }
}

/// Whether the API server refused a change because of what it says (422).
fn refused_as_invalid(error: &anyhow::Error) -> bool {
    let status = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<kube::Error>());
    matches!(status, Some(kube::Error::Api(status)) if status.code == 422)
}

impl Objects for ApiServer {
    fn flags(&self, _: &str) -> Vec<String> {
        let kubeconfig = self.plane.kubeconfig(Identity::Enforcer);
        vec![format!("--kubeconfig={}", kubeconfig.display())]
    }

    fn apply(&mut self, object: &Value) -> Result<()> {
        let reference = Reference::of(object)?;
        let (applier, kubelet) = (&self.applier, &self.kubelet);
        let version = self.runtime.block_on(async {
            if reference.kind == "Pod" {
                Self::apply_pod(applier, kubelet, object.clone(), &reference).await
            } else {
                applier.apply(object.clone(), "default").await
            }
        })?;
        self.written.wrote(&reference.kind, version);
        Ok(())
    }

    fn delete(&mut self, object: &Value) -> Result<()> {
        let reference = Reference::of(object)?;
        if reference.kind == "Namespace" && PERMANENT.contains(&reference.name.as_str()) {
            // All that can go is what was applied: its labels.
            let metadata = json!({"name": reference.name});
            return self
                .apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}));
        }
        let gone = self
            .runtime
            .block_on(self.applier.delete(object, "default"))?;
        if let Some(version) = gone {
            self.written.wrote(&reference.kind, version);
        }
        Ok(())
    }

    fn start_services(&mut self, world: &World) -> Result<()> {
        self.proxies = services::start(self, world, &world.topology().services)?;
        Ok(())
    }

    fn stored(&self, object: &Value) -> Result<Value> {
        let Reference {
            kind,
            namespace,
            name,
        } = Reference::of(object)?;
        if kind == "Service" {
            services::stored(self, &namespace, &name)
        } else {
            Ok(object.clone())
        }
    }

    fn wait_services(&self, world: &World, leads: &Leads) -> Result<()> {
        services::wait(&self.proxies, world, leads)
    }

    fn adopt(&mut self, object: &Value) -> Result<Option<Value>> {
        ApiServer::adopt(self, object)
    }

    fn api_server(&mut self) -> Option<&mut ApiServer> {
        Some(self)
    }

    fn mark(&self, watcher: Watcher) -> Result<Mark> {
        Ok(self.written.mark(watcher))
    }
}
