//! Whether kube-proxy leads where it should, on every node.

use super::LOOK;
use super::lab::Lab;
use crate::controlplane::destinations;
use crate::fabric::Topology;
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// kube-proxy collects changes for up to a second.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a node's rules are read with, in either mode of kube-proxy.
const READ: &str = "iptables-save -t nat; nft list table ip kube-proxy 2>/dev/null; true";

/// Waits until the rules of every node lead to each endpoint as often as there are Service
/// ports in front of it, and to no other pod of a case.
pub(super) fn wait(
    lab: &Lab,
    topology: &Topology,
    endpoints: &BTreeMap<SocketAddr, usize>,
) -> Result<()> {
    if !lab.is_enforced() {
        // Nobody is there to read the rules with.
        return Ok(());
    }
    let deadline = Instant::now() + PATIENCE;
    for node in &topology.nodes {
        loop {
            let rules = lab.on_node(&node.name, &["sh", "-c", READ])?;
            let mut found = destinations(&rules);
            // The cluster's own Services belong to no case.
            found.retain(|address, _| {
                topology
                    .given
                    .values()
                    .any(|own| own.contains(&address.ip()))
            });
            if found == *endpoints {
                break;
            }
            if Instant::now() >= deadline {
                bail!(
                    "{}: kube-proxy leads to {found:?}, not to {endpoints:?}",
                    node.name
                );
            }
            std::thread::sleep(LOOK);
        }
    }
    Ok(())
}
