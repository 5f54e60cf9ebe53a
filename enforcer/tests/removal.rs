//! When a stopping agent takes its rules away, on a real API server: only when its
//! `DaemonSet` or its namespace is deleted. Needs root (or user namespaces) and the programs
//! of `make controlplane`; without them it is skipped, but never where `CI` is set.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use kube::api::{Api, DeleteParams};
use nix::sys::signal::Signal;
use ringfence_e2e::controlplane::{self, ApiServer, Identity, Options, Programs};
use ringfence_e2e::fabric::netns::CONTROL_ADDRESS;
use ringfence_e2e::fabric::{Node, PodKind, Process, Topology, World};
use ringfence_e2e::objects::{HEALTH_PORT, Objects, Watcher, documents, wait_applied};
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(20);
const NODE: &str = "node1";
const SYSTEM: &str = "ringfence-system";
const NAME: &str = "ringfence-enforcer";
/// The agent's rights, as they are installed.
const RIGHTS: &str = include_str!("../../manifests/base/enforcer/rbac.yaml");

const OBJECTS: &str = "
apiVersion: v1
kind: Node
metadata: {name: node1}
spec: {podCIDR: 10.16.1.0/24, podCIDRs: [10.16.1.0/24]}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {nodeName: node1, containers: [{name: c, image: x}]}
status: {phase: Running, podIP: 10.16.1.2, podIPs: [{ip: 10.16.1.2}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: shop}
spec: {podSelector: {}}
";

fn main() -> ExitCode {
    controlplane::test(run)
}

fn run(programs: &Programs) -> Result<()> {
    let world = World::create(Topology::new(PodKind::Bridge, 1))?;
    let options = Options::new(CONTROL_ADDRESS.into());
    let server = ApiServer::start(programs, world.control(), options)?;
    let mut lab = Lab {
        enforcer: None,
        server,
        programs,
        world: &world,
    };
    for object in documents(OBJECTS, "default")? {
        lab.server.apply(&object)?;
    }
    let result = lab.play();
    if let (Err(_), Some(enforcer)) = (&result, &lab.enforcer) {
        eprintln!("{}", enforcer.log_tail(30));
    }
    result
}

struct Lab<'a> {
    // Ended before the server that it watches, and both before the world.
    enforcer: Option<Process>,
    server: ApiServer,
    programs: &'a Programs,
    world: &'a World,
}

