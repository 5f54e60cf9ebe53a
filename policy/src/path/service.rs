//! Ports of Services, and the pods behind them.

use crate::model::{Pod, Protocol, Service, ServicePort, TargetPort};
use crate::snapshot::Snapshot;
use std::net::IpAddr;
use std::sync::Arc;

/// The pods behind a Service port that could answer, with address and port.
pub fn endpoints(
    snapshot: &Snapshot,
    service: &Service,
    port: &ServicePort,
    v4: bool,
) -> Vec<(Arc<Pod>, (IpAddr, u16))> {
    let Some(selector) = &service.selector else {
        return Vec::new();
    };
    snapshot
        .pods
        .values()
        .filter(|p| p.key.namespace == service.key.namespace && !p.terminating)
        .filter(|p| p.is_target() || p.host_network)
        .filter(|p| selector.iter().all(|(k, v)| p.labels.get(k) == Some(v)))
        .filter_map(|p| {
            let address = p.ips.iter().find(|a| a.is_ipv4() == v4)?;
            let number = match &port.target {
                TargetPort::Number(n) => *n,
                TargetPort::Named(name) => p.named_port(name, port.protocol)?,
            };
            Some((Arc::clone(p), (*address, number)))
        })
        .collect()
}

/// The Service port that a number means at a door: `port` at the cluster address,
/// `nodePort` at a node. Without a number: the only port there is.
pub fn service_port(
    service: &Service,
    number: Option<u16>,
    protocol: Protocol,
    node_port: bool,
) -> Result<&ServicePort, String> {
    let of_protocol: Vec<&ServicePort> = service
        .ports
        .iter()
        .filter(|p| p.protocol == protocol)
        .collect();
    let found = match number {
        None if of_protocol.len() == 1 => of_protocol.first().copied(),
        None => None,
        Some(n) if node_port => of_protocol.iter().copied().find(|p| p.node_port == Some(n)),
        Some(n) => of_protocol.iter().copied().find(|p| p.port == n),
    };
    found.ok_or_else(|| {
        let known: Vec<String> = service
            .ports
            .iter()
            .map(|p| format!("{}/{}", p.port, p.protocol))
            .collect();
        format!(
            "Service {} has the ports {}; name one of them as SERVICE:PORT",
            service.key,
            known.join(", ")
        )
    })
}

/// The Service that owns a node port, if any does.
pub fn node_port_owner(
    snapshot: &Snapshot,
    number: u16,
    protocol: Protocol,
) -> Option<(&Arc<Service>, &ServicePort)> {
    snapshot.services.values().find_map(|s| {
        s.ports
            .iter()
            .find(|p| p.node_port == Some(number) && p.protocol == protocol)
            .map(|p| (s, p))
    })
}

/// A target in words.
pub(super) fn target_text(target: &TargetPort) -> String {
    match target {
        TargetPort::Number(n) => n.to_string(),
        TargetPort::Named(name) => format!("named {name}"),
    }
}
