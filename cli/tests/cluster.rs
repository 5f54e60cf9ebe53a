//! `ringfence lint --cluster` and `preview` against a real API server. Needs root (or user namespaces) and
//! the programs of `make controlplane`; without them it is skipped, but never where `CI` is
//! set.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::api::Api;
use kube::runtime::wait::await_condition;
use ringfence_e2e::controlplane::{
    self, Applier, ControlPlane, Identity, Kubelet, Options, Programs,
};
use ringfence_e2e::fabric::netns::CONTROL_ADDRESS;
use ringfence_e2e::fabric::{PodKind, Topology, World};
use ringfence_e2e::objects::documents;
use serde_json::Value;
use std::fs;
use std::net::IpAddr;
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

/// The pods of a preview, with the address that each gets.
const PODS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: flows}
---
apiVersion: v1
kind: Pod
metadata: {name: db-0, namespace: flows, labels: {app: db}, annotations: {ip: 10.244.1.1}}
spec: {nodeName: node1, containers: [{name: c, image: none, ports: [{containerPort: 5432}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: flows, labels: {app: web}, annotations: {ip: 10.244.1.2}}
spec: {nodeName: node1, containers: [{name: c, image: none, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: guest-0, namespace: flows, labels: {app: guest}, annotations: {ip: 10.244.1.3}}
spec: {nodeName: node1, containers: [{name: c, image: none, ports: [{containerPort: 80}]}]}
";

/// Shuts `guest` out.
const CHANGE: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: flows}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]
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
    lint.no_server()?;
    runtime.block_on(running(&plane))?;
    let change = world.control().folder().join("change.yaml");
    fs::write(&change, CHANGE)?;
    let preview = Preview {
        world: &world,
        kubeconfig: plane.kubeconfig(Identity::Admin),
        change,
    };
    preview.a_new_policy()?;
    runtime.block_on(async {
        let applier = Applier::new(plane.client());
        for object in documents(CHANGE, "default")? {
            applier.apply(object, "default").await?;
        }
        anyhow::Ok(())
    })?;
    preview.the_same_again_and_without_it()
}

/// Runs the pods.
async fn running(plane: &ControlPlane) -> Result<()> {
    let (applier, kubelet) = (Applier::new(plane.client()), Kubelet::new(plane.client()));
    let host: IpAddr = "192.0.2.1".parse()?;
    kubelet.register_as("node1", &[host], &[]).await?;
    for object in documents(PODS, "default")? {
        applier.apply(object.clone(), "default").await?;
        let metadata = &object["metadata"];
        if let (Some(name), Some(ip)) = (
            metadata["name"].as_str(),
            metadata["annotations"]["ip"].as_str(),
        ) {
            kubelet
                .set_running("flows", name, &[host], &[ip.parse()?])
                .await?;
        }
    }
    Ok(())
}

struct Preview<'a> {
    world: &'a World,
    kubeconfig: PathBuf,
    change: PathBuf,
}

impl Preview<'_> {
    /// The exit code, and what was said.
    fn run(&self, more: &[&str]) -> Result<(Option<i32>, Value)> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        command
            .args(["preview", "-o", "json", "-f"])
            .arg(&self.change);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(more);
        let output = self
            .world
            .control()
            .netns()
            .run(move || Ok(command.output()?))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let answer = serde_json::from_slice(&output.stdout).with_context(|| said.into_owned())?;
        Ok((output.status.code(), answer))
    }

    fn a_new_policy(&self) -> Result<()> {
        let (code, answer) = self.run(&[])?;
        let cut = &answer["cut"];
        ensure!(code == Some(1) && cut["flows"] == 1, "{code:?}: {answer:#}");
        ensure!(cut["rows"][0]["from"]["name"] == "guest", "{answer:#}");
        ensure!(answer["changes"][0]["action"] == "create", "{answer:#}");
        println!("ok: what a new policy would cut");
        Ok(())
    }

    fn the_same_again_and_without_it(&self) -> Result<()> {
        let (code, answer) = self.run(&[])?;
        let flows = (&answer["cut"]["flows"], &answer["opened"]["flows"]);
        ensure!(
            code == Some(0) && flows == (&0.into(), &0.into()),
            "{code:?}: {answer:#}"
        );
        let (code, answer) = self.run(&["--delete"])?;
        let flows = (&answer["cut"]["flows"], &answer["opened"]["flows"]);
        ensure!(
            code == Some(0) && flows == (&0.into(), &1.into()),
            "{code:?}: {answer:#}"
        );
        println!("ok: what it cuts once it is there, and what its end opens");
        Ok(())
    }
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
