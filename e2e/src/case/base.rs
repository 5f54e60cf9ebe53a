//! The objects that every case finds: nodes, namespaces and pods as the fabric made them.

use crate::fabric::Topology;
use crate::objects::State;
use crate::probe::PORTS;
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Nodes; namespaces labelled `ns: NAME`; pods labelled `pod: NAME`, running, with
/// container ports named `serve-80-tcp` and so on.
pub fn objects(topology: &Topology) -> Result<State> {
    let mut state = State::default();
    for object in nodes(topology) {
        state.put(object)?;
    }
    let names: BTreeSet<&str> = topology.pods.iter().map(|p| p.namespace.as_str()).collect();
    for name in names {
        let labels = json!({ "ns": name, "kubernetes.io/metadata.name": name });
        let metadata = json!({ "name": name, "labels": labels });
        state.put(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata }))?;
    }
    for pod in pods(topology) {
        state.put(pod)?;
    }
    Ok(state)
}

fn nodes(topology: &Topology) -> impl Iterator<Item = Value> {
    topology.nodes.iter().map(|node| {
        let mut metadata = json!({ "name": node.name });
        if topology.overlay {
            let tunnel = node.pods4.to_string();
            metadata["annotations"] = json!({ "projectcalico.org/IPv4VXLANTunnelAddr": tunnel });
        }
        let addresses = [node.v4.to_string(), node.v6.to_string()];
        let addresses = addresses.map(|a| json!({ "type": "InternalIP", "address": a }));
        let ranges = [format!("{}/24", node.pods4), format!("{}/64", node.pods6)];
        json!({
            "apiVersion": "v1", "kind": "Node", "metadata": metadata,
            "spec": { "podCIDR": ranges[0], "podCIDRs": ranges },
            "status": { "addresses": addresses },
        })
    })
}

fn pods(topology: &Topology) -> impl Iterator<Item = Value> {
    topology.pods.iter().filter_map(|pod| {
        let node = topology.node(&pod.node)?;
        let (v4, v6) = (
            node.pod4(pod.host).to_string(),
            node.pod6(pod.host).to_string(),
        );
        Some(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "namespace": pod.namespace, "name": pod.name, "labels": { "pod": pod.name },
            },
            "spec": {
                "nodeName": pod.node,
                "containers": [{ "name": "server", "image": "server", "ports": ports() }],
            },
            "status": {
                "phase": "Running",
                "hostIP": node.v4.to_string(),
                "podIP": v4,
                "podIPs": [{ "ip": v4 }, { "ip": v6 }],
                "conditions": [{ "type": "Ready", "status": "True" }],
            },
        }))
    })
}

/// Container ports for [`PORTS`], named `serve-80-tcp` and so on.
pub(crate) fn ports() -> Vec<Value> {
    let one = |port: &u16, protocol: &str| {
        let name = format!("serve-{port}-{}", protocol.to_lowercase());
        json!({ "name": name, "containerPort": port, "protocol": protocol })
    };
    let both = |port| ["TCP", "UDP"].map(|protocol| one(port, protocol));
    PORTS.iter().flat_map(both).collect()
}
