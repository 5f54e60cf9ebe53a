//! A cluster with the manifests in it, a webhook behind the Service's address, and
//! controllers with the rights of their service account.

use crate::hook::{self, Hook};
use crate::overlays;
use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{
    Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams,
};
use ringfence_e2e::controlplane::{Applier, ControlPlane, Identity, Options, Programs};
use ringfence_e2e::fabric::netns::CONTROL_ADDRESS;
use ringfence_e2e::fabric::{Process, World};
use ringfence_e2e::patience;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const NAMESPACE: &str = "ringfence-system";
pub const SECRET: &str = "ringfence-webhook-tls";
pub const POLICIES: &str = "policies.validate.ringfence.dev";
/// The only endpoint of the Service, on the control machine: API servers resolve webhooks'
/// Services by themselves, no kube-proxy is needed.
const PORT: u16 = 9443;
/// Of the first replica's health.
const FIRST_PORT: u16 = 9450;
const PATIENCE: Duration = Duration::from_mins(1);

pub struct Lab<'a> {
    replicas: BTreeMap<String, Process>,
    pub plane: ControlPlane,
    /// What `kubectl apply -k manifests/base` makes.
    pub manifests: Vec<Value>,
    world: &'a World,
    applier: Applier,
    pub hook: Hook,
}

impl<'a> Lab<'a> {
    pub async fn start(programs: &Programs, world: &'a World) -> Result<Self> {
        let control = world.control();
        let options = Options::new(CONTROL_ADDRESS.into());
        let plane = ControlPlane::start(programs, control, options).await?;
        let applier = Applier::new(plane.client());
        let manifests = overlays::kustomize(programs, "base")?;
        for object in &manifests {
            applier.apply(object.clone(), "default").await?;
        }
        println!(
            "ok: a real API server takes all {} manifests",
            manifests.len()
        );

        let endpoint = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": "hook", "namespace": NAMESPACE,
                "labels": {"kubernetes.io/service-name": "ringfence-webhook"},
            },
            "ports": [{"name": "https", "port": PORT, "protocol": "TCP"}],
            "endpoints": [{"addresses": [CONTROL_ADDRESS], "conditions": {"ready": true}}],
        });
        applier.apply(endpoint, NAMESPACE).await?;
        let listener = control
            .netns()
            .run(|| Ok(TcpListener::bind((CONTROL_ADDRESS, PORT))?))?;
        listener.set_nonblocking(true)?;
        let hook = Hook::default();
        hook.serve(tokio::net::TcpListener::from_std(listener)?);
        let secrets = Api::namespaced(plane.client(), NAMESPACE);
        tokio::spawn(hook::follow(hook.clone(), secrets, SECRET));
        Ok(Self {
            replicas: BTreeMap::new(),
            plane,
            manifests,
            world,
            applier,
            hook,
        })
    }

    /// Starts a replica with its service account's token.
    pub async fn controller(&mut self, name: &str, flags: &[&str]) -> Result<()> {
        let kubeconfig = self.kubeconfig().await?;
        let port = usize::from(FIRST_PORT) + self.replicas.len();
        let mut all = vec![
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--identity={name}"),
            format!("--health-port={port}"),
            "--log-level=debug,kube=info,hyper=info,hyper_util=info,tower=info,rustls=info"
                .to_owned(),
        ];
        all.extend(flags.iter().map(|f| (*f).to_owned()));
        let program = Path::new(env!("CARGO_BIN_EXE_ringfence-controller"));
        let control = self.world.control();
        let process = control.spawn(&format!("controller-{name}"), program, &all, &[])?;
        self.replicas.insert(name.to_owned(), process);
        Ok(())
    }

    /// What the newest replica's `/readyz` says: the whole answer.
    pub fn readyz(&self) -> Result<String> {
        self.get("/readyz")
    }

    /// What the newest replica answers.
    pub fn get(&self, path: &'static str) -> Result<String> {
        let port = FIRST_PORT + u16::try_from(self.replicas.len())? - 1;
        self.world.control().netns().run(move || {
            let mut stream = TcpStream::connect(("127.0.0.1", port))?;
            let ask = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            stream.write_all(ask.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })
    }

    pub fn stop(&mut self, name: &str) -> Result<()> {
        let replica = self.replicas.get_mut(name).context("no such replica")?;
        let status = replica.stop(nix_signal(), PATIENCE)?;
        anyhow::ensure!(
            status.success(),
            "{name}: {status}\n{}",
            replica.log_tail(20)
        );
        Ok(())
    }

    pub fn replicas(&self) -> impl Iterator<Item = &Process> {
        self.replicas.values()
    }

    async fn kubeconfig(&self) -> Result<PathBuf> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.plane.client(), NAMESPACE);
        let request = TokenRequest::default();
        let answer = accounts
            .create_token_request("ringfence-controller", &PostParams::default(), &request)
            .await
            .context("a token for the controller's service account")?;
        let token = answer.status.context("no token")?.token;
        let admin = fs::read_to_string(self.plane.kubeconfig(Identity::Admin))?;
        let mut config: Value = serde_json::from_str(&admin)?;
        config["users"][0]["user"] = json!({"token": token});
        let path = self.world.control().folder().join("controller.kubeconfig");
        fs::write(&path, config.to_string())?;
        Ok(path)
    }

    /// Looks until it is so; says what the webhook configurations are if it never is.
    pub async fn until(&self, what: &str, so: impl AsyncFn(&Self) -> Result<bool>) -> Result<()> {
        let Err(error) = patience::until(PATIENCE, what, async || so(self).await).await else {
            return Ok(());
        };
        let mut state = String::new();
        for kind in [
            "ValidatingWebhookConfiguration",
            "MutatingWebhookConfiguration",
        ] {
            state += &self.configuration(kind).await?.to_string();
        }
        Err(error.context(state))
    }

    pub fn api(&self, version: &str, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        match namespace {
            Some(namespace) => Api::namespaced_with(self.plane.client(), namespace, &resource),
            None => Api::all_with(self.plane.client(), &resource),
        }
    }

    pub async fn apply(&self, object: Value) -> Result<()> {
        self.applier.apply(object, "default").await.map(drop)
    }

    pub async fn delete(&self, object: &Value) -> Result<()> {
        self.applier.delete(object, "default").await.map(drop)
    }

    pub async fn configuration(&self, kind: &str) -> Result<Value> {
        let api = self.api("admissionregistration.k8s.io/v1", kind, None);
        Ok(serde_json::to_value(api.get("ringfence").await?)?)
    }

    /// Changes a configuration by a JSON Patch, as a person would.
    pub async fn edit(&self, kind: &str, patch: Value) -> Result<()> {
        let api = self.api("admissionregistration.k8s.io/v1", kind, None);
        let patch = Patch::Json::<()>(serde_json::from_value(patch)?);
        api.patch("ringfence", &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    pub async fn secret(&self) -> Result<Option<Secret>> {
        let api: Api<Secret> = Api::namespaced(self.plane.client(), NAMESPACE);
        Ok(api.get_opt(SECRET).await?)
    }

    pub async fn holder(&self) -> Result<Option<String>> {
        let api: Api<Lease> = Api::namespaced(self.plane.client(), NAMESPACE);
        let lease = api.get_opt("ringfence-controller").await?;
        Ok(lease.and_then(|l| l.spec?.holder_identity))
    }
}

fn nix_signal() -> nix::sys::signal::Signal {
    nix::sys::signal::Signal::SIGTERM
}
