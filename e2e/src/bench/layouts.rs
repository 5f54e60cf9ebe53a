//! The same pods and policies for every layout of rules that packets are sent through.
//!
//! [`kube_router_rules`] is an imitation: chains, sets and matches as kube-router 2 lays
//! them out, for the pods of [`Locals`]. It lets the shape be compared where there is no
//! kube-router; the real one is measured when `KUBE_ROUTER` names it.

use serde_json::{Value, json};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// Pods of one namespace.
const PER_NAMESPACE: usize = 10;

/// A pod of the measured node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Its address.
    pub address: Ipv4Addr,
    namespace: usize,
    app: &'static str,
}

/// The pods of the measured node. In each namespace everything is denied, but `client`
/// may reach `web`.
#[derive(Clone, Debug)]
pub struct Locals(Vec<Local>);

/// The hosts that packets really come from and go to.
#[derive(Clone, Copy, Debug)]
pub struct Hosts {
    /// Sends.
    pub client: Ipv4Addr,
    /// Receives.
    pub web: Ipv4Addr,
    /// May not reach `web`.
    pub stranger: Ipv4Addr,
}

// === impl Locals ===

impl Locals {
    /// `count` pods, the [`Hosts`] in the middle of them; none for 0.
    pub fn new(count: usize, hosts: Hosts) -> Self {
        let place = count / 2 / PER_NAMESPACE * PER_NAMESPACE;
        let pods = (0..count).map(|n| {
            let (address, app) = match n.checked_sub(place) {
                Some(0) => (hosts.client, "client"),
                Some(1) => (hosts.web, "web"),
                Some(2) => (hosts.stranger, "stranger"),
                _ => (other(n), ["client", "web", "stranger"][n % 3]),
            };
            Local {
                address,
                namespace: n / PER_NAMESPACE,
                app,
            }
        });
        Self(pods.collect())
    }

    fn namespaces(&self) -> usize {
        self.0.len().div_ceil(PER_NAMESPACE)
    }

    fn of(&self, namespace: usize, app: &str) -> impl Iterator<Item = &Local> {
        self.0
            .iter()
            .filter(move |p| p.namespace == namespace && (app.is_empty() || p.app == app))
    }

    /// The objects, as one `kind: List`. `node` has no pod ranges: the addresses of a
    /// thousand pods lie outside of any that the fabric gives.
    pub fn objects(&self, node: &str, address: Ipv4Addr) -> Value {
        let mut items = vec![json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": node},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]},
        })];
        for namespace in 0..self.namespaces() {
            items.extend(namespace_objects(namespace));
        }
        for (n, pod) in self.0.iter().enumerate() {
            items.push(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "name": format!("pod-{n}"),
                    "namespace": namespace_name(pod.namespace),
                    "labels": {"app": pod.app},
                },
                "spec": {"nodeName": node, "containers": [{"name": "main", "image": "none"}]},
                "status": {
                    "phase": "Running", "hostIP": address,
                    "podIP": pod.address, "podIPs": [{"ip": pod.address}],
                },
            }));
        }
        json!({"apiVersion": "v1", "kind": "List", "items": items})
    }
}

/// A pod that is only an address. `10.200.0.0/15` is nobody else's here.
fn other(n: usize) -> Ipv4Addr {
    let number = u32::try_from(n).unwrap_or(u32::MAX);
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 200, 0, 0)).saturating_add(number))
}

fn namespace_name(n: usize) -> String {
    format!("bench-{n}")
}

fn namespace_objects(n: usize) -> [Value; 4] {
    let name = namespace_name(n);
    let app = |app: &str| json!({"matchLabels": {"app": app}});
    let policy = |policy: &str, spec: Value| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"namespace": name, "name": policy}, "spec": spec,
        })
    };
    [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
        policy(
            "deny-all",
            json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}),
        ),
        policy(
            "web",
            json!({"podSelector": app("web"), "ingress": [{"from": [{"podSelector": app("client")}]}]}),
        ),
        policy(
            "client",
            json!({
                "podSelector": app("client"), "policyTypes": ["Egress"],
                "egress": [{"to": [{"podSelector": app("web")}]}],
            }),
        ),
    ]
}

/// What a plain stateful firewall has.
pub const CONNTRACK_RULE: &str =
    "*filter\n-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\nCOMMIT\n";

/// The sets of [`kube_router_rules`], for `ipset restore`.
pub fn kube_router_sets(locals: &Locals) -> String {
    let mut text = String::new();
    for n in 0..locals.namespaces() {
        for (set, app) in [("ALL", ""), ("WEB", "web"), ("CLIENT", "client")] {
            let _ = writeln!(text, "create KUBE-{set}-{n} hash:ip");
            for pod in locals.of(n, app) {
                let _ = writeln!(text, "add KUBE-{set}-{n} {}", pod.address);
            }
        }
    }
    text
}

