//! Which address arrives: what a CIDR rule has to name for a client outside, through each
//! node. kube-proxy decides that, not the client.

use super::read::Known;
use ringfence_policy::model::{ServiceType, TrafficPolicy};
use ringfence_policy::path::{self, Door as Knocked, Origin, Proxy, Ways};
use serde::Serialize;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// A port of a Service that clients from outside can reach.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Door {
    /// Its Service.
    pub service: String,
    /// `TCP 80`
    pub port: String,
    /// The node port.
    pub node_port: u16,
    /// `Cluster` or `Local`
    pub external_traffic_policy: &'static str,
    /// By entry node.
    pub arrives: Vec<Arrival>,
}

/// What a policy sees of a client that enters at a node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Arrival {
    /// The entry node.
    pub node: String,
    /// The source addresses; none: nobody answers there.
    pub sources: Vec<IpAddr>,
    /// Whether one of them is not the client's.
    pub masqueraded: bool,
    /// Why nobody answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_answer: Option<String>,
}

/// The doors of a namespace's Services for `client`.
pub fn of(known: &Known, namespace: &str, client: IpAddr) -> Vec<Door> {
    let snapshot = &known.snapshot;
    let proxy = Proxy {
        masquerade_all: known.masquerade_all == Some(true),
    };
    let origin = Origin::of(snapshot, client);
    let mut doors = Vec::new();
    let services = snapshot.services.values().filter(|service| {
        let outer = [ServiceType::NodePort, ServiceType::LoadBalancer];
        *service.key.namespace == *namespace && outer.contains(&service.service_type)
    });
    for service in services {
        for port in &service.ports {
            let Some(node_port) = port.node_port else {
                continue;
            };
            let arrives = snapshot.nodes.values().map(|node| {
                let knocked = Knocked::NodePort(Arc::clone(node));
                let ways = path::ways(snapshot, proxy, &origin, service, port, &knocked);
                arrival(&node.name, &ways)
            });
            doors.push(Door {
                service: service.key.name.to_string(),
                port: format!("{} {}", port.protocol, port.port),
                node_port,
                external_traffic_policy: match service.external_traffic_policy {
                    TrafficPolicy::Cluster => "Cluster",
                    TrafficPolicy::Local => "Local",
                },
                arrives: arrives.collect(),
            });
        }
    }
    doors
}

fn arrival(node: &str, ways: &Ways) -> Arrival {
    let mut arrival = Arrival {
        node: node.to_owned(),
        sources: Vec::new(),
        masqueraded: false,
        no_answer: None,
    };
    match ways {
        Ways::None(why) => arrival.no_answer = Some(why.clone()),
        Ways::Some(ways) => {
            let sources: BTreeSet<IpAddr> = ways.iter().map(|way| way.ingress.src).collect();
            arrival.sources = sources.into_iter().collect();
            arrival.masqueraded = ways.iter().any(|way| way.masqueraded.is_some());
        }
    }
    arrival
}
