//! kube-proxy on every node of a world, and when it knows what the API server knows.

use super::{ApiServer, KubeProxy, PATIENCE, ProxyOptions};
use crate::admission;
use crate::fabric::{Services, World};
use crate::patience::within;
use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Service;
use kube::api::Api;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The pods' IPv6 range in every world.
const PODS6: (Ipv6Addr, u8) = (Ipv6Addr::new(0xfd00, 0x10, 0x16, 0, 0, 0, 0, 0), 48);

/// One kube-proxy for each node, by the node's name.
pub(super) fn start(
    server: &ApiServer,
    world: &World,
    services: &Services,
) -> Result<BTreeMap<String, KubeProxy>> {
    let pods = [
        IpNet::new(services.pods.0.into(), services.pods.1)?,
        IpNet::new(PODS6.0.into(), PODS6.1)?,
    ];
    let options = ProxyOptions {
        mode: services.mode,
        masquerade_all: services.masquerade_all,
        cluster_cidrs: pods.to_vec(),
    };
    world
        .nodes()
        .map(|node| {
            // What CNI plugins do: a pod leaves the pods' network with its node's address.
            for (program, range) in [("iptables", pods[0]), ("ip6tables", pods[1])] {
                let range = range.to_string();
                let rule = [
                    "-w",
                    "5",
                    "-t",
                    "nat",
                    "-A",
                    "POSTROUTING",
                    "-s",
                    &range,
                    "!",
                    "-d",
                    &range,
                    "-o",
                    "eth0",
                    "-j",
                    "MASQUERADE",
                ];
                node.exec(program, &rule, "")?;
            }
            Ok((node.name().to_owned(), server.kube_proxy(node, &options)?))
        })
        .collect()
}

/// A Service as it is stored, with the addresses and ports that it was given.
pub(super) fn stored(server: &ApiServer, namespace: &str, name: &str) -> Result<Value> {
    let api: Api<Service> = Api::namespaced(server.client(), namespace);
    let found = server.block_on(api.get(name));
    let found = found.with_context(|| format!("reading Service {namespace}/{name}"))?;
    let mut value = serde_json::to_value(found)?;
    value["apiVersion"] = "v1".into();
    value["kind"] = "Service".into();
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.retain(|key, _| matches!(key.as_str(), "name" | "namespace" | "labels"));
    }
    Ok(value)
}

/// Waits until every node's rules lead to each endpoint as often as there are Service
/// ports in front of it, and to no other.
pub(super) fn wait(
    proxies: &BTreeMap<String, KubeProxy>,
    world: &World,
    endpoints: &BTreeMap<SocketAddr, usize>,
) -> Result<()> {
    proxies.iter().try_for_each(|(name, proxy)| {
        let node = world.node(name)?;
        let what = format!("{name}: kube-proxy leads to {endpoints:?}");
        within(PATIENCE, &what, || {
            let rules = proxy.rules(node)?;
            let mut found = destinations(&rules);
            // The webhook's own Service belongs to no case.
            found.retain(|address, _| address.port() != admission::PORT);
            ensure!(found == *endpoints, "it leads to {found:?}:\n{rules}");
            Ok(true)
        })
    })
}

/// To which pods the rules lead, and how often: `--to-destination 10.16.1.10:80` in
/// iptables; in nftables `dnat to 10.16.1.10:80`, or out of a map with `10.16.1.10 . 80`,
/// which may go over several lines.
pub(crate) fn destinations(rules: &str) -> BTreeMap<SocketAddr, usize> {
    let words: Vec<&str> = rules
        .split_whitespace()
        .map(|word| word.trim_end_matches(','))
        .collect();
    let mut found: BTreeMap<SocketAddr, usize> = BTreeMap::new();
    let mut in_map = false;
    // Repeats the endpoints of this node, for externalTrafficPolicy Local.
    let mut in_local_chain = false;
    for (index, word) in words.iter().enumerate() {
        let next = |n: usize| words.get(index + n).copied().unwrap_or_default();
        let destination = match *word {
            "--to-destination" => next(1).parse().ok(),
            "chain" => {
                in_local_chain = next(1).starts_with("local-");
                None
            }
            _ if in_local_chain => None,
            "dnat" => {
                in_map = true;
                next(2).parse().ok()
            }
            "}" => {
                in_map = false;
                None
            }
            ip if in_map && next(1) == "." => {
                let (ip, port) = (ip.parse::<IpAddr>(), next(2).parse::<u16>());
                ip.ok().zip(port.ok()).map(SocketAddr::from)
            }
            _ => None,
        };
        if let Some(address) = destination {
            *found.entry(address).or_default() += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_modes_name_their_destinations() {
        let rules = "-A KUBE-SEP-X -p tcp -j DNAT --to-destination 10.16.1.10:80\n\
                     set hairpin-connections { elements = { 10.16.1.10 . 10.16.1.10 . tcp . 80 } }\n\
                     chain local-X { meta l4proto tcp dnat to 10.16.1.10:80 }\n\
                     chain service-X { meta l4proto tcp dnat to 10.16.1.10:80\n\
                     meta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 10.16.1.10 . 80,\n\
                     1 : 10.16.1.11 . 81 }";
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let expected = [(address("10.16.1.10:80"), 3), (address("10.16.1.11:81"), 1)];
        assert_eq!(destinations(rules), expected.into());
    }
}
