//! The command line.

use crate::isolation::{allow, isolate, migrate, status};
use crate::{doctor, explain, lint, matrix, preview, render, source::SourceArgs};
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use ringfence_policy::Settings;
use ringfence_policy::model::Protocol;
use std::process::ExitCode;

/// What NetworkPolicies do to traffic, from a folder of manifests or a cluster.
///
/// Exit codes: 0 allowed (or done), 1 refused, 2 the question could not be answered.
#[derive(Debug, Parser)]
#[command(name = "ringfence", version, about, long_about, max_term_width = 100)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Why a connection passes or not: which policy and rule decide on each side.
    Explain(explain::ExplainArgs),
    /// Who reaches whom.
    Matrix(matrix::MatrixArgs),
    /// What the enforcer of one node puts into the kernel, with comments.
    Render(render::RenderArgs),
    /// What is risky about NetworkPolicies, Services and Namespaces.
    Lint(lint::LintArgs),
    /// What applying manifests cuts and opens, before it is done.
    Preview(preview::PreviewArgs),
    /// The checks that lint and the webhook make, and what each means.
    Checks(lint::ChecksArgs),
    /// Whether the cluster is fit, and isolation works.
    Doctor(doctor::DoctorArgs),
    /// Give a namespace its fence: others come in only where a rule lets them.
    Isolate(isolate::IsolateArgs),
    /// Let somebody in through the fence, or out of it, for as long as is needed.
    Allow(allow::AllowArgs),
    /// Who may come into a namespace and who may be reached from it, and who says so.
    Status(status::StatusArgs),
    /// Move from another system's isolation.
    Migrate(migrate::MigrateArgs),
    /// A completion script for your shell, on standard output.
    Completion {
        /// Which shell: `ringfence completion bash | sudo tee /etc/bash_completion.d/ringfence`.
        shell: Shell,
    },
}

impl Args {
    /// Does what was asked.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Explain(args) => explain::run(&args),
            Command::Matrix(args) => matrix::run(&args),
            Command::Render(args) => render::run(&args),
            Command::Lint(args) => lint::run(&args),
            Command::Preview(args) => preview::run(&args),
            Command::Checks(args) => lint::run_checks(&args),
            Command::Doctor(args) => doctor::run(&args),
            Command::Isolate(args) => isolate::run(&args),
            Command::Allow(args) => allow::run(&args),
            Command::Status(args) => status::run(&args),
            Command::Migrate(args) => migrate::run(&args),
            Command::Completion { shell } => {
                let mut command = Self::command();
                clap_complete::generate(shell, &mut command, "ringfence", &mut std::io::stdout());
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// Flags that every question takes.
#[derive(Debug, clap::Args)]
pub struct Common {
    #[command(flatten)]
    pub source: SourceArgs,
    /// Judge egress from a pod to its own node too (the enforcer's --node-traffic=enforce).
    #[arg(long, value_enum, default_value = "allow")]
    pub node_traffic: NodeTraffic,
}

impl Common {
    /// The enforcer's settings that these flags stand for.
    pub fn settings(&self) -> Settings {
        Settings {
            enforce_node_traffic: self.node_traffic == NodeTraffic::Enforce,
            // An address without a pod is a question about that address, not a new pod.
            drop_unknown_pods: false,
        }
    }
}

/// `--node-traffic`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NodeTraffic {
    /// A pod always reaches its own node.
    Allow,
    /// Only where its egress rules say so.
    Enforce,
}

/// `--protocol`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
    /// Echo request (ping)
    Icmp,
}

impl Transport {
    /// The protocol, unless it is one without ports.
    pub fn protocol(self) -> Option<Protocol> {
        match self {
            Self::Tcp => Some(Protocol::Tcp),
            Self::Udp => Some(Protocol::Udp),
            Self::Sctp => Some(Protocol::Sctp),
            Self::Icmp => None,
        }
    }
}

/// `--output`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
