//! Measurements on real parts: what enforcement costs, and how fast it is.
//!
//! ```text
//!   scale, churn   API server -> enforcer -> sets of a node    latency, memory, CPU
//!   packets        host -> node with N local pods -> host      nanoseconds a packet
//!   service        ab -> kube-proxy -> nginx                   requests a second
//!   isolation      API server -> controller -> policies        seconds, memory
//! ```
//!
//! Nothing here passes or fails: figures come with their spread, and with a peer or a
//! limit that was measured in the same run.

mod command;
mod events;
mod figures;
mod flood;
mod follower;
mod ipset;
mod isolation;
mod lab;
mod layouts;
mod local;
mod metrics;
mod packets;
mod peer;
mod scale;
mod service;
mod usage;
mod watch;

pub use command::Command;
pub use figures::{Figure, Goal, Report, Spread};

use anyhow::Result;
use clap::ValueEnum;
use std::path::PathBuf;

/// A benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Bench {
    /// Start, memory and latency with 2,000 and 10,000 pods.
    Scale,
    /// CPU and latency at 100 pod events a second.
    Churn,
    /// Nanoseconds a packet, for 0 to 1000 local pods.
    Packets,
    /// Requests a second through a real Service, policy on and off.
    Service,
    /// Time and memory for 1,000 isolated namespaces.
    Isolation,
}

impl Bench {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Scale,
        Self::Churn,
        Self::Packets,
        Self::Service,
        Self::Isolation,
    ];
}

/// What to measure with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The enforcer's binary.
    pub enforcer: PathBuf,
    /// Where the control plane's programs are.
    pub controlplane: PathBuf,
    /// A kube-router binary to measure beside ours.
    pub kube_router: Option<PathBuf>,
    /// Small sizes: whether it works, not what it costs.
    pub quick: bool,
}

/// Runs `benches` one after another and appends their figures to `report`, also when one
/// fails. Must be called inside the sandbox.
pub fn run(benches: &[Bench], options: &Options, report: &mut Report) -> Result<()> {
    if benches.contains(&Bench::Scale) || benches.contains(&Bench::Churn) {
        scale::run(benches, options, report)?;
    }
    if benches.contains(&Bench::Packets) {
        packets::run(options, report)?;
    }
    if benches.contains(&Bench::Service) {
        service::run(options, report)?;
    }
    if benches.contains(&Bench::Isolation) {
        isolation::run(options, report)?;
    }
    Ok(())
}
