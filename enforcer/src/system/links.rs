//! Links, addresses and routes of this node, by rtnetlink.

use super::netlink::{self, Attributes, Malformed, Protocol, Request, Socket, native32, text};
use super::{Bypass, Error};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;

/// Lengths of `ifinfomsg`, `ifaddrmsg`, `rtmsg`.
const LINK: usize = 16;
const ADDRESS: usize = 8;
const ROUTE: usize = 12;

const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_EXT_MASK: u16 = 29;
/// `RTEXT_FILTER_SKIP_STATS`: half of a link's message are counters.
const SKIP_STATS: u32 = 1 << 3;
const IFLA_BR_NF_CALL_IPTABLES: u16 = 36;
const IFLA_BR_NF_CALL_IP6TABLES: u16 = 37;

/// How often a dump that a change disturbed is repeated.
const ATTEMPTS: usize = 5;

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `bridge`, `veth`, `vxlan` ...; empty for hardware.
    pub kind: String,
    /// For a bridge: `nf_call_iptables`, `nf_call_ip6tables`.
    pub calls: Option<(bool, bool)>,
}

/// A route of the main table or another, as far as we need to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// To where.
    pub to: IpNet,
    /// Through which interface.
    pub link: u32,
    /// No next hop: the destination is on the link.
    pub direct: bool,
}

/// Every link, or those of one kind.
pub(super) fn links(kind: Option<&str>, timeout: Duration) -> Result<Vec<Link>, Error> {
    let mut request = Request::new(GET_LINK, netlink::DUMP, &[0; LINK])
        .attribute(IFLA_EXT_MASK, &SKIP_STATS.to_ne_bytes());
    if let Some(kind) = kind {
        request = request.nested(IFLA_LINKINFO, |r| r.text(1, kind));
    }
    let mut links = dump("listing links", &request, timeout, NEW_LINK, parse_link)?;
    // Kernels before 4.4 ignore the filter.
    links.retain(|link| kind.is_none_or(|kind| link.kind == kind));
    Ok(links)
}

/// Every address of this node, with its link.
pub(super) fn addresses(timeout: Duration) -> Result<Vec<(IpAddr, u32)>, Error> {
    let request = Request::new(GET_ADDRESS, netlink::DUMP, &[0; ADDRESS]);
    let found = dump(
        "listing addresses",
        &request,
        timeout,
        NEW_ADDRESS,
        parse_address,
    )?;
    Ok(found.into_iter().flatten().collect())
}

/// Every unicast route to a network or host, both families.
pub(super) fn routes(timeout: Duration) -> Result<Vec<Route>, Error> {
    let request = Request::new(GET_ROUTE, netlink::DUMP, &[0; ROUTE]);
    let found = dump("listing routes", &request, timeout, NEW_ROUTE, parse_route)?;
    Ok(found.into_iter().flatten().collect())
}

/// Lets iptables and ip6tables see what a bridge forwards.
pub(super) fn set_bridge_calls(bridge: &Link, timeout: Duration) -> Result<(), Error> {
    let mut fixed = [0; LINK];
    fixed[4..8].copy_from_slice(&bridge.index.to_ne_bytes());
    let request = Request::new(NEW_LINK, netlink::ACK, &fixed).nested(IFLA_LINKINFO, |r| {
        r.text(1, "bridge").nested(2, |r| {
            r.attribute(IFLA_BR_NF_CALL_IPTABLES, &[1])
                .attribute(IFLA_BR_NF_CALL_IP6TABLES, &[1])
        })
    });
    Socket::open(
        Protocol::Route,
        timeout,
        "setting nf_call_iptables of a bridge",
    )?
    .exchange(request, &mut |_, _| Ok(()))?;
    Ok(())
}