impl Lab<'_> {
    fn play(&mut self) -> Result<()> {
        self.install()?;

        self.start(true)?;
        self.stop(Signal::SIGTERM)?;
        self.rules_stay("an update, a restart, a drain")?;

        self.start(true)?;
        self.server.stop();
        self.stop(Signal::SIGTERM)?;
        self.rules_stay("an API server that is away")?;
        self.server.resume(self.world.control())?;

        self.start(true)?;
        self.delete_set()?;
        self.enforcer()?.signal(Signal::SIGTERM)?;
        self.server.install(&set())?;
        self.ended()?;
        self.rules_stay("a DaemonSet that is replaced")?;

        // As when all but the namespace is deleted: nobody can tell any more.
        self.start(true)?;
        let bindings: Api<RoleBinding> = Api::namespaced(self.server.client(), SYSTEM);
        self.delete(&bindings, NAME)?;
        self.delete_set()?;
        self.stop(Signal::SIGTERM)?;
        self.rules_stay("rights that went first")?;
        self.install()?;

        self.start(true)?;
        self.delete_set()?;
        self.stop(Signal::SIGINT)?;
        self.rules_stay("an interrupt")?;

        self.start(false)?;
        self.stop(Signal::SIGTERM)?;
        self.rules_stay("an agent that knows of no DaemonSet")?;

        self.start(true)?;
        self.stop(Signal::SIGTERM)?;
        self.rules_are_gone("a DaemonSet that is deleted")?;

        // In the order of `kubectl delete -k`: the namespace first, all rights with it.
        self.install()?;
        self.start(true)?;
        let namespaces: Api<Namespace> = Api::all(self.server.client());
        self.delete(&namespaces, SYSTEM)?;
        for name in ["ringfence-enforcer", "ringfence-enforcer-manifest"] {
            let bindings: Api<ClusterRoleBinding> = Api::all(self.server.client());
            self.delete(&bindings, name)?;
        }
        self.without_rights()?;
        self.stop(Signal::SIGTERM)?;
        self.rules_are_gone("a namespace that is deleted")
    }

    /// What `kubectl apply -k` makes, as far as it matters here.
    fn install(&mut self) -> Result<()> {
        self.server.install(&json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": SYSTEM },
        }))?;
        for mut object in documents(RIGHTS, "default")? {
            // The control plane has made one of this name, with the same rights.
            if object["kind"] == "ClusterRoleBinding" {
                object["metadata"]["name"] = json!("ringfence-enforcer-manifest");
            }
            self.server.install(&object)?;
        }
        self.server.install(&set())
    }

    fn node(&self) -> Result<&Node> {
        self.world.node(NODE)
    }

    fn enforcer(&self) -> Result<&Process> {
        self.enforcer.as_ref().context("no enforcer")
    }

    /// Starts the agent and waits until its rules are in the kernel.
    fn start(&mut self, owned: bool) -> Result<()> {
        let node = self.world.node(NODE)?;
        let kubeconfig = self.server.kubeconfig(Identity::Enforcer);
        let mut args = vec![
            format!("--node-name={NODE}"),
            format!("--health-port={HEALTH_PORT}"),
            format!("--metrics-port={HEALTH_PORT}"),
            format!("--state-dir={}", node.folder().join("state").display()),
            format!("--kubeconfig={}", kubeconfig.display()),
        ];
        if owned {
            args.push(format!("--daemon-set={SYSTEM}/{NAME}"));
        }
        let program = Path::new(env!("CARGO_BIN_EXE_ringfence-enforcer"));
        let enforcer = self
            .enforcer
            .insert(node.spawn("enforcer", program, &args, &[])?);
        wait_applied(
            node,
            enforcer,
            &self.server.mark(Watcher::Enforcer)?,
            PATIENCE,
        )?;
        ensure!(self.rules()? > 10, "there are no rules to begin with");
        Ok(())
    }

    fn stop(&mut self, signal: Signal) -> Result<()> {
        self.enforcer()?.signal(signal)?;
        self.ended()
    }

    fn ended(&mut self) -> Result<()> {
        let enforcer = self.enforcer.as_mut().context("no enforcer")?;
        // The null signal, so that it is only waited for.
        let status = enforcer.stop(Signal::SIGCONT, PATIENCE)?;
        ensure!(status.success(), "{status}: {}", enforcer.log_tail(5));
        Ok(())
    }

    fn rules_stay(&self, what: &str) -> Result<()> {
        ensure!(self.rules()? > 10, "{what} took the rules away");
        println!("ok: {what} leaves the rules");
        Ok(())
    }

    fn rules_are_gone(&self, what: &str) -> Result<()> {
        ensure!(self.rules()? == 0, "{what} left rules");
        let state = self.node()?.folder().join("state");
        ensure!(!state.exists(), "{what} left {}", state.display());
        println!("ok: {what} takes the rules away");
        Ok(())
    }

    /// Lines about chains, rules and sets of ours.
    fn rules(&self) -> Result<usize> {
        let node = self.node()?;
        let mut count = 0;
        for (program, args) in [
            ("iptables-nft-save", &[][..]),
            ("ip6tables-nft-save", &[]),
            ("iptables-legacy-save", &[]),
            ("ip6tables-legacy-save", &[]),
            ("ipset", &["save"]),
        ] {
            let text = node.exec(program, args, "")?;
            let ours = |line: &&str| ["RF-", "RF4-", "RF6-"].iter().any(|own| line.contains(own));
            count += text.lines().filter(ours).count();
        }
        Ok(count)
    }

    fn delete_set(&self) -> Result<()> {
        let sets: Api<DaemonSet> = Api::namespaced(self.server.client(), SYSTEM);
        self.delete(&sets, NAME)?;
        until("the DaemonSet is gone", || {
            Ok(self.server.block_on(sets.get_opt(NAME))?.is_none())
        })
    }

    fn delete<K>(&self, api: &Api<K>, name: &str) -> Result<()>
    where
        K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    {
        let parameters = DeleteParams::default();
        let deleted = api.delete(name, &parameters);
        self.server.block_on(deleted).map(drop)?;
        Ok(())
    }

    /// Until the API server has seen that the agent may do nothing any more.
    fn without_rights(&self) -> Result<()> {
        let kubeconfig = self.server.kubeconfig(Identity::Enforcer);
        let kubectl = self.programs.path("kubectl");
        let command = format!(
            "{} --kubeconfig={} get namespace {SYSTEM} 2>&1 || true",
            kubectl.display(),
            kubeconfig.display()
        );
        until("its rights are gone", || {
            let said = self.node()?.exec("sh", &["-c", &command], "")?;
            Ok(said.contains("Forbidden"))
        })
    }
}

fn until(what: &str, so: impl Fn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !so()? {
        ensure!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(LOOK);
    }
    Ok(())
}

fn set() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": { "namespace": SYSTEM, "name": NAME },
        "spec": {
            "selector": { "matchLabels": { "app": NAME } },
            "template": {
                "metadata": { "labels": { "app": NAME } },
                "spec": { "containers": [{ "name": "enforcer", "image": "x" }] },
            },
        },
    })
}
