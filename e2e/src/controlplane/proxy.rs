//! One real kube-proxy in a node's namespaces.

use crate::fabric::{Node, Process};
use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

/// `mode` of its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyMode {
    /// `iptables`
    Iptables,
    /// `nftables`
    Nftables,
}

impl ProxyMode {
    /// Both modes.
    pub const ALL: [Self; 2] = [Self::Iptables, Self::Nftables];

    /// As the configuration spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
        }
    }
}

/// How kube-proxy is started.
#[derive(Clone, Debug)]
pub struct ProxyOptions {
    /// `mode`
    pub mode: ProxyMode,
    /// `masqueradeAll`: Service traffic takes the node's address.
    pub masquerade_all: bool,
    /// `clusterCIDR`: the pods' ranges, at most one of each family. Traffic from
    /// elsewhere to a ClusterIP is masqueraded.
    pub cluster_cidrs: Vec<IpNet>,
}

/// A running kube-proxy. Dropping it ends the program; its rules stay, as on a node.
#[derive(Debug)]
pub struct KubeProxy {
    process: Process,
    mode: ProxyMode,
}

impl KubeProxy {
    pub(super) fn start(
        program: &Path,
        node: &Node,
        kubeconfig: &Path,
        options: &ProxyOptions,
    ) -> Result<Self> {
        let file = node.folder().join("kube-proxy.json");
        fs::write(
            &file,
            configuration(node.name(), kubeconfig, options).to_string(),
        )
        .with_context(|| format!("writing {}", file.display()))?;
        let flags = [format!("--config={}", file.display())];
        let process = node.spawn("kube-proxy", program, &flags, &[])?;
        Ok(Self {
            process,
            mode: options.mode,
        })
    }

    /// Its mode.
    pub fn mode(&self) -> ProxyMode {
        self.mode
    }

    /// Where its log is.
    pub fn log(&self) -> &Path {
        self.process.log()
    }

    /// Waits until the node's rules send traffic to all these endpoints (pod address and
    /// pod port). Ready pods are not yet a programmed Service.
    ///
    /// # Errors
    /// When kube-proxy ends, or the rules do not come in time; the message has its log.
    pub fn wait_for(&mut self, node: &Node, endpoints: &[SocketAddr]) -> Result<()> {
        self.wait(node, endpoints, true)
    }

    /// Waits until the node's rules send traffic to none of these endpoints.
    pub fn wait_without(&mut self, node: &Node, endpoints: &[SocketAddr]) -> Result<()> {
        self.wait(node, endpoints, false)
    }

    fn wait(&mut self, node: &Node, endpoints: &[SocketAddr], present: bool) -> Result<()> {
        let deadline = Instant::now() + super::PATIENCE;
        loop {
            self.process.check_running()?;
            let rules = self.rules(node)?;
            let open: Vec<&SocketAddr> = endpoints
                .iter()
                .filter(|e| targets(&rules, **e) != present)
                .collect();
            if open.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let what = if present {
                    "no rule for"
                } else {
                    "still rules for"
                };
                bail!(
                    "{}: {what} {open:?}; kube-proxy's log ends:\n{}",
                    node.name(),
                    self.process.log_tail(20)
                );
            }
            std::thread::sleep(super::LOOK);
        }
    }

    /// The rules that rewrite destinations, of both families, as the system prints them.
    pub fn rules(&self, node: &Node) -> Result<String> {
        let mut text = String::new();
        for family in ["ip", "ip6"] {
            let output = match self.mode {
                ProxyMode::Iptables => {
                    node.output(&format!("{family}tables-save"), &["-t", "nat"], "")
                }
                ProxyMode::Nftables => {
                    node.output("nft", &["list", "table", family, "kube-proxy"], "")
                }
            };
            // Until kube-proxy has written its table there is none.
            let output =
                output.with_context(|| format!("reading the {family} rules of {}", node.name()))?;
            text.push_str(&String::from_utf8_lossy(&output.stdout));
        }
        Ok(text)
    }
}

/// Whether a rule has this endpoint as its destination. iptables prints
/// `10.16.1.10:80` and `[fd00::a]:80`, nftables that or, among several, `10.16.1.10 . 80`.
fn targets(rules: &str, endpoint: SocketAddr) -> bool {
    let pair = format!("{}.{}", endpoint.ip(), endpoint.port());
    let word = endpoint.to_string();
    rules
        .replace(" . ", ".")
        .split(|c: char| c.is_whitespace() || c == '"' || c == ',')
        .any(|w| w == word || w == pair)
}

/// kube-proxy's configuration file; JSON is YAML. Some of it has no flag.
fn configuration(node: &str, kubeconfig: &Path, options: &ProxyOptions) -> Value {
    let cidrs: Vec<String> = options
        .cluster_cidrs
        .iter()
        .map(ToString::to_string)
        .collect();
    // By default it waits a second between two writes.
    let rules = json!({
        "masqueradeAll": options.masquerade_all,
        "minSyncPeriod": "10ms",
        "syncPeriod": "30s",
    });
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": kubeconfig},
        "hostnameOverride": node,
        "mode": options.mode.as_str(),
        "clusterCIDR": cidrs.join(","),
        "iptables": rules,
        "nftables": rules,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        // These sysctls cannot be set inside a namespace.
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case("-A KUBE-SEP-X -p tcp -m tcp -j DNAT --to-destination 10.16.1.10:80", true; "iptables")]
    #[test_case("    meta l4proto tcp dnat to 10.16.1.10:80", true; "nftables")]
    #[test_case("dnat ip to numgen random mod 2 map { 0 : 10.16.1.10 . 80, 1 : 10.16.2.10 . 80 }", true; "nftables map")]
    #[test_case("elements = { 10.16.1.10 . 10.16.1.10 . tcp . 80 }", false; "nftables hairpin set")]
    #[test_case("-A KUBE-SEP-X -j DNAT --to-destination 10.16.1.10:8080", false; "another port")]
    #[test_case("-A KUBE-SEP-X -j DNAT --to-destination 110.16.1.10:80", false; "another address")]
    #[test_case("-A KUBE-SVC-X -m comment --comment \"x/a -> 10.16.1.10:80\" -j KUBE-SEP-X", true; "in a comment")]
    fn endpoints_in_rules(rules: &str, found: bool) {
        assert_eq!(targets(rules, "10.16.1.10:80".parse().unwrap()), found);
    }

    #[test]
    fn options_reach_the_configuration() {
        let options = ProxyOptions {
            mode: ProxyMode::Nftables,
            masquerade_all: true,
            cluster_cidrs: vec![
                "10.16.0.0/14".parse().unwrap(),
                "fd00:10:16::/48".parse().unwrap(),
            ],
        };
        let file = configuration("node1", Path::new("/k"), &options);
        assert_eq!(file["mode"], "nftables");
        assert_eq!(file["nftables"]["masqueradeAll"], true);
        assert_eq!(file["iptables"]["masqueradeAll"], true);
        assert_eq!(file["clusterCIDR"], "10.16.0.0/14,fd00:10:16::/48");
        assert_eq!(file["clientConnection"]["kubeconfig"], "/k");
    }
}
