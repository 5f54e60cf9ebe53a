//! What the policies say about a cell, also where a Service lies on its way.

use super::arrive::{Names, SERVICE};
use crate::fabric::{Placement, PodKind};
use crate::probe::{Outcome, Transport};
use crate::truth::{Cell, DenyAction, Expected, Path, refusal};
use anyhow::{Context, Result, ensure};
use ringfence_policy::evaluate::Evaluator;
use ringfence_policy::model::{ObjectKey, TrafficPolicy};
use ringfence_policy::path::{self, Door, Origin, Proxy, Way, Ways};
use ringfence_policy::{Settings, Verdict};
use std::net::IpAddr;

/// Judges cells of one moment.
pub(super) struct Oracle<'a, 's> {
    pub names: Names<'a>,
    pub evaluator: &'a Evaluator<'s>,
    /// kube-proxy's settings.
    pub proxy: Proxy,
    pub action: DenyAction,
}

impl Oracle<'_, '_> {
    /// Source and target address of a cell.
    pub fn ends(&self, cell: &Cell) -> Result<(IpAddr, IpAddr)> {
        ends(&self.names, cell)
    }

    /// What should become of a cell; `listening` tells whether somebody answers there.
    pub fn expected(
        &self,
        cell: &Cell,
        listening: impl Fn(IpAddr, Transport) -> bool,
    ) -> Result<Expected> {
        let (source, target) = self.ends(cell)?;
        let Some((found, marked)) = self.ways(cell, source)? else {
            let heard = listening(target, cell.transport);
            let denied = refusal(self.action, Path::Direct);
            let ends = (source, target);
            return Ok(Expected::judge(
                self.evaluator,
                ends,
                cell.transport,
                heard,
                denied,
            ));
        };
        let ways = match found {
            Ways::Some(ways) => ways,
            Ways::None(_) => return Ok(Expected::nobody(source, target, cell.transport)),
        };
        let mut all = ways.iter().map(|way| {
            let heard = listening(way.to.0, at_port(cell.transport, way.to.1));
            self.through(way, heard, marked)
        });
        let first = all.next().with_context(|| format!("{cell}: no way"))?;
        ensure!(
            all.all(|other| other.outcome == first.outcome),
            "{cell}: it depends on the endpoint that kube-proxy picks; ask for less"
        );
        Ok(first)
    }

    /// The ways through a Service, when the cell goes through one; and whether kube-proxy
    /// marks the packet for masquerading.
    fn ways(&self, cell: &Cell, source: IpAddr) -> Result<Option<(Ways, bool)>> {
        let Transport::Port(protocol, number) = cell.transport else {
            return Ok(None);
        };
        let (service, port, door) = if let Some(key) = cell.to.strip_prefix(SERVICE) {
            let (namespace, name) = key
                .split_once('/')
                .context("write Service namespace/name")?;
            let service = self
                .evaluator
                .snapshot()
                .services
                .get(&ObjectKey::new(namespace, name));
            let service = service.with_context(|| format!("{cell}: it was not applied"))?;
            let port = path::service_port(service, Some(number), protocol, false);
            (service, port.map_err(anyhow::Error::msg)?, Door::ClusterIp)
        } else {
            let node = self
                .evaluator
                .snapshot()
                .nodes
                .values()
                .find(|node| *node.name == *cell.to);
            let owner = path::node_port_owner(self.evaluator.snapshot(), number, protocol);
            let (Some(node), Some((service, port))) = (node, owner) else {
                return Ok(None);
            };
            (service, port, Door::NodePort(node.clone()))
        };
        let origin = Origin::of(self.evaluator.snapshot(), source);
        let marked = match &door {
            Door::ClusterIp => self.proxy.masquerade_all || matches!(origin, Origin::Node(..)),
            Door::NodePort(_) => {
                service.external_traffic_policy == TrafficPolicy::Cluster
                    || matches!(origin, Origin::Node(..))
            }
        };
        let ways = path::ways(
            self.evaluator.snapshot(),
            self.proxy,
            &origin,
            service,
            port,
            &door,
        );
        Ok(Some((ways, marked)))
    }

