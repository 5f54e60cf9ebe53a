//! The webhook in a world, registered in its API server as the manifests register it.
//!
//! ```text
//!   control machine                        node1, node2
//!     kube-apiserver --- POST /validate -->  ringfence-webhook (hostNetwork pods, real
//!     kubectl            POST /mutate        EndpointSlices, TLS by ringfence-certs)
//!     ringfence-controller (where a case wants it)
//! ```
//!
//! The API server finds the replicas by the Service's endpoints, which the real
//! kube-controller-manager makes from their pods; the harness is their kubelet.

pub mod direct;
pub mod dns;
mod kubectl;
mod metrics;
mod registration;
mod replica;
mod volume;

pub use kubectl::{Kubectl, Said};
pub use metrics::Metrics;
pub use registration::{configurations as shipped, install_controller};
pub use replica::{HEALTH_PORT, PORT};
pub use volume::Volume;

use crate::binaries;
use crate::controlplane::{ApiServer, Identity};
use crate::fabric::{Process, World};
use crate::objects::Mark;
use crate::patience::eventually;
use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::ApiResource;
use replica::Replica;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

/// The namespace of the manifests.
pub const NAMESPACE: &str = "ringfence-system";
/// Reloads of certificates and configuration.
const RELOADS: &str = "ringfence_webhook_reloads_total";
/// What the webhook is configured with unless a case says otherwise.
pub const CONFIG: &str = "monitoring: {namespaces: [monitoring]}\n";

/// The webhook's replicas, by node.
pub struct Admission {
    replicas: BTreeMap<String, Replica>,
    controller: Option<Process>,
    /// `ca.crt`, `tls.crt`, `tls.key`.
    certificates: Volume,
    /// `config.yaml`.
    config: Volume,
    kubeconfig: PathBuf,
    folder: PathBuf,
    issued: u32,
}

// === impl Admission ===

impl Admission {
    /// One replica on node1, registered with `failurePolicy: Ignore` as shipped, and
    /// called by the API server.
    pub fn start(server: &mut ApiServer, world: &World) -> Result<Self> {
        let control = world.control();
        let folder = control.folder().join("admission");
        let mut config = Volume::create(folder.join("config"))?;
        config.write(&[("config.yaml", CONFIG.as_bytes())])?;
        let mut admission = Self {
            replicas: BTreeMap::new(),
            controller: None,
            certificates: Volume::create(folder.join("tls"))?,
            config,
            kubeconfig: server.kubeconfig(Identity::Webhook),
            folder,
            issued: 0,
        };
        registration::install(server, world.topology().services.masquerade_all)?;
        let pair = admission.new_pair()?;
        admission.mount(&pair)?;
        admission.start_replica(server, world, "node1")?;
        admission.register(server, None)?;
        admission.wait_called(server, world)?;
        Ok(admission)
    }

    /// Registers the CA that is in use now; `policy` replaces `failurePolicy` of the entries
    /// about policies.
    pub fn register(&self, server: &mut ApiServer, policy: Option<&str>) -> Result<()> {
        let ca = std::fs::read(self.certificates.path("ca.crt")).context("ca.crt")?;
        registration::register(server, &BASE64.encode(ca), policy)
    }

