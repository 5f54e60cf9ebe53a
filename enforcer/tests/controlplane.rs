//! Events on policies that cannot be enforced, on a real API server: one each, none again
//! while nothing changes, and what happens without the right to post them. Needs root (or
//! user namespaces) and the programs of `make controlplane`; without them it is skipped,
//! but never where `CI` is set.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, ListParams};
use ringfence_e2e::controlplane::{self, ApiServer, Identity, Options, Programs, enforcer_role};
use ringfence_e2e::fabric::netns::CONTROL_ADDRESS;
use ringfence_e2e::fabric::{PodKind, Process, Topology, World};
use ringfence_e2e::objects::{HEALTH_PORT, Objects, Watcher, documents, wait_applied};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(20);
const NODE: &str = "node1";

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
        world: &world,
    };
    for object in documents(OBJECTS, "default")? {
        lab.server.apply(&object)?;
    }
    let result = lab
        .one_event_for_each_fault()
        .and_then(|()| lab.without_the_right_to_post());
    if let (Err(_), Some(enforcer)) = (&result, &lab.enforcer) {
        eprintln!("{}", enforcer.log_tail(30));
    }
    result
}

struct Lab<'a> {
    // Ended before the server that it watches, and both before the world.
    enforcer: Option<Process>,
    server: ApiServer,
    world: &'a World,
}

