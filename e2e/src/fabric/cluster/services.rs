//! Whether kube-proxy leads where it should, on every node.

use super::lab::Lab;
use crate::controlplane::destinations;
use crate::fabric::Topology;
use crate::patience::within;
use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

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
    topology.nodes.iter().try_for_each(|node| {
        let what = format!("{}: kube-proxy leads to {endpoints:?}", node.name);
        within(PATIENCE, &what, || {
            let rules = lab.on_node(&node.name, &["sh", "-c", READ])?;
            let mut found = destinations(&rules);
            // The cluster's own Services belong to no case.
            found.retain(|address, _| {
                let mut cases = topology.given.values();
                cases.any(|own| own.contains(&address.ip()))
            });
            ensure!(found == *endpoints, "it leads to {found:?}");
            Ok(true)
        })
    })
}