    /// `ca.crt`, `tls.crt` and `tls.key` of a new CA and its leaf.
    fn new_pair(&mut self) -> Result<[Vec<u8>; 3]> {
        self.issued += 1;
        let out = self.folder.join(format!("issued-{}", self.issued));
        let mut command = Command::new(binaries::find("ringfence-certs")?);
        command.arg("--out").arg(&out).args([
            "--service",
            "ringfence-webhook",
            "--namespace",
            NAMESPACE,
        ]);
        let output = command.output().context("running ringfence-certs")?;
        if !output.status.success() {
            bail!(
                "ringfence-certs: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let read = |name: &str| std::fs::read(out.join(name)).with_context(|| name.to_owned());
        Ok([read("ca.crt")?, read("tls.crt")?, read("tls.key")?])
    }

    /// What a kubelet does with a Secret that has changed.
    fn mount(&mut self, [ca, leaf, key]: &[Vec<u8>; 3]) -> Result<()> {
        self.certificates
            .write(&[("ca.crt", ca), ("tls.crt", leaf), ("tls.key", key)])
    }

    /// A new CA and leaf in the order that nobody notices: both CAs are trusted, every
    /// replica serves the new leaf, the old CA goes.
    pub fn rotate(&mut self, server: &mut ApiServer, world: &World) -> Result<()> {
        let old = std::fs::read(self.certificates.path("ca.crt")).context("ca.crt")?;
        let fresh = self.new_pair()?;
        let both = [old.as_slice(), &fresh[0]].concat();
        registration::register(server, &BASE64.encode(both), Some("Fail"))?;
        self.wait_called(server, world)?;
        let reloads = |admission: &Self| -> Result<f64> {
            let metrics = admission.metrics(world)?;
            Ok(metrics.sum(RELOADS, &[("what", "tls"), ("result", "taken")]))
        };
        let before = reloads(self)?;
        self.mount(&fresh)?;
        eventually("the replicas serve the new leaf", || {
            Ok(reloads(self)? > before)
        })?;
        self.register(server, Some("Fail"))
    }

    /// Another replica; its pod becomes ready when it says so itself.
    pub fn start_replica(
        &mut self,
        server: &mut ApiServer,
        world: &World,
        node: &str,
    ) -> Result<()> {
        let flags = replica::flags(&self.certificates, &self.config, &self.kubeconfig);
        let replica = Replica::start(server, world, node, &flags)?;
        self.replicas.insert(node.to_owned(), replica);
        Ok(())
    }

    /// Asks a replica to end, as a kubelet does: SIGTERM, and its pod is terminating; then
    /// waits until it has ended.
    pub fn stop_replica(&mut self, server: &mut ApiServer, node: &str) -> Result<()> {
        let replica = self.replicas.remove(node);
        let replica = replica.with_context(|| format!("no replica runs on {node}"))?;
        replica.stop(server)
    }

    /// Ends a replica at once; its pod stays, as when a node has just lost power.
    pub fn kill_replica(&mut self, node: &str) -> Result<()> {
        let replica = self.replicas.remove(node);
        replica
            .map(drop)
            .with_context(|| format!("no replica runs on {node}"))
    }

    /// The webhook's metrics, summed over replicas.
    pub fn metrics(&self, world: &World) -> Result<Metrics> {
        let mut sum = Metrics::default();
        for node in self.replicas.keys() {
            sum.add(&replica::page(world.node(node)?, "/metrics")?);
        }
        Ok(sum)
    }

    /// Waits until every replica judges by everything up to `mark`.
    pub fn wait_judged(&self, world: &World, mark: &Mark) -> Result<()> {
        self.replicas.keys().try_for_each(|name| {
            let node = world.node(name)?;
            let what = format!("the webhook on {name} judges by {mark:?}");
            eventually(&what, || {
                let said = replica::page(node, "/generation")?;
                ensure!(mark.is_reached(&said), "/generation says {said}");
                Ok(true)
            })
        })
    }

    /// Replaces the checks' configuration and waits until every replica has loaded it.
    pub fn configure(&mut self, world: &World, yaml: &str) -> Result<()> {
        let loads = |admission: &Self| -> Result<f64> {
            let metrics = admission.metrics(world)?;
            Ok(metrics.sum(RELOADS, &[("what", "configuration"), ("result", "taken")]))
        };
        let before = loads(self)?;
        self.config.write(&[("config.yaml", yaml.as_bytes())])?;
        let replicas = self.replicas.len();
        eventually("every replica has loaded its configuration", || {
            #[expect(clippy::cast_precision_loss)]
            let wanted = before + replicas as f64;
            Ok(loads(self)? >= wanted)
        })
    }

    /// Both configurations as the manifests have them.
    pub fn install_as_shipped(&self, server: &mut ApiServer) -> Result<()> {
        registration::configurations()?
            .iter()
            .try_for_each(|object| server.install(object))
    }

    /// Starts the controller, with the rights of its manifest.
    pub fn start_controller(&mut self, server: &mut ApiServer, world: &World) -> Result<()> {
        registration::install_controller(server)?;
        let kubeconfig = server
            .kubeconfig(Identity::Controller)
            .display()
            .to_string();
        let flags = [
            "--kubeconfig",
            &kubeconfig,
            "--namespace",
            NAMESPACE,
            "--identity",
            "e2e",
        ];
        let flags: Vec<String> = flags.into_iter().map(str::to_owned).collect();
        let program = binaries::find("ringfence-controller")?;
        let process = world.control().spawn("controller", &program, &flags, &[])?;
        self.controller = Some(process);
        Ok(())
    }

    /// Ends the controller, and registers the harness' own certificate again.
    pub fn stop_controller(&mut self, server: &mut ApiServer, world: &World) -> Result<()> {
        self.controller = None;
        let pair = self.new_pair()?;
        self.mount(&pair)?;
        self.register(server, Some("Ignore"))?;
        self.wait_called(server, world)
    }

    /// Brings what is in the controller's Secret into the volume, as a kubelet does. True
    /// once the replicas serve it; false while there is no Secret.
    pub fn mount_secret(&mut self, server: &mut ApiServer, world: &World) -> Result<bool> {
        if let Some(controller) = &mut self.controller {
            controller.check_running()?;
        }
        let secret = server.adopt(&json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"namespace": NAMESPACE, "name": "ringfence-webhook-tls"},
        }))?;
        let Some(secret) = secret else {
            return Ok(false);
        };
        let file = |name: &str| -> Result<Vec<u8>> {
            let text = secret["data"][name].as_str();
            let text = text.with_context(|| format!("the Secret has no {name}"))?;
            BASE64.decode(text).with_context(|| name.to_owned())
        };
        let pair = [file("ca.crt")?, file("tls.crt")?, file("tls.key")?];
        let taken = |admission: &Self| -> Result<f64> {
            let metrics = admission.metrics(world)?;
            Ok(metrics.sum(RELOADS, &[("what", "tls"), ("result", "taken")]))
        };
        let before = taken(self)?;
        self.mount(&pair)?;
        eventually("the replicas serve it", || Ok(taken(self)? > before))?;
        Ok(true)
    }

    /// Waits until the API server asks the webhook about NetworkPolicies.
    fn wait_called(&self, server: &ApiServer, world: &World) -> Result<()> {
        let client = server.client();
        let probe: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "is-anybody-there", "namespace": "default"},
            "spec": {"podSelector": {}},
        }))?;
        let resource = ApiResource::erase::<NetworkPolicy>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(client, "default", &resource);
        let dry_run = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let called = |admission: &Self| -> Result<f64> {
            Ok(admission
                .metrics(world)?
                .sum("ringfence_webhook_requests_total", &[]))
        };
        let before = called(self)?;
        eventually("the API server calls the webhook", || {
            server.block_on(api.create(&dry_run, &probe))?;
            Ok(called(self)? > before)
        })
    }
}
