//! kube-proxy on every node of a world, and when it knows what the API server knows.

use super::{ApiServer, KubeProxy, Leads, PATIENCE, ProxyOptions};
use crate::admission;
use crate::fabric::{Services, World};
use crate::patience::within;
use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Service;
use kube::api::Api;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::Ipv6Addr;

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

/// Waits until every node's rules lead where the objects say, and nowhere else.
pub(super) fn wait(
    proxies: &BTreeMap<String, KubeProxy>,
    world: &World,
    leads: &Leads,
) -> Result<()> {
    proxies.iter().try_for_each(|(name, proxy)| {
        let node = world.node(name)?;
        let what = format!("{name}: kube-proxy leads to {leads:?}");
        within(PATIENCE, &what, || {
            let rules = proxy.rules(node)?;
            let mut found = Leads::read(&rules);
            // The webhook's own Service belongs to no case.
            found
                .endpoints
                .retain(|address, _| address.port() != admission::PORT);
            ensure!(found == *leads, "it leads to {found:?}:\n{rules}");
            Ok(true)
        })
    })
}