/// See [`super::Kernel::bindings`].
pub(super) fn bindings(
    pods: &BTreeSet<IpAddr>,
    timeout: Duration,
) -> Result<Vec<(IpAddr, String)>, Error> {
    let names: BTreeMap<u32, String> = links(None, timeout)?
        .into_iter()
        .map(|link| (link.index, link.name))
        .collect();
    let mut found = BTreeSet::new();
    for route in routes(timeout)? {
        let host = route.to.prefix_len() == route.to.max_prefix_len();
        if host && route.direct && pods.contains(&route.to.addr()) {
            // A link that came after the names were read is found at the next call.
            if let Some(name) = names.get(&route.link) {
                found.insert((route.to.addr(), name.clone()));
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// See [`super::Kernel::bypasses`].
pub(super) fn bypasses(links: &[Link]) -> Vec<Bypass> {
    let mut found: Vec<Bypass> = links.iter().filter_map(bypass).collect();
    found.sort();
    found
}

fn bypass(link: &Link) -> Option<Bypass> {
    let (blocking, reason) = match (link.name.as_str(), link.kind.as_str()) {
        ("cilium_host" | "cilium_net", _) => (
            true,
            "Cilium's eBPF datapath carries pod packets past netfilter; use its own policies",
        ),
        ("bpfin.cali" | "bpfout.cali", _) => (
            true,
            "Calico's eBPF datapath carries pod packets past netfilter; switch Calico to its iptables dataplane",
        ),
        ("ovs-system", _) | (_, "openvswitch") => (
            true,
            "Open vSwitch forwards pod packets in its own datapath, past netfilter",
        ),
        (_, "macvlan" | "macvtap") => (
            false,
            "pods attached by macvlan reach the wire without passing this node's netfilter",
        ),
        (_, "ipvlan" | "ipvtap") => (
            false,
            "pods attached by ipvlan reach the wire without passing this node's netfilter",
        ),
        (_, "netkit") => (
            false,
            "pods attached by netkit are served by eBPF programs, which may pass netfilter by",
        ),
        _ => return None,
    };
    Some(Bypass {
        link: link.name.clone(),
        reason: reason.to_owned(),
        blocking,
    })
}

fn dump<T>(
    what: &'static str,
    request: &Request,
    timeout: Duration,
    wanted: u16,
    parse: fn(&[u8]) -> Result<T, Malformed>,
) -> Result<Vec<T>, Error> {
    let unexpected = |found: String| Error::Unexpected {
        what: format!("netlink, {what}"),
        found,
    };
    for _ in 0..ATTEMPTS {
        let mut found = Vec::new();
        let interrupted = Socket::open(Protocol::Route, timeout, what)?.exchange(
            request.clone(),
            &mut |kind, payload| {
                if kind == wanted {
                    found.push(parse(payload).map_err(|m| unexpected(m.to_string()))?);
                }
                Ok(())
            },
        )?;
        if !interrupted {
            return Ok(found);
        }
    }
    Err(unexpected(format!(
        "changes during each of {ATTEMPTS} attempts"
    )))
}

// === parsing (pure) ===

fn parse_link(payload: &[u8]) -> Result<Link, Malformed> {
    let attributes = Attributes::after(payload, LINK)?;
    let mut link = Link {
        index: native32(&payload[4..]).unwrap_or_default(),
        name: attributes.find(IFLA_IFNAME)?.map(text).unwrap_or_default(),
        ..Link::default()
    };
    if let Some(info) = attributes.find(IFLA_LINKINFO)? {
        let info = Attributes::new(info);
        link.kind = info.find(1)?.map(text).unwrap_or_default();
        if let (true, Some(data)) = (link.kind == "bridge", info.find(2)?) {
            let on = |kind| {
                let value = Attributes::new(data).find(kind)?;
                Ok(value.and_then(<[u8]>::first).is_some_and(|v| *v != 0))
            };
            link.calls = Some((
                on(IFLA_BR_NF_CALL_IPTABLES)?,
                on(IFLA_BR_NF_CALL_IP6TABLES)?,
            ));
        }
    }
    Ok(link)
}

fn parse_address(payload: &[u8]) -> Result<Option<(IpAddr, u32)>, Malformed> {
    let attributes = Attributes::after(payload, ADDRESS)?;
    let index = native32(&payload[4..]).unwrap_or_default();
    // On a point-to-point link IFA_ADDRESS (1) is the peer, IFA_LOCAL (2) is ours.
    let value = match attributes.find(2)? {
        Some(local) => Some(local),
        None => attributes.find(1)?,
    };
    Ok(value.and_then(address).map(|address| (address, index)))
}

fn parse_route(payload: &[u8]) -> Result<Option<Route>, Malformed> {
    const UNICAST: u8 = 1;
    let attributes = Attributes::after(payload, ROUTE)?;
    let &[_, length, _, _, _, _, _, kind, ..] = payload else {
        return Err(Malformed("a route that is cut"));
    };
    let (mut to, mut link, mut direct) = (None, None, true);
    for attribute in attributes {
        match attribute? {
            (1, value) => to = address(value),
            (4, value) => link = native32(value),
            // RTA_GATEWAY, RTA_MULTIPATH, RTA_VIA
            (5 | 9 | 18, _) => direct = false,
            _ => {}
        }
    }
    let (UNICAST, Some(to), Some(link)) = (kind, to, link) else {
        return Ok(None);
    };
    let to = IpNet::new(to, length).map_err(|_| Malformed("a prefix that is too long"))?;
    Ok(Some(Route { to, link, direct }))
}

fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => <[u8; 4]>::try_from(value)
            .ok()
            .map(|o| Ipv4Addr::from(o).into()),
        16 => <[u8; 16]>::try_from(value)
            .ok()
            .map(|o| Ipv6Addr::from(o).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use test_case::test_case;

    #[test_case("cilium_host", "veth", Some(true))]
    #[test_case("bpfout.cali", "veth", Some(true))]
    #[test_case("ovs-system", "openvswitch", Some(true))]
    #[test_case("br-int", "openvswitch", Some(true))]
    #[test_case("net1", "macvlan", Some(false))]
    #[test_case("net1", "ipvlan", Some(false))]
    #[test_case("cali1234", "veth", None)]
    #[test_case("cni0", "bridge", None)]
    #[test_case("eth0", "", None)]
    fn known_datapaths(name: &str, kind: &str, blocking: Option<bool>) {
        let link = Link {
            name: name.to_owned(),
            kind: kind.to_owned(),
            ..Link::default()
        };
        let found = bypasses(&[link]);
        assert_eq!(found.first().map(|bypass| bypass.blocking), blocking);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (parse_link(&bytes), parse_address(&bytes), parse_route(&bytes));
        }
    }
}
