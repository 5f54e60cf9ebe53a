//! What the agent says of itself, shared between its thread and the health server.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Why the node is not ready. One sentence may stand under each at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Concern {
    /// The sources have not told everything yet.
    Caches,
    /// The first program is not in the kernel.
    FirstProgram,
    /// The kernel could not be brought to the program.
    Kernel,
    /// iptables does not see what bridges forward.
    Bridges,
    /// Packets may go past netfilter.
    Datapath,
    /// The cluster knows no node of our name.
    Node,
}

/// How far the agent is: everything up to here was received, or is in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    /// Counts events, from 1; never goes back while the process lives.
    pub number: u64,
    /// What the events were about.
    #[serde(flatten)]
    pub store: ringfence_cluster::Position,
}

/// Shared by reference; every method is short.
#[derive(Debug)]
pub struct Status {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    synced: bool,
    observed: Position,
    applied: Position,
    concerns: BTreeMap<Concern, String>,
}

/// The body of `/generation`.
#[derive(Debug, Serialize)]
struct Progress<'a> {
    synced: bool,
    ready: bool,
    /// The numbers alone, for simple waiters: all is applied when they are equal.
    observed: u64,
    applied: u64,
    /// For those who wrote something: wait until it is in here.
    received: &'a Position,
    programmed: &'a Position,
}

// === impl Status ===

impl Default for Status {
    fn default() -> Self {
        let status = Self {
            state: Mutex::default(),
        };
        status.raise(
            Concern::FirstProgram,
            "the first program is not in the kernel yet".into(),
        );
        status
    }
}

impl Status {
    /// Something stands against being ready. True when that is news.
    pub fn raise(&self, concern: Concern, reason: String) -> bool {
        let mut state = self.state();
        if state.concerns.get(&concern) == Some(&reason) {
            return false;
        }
        state.concerns.insert(concern, reason);
        true
    }

    /// It no longer does. True when that is news.
    pub fn settle(&self, concern: Concern) -> bool {
        self.state().concerns.remove(&concern).is_some()
    }

    /// Everything up to `position` was received.
    pub fn observed(&self, position: Position, synced: bool) {
        let mut state = self.state();
        state.observed = position;
        state.synced = synced;
    }

    /// Everything received so far is in the kernel, and flows it denies are cut.
    pub fn applied(&self) {
        let mut state = self.state();
        state.applied = state.observed.clone();
        state.concerns.remove(&Concern::FirstProgram);
    }

    /// `None` when ready, else why not, one reason a line.
    pub fn unready(&self) -> Option<String> {
        let state = self.state();
        if state.concerns.is_empty() {
            return None;
        }
        let mut text = String::new();
        for reason in state.concerns.values() {
            // A string takes any write.
            let _ = writeln!(text, "{reason}");
        }
        Some(text)
    }

    /// The JSON of `/generation`.
    ///
    /// # Errors
    /// Never in practice: plain numbers and strings.
    pub fn progress(&self) -> serde_json::Result<String> {
        let state = self.state();
        serde_json::to_string(&Progress {
            synced: state.synced,
            ready: state.concerns.is_empty(),
            observed: state.observed.number,
            applied: state.applied.number,
            received: &state.observed,
            programmed: &state.applied,
        })
    }

    /// No method can leave it half changed, so a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_after_the_first_program() {
        let status = Status::default();
        assert!(status.unready().unwrap().contains("first program"));
        status.applied();
        assert_eq!(status.unready(), None);
    }

    #[test]
    fn all_reasons_are_told() {
        let status = Status::default();
        assert!(status.raise(Concern::Caches, "waiting for pods: no answer".into()));
        assert!(!status.raise(Concern::Caches, "waiting for pods: no answer".into()));
        let text = status.unready().unwrap();
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "waiting for pods: no answer",
                "the first program is not in the kernel yet"
            ]
        );
    }

    #[test]
    fn a_waiter_sees_both_ends() {
        let status = Status::default();
        let position = Position {
            number: 7,
            store: ringfence_cluster::Position {
                resource_versions: BTreeMap::from([("pods", "41".to_owned())]),
                digest: None,
            },
        };
        status.observed(position, true);
        let json = |status: &Status| {
            serde_json::from_str::<serde_json::Value>(&status.progress().unwrap()).unwrap()
        };
        let before = json(&status);
        assert_eq!(
            (before["observed"].as_u64(), before["applied"].as_u64()),
            (Some(7), Some(0))
        );
        assert_eq!(before["received"]["resourceVersions"]["pods"], "41");
        status.applied();
        let after = json(&status);
        assert_eq!(after["applied"], 7);
        assert_eq!(after["programmed"]["resourceVersions"]["pods"], "41");
    }
}
