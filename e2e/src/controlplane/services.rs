//! kube-proxy on every node of a world, and when it knows what the API server knows.

use super::{ApiServer, KubeProxy, LOOK, PATIENCE, ProxyOptions};
use crate::fabric::{Services, World};
use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Service;
use kube::api::Api;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Instant;

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
    let deadline = Instant::now() + PATIENCE;
    for (name, proxy) in proxies {
        let node = world.node(name)?;
        loop {
            let rules = proxy.rules(node)?;
            let found = destinations(&rules);
            if found == *endpoints {
                break;
            }
            if Instant::now() >= deadline {
                bail!("{name}: kube-proxy leads to {found:?}, not to {endpoints:?}:\n{rules}");
            }
            std::thread::sleep(LOOK);
        }
    }
    Ok(())
}

/// To which pods the rules lead, and how often: `--to-destination 10.16.1.10:80` in
/// iptables, `dnat to 10.16.1.10:80` in nftables.
fn destinations(rules: &str) -> BTreeMap<SocketAddr, usize> {
    let words: Vec<&str> = rules.split_whitespace().collect();
    let mut found = BTreeMap::new();
    for (index, word) in words.iter().enumerate() {
        let after = match *word {
            "--to-destination" => index + 1,
            "dnat" => index + 2,
            _ => continue,
        };
        let address = words.get(after).and_then(|w| w.parse::<SocketAddr>().ok());
        // The API server's own Service has no pod behind it.
        if let Some(address) = address.filter(|a| a.port() != 6443) {
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
                     meta l4proto tcp dnat to 10.16.1.10:80\n dnat ip to 10.16.1.11:81";
        let found = destinations(rules);
        assert_eq!(found.get(&"10.16.1.10:80".parse().unwrap()), Some(&2));
    }
}
