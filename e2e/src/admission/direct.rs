//! The webhook without an API server: asked as one would ask it, over TLS, for the
//! demonstration on a machine without Go.

use super::Volume;
use crate::binaries;
use crate::controlplane;
use crate::fabric::{Node, Process};
use crate::patience::eventually;
use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use kube::Client;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use tokio::runtime::{Builder, Runtime};

const PORT: u16 = 9443;

/// A webhook that reads its objects from a folder.
pub struct Direct {
    process: Process,
    client: Client,
    runtime: Runtime,
    asked: u32,
}

/// What it answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Why it refused; `None`: it did not.
    pub refusal: Option<String>,
    /// What it warned of.
    pub warnings: Vec<String>,
    /// The object, changed as the answer says.
    pub object: Value,
}

// === impl Direct ===

impl Direct {
    /// Starts it on `machine`, with a certificate of its own and this configuration.
    pub fn start(machine: &Node, objects: &Path, config: &str) -> Result<Self> {
        let folder = machine.folder().join("webhook");
        let made = Command::new(binaries::find("ringfence-certs")?)
            .arg("--out")
            .arg(&folder)
            .args(["--address", "127.0.0.1"])
            .output()
            .context("running ringfence-certs")?;
        ensure!(
            made.status.success(),
            "ringfence-certs: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let mut volume = Volume::create(folder.join("config"))?;
        volume.write(&[("config.yaml", config.as_bytes())])?;
        let file = |name: &str| folder.join(name).display().to_string();
        let flags = [
            ("--tls-cert", file("tls.crt")),
            ("--tls-key", file("tls.key")),
            ("--config", volume.path("config.yaml").display().to_string()),
            ("--objects", format!("folder:{}", objects.display())),
            ("--bind-address", "127.0.0.1".to_owned()),
            ("--port", PORT.to_string()),
        ];
        let flags: Vec<String> = flags
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value])
            .collect();
        let program = binaries::find("ringfence-webhook")?;
        let process = machine.spawn("webhook", &program, &flags, &[])?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("starting a runtime for the webhook's client")?;
        let ca = certificate(&std::fs::read_to_string(folder.join("ca.crt"))?)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
        let client = {
            let _inside = runtime.enter();
            controlplane::connect(machine.netns(), address, &ca, "")?
        };
        let mut direct = Self {
            process,
            client,
            runtime,
            asked: 0,
        };
        let nothing = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"namespace": "default", "name": "nothing"},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
        });
        // Until the folder is read the webhook warns that it cannot know.
        eventually("the webhook answers", || {
            direct.process.check_running()?;
            let answer = direct.create(&nothing)?;
            Ok(!answer.warnings.iter().any(|w| w.contains("not known")))
        })?;
        Ok(direct)
    }

    /// Asks about a new object as the API server does: first `/mutate`, then `/validate`
    /// with what came of it.
    pub fn create(&mut self, object: &Value) -> Result<Answer> {
        let mut answer = Answer {
            refusal: None,
            warnings: Vec::new(),
            object: object.clone(),
        };
        for hook in ["/mutate", "/validate"] {
            let response = self.ask(hook, &answer.object)?;
            let warnings = response["warnings"].as_array().into_iter().flatten();
            answer
                .warnings
                .extend(warnings.filter_map(Value::as_str).map(str::to_owned));
            if response["allowed"] != true {
                let message = response["status"]["message"].as_str();
                answer.refusal = Some(message.unwrap_or("no reason was given").to_owned());
                return Ok(answer);
            }
            if let Some(patch) = response["patch"].as_str() {
                let patch = BASE64.decode(patch).context("the patch is not base64")?;
                let patch: json_patch::Patch =
                    serde_json::from_slice(&patch).context("the patch is no JSON Patch")?;
                json_patch::patch(&mut answer.object, &patch)
                    .context("the patch does not apply")?;
            }
        }
        Ok(answer)
    }

    fn ask(&mut self, hook: &str, object: &Value) -> Result<Value> {
        self.asked += 1;
        let uid = format!("request-{}", self.asked);
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": uid,
                "kind": {"group": "networking.k8s.io", "version": "v1", "kind": object["kind"]},
                "resource": {
                    "group": "networking.k8s.io", "version": "v1", "resource": "networkpolicies",
                },
                "name": object["metadata"]["name"],
                "namespace": object["metadata"]["namespace"],
                "operation": "CREATE",
                "userInfo": {"username": "somebody"},
                "object": object,
                "dryRun": false,
            },
        });
        let request = http::Request::post(hook)
            .header("content-type", "application/json")
            .body(serde_json::to_vec(&review)?)?;
        let answer: Value = self
            .runtime
            .block_on(self.client.request(request))
            .with_context(|| format!("asking {hook}"))?;
        if answer["response"]["uid"] != uid {
            bail!("{hook} answered somebody else: {answer}");
        }
        Ok(answer["response"].clone())
    }
}

/// The first certificate of a PEM text, in DER.
fn certificate(pem: &str) -> Result<Vec<u8>> {
    let body: String = pem
        .lines()
        .skip_while(|line| !line.starts_with("-----BEGIN CERTIFICATE"))
        .skip(1)
        .take_while(|line| !line.starts_with("-----END"))
        .collect();
    BASE64
        .decode(body)
        .context("no certificate in the PEM text")
}
