//! `ringfence lint --cluster` against a real API server. Needs root (or user namespaces) and
//! the programs of `make controlplane`; without them it is skipped, but never where `CI` is
//! set.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::api::Api;
use kube::runtime::wait::await_condition;
use ringfence_e2e::controlplane::{self, Applier, ControlPlane, Identity, Options, Programs};
use ringfence_e2e::fabric::netns::CONTROL_ADDRESS;
use ringfence_e2e::fabric::{PodKind, Topology, World};
use ringfence_e2e::objects::documents;
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Output};
use std::time::Duration;

/// For what a new API server makes by itself.
const PATIENCE: Duration = Duration::from_mins(1);

/// `ignored` names no Egress; `to-services` allows the whole Service network, which only
/// `ServiceCIDR` objects tell: no Service has an address yet.
const OBJECTS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Namespace
metadata: {name: calm}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: ignored, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Ingress]
  egress: [{to: [{podSelector: {}}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: to-services, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Egress]
  egress: [{to: [{ipBlock: {cidr: 'SERVICES'}}], ports: [{port: 443}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default-deny, namespace: calm}
spec:
  podSelector: {}
  policyTypes: [Ingress]
";

fn main() -> ExitCode {
    controlplane::test(run)
}

fn run(programs: &Programs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let world = World::create(Topology::new(PodKind::Bridge, 1))?;
    let options = Options::new(CONTROL_ADDRESS.into());
    let plane = runtime.block_on(async {
        let plane = ControlPlane::start(programs, world.control(), options).await?;
        let applier = Applier::new(plane.client());
        let services = services(plane.client()).await?;
        for object in documents(&OBJECTS.replace("SERVICES", &services), "default")? {
            applier.apply(object, "default").await?;
        }
        anyhow::Ok(plane)
    })?;
    let lint = Lint {
        world: &world,
        kubeconfig: plane.kubeconfig(Identity::Admin),
    };
    lint.everything()?;
    lint.one_namespace()?;
    lint.no_server()
}

/// The Service network.
async fn services(client: kube::Client) -> Result<String> {
    let api: Api<ServiceCIDR> = Api::all(client);
    let range = await_condition(api.clone(), "kubernetes", |range: Option<&ServiceCIDR>| {
        range.is_some()
    });
    tokio::time::timeout(PATIENCE, range).await??;
    let range = api.get("kubernetes").await?;
    let mut cidrs = range.spec.and_then(|spec| spec.cidrs).into_iter().flatten();
    cidrs.next().context("no range of Services")
}

struct Lint<'a> {
    world: &'a World,
    kubeconfig: PathBuf,
}

impl Lint<'_> {
    fn run(&self, more: &[&str]) -> Result<Output> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        command
            .args(["lint", "--cluster", "-o", "json", "--kubeconfig"])
            .arg(&self.kubeconfig)
            .args(more);
        let netns = self.world.control().netns();
        netns.run(move || Ok(command.output()?))
    }

    /// Found as `check namespace/name`.
    fn findings(&self, more: &[&str]) -> Result<(Option<i32>, Vec<String>, Value)> {
        let output = self.run(more)?;
        let said: Value = serde_json::from_slice(&output.stdout)?;
        let mut found = Vec::new();
        for finding in said["findings"].as_array().into_iter().flatten() {
            let text = |field: &str| finding[field].as_str().unwrap_or_default().to_owned();
            found.push(format!(
                "{} {}/{}",
                text("check"),
                text("namespace"),
                text("name")
            ));
        }
        Ok((output.status.code(), found, said))
    }

    fn everything(&self) -> Result<()> {
        let (code, found, said) = self.findings(&[])?;
        for wanted in [
            "types-mismatch shop/ignored",
            "cidr-in-services shop/to-services",
            "egress-no-dns shop/to-services",
        ] {
            ensure!(found.iter().any(|f| f == wanted), "{wanted}: {said:#}");
        }
        ensure!(code == Some(1), "{code:?}: {said:#}");
        ensure!(said["problems"] == Value::Array(Vec::new()), "{said:#}");
        println!("ok: the whole cluster");
        Ok(())
    }

    fn one_namespace(&self) -> Result<()> {
        let (code, found, said) = self.findings(&["-n", "calm", "--fail-on", "deny"])?;
        ensure!(code == Some(0), "{code:?}: {said:#}");
        ensure!(!found.iter().any(|f| f.contains(" shop/")), "{said:#}");
        // The namespace itself and its policy.
        ensure!(said["summary"]["objects"] == 2, "{said:#}");
        println!("ok: one namespace of it");
        Ok(())
    }

    fn no_server(&self) -> Result<()> {
        let missing = self.kubeconfig.with_file_name("no-such-kubeconfig");
        let lint = Self {
            world: self.world,
            kubeconfig: missing,
        };
        let output = lint.run(&[])?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(2), "{said}");
        ensure!(said.contains("no-such-kubeconfig"), "{said}");
        println!("ok: a kubeconfig that is not there");
        Ok(())
    }
}
