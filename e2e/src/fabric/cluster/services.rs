//! Whether kube-proxy leads where it should, on every node.

use super::lab::Lab;
use crate::controlplane::Leads;
use crate::fabric::Topology;
use crate::patience::within;
use anyhow::{Result, ensure};
use std::collections::BTreeSet;
use std::time::Duration;

/// kube-proxy collects changes for up to a second.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a node's rules are read with, in either mode of kube-proxy.
const READ: &str = "iptables-save -t nat; nft list table ip kube-proxy 2>/dev/null; true";

/// Waits until the rules of every node lead where the objects say, and to no other pod of a
/// case.
pub(super) fn wait(lab: &Lab, topology: &Topology, leads: &Leads) -> Result<()> {
    if !lab.is_enforced() {
        // Nobody is there to read the rules with.
        return Ok(());
    }
    topology.nodes.iter().try_for_each(|node| {
        let what = format!("{}: kube-proxy leads to {leads:?}", node.name);
        within(PATIENCE, &what, || {
            let rules = lab.on_node(&node.name, &["sh", "-c", READ])?;
            let mut found = Leads::read(&rules);
            // The cluster's own Services belong to no case.
            found.endpoints.retain(|address, _| {
                let mut cases = topology.given.values();
                cases.any(|own| own.contains(&address.ip()))
            });
            let wanted: BTreeSet<u16> = leads.doors.keys().map(|(port, _)| *port).collect();
            found.doors.retain(|(port, _), _| wanted.contains(port));
            ensure!(found == *leads, "it leads to {found:?}");
            Ok(true)
        })
    })
}
