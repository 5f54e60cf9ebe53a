//! What people type for the two ends of a connection.

use anyhow::{Result, anyhow, bail};
use ringfence_policy::Snapshot;
use ringfence_policy::model::{Node, ObjectKey, Pod, Service};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// One end of a connection.
#[derive(Clone, Debug)]
pub enum End {
    /// A pod.
    Pod(Arc<Pod>),
    /// A Service.
    Service(Arc<Service>),
    /// A node.
    Node(Arc<Node>),
    /// A bare address.
    Address(IpAddr),
}

/// The forms that are understood, for error texts and help.
pub const FORMS: &str = "namespace/pod, an address, service/NAMESPACE/NAME or node/NAME";

/// Reads `--from` or `--to`: `ns/pod`, `ns/service`, `pod/ns/name`, `service/ns/name`
/// (`svc/`), `node/name`, a node's name, or an address; each with `:port`.
/// A bare name is a pod or Service of `namespace`.
pub fn parse(text: &str, namespace: &str, snapshot: &Snapshot) -> Result<(End, Option<u16>)> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((End::Address(address), None));
    }
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Ok((End::Address(socket.ip()), Some(socket.port())));
    }
    let (name, port) = match text.rsplit_once(':') {
        None => (text, None),
        Some((name, port)) => {
            let number: u16 = port.parse().ok().filter(|n| *n > 0).ok_or_else(|| {
                anyhow!("{text:?}: found port {port:?}; write a number from 1 to 65535")
            })?;
            (name, Some(number))
        }
    };
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok((End::Address(address), port));
    }
    let parts: Vec<&str> = name.split('/').collect();
    let end = match parts.as_slice() {
        ["pod", ns, pod] => End::Pod(find_pod(snapshot, ns, pod)?),
        ["service" | "svc", ns, service] => End::Service(find_service(snapshot, ns, service)?),
        ["node", node] => End::Node(find_node(snapshot, node)?),
        ["service" | "svc", service] => End::Service(find_service(snapshot, namespace, service)?),
        [ns, name] => pod_or_service(snapshot, ns, name)?,
        [name] if snapshot.nodes.contains_key(*name) => End::Node(find_node(snapshot, name)?),
        [name] => pod_or_service(snapshot, namespace, name)?,
        _ => bail!("{text:?} is none of: {FORMS}"),
    };
    Ok((end, port))
}

fn pod_or_service(snapshot: &Snapshot, namespace: &str, name: &str) -> Result<End> {
    let key = ObjectKey::new(namespace, name);
    if let Some(pod) = snapshot.pods.get(&key) {
        return Ok(End::Pod(Arc::clone(pod)));
    }
    if let Some(service) = snapshot.services.get(&key) {
        return Ok(End::Service(Arc::clone(service)));
    }
    // `kubectl get pods` shows generated names; a workload's name is what people know.
    let prefix = format!("{name}-");
    let mut of_workload = snapshot
        .pods
        .values()
        .filter(|p| *p.key.namespace == *namespace && p.key.name.starts_with(&prefix));
    if let (Some(pod), None) = (of_workload.next(), of_workload.next()) {
        return Ok(End::Pod(Arc::clone(pod)));
    }
    bail!(
        "no pod or Service {key}{}; {}",
        near(
            name,
            snapshot
                .pods
                .keys()
                .chain(snapshot.services.keys())
                .filter(|k| *k.namespace == *namespace)
        ),
        namespaces(snapshot, namespace)
    )
}

fn find_pod(snapshot: &Snapshot, namespace: &str, name: &str) -> Result<Arc<Pod>> {
    let key = ObjectKey::new(namespace, name);
    snapshot.pods.get(&key).cloned().ok_or_else(|| {
        anyhow!(
            "no pod {key}{}; {}",
            near(
                name,
                snapshot.pods.keys().filter(|k| *k.namespace == *namespace)
            ),
            namespaces(snapshot, namespace)
        )
    })
}

