//! What a case's objects become when they arrive: who has which address, and what a
//! kubelet adds to a pod.

use crate::controlplane::Leads;
use crate::fabric::Topology;
use crate::objects::{Reference, State};
use anyhow::{Context, Result, anyhow, bail};
use ringfence_policy::model::TrafficPolicy;
use ringfence_policy::{Snapshot, path};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};

/// Before the name of a Service where a cell calls its cluster address.
pub(super) const SERVICE: &str = "Service ";

/// Whom cells may name: pods, nodes, externals, and Services by `Service namespace/name`.
pub(super) struct Names<'a> {
    /// Pods, nodes, externals.
    pub topology: &'a Topology,
    /// Services.
    pub state: &'a State,
}

impl Names<'_> {
    /// All pods of the topology, `namespace/name`.
    pub fn pods(&self) -> Vec<String> {
        let pods = self.topology.pods.iter();
        pods.map(|pod| format!("{}/{}", pod.namespace, pod.name))
            .collect()
    }

    /// The addresses behind a name, IPv4 first.
    pub fn addresses(&self, name: &str) -> Result<Vec<IpAddr>> {
        match name.strip_prefix(SERVICE) {
            Some(key) => service_addresses(self.state, key),
            None => self
                .topology
                .addresses(name)
                .with_context(|| format!("no pod, node or external is called {name:?}")),
        }
    }
}

/// The cluster addresses of a Service that was applied.
pub(super) fn service_addresses(state: &State, key: &str) -> Result<Vec<IpAddr>> {
    let (namespace, name) = key
        .split_once('/')
        .with_context(|| format!("{key:?}: write Service namespace/name"))?;
    let reference = Reference {
        kind: "Service".into(),
        namespace: namespace.into(),
        name: name.into(),
    };
    let service = state
        .get(&reference)
        .with_context(|| format!("{reference} was not applied"))?;
    let all = service
        .pointer("/spec/clusterIPs")
        .and_then(Value::as_array);
    let mut all: Vec<&str> = all
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if all.is_empty() {
        let address = service.pointer("/spec/clusterIP").and_then(Value::as_str);
        // An API server gives one out; a rehearsal has none.
        all.push(address.unwrap_or("10.96.255.254"));
    }
    let parsed = all.into_iter().map(|address| {
        let read = address.parse();
        read.with_context(|| format!("{reference}: cluster address {address}"))
    });
    parsed.collect()
}

/// Where the Services of a snapshot lead.
pub(super) fn leads(snapshot: &Snapshot) -> Leads {
    let mut leads = Leads::default();
    for service in snapshot.services.values() {
        let local = service.external_traffic_policy == TrafficPolicy::Local;
        for port in &service.ports {
            for v4 in [true, false] {
                if !service.cluster_ips.iter().any(|ip| ip.is_ipv4() == v4) {
                    continue;
                }
                let endpoints = path::endpoints(snapshot, service, port, v4);
                if let (Some(door), false) = (port.node_port, endpoints.is_empty()) {
                    *leads.doors.entry((door, local)).or_default() += 1;
                }
                for (_, (ip, number)) in endpoints {
                    let endpoint = SocketAddr::new(ip, number);
                    *leads.endpoints.entry(endpoint).or_default() += 1;
                }
            }
        }
    }
    leads
}

/// The object after a JSON merge patch (RFC 7386) in YAML.
pub(super) fn patched(state: &State, reference: &Reference, patch: &str) -> Result<Value> {
    let object = state.get(reference);
    let mut object = object
        .with_context(|| format!("there is no {reference} to change"))?
        .clone();
    let patch: Value =
        serde_saphyr::from_str(patch).with_context(|| format!("the patch of {reference}"))?;
    merge(&mut object, &patch);
    Ok(object)
}

/// Applies a JSON merge patch: null removes, lists are replaced.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    if let Value::Object(fields) = target {
        for (key, change) in changes {
            if change.is_null() {
                fields.remove(key);
            } else {
                merge(fields.entry(key.clone()).or_insert(Value::Null), change);
            }
        }
    }
}

/// Plays scheduler and kubelet for a pod that a document writes without node and status:
/// it runs where the topology has a pod of its name; with hostNetwork on node1.
pub(super) fn scheduled(mut object: Value, topology: &Topology) -> Result<Value> {
    if object["kind"] != "Pod" || object.get("status").is_some() {
        return Ok(object);
    }
    let Reference {
        namespace, name, ..
    } = Reference::of(&object)?;
    let known = topology.pods.iter();
    let known = known
        .into_iter()
        .find(|pod| pod.namespace == namespace && pod.name == name);
    let on_the_node = object.pointer("/spec/hostNetwork") == Some(&json!(true));
    let (node, ips) = match (known, on_the_node, object.pointer("/spec/nodeName")) {
        (Some(pod), false, _) => {
            let addresses = topology.addresses(&format!("{namespace}/{name}"));
            (pod.node.clone(), addresses.unwrap_or_default())
        }
        (None, true, node) => {
            let node = node.and_then(Value::as_str).unwrap_or("node1").to_owned();
            let addresses = topology.addresses(&node);
            let addresses = addresses.with_context(|| format!("{name}: no node {node}"))?;
            (node, addresses)
        }
        _ => bail!("Pod {namespace}/{name} has no status, and the case has no such pod"),
    };
    let host = topology.addresses(&node).and_then(|a| a.first().copied());
    let host = host.ok_or_else(|| anyhow!("Pod {namespace}/{name}: no node {node}"))?;
    object["spec"]["nodeName"] = node.into();
    object["status"] = json!({
        "phase": "Running",
        "hostIP": host,
        "podIP": ips.first(),
        "podIPs": ips.iter().map(|ip| json!({ "ip": ip })).collect::<Vec<_>>(),
        "conditions": [{ "type": "Ready", "status": "True" }],
    });
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::{Placement, PodKind};

    #[test]
    fn a_merge_patch_removes_by_null_and_replaces_lists() {
        let mut object = json!({"a": {"b": 1, "c": 2}, "l": [1, 2]});
        merge(&mut object, &json!({"a": {"b": null, "d": 3}, "l": [3]}));
        assert_eq!(object, json!({"a": {"c": 2, "d": 3}, "l": [3]}));
    }

    #[test]
    fn pods_get_the_address_of_their_namespace_or_node() {
        let topology = Topology::new(PodKind::Bridge, 2).pods(["dev/a@node2:32"], Placement::Same);
        let pod = json!({"kind": "Pod", "metadata": {"namespace": "dev", "name": "a"}});
        let pod = scheduled(pod, &topology).unwrap();
        assert_eq!(pod["status"]["podIP"], "10.16.2.32");
        assert_eq!(pod["spec"]["nodeName"], "node2");
        let host = json!({"kind": "Pod", "metadata": {"namespace": "dev", "name": "h"},
            "spec": {"hostNetwork": true}});
        assert_eq!(
            scheduled(host, &topology).unwrap()["status"]["podIP"],
            "10.102.123.11"
        );
        let stranger = json!({"kind": "Pod", "metadata": {"namespace": "dev", "name": "s"}});
        assert!(scheduled(stranger, &topology).is_err());
    }
}
