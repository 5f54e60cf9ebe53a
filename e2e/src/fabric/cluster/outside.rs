//! The outside of a kind cluster: a container on its network that has the address of every
//! external client. The nodes, which are containers as well, get a route to each.

use super::agent::Agent;
use super::discover::Real;
use crate::fabric::{PodKind, Topology};
use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::process::Stdio;
use std::sync::Arc;
use tokio::process::Command;

/// Its name.
const NAME: &str = "ringfence-e2e-outside";
/// The ranges of a Docker network.
const SUBNETS: &str = "{{range .IPAM.Config}}{{.Subnet}} {{end}}";
/// An image with `ip` in it, for the addresses: the enforcer's.
const TOOLS: &str = "ringfence/enforcer:dev";

/// The outside, and whom it can stand for.
pub(super) struct Outside {
    /// Sends and answers for all of them.
    pub agent: Arc<Agent>,
    /// Names of externals.
    pub names: BTreeSet<String>,
}

/// Starts the container and an agent in it.
pub(super) async fn start(image: &str, nodes: &[Real]) -> Result<Outside> {
    remove().await?;
    let echo = "net.ipv4.ping_group_range=0 0";
    docker(&[
        "run",
        "--detach",
        "--name",
        NAME,
        "--network",
        "kind",
        "--sysctl",
        echo,
        image,
        "agent",
        "--hold",
    ])
    .await?;
    let network =
        "{{with .NetworkSettings.Networks.kind}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}";
    let own = docker(&["inspect", "--format", network, NAME]).await?;
    let own: Vec<IpAddr> = own
        .split_whitespace()
        .filter_map(|address| address.parse().ok())
        .collect();
    let of_family = |all: &[IpAddr], v4| all.iter().copied().find(|a| a.is_ipv4() == v4);
    let externals = Topology::new(PodKind::Routed, 0).externals;
    // Docker translates what comes from the range of its own bridge.
    let masqueraded = docker(&["network", "inspect", "--format", SUBNETS, "bridge"]).await;
    let masqueraded: Vec<IpNet> = masqueraded
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|subnet| subnet.parse().ok())
        .collect();
    let usable = |address: &IpAddr| {
        of_family(&own, address.is_ipv4()).is_some()
            && !masqueraded.iter().any(|subnet| subnet.contains(address))
    };
    let externals: Vec<_> = externals
        .into_iter()
        .filter(|e| usable(&e.address))
        .collect();
    let (mut here, mut there) = (String::new(), String::new());
    for address in externals.iter().map(|e| e.address) {
        let via = of_family(&own, address.is_ipv4()).context("an external without a family")?;
        let (length, at_once) = if address.is_ipv4() {
            (32, "")
        } else {
            (128, " nodad")
        };
        let _ = writeln!(here, "ip addr add {address}/{length} dev eth0{at_once}");
        let _ = writeln!(there, "ip route replace {address}/{length} via {via}");
    }
    for node in nodes {
        for range in node.ranges() {
            let v4 = !range.contains(':');
            // The cluster may have a family that the containers' network has not.
            if of_family(&own, v4).is_none() {
                continue;
            }
            let address = of_family(&node.addresses, v4)
                .with_context(|| format!("Node {} has no address beside {range}", node.name))?;
            let _ = writeln!(here, "ip route replace {range} via {address}");
        }
        docker(&["exec", &node.name, "sh", "-ec", &there]).await?;
    }
    let network = format!("container:{NAME}");
    docker(&[
        "run",
        "--rm",
        "--network",
        &network,
        "--cap-add",
        "NET_ADMIN",
        "--entrypoint",
        "sh",
        TOOLS,
        "-ec",
        &here,
    ])
    .await?;
    let child = Command::new("docker")
        .args(["exec", "--interactive", NAME, "/program", "agent"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("starting docker")?;
    Ok(Outside {
        agent: Arc::new(Agent::in_container("the outside", child)?),
        names: externals.into_iter().map(|e| e.name).collect(),
    })
}

/// Removes the container, where it is.
pub(super) async fn remove() -> Result<()> {
    let named = format!("name=^{NAME}$");
    let found = docker(&["ps", "--all", "--quiet", "--filter", &named]).await?;
    if !found.trim().is_empty() {
        docker(&["rm", "--force", NAME]).await?;
    }
    Ok(())
}

async fn docker(args: &[&str]) -> Result<String> {
    let output = Command::new("docker")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .await
        .context("starting docker")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "docker {} ({}): {said}",
        args.join(" "),
        output.status
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