/// kube-router's layout, for `iptables-restore`: four rules a pod in the chain that every
/// packet crosses, one chain a pod, one chain a policy.
pub fn kube_router_rules(locals: &Locals) -> String {
    let mut chains = String::from(":KUBE-ROUTER-FORWARD - [0:0]\n:KUBE-NWPLCY-COMMON - [0:0]\n");
    let mut rules = String::from(
        "-A FORWARD -j KUBE-ROUTER-FORWARD\n-A KUBE-NWPLCY-COMMON -p icmp -m icmp --icmp-type 8 -j MARK --set-xmark 0x10000/0x10000\n",
    );
    for n in 0..locals.namespaces() {
        let _ = write!(
            chains,
            ":KUBE-NWPLCY-ALL-{n} - [0:0]\n:KUBE-NWPLCY-WEB-{n} - [0:0]\n:KUBE-NWPLCY-CLIENT-{n} - [0:0]\n"
        );
        for (policy, from, to) in [("WEB", "CLIENT", "WEB"), ("CLIENT", "CLIENT", "WEB")] {
            let matches = format!(
                "-A KUBE-NWPLCY-{policy}-{n} -m set --match-set KUBE-{from}-{n} src \
                 -m set --match-set KUBE-{to}-{n} dst"
            );
            let _ = writeln!(rules, "{matches} -j MARK --set-xmark 0x10000/0x10000");
            let _ = writeln!(rules, "{matches} -m mark --mark 0x10000/0x10000 -j RETURN");
        }
    }
    for (number, pod) in locals.0.iter().enumerate() {
        let (ip, chain) = (pod.address, format!("KUBE-POD-FW-{number}"));
        let _ = writeln!(chains, ":{chain} - [0:0]");
        for physdev in ["", "-m physdev --physdev-is-bridged "] {
            for side in ["-d", "-s"] {
                let _ = writeln!(
                    rules,
                    "-A KUBE-ROUTER-FORWARD {physdev}{side} {ip}/32 -j {chain}"
                );
            }
        }
        let _ = write!(
            rules,
            "-A {chain} -m conntrack --ctstate INVALID -j DROP\n\
             -A {chain} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
             -A {chain} -d {ip}/32 -m addrtype --src-type LOCAL -j ACCEPT\n\
             -A {chain} -j KUBE-NWPLCY-ALL-{}\n",
            pod.namespace
        );
        for (app, policy) in [("web", "WEB"), ("client", "CLIENT")] {
            if pod.app == app {
                let _ = writeln!(
                    rules,
                    "-A {chain} -j KUBE-NWPLCY-{policy}-{}",
                    pod.namespace
                );
            }
        }
        let _ = write!(
            rules,
            "-A {chain} -j KUBE-NWPLCY-COMMON\n\
             -A {chain} -m mark ! --mark 0x10000/0x10000 -j REJECT\n\
             -A {chain} -j MARK --set-xmark 0x0/0x10000\n\
             -A {chain} -j MARK --set-xmark 0x20000/0x20000\n"
        );
    }
    rules.push_str("-A KUBE-ROUTER-FORWARD -m mark --mark 0x20000/0x20000 -j ACCEPT\n");
    format!("*filter\n{chains}{rules}COMMIT\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: Hosts = Hosts {
        client: Ipv4Addr::new(10, 16, 1, 10),
        web: Ipv4Addr::new(10, 16, 1, 11),
        stranger: Ipv4Addr::new(10, 16, 1, 12),
    };

    #[test]
    fn the_hosts_are_in_the_middle_and_in_one_namespace() {
        let locals = Locals::new(250, HOSTS);
        assert_eq!(locals.0.len(), 250);
        let at = |ip| locals.0.iter().position(|p| p.address == ip).unwrap();
        assert_eq!(at(HOSTS.client), 120);
        assert_eq!(at(HOSTS.web), 121);
        assert_eq!(locals.0[120].namespace, locals.0[122].namespace);
        assert_eq!(locals.namespaces(), 25);
    }

    #[test]
    fn four_rules_a_pod_are_crossed_by_every_packet() {
        let rules = kube_router_rules(&Locals::new(110, HOSTS));
        let scanned = rules
            .lines()
            .filter(|line| line.starts_with("-A KUBE-ROUTER-FORWARD"))
            .count();
        assert_eq!(scanned, 4 * 110 + 1);
    }
}
