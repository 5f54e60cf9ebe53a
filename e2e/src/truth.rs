//! What should be seen, and the table that compares it with what was.

use crate::probe::{Observation, Outcome, Transport};
use anyhow::{Result, bail};
use ringfence_policy::Verdict;
use ringfence_policy::evaluate::Evaluator;
use ringfence_policy::model::{Flow, L4};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// One question: does this get from there to there?
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// Who sends, as the world names it.
    pub from: String,
    /// Who is called.
    pub to: String,
    /// Over IPv4 (else IPv6).
    pub v4: bool,
    /// What is sent.
    pub transport: Transport,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.v4 { "IPv4" } else { "IPv6" };
        write!(
            f,
            "{} -> {} {} {family}",
            self.from, self.to, self.transport
        )
    }
}

/// What a denied client should see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DenyAction {
    /// RST for TCP, ICMP port unreachable otherwise.
    #[default]
    Reject,
    /// Nothing.
    Drop,
}

/// The paths on which a refusal cannot reach the client, so that it sees silence where
/// `--deny-action=reject` would answer (dataplane.md, traps 5 and 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Straight from address to address.
    Direct,
    /// Masqueraded by kube-proxy, whose KUBE-FORWARD accepts before `filter` can refuse:
    /// the backstop drops.
    Masqueraded,
    /// Both pods on one bridge that has no address of its node's.
    BareBridge,
}

/// What a denied client sees, by deny action and path: one table for all cases.
pub fn refusal(action: DenyAction, path: Path) -> Outcome {
    match (action, path) {
        (DenyAction::Reject, Path::Direct) => Outcome::Rejected,
        (DenyAction::Drop, _) | (_, Path::Masqueraded | Path::BareBridge) => Outcome::Dropped,
    }
}

/// What should become of a probe, and why.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The outcome.
    pub outcome: Outcome,
    /// The oracle's reasons; `None` where only the case says so.
    pub verdict: Option<Verdict>,
    /// Address after DNAT and so on, for messages.
    pub flow: Flow,
    /// A refusal may as well be silence, and the other way round.
    pub either: bool,
}

impl Expected {
    /// What the oracle says about a probe from address to address.
    pub fn judge(
        evaluator: &Evaluator,
        (source, target): (IpAddr, IpAddr),
        transport: Transport,
        listening: bool,
        denied: Outcome,
    ) -> Self {
        let flow = flow(source, target, transport);
        let verdict = evaluator.judge(&flow);
        let outcome = match (verdict.allowed(), listening) {
            (true, true) => Outcome::Allowed,
            (true, false) => Outcome::Refused,
            (false, _) => denied,
        };
        Self {
            outcome,
            verdict: Some(verdict),
            flow,
            either: false,
        }
    }

    /// What is expected where kube-proxy sends the packet to nobody: silence.
    pub fn nobody(source: IpAddr, target: IpAddr, transport: Transport) -> Self {
        Self {
            outcome: Outcome::Dropped,
            verdict: None,
            flow: flow(source, target, transport),
            either: false,
        }
    }

    /// Whether this is a deny.
    pub fn is_denied(&self) -> bool {
        matches!(self.outcome, Outcome::Rejected | Outcome::Dropped)
    }

    /// Whether it is policies that deny; not kube-proxy, which sends it to nobody.
    pub fn is_denied_by_policy(&self) -> bool {
        self.is_denied() && self.verdict.is_some()
    }
}

fn flow(source: IpAddr, target: IpAddr, transport: Transport) -> Flow {
    match transport {
        Transport::Port(protocol, port) => Flow::new(protocol, source, target, port),
        Transport::Icmp => Flow {
            l4: L4::Icmp {
                kind: if target.is_ipv4() { 8 } else { 128 },
            },
            ..Flow::ping(source, target)
        },
    }
}

/// A filled table.
#[derive(Clone, Debug)]
pub struct Row {
    /// The question.
    pub cell: Cell,
    /// The right answer.
    pub expected: Expected,
    /// What was seen.
    pub observed: Observation,
}

impl Row {
    /// Whether they agree.
    pub fn is_right(&self) -> bool {
        let denied = matches!(self.observed.outcome, Outcome::Rejected | Outcome::Dropped);
        self.expected.outcome == self.observed.outcome
            || (self.expected.either && self.expected.is_denied() && denied)
    }
}

/// Expectations that wait for observations. It cannot be read before every cell has one.
#[derive(Debug, Default)]
pub struct Table(BTreeMap<Cell, (Expected, Option<Observation>)>);

impl Table {
    /// Asks a question.
    ///
    /// # Errors
    /// When it was asked already: one of the two would be lost.
    pub fn expect(&mut self, cell: Cell, expected: Expected) -> Result<()> {
        if self.0.contains_key(&cell) {
            bail!("{cell} is asked twice");
        }
        self.0.insert(cell, (expected, None));
        Ok(())
    }

    /// Answers it.
    pub fn observe(&mut self, cell: &Cell, observation: Observation) -> Result<()> {
        match self.0.get_mut(cell) {
            Some((_, seen)) => *seen = Some(observation),
            None => bail!("{cell} was observed, but nobody asked"),
        }
        Ok(())
    }

    /// The rows, when all are filled.
    pub fn finish(self) -> Result<Vec<Row>> {
        let cells = self.0.into_iter();
        cells
            .map(|(cell, (expected, observed))| match observed {
                Some(observed) => Ok(Row {
                    cell,
                    expected,
                    observed,
                }),
                None => bail!("{cell} was never observed"),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tcp;
    use ringfence_policy::{Settings, Snapshot};
    use std::time::Duration;

    fn cell(to: &str) -> Cell {
        Cell {
            from: "x/a".into(),
            to: to.into(),
            v4: true,
            transport: tcp(80),
        }
    }

    fn expected() -> Expected {
        let snapshot = Snapshot::default();
        let evaluator = Evaluator::new(&snapshot, Settings::default());
        let ends = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        Expected::judge(&evaluator, ends, tcp(80), true, Outcome::Rejected)
    }

    fn seen() -> Observation {
        Observation {
            outcome: Outcome::Allowed,
            seen: None,
            answered_by: None,
            detail: String::new(),
            took: Duration::ZERO,
        }
    }

    #[test]
    fn a_missing_cell_is_refused() {
        let mut table = Table::default();
        table.expect(cell("x/b"), expected()).unwrap();
        table.expect(cell("x/c"), expected()).unwrap();
        assert!(table.expect(cell("x/c"), expected()).is_err(), "twice");
        table.observe(&cell("x/b"), seen()).unwrap();
        assert!(table.observe(&cell("y/b"), seen()).is_err(), "unasked");
        let error = table.finish().unwrap_err().to_string();
        assert_eq!(error, "x/a -> x/c TCP 80 IPv4 was never observed");
    }

    #[test]
    fn an_error_is_no_deny() {
        let row = Row {
            cell: cell("x/b"),
            expected: Expected {
                outcome: Outcome::Dropped,
                ..expected()
            },
            observed: Observation {
                outcome: Outcome::Error,
                ..seen()
            },
        };
        assert!(!row.is_right());
    }
}