    fn through(&self, way: &Way, listening: bool, marked: bool) -> Expected {
        let verdict = Verdict {
            egress: self.evaluator.judge(&way.egress).egress,
            ingress: self.evaluator.judge(&way.ingress).ingress,
        };
        let path = if marked {
            Path::Masqueraded
        } else {
            Path::Direct
        };
        let outcome = match (verdict.allowed(), listening) {
            (true, true) => Outcome::Allowed,
            (true, false) => Outcome::Refused,
            (false, _) => refusal(self.action, path),
        };
        Expected {
            outcome,
            verdict: Some(verdict),
            flow: way.ingress,
            // Whether kube-proxy's chain or ours comes first in FORWARD decides.
            either: marked,
        }
    }
}

/// Source and target address of a cell.
pub(super) fn ends(names: &Names, cell: &Cell) -> Result<(IpAddr, IpAddr)> {
    let address = |name: &str| {
        let all = names.addresses(name)?;
        let own = all.into_iter().find(|a| a.is_ipv4() == cell.v4);
        own.with_context(|| format!("{cell}: {name} has no such address"))
    };
    Ok((address(&cell.from)?, address(&cell.to)?))
}

/// Whether a port is of the range from which node ports are given.
pub(super) fn is_node_port(transport: Transport) -> bool {
    matches!(transport, Transport::Port(_, 30_000..=32_767))
}

fn at_port(transport: Transport, port: u16) -> Transport {
    match transport {
        Transport::Port(protocol, _) => Transport::Port(protocol, port),
        Transport::Icmp => Transport::Icmp,
    }
}

/// Plays a case on its objects alone, without a packet, and returns where the case and the
/// oracle disagree. Steps that need a world are passed over.
///
/// # Errors
/// An object that cannot be read, or a cell that nobody can judge.
pub fn rehearse(case: &super::Case, kind: PodKind, placement: Placement) -> Result<Vec<String>> {
    use super::Step;
    let topology = case.topology(kind, placement);
    let mut state = super::base::objects(&topology)?;
    let mut faults = Vec::new();
    for step in &case.steps {
        match step {
            Step::Apply { yaml, namespace } => {
                for object in crate::objects::documents(yaml, namespace)? {
                    state.put(super::arrive::scheduled(object, &topology)?)?;
                }
            }
            Step::Patch(object, patch) => {
                let changed =
                    super::arrive::patched(&state, &super::stage::reference(object)?, patch)?;
                state.put(changed)?;
            }
            Step::Delete(object) => {
                state.take(&super::stage::reference(object)?)?;
            }
            Step::Label(object, labels) => {
                let changed = super::stage::labelled(&state, object, labels)?;
                state.put(changed)?;
            }
            Step::Expect(expect) => {
                let snapshot = state.snapshot()?;
                let evaluator = Evaluator::new(
                    &snapshot,
                    Settings {
                        drop_unknown_pods: true,
                        ..Settings::default()
                    },
                );
                let names = Names {
                    topology: &topology,
                    state: &state,
                };
                let oracle = Oracle {
                    names: Names {
                        topology: &topology,
                        state: &state,
                    },
                    evaluator: &evaluator,
                    proxy: topology.services.proxy(),
                    action: DenyAction::Reject,
                };
                for cell in expect.cells(&names)? {
                    let expected = oracle.expected(&cell, |_, _| true)?;
                    let said = expect.says(&cell);
                    if said.is_some_and(|allowed| allowed == expected.is_denied()) {
                        let reason = expected.verdict.map(|v| v.to_string()).unwrap_or_default();
                        faults.push(format!(
                            "{cell}: the oracle says {}: {reason}",
                            expected.outcome
                        ));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(faults)
}