fn find_service(snapshot: &Snapshot, namespace: &str, name: &str) -> Result<Arc<Service>> {
    let key = ObjectKey::new(namespace, name);
    snapshot.services.get(&key).cloned().ok_or_else(|| {
        anyhow!(
            "no Service {key}{}; {}",
            near(
                name,
                snapshot
                    .services
                    .keys()
                    .filter(|k| *k.namespace == *namespace)
            ),
            namespaces(snapshot, namespace)
        )
    })
}

fn find_node(snapshot: &Snapshot, name: &str) -> Result<Arc<Node>> {
    snapshot.nodes.get(name).cloned().ok_or_else(|| {
        let known: Vec<&str> = snapshot.nodes.keys().map(AsRef::as_ref).collect();
        anyhow!("no node {name}; the nodes are: {}", known.join(", "))
    })
}

/// Names of the namespace that resemble `name`, as a hint.
fn near<'a>(name: &str, keys: impl Iterator<Item = &'a ObjectKey>) -> String {
    let mut all: Vec<&str> = keys.map(|k| &*k.name).collect();
    all.sort_by_key(|other| std::cmp::Reverse(common(name, other)));
    match all.first() {
        Some(best) if common(name, best) > 1 => format!(" (is it {best}?)"),
        _ => String::new(),
    }
}

/// How many leading bytes two names share.
fn common(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count()
}

fn namespaces(snapshot: &Snapshot, namespace: &str) -> String {
    let here = snapshot
        .pods
        .keys()
        .filter(|k| *k.namespace == *namespace)
        .count();
    if here > 0 {
        return format!("namespace {namespace} has {here} pods");
    }
    let mut known: Vec<&str> = snapshot.pods.keys().map(|k| &*k.namespace).collect();
    known.dedup();
    format!(
        "namespace {namespace} has no pods; these have: {}",
        known.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_policy::model::{Labels, Phase};
    use ringfence_policy::snapshot::Object;
    use test_case::test_case;

    fn snapshot() -> Snapshot {
        let mut s = Snapshot::default();
        s.apply(Object::Pod(Pod {
            key: ObjectKey::new("shop", "frontend-7d9-x2"),
            labels: Labels::default(),
            node: "node-1".into(),
            ips: vec![],
            host_network: false,
            phase: Phase::Running,
            terminating: false,
            api_client: false,
            ports: Arc::new([]),
        }));
        s.apply(Object::Node(Node {
            name: "node-1".into(),
            addresses: vec![],
            pod_cidrs: vec![],
        }));
        s
    }

    #[test_case("10.0.0.1" => "address 10.0.0.1 None"; "address")]
    #[test_case("10.0.0.1:80" => "address 10.0.0.1 Some(80)"; "address and port")]
    #[test_case("[fd00::1]:80" => "address fd00::1 Some(80)"; "IPv6 and port")]
    #[test_case("fd00::1" => "address fd00::1 None"; "IPv6")]
    #[test_case("shop/frontend-7d9-x2:80" => "pod shop/frontend-7d9-x2 Some(80)"; "pod")]
    #[test_case("shop/frontend" => "pod shop/frontend-7d9-x2 None"; "workload with one pod")]
    #[test_case("frontend" => "pod shop/frontend-7d9-x2 None"; "in the default namespace")]
    #[test_case("node-1:31602" => "node node-1 Some(31602)"; "node")]
    #[test_case("node/node-1:31602" => "node node-1 Some(31602)"; "node by prefix")]
    #[test_case("shop/fron:0" => "\"shop/fron:0\": found port \"0\"; write a number from 1 to 65535"; "port zero")]
    #[test_case("shop/froxx" => "no pod or Service shop/froxx (is it frontend-7d9-x2?); namespace shop has 1 pods"; "typo")]
    #[test_case("node/x" => "no node x; the nodes are: node-1"; "no node")]
    fn reads(text: &str) -> String {
        match parse(text, "shop", &snapshot()) {
            Ok((End::Pod(p), port)) => format!("pod {} {port:?}", p.key),
            Ok((End::Service(s), port)) => format!("service {} {port:?}", s.key),
            Ok((End::Node(n), port)) => format!("node {} {port:?}", n.name),
            Ok((End::Address(a), port)) => format!("address {a} {port:?}"),
            Err(e) => e.to_string(),
        }
    }
}
