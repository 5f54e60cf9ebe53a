//! Whether iptables sees what bridges forward.
//!
//! Without it two pods on one bridge talk past every rule. A bridge asks for it by an
//! attribute of its own or the node by sysctl, either is enough; the sysctl also pulls
//! in the bridges of Docker and libvirt, so it is the second choice. VLAN-tagged frames
//! need a sysctl in any case.

use super::links::{self, Link};
use super::{BridgeReport, Error, Mechanism, Shortfall};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// In a container that is not privileged /proc/sys is read-only: the node's is then mounted
/// beside it. Both show the settings of the network namespace of whoever looks.
const SYSCTLS: [&str; 2] = ["/host/proc/sys/net/bridge", "/proc/sys/net/bridge"];
const VLAN_TAGGED: &str = "bridge-nf-filter-vlan-tagged";
const CALLS: [&str; 2] = ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"];

const NOT_LOADED: &str =
    "the kernel module br_netfilter is not loaded: run `modprobe br_netfilter` on the node";

/// Reads, and with `repair` sets what is missing. `load` tries to load `br_netfilter`.
pub(super) fn inspect(
    pod_ranges: &[IpNet],
    repair: bool,
    load: &dyn Fn() -> Result<(), Error>,
    timeout: Duration,
) -> Result<BridgeReport, Error> {
    let mut report = BridgeReport::default();
    let bridges = links::links(Some("bridge"), timeout)?;
    let pod_bridges = pod_bridges(&bridges, pod_ranges, timeout)?;
    if sysctls().is_none() {
        let failure = if repair { load().err() } else { None };
        if sysctls().is_none() {
            // Without any bridge there is nothing to see.
            if !bridges.is_empty() {
                let detail = failure.map(|e| format!(" ({e})")).unwrap_or_default();
                report.shortfalls.push(Shortfall {
                    mechanism: Mechanism::Sysctl(CALLS[0]),
                    reason: format!("{NOT_LOADED}{detail}"),
                });
            }
            return Ok(report);
        }
    }
    sysctl(VLAN_TAGGED, repair, &mut report);
    let mut by_attribute = !pod_bridges.is_empty();
    for bridge in pod_bridges {
        by_attribute &= attribute(bridge, repair, &mut report, timeout)?;
    }
    if !by_attribute {
        for name in CALLS {
            sysctl(name, repair, &mut report);
        }
        let by_sysctl = CALLS
            .iter()
            .all(|name| report.active.contains(&Mechanism::Sysctl(name)));
        if by_sysctl {
            report
                .shortfalls
                .retain(|s| !matches!(s.mechanism, Mechanism::Bridge(_)));
        }
    }
    Ok(report)
}

/// The bridges that have an address or a route inside `ranges`.
fn pod_bridges<'a>(
    bridges: &'a [Link],
    ranges: &[IpNet],
    timeout: Duration,
) -> Result<Vec<&'a Link>, Error> {
    if bridges.is_empty() || ranges.is_empty() {
        return Ok(Vec::new());
    }
    let mut inside: BTreeSet<u32> = links::addresses(timeout)?
        .into_iter()
        .filter(|(address, _)| ranges.iter().any(|range| range.contains(address)))
        .map(|(_, link)| link)
        .collect();
    // Routes can be thousands; they matter only for a bridge without such an address.
    if !bridges.iter().all(|bridge| inside.contains(&bridge.index)) {
        let routes = links::routes(timeout)?;
        let to_pods = routes
            .iter()
            .filter(|r| ranges.iter().any(|range| range.contains(&r.to)));
        inside.extend(to_pods.map(|route| route.link));
    }
    Ok(bridges
        .iter()
        .filter(|bridge| inside.contains(&bridge.index))
        .collect())
}

/// True when the bridge's own attributes are in force.
fn attribute(
    bridge: &Link,
    repair: bool,
    report: &mut BridgeReport,
    timeout: Duration,
) -> Result<bool, Error> {
    let mechanism = Mechanism::Bridge(bridge.name.clone());
    let is_on = |link: &Link| link.calls == Some((true, true));
    if is_on(bridge) {
        report.active.push(mechanism);
        return Ok(true);
    }
    let reason = match repair.then(|| links::set_bridge_calls(bridge, timeout)) {
        None => "nf_call_iptables or nf_call_ip6tables of the bridge is 0".to_owned(),
        Some(Err(error)) => error.to_string(),
        Some(Ok(())) => {
            let now = links::links(Some("bridge"), timeout)?;
            if now
                .iter()
                .any(|link| link.index == bridge.index && is_on(link))
            {
                report.changed.push(mechanism.clone());
                report.active.push(mechanism);
                return Ok(true);
            }
            "the kernel accepted the attributes and did not keep them".to_owned()
        }
    };
    report.shortfalls.push(Shortfall { mechanism, reason });
    Ok(false)
}

/// The folder of the bridge settings; `None` without `br_netfilter`.
fn sysctls() -> Option<&'static Path> {
    let mut all = SYSCTLS.into_iter().map(Path::new);
    all.find(|folder| folder.exists())
}

fn sysctl(name: &'static str, repair: bool, report: &mut BridgeReport) {
    let path = sysctls().unwrap_or(Path::new(SYSCTLS[1])).join(name);
    let is_on = || fs::read_to_string(&path).map(|value| !matches!(value.trim(), "0" | ""));
    let mechanism = Mechanism::Sysctl(name);
    let reason = match is_on() {
        Ok(true) => {
            report.active.push(mechanism);
            return;
        }
        Ok(false) if !repair => "it is 0".to_owned(),
        Ok(false) => match fs::write(&path, "1").and_then(|()| is_on()) {
            Ok(true) => {
                report.changed.push(mechanism.clone());
                report.active.push(mechanism);
                return;
            }
            Ok(false) => "it stays 0 although 1 was written".to_owned(),
            Err(error) => format!(
                "writing {}: {error}; give the enforcer the node's /proc/sys/net at /host/proc/sys/net, or run `sysctl -w net.bridge.{name}=1` on the node",
                path.display()
            ),
        },
        Err(error) => format!("reading {}: {error}", path.display()),
    };
    report.shortfalls.push(Shortfall { mechanism, reason });
}
