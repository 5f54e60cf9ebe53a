//! The command line as it is typed.

use super::{Mark, duration, owner};
use clap::{Args, Parser, Subcommand, ValueEnum};
use ringfence_cluster::Origin;
use ringfence_policy::model::ObjectKey;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Enforces Kubernetes NetworkPolicies on this node with iptables and ipset.
///
/// Runs once on every node (as a `DaemonSet`, in the node's network namespace, as root).
/// It watches pods, namespaces, nodes and NetworkPolicies, and programs what concerns
/// the pods of its own node. Rules stay when it stops, unless it is removed for good
/// (--daemon-set): `ringfence-enforcer cleanup` removes them.
///
/// Every flag can also be given as an environment variable.
#[derive(Clone, Debug, Parser)]
#[command(name = "ringfence-enforcer", version, max_term_width = 100)]
#[command(
    args_conflicts_with_subcommands = false,
    subcommand_negates_reqs = true
)]
pub struct Cli {
    /// What to do; without a command: enforce.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags of the enforcing agent.
    #[command(flatten)]
    pub agent: AgentArgs,
    /// Flags of every command.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Flags of kube-router.
    #[command(flatten)]
    pub kube_router: KubeRouterArgs,
}

/// What to do instead of enforcing.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Remove every rule, chain and set that Ringfence has put on this node, then exit.
    ///
    /// Removes exactly what carries the prefix RF, in iptables of both flavours and in
    /// ipset, the deny bit of known connections, and the saved program in --state-dir.
    /// Stop the agent first, or it puts everything back.
    Cleanup,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
pub struct CommonArgs {
    /// Where the last program is kept, so that a reboot does not open the node before
    /// the API server answers.
    #[arg(
        long,
        env = "RINGFENCE_STATE_DIR",
        value_name = "FOLDER",
        global = true
    )]
    #[arg(default_value = "/var/lib/ringfence")]
    pub state_dir: PathBuf,
    /// The bit of the packet mark and connection mark that means "denied". Exactly one
    /// bit, and one that no other program on the node uses.
    #[arg(long, env = "RINGFENCE_MARK", value_name = "BIT", global = true)]
    #[arg(default_value_t)]
    pub mark: Mark,
    /// Which iptables to use: `auto` takes the one that kube-proxy and the CNI use here.
    #[arg(
        long,
        env = "RINGFENCE_IPTABLES_FLAVOUR",
        value_name = "FLAVOUR",
        global = true
    )]
    #[arg(value_enum, default_value_t = FlavourChoice::Auto)]
    pub iptables_flavour: FlavourChoice,
    /// How log lines are written.
    #[arg(
        long,
        env = "RINGFENCE_LOG_FORMAT",
        value_name = "FORMAT",
        global = true
    )]
    #[arg(value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// How much is logged: error, warn, info, debug or trace; also per module, for
    /// example `info,ringfence_enforcer::agent=debug`.
    #[arg(long, env = "RINGFENCE_LOG_LEVEL", value_name = "LEVEL", global = true)]
    #[arg(default_value = "info")]
    pub log_level: String,
}

