//! The node agent: turns the NetworkPolicies that concern its node into rules of its
//! kernel, and keeps them there.
//!
//! ```text
//!  cluster::Source --events--> cluster::Store --Snapshot, changes--> policy::Compiler
//!        |                                                                 | Program, Update
//!        v                                                                 v
//!  health (livez, readyz, metrics, program)  <--  agent  -->  plan --> dataplane (text)
//!        state (last program on disk)        <--    |                        |
//!        events (on the objects at fault)    <--    +----- one thread ---> system (kernel)
//! ```
//!
//! `plan` and `dataplane` are pure; `netfilter` holds the words that they share with
//! `system`; `system` is the only part that touches the kernel.

pub mod agent;
pub mod cleanup;
pub mod config;
pub mod dataplane;
pub mod events;
pub mod health;
pub mod metrics;
pub mod netfilter;
pub mod plan;
pub mod state;
pub mod system;

use config::{Cli, Command, CommonSettings, Settings};

/// What the binary does.
///
/// # Errors
/// Flags that make no sense, or what [`agent::run`] and [`cleanup::run`] say.
pub fn run(cli: &Cli) -> anyhow::Result<()> {
    config::start_logging(&cli.common)?;
    for warning in cli.warnings() {
        tracing::warn!(warning, "about the flags");
    }
    match cli.command {
        None => agent::run(Settings::resolve(cli, std::env::var("NODE_NAME").ok())?),
        Some(Command::Cleanup) => {
            let removed = cleanup::run(&CommonSettings::resolve(&cli.common))?;
            let cleanup::Removed {
                rules,
                sets,
                flows,
                kept,
            } = &removed;
            if kept.is_empty() {
                tracing::info!(
                    rules,
                    sets,
                    flows,
                    "nothing of Ringfence is left on this node"
                );
            } else {
                tracing::warn!(
                    rules,
                    sets,
                    flows,
                    kept = kept.join(", "),
                    "these sets are emptied but stay, because rules that are not ours use them: \
                     remove those rules, then run cleanup again"
                );
            }
            Ok(())
        }
    }
}