impl Lab<'_> {
    fn one_event_for_each_fault(&mut self) -> Result<()> {
        self.server.apply(&policy("first"))?;
        self.start(Identity::Enforcer, &["--sync-period=1s"])?;
        self.settle()?;
        ensure!(self.told("first")? == 0, "a good policy has an Event");

        self.spoil("first", "10.0.0.0/33")?;
        self.settle()?;
        self.until_told("first", 1)?;
        let event = self.events("first")?.pop().context("no Event")?;
        let note = event.note.unwrap_or_default();
        for part in [
            "node node1: this policy cannot be understood, so the pods that it selects are closed",
            "spec.ingress[0].from[0].ipBlock.cidr: found \"10.0.0.0/33\"; write a prefix length",
        ] {
            ensure!(note.contains(part), "{note}");
        }
        println!("ok: a policy that cannot be understood has one Event, which says why");

        self.syncs()?;
        // Events are posted one after another: what the syncs had to say came before.
        self.spoil_another("second")?;
        ensure!(self.told("first")? == 1, "syncs repeat the Event");
        println!("ok: syncs and changes of other objects do not repeat it");

        self.server.apply(&policy("first"))?;
        self.settle()?;
        self.syncs()?;
        self.spoil_another("third")?;
        ensure!(
            self.told("first")? == 1,
            "a mended policy has an Event again"
        );
        ensure!(self.told("second")? == 1, "the second one is repeated");
        println!("ok: a mended policy has no more Events");

        self.spoil("first", "nonsense")?;
        self.until_told("first", 2)?;
        println!("ok: the next fault is told again");
        Ok(())
    }

    /// The stranger may read what the enforcer reads, and nothing else.
    fn without_the_right_to_post(&mut self) -> Result<()> {
        self.enforcer = None;
        let mut role = serde_json::to_value(enforcer_role()?)?;
        role["apiVersion"] = json!("rbac.authorization.k8s.io/v1");
        role["kind"] = json!("ClusterRole");
        role["metadata"]["name"] = json!("reader");
        let rules = role["rules"].as_array_mut().context("no rules")?;
        rules.retain(|rule| !rule["resources"].to_string().contains("events"));
        self.server.install(&role)?;
        self.server.install(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "reader"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"},
            "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": "stranger"}],
        }))?;
        self.start(Identity::Stranger, &["--sync-period=1s"])?;
        self.settle()?;
        // Three policies are faulty by now.
        self.until("three Events are refused", |lab| Ok(lab.refused()? == 3))?;
        self.syncs()?;
        self.server.apply(&policy("fourth"))?;
        self.spoil("fourth", "10.0.0.0/33")?;
        self.settle()?;
        self.until("a fourth is refused", |lab| Ok(lab.refused()? == 4))?;
        let enforcer = self.enforcer.as_ref().context("no enforcer")?;
        let log = fs::read_to_string(enforcer.log())?;
        let said = log.matches("may not post Events").count();
        ensure!(said == 1, "said {said} times:\n{log}");
        ensure!(log.contains("is forbidden"), "{log}");
        ensure!(self.told("fourth")? == 0, "an Event without the right");
        println!("ok: without the right it says so once, and enforces");
        Ok(())
    }

    fn start(&mut self, identity: Identity, flags: &[&str]) -> Result<()> {
        let node = self.world.node(NODE)?;
        let mut args = vec![
            format!("--node-name={NODE}"),
            format!("--health-port={HEALTH_PORT}"),
            format!("--metrics-port={HEALTH_PORT}"),
            format!("--state-dir={}", node.folder().join("state").display()),
            format!(
                "--kubeconfig={}",
                self.server.kubeconfig(identity).display()
            ),
        ];
        args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let program = Path::new(env!("CARGO_BIN_EXE_ringfence-enforcer"));
        let name = format!("enforcer-{identity:?}");
        self.enforcer = Some(node.spawn(&name, program, &args, &[])?);
        Ok(())
    }

    /// Until everything that was written is in the kernel.
    fn settle(&mut self) -> Result<()> {
        let node = self.world.node(NODE)?;
        let enforcer = self.enforcer.as_mut().context("no enforcer")?;
        wait_applied(
            node,
            enforcer,
            &self.server.mark(Watcher::Enforcer)?,
            PATIENCE,
        )
    }

    /// Changes that are programmed, and three times everything read back and compared.
    fn syncs(&mut self) -> Result<()> {
        for turn in 0..3 {
            let mut pod = documents(OBJECTS, "default")?.pop().context("no pod")?;
            pod["metadata"]["labels"]["turn"] = json!(turn.to_string());
            self.server.apply(&pod)?;
            self.settle()?;
        }
        let count = "sync_duration_seconds_count{phase=\"readback\"}";
        let before = self.metric(count)?;
        self.until("three syncs", |lab| Ok(lab.metric(count)? >= before + 3))
    }

    /// Another policy that cannot be understood, until that is told.
    fn spoil_another(&mut self, name: &str) -> Result<()> {
        self.server.apply(&policy(name))?;
        self.spoil(name, "10.0.0.0/33")?;
        self.until_told(name, 1)
    }

    /// Puts into etcd what this API server would refuse: objects written before a rule of
    /// validation was made are like that.
    fn spoil(&mut self, name: &str, cidr: &str) -> Result<()> {
        let policies: Api<NetworkPolicy> = Api::namespaced(self.server.client(), "shop");
        let found = self.server.block_on(policies.get(name))?;
        let mut object = serde_json::to_value(found)?;
        object["spec"]["ingress"] = json!([{"from": [{"ipBlock": {"cidr": cidr}}]}]);
        let key = format!("/registry/networkpolicies/shop/{name}");
        let body = json!({"key": base64(&key), "value": base64(&object.to_string())});
        let answer = http(
            self.world.control(),
            2379,
            "POST /v3/kv/put",
            &body.to_string(),
        )?;
        ensure!(answer.contains("revision"), "etcd: {answer}");
        let adopted = self.server.adopt(&policy(name))?.context("it is gone")?;
        ensure!(adopted.to_string().contains(cidr), "{adopted}");
        Ok(())
    }

    fn events(&self, name: &str) -> Result<Vec<Event>> {
        let events: Api<Event> = Api::namespaced(self.server.client(), "shop");
        let all = self.server.block_on(events.list(&ListParams::default()))?;
        let about = |event: &Event| {
            let regarding = event.regarding.as_ref();
            regarding.is_some_and(|r| {
                r.kind.as_deref() == Some("NetworkPolicy") && r.name.as_deref() == Some(name)
            }) && event.reason.as_deref() == Some("PolicyFaulty")
        };
        Ok(all.items.into_iter().filter(about).collect())
    }

    /// How often a policy was told of, whether as another Event or in a series.
    fn told(&self, name: &str) -> Result<i32> {
        let events = self.events(name)?;
        let times = |event: &Event| event.series.as_ref().map_or(1, |series| series.count);
        Ok(events.iter().map(times).sum())
    }

    fn until_told(&self, name: &str, times: i32) -> Result<()> {
        let what = format!("{name} is told of, {times} times in all");
        self.until(&what, |lab| Ok(lab.told(name)? == times))
    }

    fn until(&self, what: &str, so: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !so(self)? {
            ensure!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn refused(&self) -> Result<u64> {
        self.metric("errors_total{kind=\"event\"}")
    }

    fn metric(&self, name: &str) -> Result<u64> {
        let node = self.world.node(NODE)?;
        let text = http(node, HEALTH_PORT, "GET /metrics", "")?;
        let prefix = format!("ringfence_enforcer_{name} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&prefix));
        Ok(value.map_or(Ok(0), str::parse)?)
    }
}

/// A policy that closes the pod, and can be understood.
fn policy(name: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": "shop", "name": name},
        "spec": {
            "podSelector": {"matchLabels": {"app": "web"}},
            "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}],
        },
    })
}

/// The answer to a request from inside a node's namespace.
fn http(
    node: &ringfence_e2e::fabric::Node,
    port: u16,
    request: &str,
    body: &str,
) -> Result<String> {
    let text = format!(
        "{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    node.netns().run(move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(text.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })
}

/// As etcd's gateway wants it.
fn base64(text: &str) -> String {
    serde_json::to_value(k8s_openapi::ByteString(text.as_bytes().to_vec()))
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}