/// Flags of the enforcing agent.
#[derive(Clone, Debug, Args)]
pub struct AgentArgs {
    /// This node's name, as `kubectl get nodes` shows it. Also taken from `NODE_NAME`,
    /// which a `DaemonSet` fills from spec.nodeName.
    #[arg(long, env = "RINGFENCE_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// The kubeconfig file to reach the API server with; without it the pod's service
    /// account is used.
    #[arg(long, env = "RINGFENCE_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Where objects come from: `kubernetes`, or `folder:PATH` for a folder of manifests
    /// (which is watched).
    #[arg(long, env = "RINGFENCE_SOURCE", default_value = "kubernetes")]
    pub source: Origin,
    /// The `DaemonSet` that this agent belongs to. When it or its namespace is being deleted,
    /// the agent takes its rules away as it stops. Without this flag, and whenever that cannot
    /// be told, they stay.
    #[arg(long, env = "RINGFENCE_DAEMON_SET", value_name = "NAMESPACE/NAME", value_parser = owner::parse)]
    pub daemon_set: Option<ObjectKey>,
    /// How often everything in the kernel is read back and compared. Changes are applied
    /// at once and do not wait for this.
    #[arg(long, env = "RINGFENCE_SYNC_PERIOD", value_name = "DURATION")]
    #[arg(visible_alias = "iptables-sync-period", default_value = "5m", value_parser = duration::parse)]
    pub sync_period: Duration,
    /// How long to wait for the first complete lists from the API server. After that the
    /// process ends and says which kind is missing and why. Rules stay meanwhile.
    #[arg(long, env = "RINGFENCE_CACHE_SYNC_TIMEOUT", value_name = "DURATION")]
    #[arg(default_value = "1m", value_parser = duration::parse)]
    pub cache_sync_timeout: Duration,
    /// The address that both ports below listen on.
    #[arg(long, env = "RINGFENCE_BIND_ADDRESS", value_name = "ADDRESS")]
    #[arg(default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// The port of /livez, /readyz, /generation and /program (the last for clients on this
    /// node only); 0 turns it off.
    #[arg(long, env = "RINGFENCE_HEALTH_PORT", value_name = "PORT")]
    #[arg(default_value_t = 20244)]
    pub health_port: u16,
    /// The port of /metrics; may be the health port; 0 turns it off.
    #[arg(long, env = "RINGFENCE_METRICS_PORT", value_name = "PORT")]
    #[arg(default_value_t = 20241)]
    pub metrics_port: u16,
    /// What a denied client sees: `reject` answers (TCP reset, otherwise ICMP port
    /// unreachable), `drop` is silent.
    #[arg(long, env = "RINGFENCE_DENY_ACTION", value_name = "ACTION")]
    #[arg(value_enum, default_value_t = DenyActionChoice::Reject)]
    pub deny_action: DenyActionChoice,
    /// Leave connections alone that exist when a policy comes to deny them. By default
    /// they are cut within the same update.
    #[arg(long, env = "RINGFENCE_KEEP_ESTABLISHED")]
    pub keep_established: bool,
    /// Whether egress from a pod to its own node obeys policy. Traffic from a node to its
    /// own pods is always allowed (kubelet probes).
    #[arg(long, env = "RINGFENCE_NODE_TRAFFIC", value_name = "MODE")]
    #[arg(value_enum, default_value_t = NodeTraffic::Allow)]
    pub node_traffic: NodeTraffic,
    /// Whether an address of this node's pod range that belongs to no known pod may talk:
    /// `drop` keeps a new pod shut until its policies are in. Default: drop where the
    /// node's pod range is known (spec.podCIDRs), otherwise allow; /program says which.
    #[arg(long, env = "RINGFENCE_UNKNOWN_PODS", value_name = "MODE", value_enum)]
    pub unknown_pods: Option<UnknownPods>,
}

/// Flags of kube-router that mean nothing here.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Accepted for those who come from kube-router, without effect")]
pub struct KubeRouterArgs {
    /// kube-router's pod network by BGP; your CNI does that.
    #[arg(
        long,
        env = "RINGFENCE_RUN_ROUTER",
        value_name = "BOOL",
        hide_short_help = true
    )]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub run_router: Option<bool>,
    /// kube-router's network policies: what this program always does.
    #[arg(
        long,
        env = "RINGFENCE_RUN_FIREWALL",
        value_name = "BOOL",
        hide_short_help = true
    )]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub run_firewall: Option<bool>,
    /// kube-router's Service proxy by IPVS; kube-proxy does that.
    #[arg(
        long,
        env = "RINGFENCE_RUN_SERVICE_PROXY",
        value_name = "BOOL",
        hide_short_help = true
    )]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub run_service_proxy: Option<bool>,
}

/// `--iptables-flavour`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FlavourChoice {
    /// The one that the node's other programs use.
    Auto,
    /// iptables-legacy.
    Legacy,
    /// iptables-nft.
    Nft,
}

/// `--log-format`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `--deny-action`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DenyActionChoice {
    /// Answer.
    Reject,
    /// Say nothing.
    Drop,
}

/// `--node-traffic`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NodeTraffic {
    /// As Kubernetes says: always allowed, both ways.
    Allow,
    /// From pods to their node as policy says.
    Enforce,
}

/// `--unknown-pods`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum UnknownPods {
    /// Neither sends nor receives.
    Drop,
    /// Like an address outside the cluster.
    Allow,
}
