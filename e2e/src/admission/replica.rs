//! One process of the webhook on a node, and its pod.

use super::{NAMESPACE, Volume};
use crate::binaries;
use crate::controlplane::ApiServer;
use crate::fabric::{Node, Process, World};
use crate::patience::eventually;
use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

/// `/livez`, `/readyz`, `/generation`, `/metrics`.
pub const HEALTH_PORT: u16 = 9440;
/// Where the Service leads.
pub const PORT: u16 = 9443;
/// Longer than the webhook drains.
const GRACE: Duration = Duration::from_secs(30);

/// A running replica.
pub struct Replica {
    process: Process,
    pod: Value,
}

/// What every replica is started with.
pub fn flags(certificates: &Volume, config: &Volume, kubeconfig: &Path) -> Vec<String> {
    let path = |volume: &Volume, name: &str| volume.path(name).display().to_string();
    [
        ("--port", PORT.to_string()),
        ("--health-port", HEALTH_PORT.to_string()),
        ("--reload-period", "200ms".to_owned()),
        ("--tls-cert", path(certificates, "tls.crt")),
        ("--tls-key", path(certificates, "tls.key")),
        ("--config", path(config, "config.yaml")),
        ("--kubeconfig", kubeconfig.display().to_string()),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .collect()
}

/// A page of the health port of a node's replica; an error unless the answer is 200.
pub fn page(node: &Node, page: &str) -> Result<String> {
    node.netns().run(|| get(page))
}

// === impl Replica ===

impl Replica {
    /// Starts it, and reports its pod ready when it is.
    pub fn start(
        server: &mut ApiServer,
        world: &World,
        node: &str,
        flags: &[String],
    ) -> Result<Self> {
        let addresses = world.topology().addresses(node).unwrap_or_default();
        let address = addresses
            .first()
            .with_context(|| format!("no node {node}"))?;
        let node = world.node(node)?;
        let program = binaries::find("ringfence-webhook")?;
        let process = node.spawn("webhook", &program, flags, &[])?;
        let pod = pod(node, *address);
        let mut replica = Self { process, pod };
        eventually("the webhook is ready", || {
            replica.process.check_running()?;
            page(node, "/readyz").map(|_| true)
        })?;
        server.install(&replica.pod)?;
        Ok(replica)
    }

    /// As a kubelet ends a pod.
    pub fn stop(mut self, server: &mut ApiServer) -> Result<()> {
        // The endpoint goes while the process still serves: that is what draining is for.
        server.uninstall(&self.pod)?;
        let status = self.process.stop(Signal::SIGTERM, GRACE)?;
        anyhow::ensure!(status.success(), "the webhook ended with {status}");
        Ok(())
    }
}

fn pod(node: &Node, address: IpAddr) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": NAMESPACE,
            "name": format!("ringfence-webhook-{}", node.name()),
            "labels": {"app.kubernetes.io/name": "ringfence-webhook"},
        },
        "spec": {
            "nodeName": node.name(),
            "hostNetwork": true,
            "containers": [{"name": "webhook", "image": "webhook", "ports": [
                {"name": "https", "containerPort": PORT},
            ]}],
        },
        "status": {
            "phase": "Running",
            "hostIP": address,
            "podIP": address,
            "podIPs": [{"ip": address}],
        },
    })
}

fn get(page: &str) -> Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, HEALTH_PORT));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {page} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    anyhow::ensure!(status == "200", "{page}: {status}: {body}");
    Ok(body.to_owned())
}
