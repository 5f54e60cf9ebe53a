//! A new pod of the node itself, isolated by policy: until when is it shut, and how long
//! after the watch event does what is allowed get through?
//!
//! The node keeps an address of its range shut that belongs to no known pod, and a client
//! sends to it all the time. The first datagram that gets through shows that the pod's
//! own rules are in the kernel.

use super::events::milliseconds;
use super::figures::{Figure, Report, Spread};
use super::lab::{Lab, NODE};
use super::metrics::Page;
use super::watch::Watch;
use crate::controlplane::Applier;
use crate::fabric::Host;
use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The real pods: one is always there, the other comes and goes.
pub const PODS: [&str; 2] = ["bench/client", "bench/new"];
/// Where the new pod listens.
const PORT: u16 = 7_000;
/// Between two datagrams of the client.
const SEND: Duration = Duration::from_micros(500);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longer than the enforcer holds back a batch: each pod comes to an idle enforcer.
const IDLE: Duration = Duration::from_millis(100);

const OBJECTS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: bench}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: client}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: client}}}]
    ports: [{protocol: UDP, port: 7000}]
  egress:
  - to: [{podSelector: {matchLabels: {app: new}}}]
";

/// Creates the policies and the client's pod.
pub fn prepare(lab: &Lab) -> Result<()> {
    let api = lab.api();
    api.block_on(Applier::new(api.client()).apply_yaml(OBJECTS, "bench"))?;
    let (host, node) = (lab.world().host(PODS[0])?, lab.world().host(NODE)?);
    let pod = pod("client")?;
    api.block_on(api.kubelet().start(&pod, &node.addresses, &host.addresses))?;
    Ok(())
}

fn pod(app: &str) -> Result<Pod> {
    serde_json::from_value(json!({
        "metadata": {
            "namespace": "bench", "name": app,
            "labels": {"app": app, "ringfence-bench": "yes"},
        },
        "spec": {"nodeName": NODE, "containers": [{"name": "main", "image": "none"}]},
    }))
    .context("a pod of a benchmark")
}

/// Lets the pod come `count` times.
pub fn run(lab: &mut Lab, count: usize, pods: usize, report: &mut Report) -> Result<()> {
    eprintln!("scale: {pods} pods, {count} local events");
    let watch = Watch::start(lab);
    let before = Page::read(lab)?;
    let (mut since_event, mut since_write) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (event, write) = once(lab, &watch)?;
        since_event.push(event);
        since_write.push(write);
    }
    let after = Page::read(lab)?;
    let name = |what: &str| format!("new local isolated pod enforced, {pods} pods, {what}");
    let event = Spread::of(since_event)?;
    report.figures.push(
        Figure::new("scale", name("after the watch event"), "ms", event)
            .beside(after.event_to_kernel_since(&before))
            .goal("p99 at most 60 ms", event.p99 <= 60.0),
    );
    let write = Spread::of(since_write)?;
    report
        .figures
        .push(Figure::new("scale", name("after the write"), "ms", write));
    Ok(())
}

/// Milliseconds since the watch event and since the write.
fn once(lab: &mut Lab, watch: &Watch) -> Result<(f64, f64)> {
    let (client, new) = (lab.world().host(PODS[0])?, lab.world().host(PODS[1])?);
    let node = lab.world().host(NODE)?.addresses.clone();
    let addresses = new.addresses.clone();
    let to = SocketAddr::new(address(new)?, PORT);
    let receiver = new.netns.run(|| Ok(UdpSocket::bind(to)?))?;
    receiver.set_read_timeout(Some(PATIENCE))?;
    // A port of its own each time: the flow before was cut.
    let from = SocketAddr::new(address(client)?, 0);
    let sender = client.netns.run(|| Ok(UdpSocket::bind(from)?))?;

    let api = lab.api();
    let pods = kube::Api::namespaced(api.client(), "bench");
    api.block_on(pods.create(&kube::api::PostParams::default(), &pod("new")?))?;
    std::thread::sleep(IDLE);

    let stop = AtomicBool::new(false);
    let (written, version, arrived) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // A refusal, as long as the pod is not known.
                let _ = sender.send_to(b"hello", to);
                std::thread::sleep(SEND);
            }
        });
        let arrival = scope.spawn(|| {
            let mut buffer = [0; 16];
            receiver.recv(&mut buffer).map(|_| Instant::now())
        });
        let written = Instant::now();
        let running = api.kubelet().set_running("bench", "new", &node, &addresses);
        let version = api.block_on(running);
        let arrived = arrival.join();
        stop.store(true, Ordering::Relaxed);
        let Ok(arrived) = arrived else {
            bail!("the receiver panicked")
        };
        let arrived = arrived.context("the client does not reach the new pod")?;
        Ok((written, version?, arrived))
    })?;
    ensure!(written < arrived, "the pod was open before it was known");
    let event = watch.arrival(version)?;

    let removed = lab.api().kubelet().remove("bench", "new");
    lab.api().block_on(removed)?;
    std::thread::sleep(IDLE);
    lab.settle()?;
    Ok((milliseconds(event, arrived), milliseconds(written, arrived)))
}

fn address(host: &Host) -> Result<IpAddr> {
    let address = host.addresses.iter().find(|a| a.is_ipv4()).copied();
    address.with_context(|| format!("{} has no IPv4 address", host.name))
}
