//! From the command line to what it means: [`Cli`] is what was typed, [`Settings`] what
//! it resolves to.

mod args;
mod duration;
mod log;
mod mark;
mod owner;

pub use args::{
    AgentArgs, Cli, Command, CommonArgs, DenyActionChoice, FlavourChoice, KubeRouterArgs,
    LogFormat, NodeTraffic, UnknownPods,
};
pub use log::start_logging;
pub use mark::Mark;

use crate::dataplane::DenyAction;
use crate::system::Flavour;
use anyhow::{Context, bail};
use ringfence_cluster::Origin;
use ringfence_policy::model::{Name, ObjectKey};
use ringfence_policy::snapshot;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What the agent goes by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node.
    pub node: Name,
    /// Where objects come from.
    pub origin: Origin,
    /// For [`Origin::Kubernetes`]; `None` is the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// The `DaemonSet` with which the rules go.
    pub daemon_set: Option<ObjectKey>,
    /// Between two full read-backs.
    pub sync_period: Duration,
    /// Until the first lists must be complete.
    pub cache_sync_timeout: Duration,
    /// Where the health server listens; `None` when it is off.
    pub health: Option<SocketAddr>,
    /// Where `/metrics` is served alone; `None` when it is off or on the health server.
    pub metrics: Option<SocketAddr>,
    /// Whether the health server has `/metrics` too.
    pub metrics_on_health: bool,
    /// How a denied packet is answered.
    pub deny: DenyAction,
    /// Established flows are left alone.
    pub keep_established: bool,
    /// What changes a verdict.
    pub verdicts: snapshot::Settings,
    /// `--unknown-pods` was given as `drop`: say so where that cannot be done.
    pub unknown_pods_required: bool,
    /// Settings of every command.
    pub common: CommonSettings,
}

/// What every command goes by.
#[derive(Clone, Debug)]
pub struct CommonSettings {
    /// Where the last program is kept.
    pub state_dir: PathBuf,
    /// Our bit.
    pub mark: Mark,
    /// `None` is to be detected.
    pub flavour: Option<Flavour>,
}

// === impl Settings ===

impl Settings {
    /// Resolves what was typed. `node_name` is the environment's `NODE_NAME`.
    ///
    /// # Errors
    /// Names the flag that is missing or wrong.
    pub fn resolve(cli: &Cli, node_name: Option<String>) -> anyhow::Result<Self> {
        let agent = &cli.agent;
        let node = agent
            .node_name
            .clone()
            .or(node_name)
            .filter(|name| !name.is_empty())
            .context(
                "--node-name is missing: give this node's name as `kubectl get nodes` shows it, or \
                 set NODE_NAME from spec.nodeName in the DaemonSet (a wrong name would enforce nothing)",
            )?;
        if agent.kubeconfig.is_some() && agent.source != Origin::Kubernetes {
            bail!("--kubeconfig and --source=folder:... exclude each other: leave one away");
        }
        if agent.daemon_set.is_some() && agent.source != Origin::Kubernetes {
            bail!("--daemon-set and --source=folder:... exclude each other: leave one away");
        }
        let listen = |port: u16| (port != 0).then(|| SocketAddr::new(agent.bind_address, port));
        let same_port = agent.metrics_port == agent.health_port;
        Ok(Self {
            node: node.into(),
            origin: agent.source.clone(),
            kubeconfig: agent.kubeconfig.clone(),
            daemon_set: agent.daemon_set.clone(),
            sync_period: agent.sync_period,
            cache_sync_timeout: agent.cache_sync_timeout,
            health: listen(agent.health_port),
            metrics: listen(agent.metrics_port).filter(|_| !same_port),
            metrics_on_health: same_port,
            deny: match agent.deny_action {
                DenyActionChoice::Reject => DenyAction::Reject,
                DenyActionChoice::Drop => DenyAction::Drop,
            },
            keep_established: agent.keep_established,
            verdicts: snapshot::Settings {
                enforce_node_traffic: agent.node_traffic == NodeTraffic::Enforce,
                // Without a known range the compiler has nothing to shut: that is "allow".
                drop_unknown_pods: agent.unknown_pods != Some(UnknownPods::Allow),
            },
            unknown_pods_required: agent.unknown_pods == Some(UnknownPods::Drop),
            common: CommonSettings::resolve(&cli.common),
        })
    }
}

// === impl CommonSettings ===

impl CommonSettings {
    /// Resolves what was typed.
    pub fn resolve(args: &CommonArgs) -> Self {
        Self {
            state_dir: args.state_dir.clone(),
            mark: args.mark,
            flavour: match args.iptables_flavour {
                FlavourChoice::Auto => None,
                FlavourChoice::Legacy => Some(Flavour::Legacy),
                FlavourChoice::Nft => Some(Flavour::Nft),
            },
        }
    }
}

// === impl Cli ===

impl Cli {
    /// What the owner should know about these flags, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self
            .common
            .mark
            .collisions()
            .map(|who| {
                format!(
                    "--mark {} is a bit that {who} uses: if that runs on this node, choose another",
                    self.common.mark
                )
            })
            .collect();
        let flags = &self.kube_router;
        if flags.run_router == Some(true) {
            warnings.push(
                "--run-router has no effect: kube-router routes pods by BGP, Ringfence leaves \
                 that to your CNI plugin"
                    .to_owned(),
            );
        }
        if flags.run_service_proxy == Some(true) {
            warnings.push(
                "--run-service-proxy has no effect: kube-router proxies Services by IPVS, \
                 Ringfence leaves that to kube-proxy"
                    .to_owned(),
            );
        }
        match flags.run_firewall {
            Some(false) => warnings.push(
                "--run-firewall=false has no effect: network policies are what this program is \
                 for. To enforce none, do not run it, and remove its rules with \
                 `ringfence-enforcer cleanup`"
                    .to_owned(),
            ),
            Some(true) => warnings.push(
                "--run-firewall has no effect: network policies are always enforced; the flag \
                 can go"
                    .to_owned(),
            ),
            None => {}
        }
        for (name, value) in [
            ("--run-router=false", flags.run_router),
            ("--run-service-proxy=false", flags.run_service_proxy),
        ] {
            if value == Some(false) {
                warnings.push(format!(
                    "{name} has no effect: Ringfence never does that; the flag can go"
                ));
            }
        }
        warnings
    }
}

#[cfg(test)]
mod tests;
