//! What is sent on a stage, and what should become of it.

use super::{ObjectsKind, Stage};
use crate::case::oracle::Oracle;
use crate::case::{arrive, oracle};
use crate::probe::{Call, Observation, Outcome, Shot, Transport};
use crate::truth::{Cell, DenyAction, Expected};
use anyhow::Result;
use ringfence_policy::evaluate::Evaluator;
use ringfence_policy::model::Protocol;
use ringfence_policy::{Settings, Snapshot};
use std::time::Duration;

/// How long a probe that should be answered may take; it costs nothing when all is well.
const ANSWER: Duration = Duration::from_secs(2);
/// How long a probe that should be dropped is given to get through after all.
const SILENCE: Duration = Duration::from_millis(300);

impl Stage {
    /// What the oracle judges by.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.state.snapshot()
    }

    /// The enforcers' settings, as far as the oracle cares.
    pub fn settings(&self) -> Settings {
        Settings {
            enforce_node_traffic: self.flags.iter().any(|f| f == "--node-traffic=enforce"),
            drop_unknown_pods: !self.flags.iter().any(|f| f == "--unknown-pods=allow"),
        }
    }

    fn deny_action(&self) -> DenyAction {
        if self.flags.iter().any(|f| f == "--deny-action=drop") {
            DenyAction::Drop
        } else {
            DenyAction::Reject
        }
    }

    /// What the oracle expects of a cell.
    pub fn expected(&self, evaluator: &Evaluator, cell: &Cell) -> Result<Expected> {
        let oracle = Oracle {
            names: self.names(),
            evaluator,
            proxy: self.topology().services.proxy(),
            action: self.deny_action(),
        };
        oracle.expected(cell, |address, transport| {
            self.ground.is_listening(address, transport)
        })
    }

    /// Whether both ends of a flow see a reset when it is cut. Where a Service lies in
    /// between, the client of a bridge sees none. A kube-proxy that has put itself before
    /// us in `filter` accepts what is established, and the backstop drops it without a
    /// word until ours is first again: beside an API server silence will do.
    pub(in crate::case) fn resets(&self, cell: &Cell) -> bool {
        let tcp = matches!(cell.transport, Transport::Port(Protocol::Tcp, _));
        let proxied = self.setup.objects == ObjectsKind::Apiserver;
        tcp && self.deny_action() == DenyAction::Reject && !is_service(cell) && !proxied
    }

    /// The probe of a cell, in the world of namespaces.
    pub fn shot(&self, cell: &Cell) -> Result<Shot> {
        let netns = self.world()?.host(&cell.from)?.netns.clone();
        Ok(self.call(cell)?.inside(netns))
    }

    /// What a cell sends, wherever its client is.
    pub(in crate::case) fn call(&self, cell: &Cell) -> Result<Call> {
        let (source, target) = oracle::ends(&self.names(), cell)?;
        // Behind a Service and a node port somebody listens, or kube-proxy answers.
        let listening = is_service(cell) || self.ground.is_listening(target, cell.transport);
        Ok(Call {
            source,
            target,
            transport: cell.transport,
            listening,
            patience: ANSWER,
        })
    }

    /// Sends everything at once, each from the host of that name.
    pub(in crate::case) fn fire(&self, calls: Vec<(String, Call)>) -> Result<Vec<Observation>> {
        self.ground.fire(calls)
    }

    /// What a program printed on a node, whatever its exit status.
    pub(in crate::case) fn on_node(
        &self,
        node: &str,
        program: &str,
        args: &[&str],
    ) -> Result<String> {
        self.ground.on_node(node, program, args)
    }

    /// How a reader gets to where the rules of a node are.
    pub(in crate::case) fn door(&self, node: &str) -> Result<String> {
        self.ground.door(node)
    }

    /// Probes cells at once; where silence is expected, it is waited for briefly.
    pub fn probe(&self, cells: &[(&Cell, Outcome)]) -> Result<Vec<Observation>> {
        let sent = cells.iter().map(|(cell, expected)| {
            let mut call = self.call(cell)?;
            if *expected == Outcome::Dropped {
                call.patience = SILENCE;
            }
            Ok((cell.from.clone(), call))
        });
        self.ground.fire(sent.collect::<Result<_>>()?)
    }
}

/// Whether a cell calls a Service, by its cluster address or a node port.
fn is_service(cell: &Cell) -> bool {
    cell.to.starts_with(arrive::SERVICE) || oracle::is_node_port(cell.transport)
}
