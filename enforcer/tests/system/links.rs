//! Bridges, host routes, addresses, foreign datapaths.

use super::kernel;
use super::namespace::{private, sh};
use ringfence_enforcer::system::{Flavour, Kernel, Mechanism};
use std::collections::BTreeSet;
use std::net::IpAddr;

const CALLS: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";
const CALLS6: &str = "/proc/sys/net/bridge/bridge-nf-call-ip6tables";
const VLAN: &str = "/proc/sys/net/bridge/bridge-nf-filter-vlan-tagged";

fn blind() {
    sh(&format!(
        "for f in {CALLS} {CALLS6} {VLAN}; do echo 0 > $f; done"
    ));
}

fn value(path: &str) -> String {
    sh(&format!("cat {path}")).trim().to_owned()
}

/// Traps 7 and 8: the pods' bridge alone is made visible, and tagged frames.
#[test]
fn a_pod_bridge_gets_its_own_attribute() {
    private(|| {
        let kernel = kernel(Flavour::Nft);
        blind();
        sh(
            "ip link add cni0 type bridge; ip addr add 10.244.1.1/24 dev cni0; ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0",
        );
        let ranges = [
            "10.244.1.0/24".parse().unwrap(),
            "fd00:1::/64".parse().unwrap(),
        ];

        let seen = kernel.check_bridges(&ranges).unwrap();
        assert!(!seen.is_complete() && seen.changed.is_empty(), "{seen:?}");
        let first = kernel.prepare_bridges(&ranges).unwrap();
        let bridge = Mechanism::Bridge("cni0".to_owned());
        assert!(
            first.is_complete() && first.changed.contains(&bridge),
            "{first:?}"
        );
        assert_eq!(first.active.len(), 2, "{first:?}");
        assert_eq!(value(VLAN), "1");
        assert_eq!(value(CALLS), "0", "other bridges are left alone");
        let details = sh("ip -d link show docker0; echo ===; ip -d link show cni0");
        let (docker, cni) = details.split_once("===").unwrap();
        assert!(
            docker.contains("nf_call_iptables 0") && cni.contains("nf_call_iptables 1"),
            "{details}"
        );
        assert!(cni.contains("nf_call_ip6tables 1"), "{details}");

        let again = kernel.prepare_bridges(&ranges).unwrap();
        assert!(again.is_complete() && again.changed.is_empty(), "{again:?}");

        // The canary sees drift of either.
        sh("ip link set cni0 type bridge nf_call_ip6tables 0");
        assert!(!kernel.check_bridges(&ranges).unwrap().is_complete());
        assert!(kernel.prepare_bridges(&ranges).unwrap().is_complete());
        sh(&format!("echo 0 > {VLAN}"));
        let drift = kernel.check_bridges(&ranges).unwrap();
        assert_eq!(
            drift.shortfalls[0].mechanism,
            Mechanism::Sysctl("bridge-nf-filter-vlan-tagged")
        );
    });
}

#[test]
fn a_bridge_with_a_route_to_pods_counts() {
    private(|| {
        let kernel = kernel(Flavour::Nft);
        blind();
        sh("ip link add br9 up type bridge; ip route add 10.244.1.0/25 dev br9");
        let report = kernel
            .prepare_bridges(&["10.244.1.0/24".parse().unwrap()])
            .unwrap();
        assert!(
            report.active.contains(&Mechanism::Bridge("br9".to_owned())),
            "{report:?}"
        );
        assert_eq!(value(CALLS), "0");
    });
}

#[test]
fn when_no_bridge_can_be_told_the_sysctls_are_set() {
    private(|| {
        let kernel = kernel(Flavour::Nft);
        blind();
        sh("ip link add br0 type bridge");
        let report = kernel.prepare_bridges(&[]).unwrap();
        assert!(report.is_complete(), "{report:?}");
        assert_eq!([value(CALLS), value(CALLS6)], ["1", "1"]);
        sh(&format!("echo 0 > {CALLS6}"));
        assert!(!kernel.check_bridges(&[]).unwrap().is_complete());
    });
}

#[test]
fn a_read_only_proc_is_told() {
    private(|| {
        let kernel = kernel(Flavour::Nft);
        blind();
        sh(
            "ip link add br0 type bridge; mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys",
        );
        let report = kernel.prepare_bridges(&[]).unwrap();
        assert_eq!(report.shortfalls.len(), 3, "{report:?}");
        let reason = report.shortfalls[0].to_string();
        assert!(
            reason.contains("Read-only") && reason.contains("sysctl -w"),
            "{reason}"
        );
    });
}

#[test]
fn host_routes_bind_pods_to_interfaces() {
    private(|| {
        let kernel = kernel(Flavour::Nft);
        sh("ip link add cali1 type veth peer name pod1; ip link add cali2 type veth peer name pod2; ip link set cali1 up; ip link set cali2 up
            ip route add 10.1.0.1/32 dev cali1; ip -6 route add fd00::1/128 dev cali1
            ip route add 10.1.0.2/32 dev cali2; ip route add 10.1.0.9/32 dev cali2
            ip addr add 10.9.0.1/24 dev cali2
            ip route add 10.1.0.3/32 via 10.9.0.2; ip route add 10.1.0.4/31 dev cali2; ip route add blackhole 10.1.0.6/32");
        let pods: BTreeSet<IpAddr> = [
            "10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.6", "fd00::1", "10.9.0.1",
        ]
        .map(|a| a.parse().unwrap())
        .into();
        let found: Vec<String> = kernel
            .bindings(&pods)
            .unwrap()
            .into_iter()
            .map(|(address, link)| format!("{address} {link}"))
            .collect();
        assert_eq!(found, ["10.1.0.1 cali1", "10.1.0.2 cali2", "fd00::1 cali1"]);
        assert!(!kernel.has_bridges().unwrap());
        sh("ip link add cni0 type bridge");
        assert!(kernel.has_bridges().unwrap());
        let local = kernel.local_addresses().unwrap();
        assert!(
            local.contains(&"10.9.0.1".parse().unwrap()) && local.contains(&"::1".parse().unwrap()),
            "{local:?}"
        );
        assert!(!local.contains(&"10.1.0.1".parse().unwrap()));
    });
}

#[test]
fn datapaths_past_netfilter_are_found() {
    private(|| {
        let kernel = kernel(Flavour::Nft);
        assert_eq!(kernel.bypasses().unwrap(), []);
        sh(
            "ip link add cilium_host type veth peer name cilium_net; ip link add lxc1 type veth peer name pod1",
        );
        let found = kernel.bypasses().unwrap();
        let names: Vec<_> = found
            .iter()
            .map(|b| (b.link.as_str(), b.blocking))
            .collect();
        assert_eq!(names, [("cilium_host", true), ("cilium_net", true)]);
    });
}
