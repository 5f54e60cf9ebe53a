//! Flows that exist when a policy comes to deny them are cut: their conntrack entries
//! stay and get our bit, which the rules look at before "established".

use crate::system::conntrack::{Dump, Entry, FlowKey, L4, MarkFilter};
use crate::system::{Error, Kernel};
use ringfence_policy::compile::{Element, Structure, Update};
use ringfence_policy::evaluate::{Evaluator, Side};
use ringfence_policy::model::{self, Flow, Protocol};
use ringfence_policy::{Snapshot, snapshot};
use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Which flows have to be judged again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Due {
    /// None.
    #[default]
    Nothing,
    /// Something was allowed that was not: only flows that are cut.
    Cut,
    /// These addresses lost something: their flows, and those that are cut.
    Of(BTreeSet<IpAddr>),
    /// All of this node's pods.
    All,
}

/// How a pass went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Flows that were cut.
    pub cut: usize,
    /// Flows that were cut before and may go on.
    pub restored: usize,
    /// Flows that are cut now, in all.
    pub marked: usize,
    /// The table changed so much during the dump that it has to be repeated.
    pub interrupted: bool,
}

/// What a pass goes by.
#[derive(Debug)]
pub struct Pass<'a> {
    /// The cluster.
    pub snapshot: &'a Snapshot,
    /// What changes a verdict.
    pub settings: snapshot::Settings,
    /// Which addresses are this node's pods.
    pub structure: &'a Structure,
    /// Our bit.
    pub mark: u32,
}

// === impl Due ===

impl Due {
    /// What `update` makes necessary; `marked` flows are cut now.
    pub fn after(update: &Update, marked: usize) -> Self {
        if update.is_empty() {
            return Self::Nothing;
        }
        if !update.narrows() {
            return if marked > 0 { Self::Cut } else { Self::Nothing };
        }
        if update.previous.is_some() {
            return Self::All;
        }
        let removed = || update.members.values().flat_map(|(removed, _)| removed);
        if removed().any(|element| matches!(element, Element::Net(_))) {
            return Self::All;
        }
        Self::Of(removed().filter_map(Element::address).collect())
    }

    /// Both.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::Of(mut a), Self::Of(b)) => {
                a.extend(b);
                Self::Of(a)
            }
            (Self::Of(a), _) | (_, Self::Of(a)) => Self::Of(a),
            (Self::Cut, _) | (_, Self::Cut) => Self::Cut,
            (Self::Nothing, Self::Nothing) => Self::Nothing,
        }
    }

    /// Whether a flow between two addresses has to be judged.
    fn concerns(&self, marked: bool, ends: [IpAddr; 2]) -> bool {
        match self {
            Self::Nothing => false,
            Self::Cut => marked,
            Self::Of(addresses) => marked || ends.iter().any(|end| addresses.contains(end)),
            Self::All => true,
        }
    }
}

// === impl Pass ===

impl Pass<'_> {
    /// Looks at every flow once, cuts what is denied, and lets go what is allowed again.
    ///
    /// # Errors
    /// Netlink's.
    pub fn run(&self, kernel: &dyn Kernel, due: &Due) -> Result<Outcome, Error> {
        let own = kernel.local_addresses()?;
        let evaluator = OnceCell::new();
        let filter = match due {
            Due::Nothing => return Ok(Outcome::default()),
            Due::Cut => MarkFilter::with(self.mark),
            Due::Of(_) | Due::All => MarkFilter::ALL,
        };
        let (mut cut, mut restored) = (Vec::new(), Vec::new());
        let mut marked = BTreeSet::new();
        let Dump { interrupted, .. } = kernel.conntrack_dump(filter, &mut |entry| {
            let is_marked = entry.mark & self.mark != 0;
            if is_marked {
                marked.insert(entry.key);
            }
            if !due.concerns(is_marked, ends(entry)) || !self.is_judged_here(entry, &own) {
                return;
            }
            let evaluator = evaluator.get_or_init(|| Evaluator::new(self.snapshot, self.settings));
            match (self.allows(evaluator, entry, &own), is_marked) {
                (false, false) => cut.push(entry.key),
                (true, true) => restored.push(entry.key),
                _ => {}
            }
        })?;
        let done = |flows: &[FlowKey], on| -> Result<usize, Error> {
            if flows.is_empty() {
                return Ok(0);
            }
            Ok(kernel.conntrack_mark(flows, self.mark, on)?.done)
        };
        let (cut, restored) = (done(&cut, true)?, done(&restored, false)?);
        Ok(Outcome {
            cut,
            restored,
            marked: (marked.len() + cut).saturating_sub(restored),
            interrupted,
        })
    }

    /// Whether an end of the flow is a pod of this node. What the node itself sends to its
    /// pods is never judged, whatever address of it is used (the bridge's lies inside the
    /// pod range).
    fn is_judged_here(&self, entry: &Entry, own: &BTreeSet<IpAddr>) -> bool {
        let [src, dst] = ends(entry);
        let exempt =
            own.contains(&src) || (own.contains(&dst) && !self.settings.enforce_node_traffic);
        !exempt && (self.is_local(src) || self.is_local(dst))
    }

    fn is_local(&self, address: IpAddr) -> bool {
        self.structure.endpoints.contains_key(&address)
            || self
                .structure
                .unknown_ranges
                .iter()
                .any(|range| range.contains(&address))
    }

    fn allows(&self, evaluator: &Evaluator<'_>, entry: &Entry, own: &BTreeSet<IpAddr>) -> bool {
        let flow = forward(entry);
        if self.allows_flow(evaluator, &flow, own) {
            return true;
        }
        // Which end opened it is not known: as with the rules, one direction is enough.
        entry.picked_up() && self.allows_flow(evaluator, &reversed(&flow), own)
    }

    /// The far end's side is judged on the far end's node.
    fn allows_flow(&self, evaluator: &Evaluator<'_>, flow: &Flow, own: &BTreeSet<IpAddr>) -> bool {
        let verdict = evaluator.judge(flow);
        let here = |address: IpAddr, side: &Side| {
            !self.is_local(address) || own.contains(&address) || side.allowed()
        };
        here(flow.src, &verdict.egress) && here(flow.dst, &verdict.ingress)
    }
}

/// Source before SNAT and destination after DNAT: what the rules see in FORWARD.
fn ends(entry: &Entry) -> [IpAddr; 2] {
    [entry.key.original.src, entry.reply.src]
}

/// The flow as the rules saw its first packet.
fn forward(entry: &Entry) -> Flow {
    let [src, dst] = ends(entry);
    let l4 = match (entry.key.original.l4, entry.reply.l4) {
        (
            L4::Ports {
                protocol,
                src: source,
                ..
            },
            L4::Ports { src: target, .. },
        ) => match known(protocol) {
            Some(protocol) => model::L4::Ports {
                protocol,
                src: source,
                dst: target,
            },
            None => model::L4::Other(protocol),
        },
        (L4::Icmp { kind, .. }, _) => model::L4::Icmp { kind },
        (l4, _) => model::L4::Other(l4.protocol()),
    };
    Flow { src, dst, l4 }
}

fn reversed(flow: &Flow) -> Flow {
    let l4 = match flow.l4 {
        model::L4::Ports { protocol, src, dst } => model::L4::Ports {
            protocol,
            src: dst,
            dst: src,
        },
        l4 => l4,
    };
    Flow {
        src: flow.dst,
        dst: flow.src,
        l4,
    }
}

fn known(protocol: u8) -> Option<Protocol> {
    match i32::from(protocol) {
        libc::IPPROTO_TCP => Some(Protocol::Tcp),
        libc::IPPROTO_UDP => Some(Protocol::Udp),
        libc::IPPROTO_SCTP => Some(Protocol::Sctp),
        _ => None,
    }
}

/// Takes our bit off every flow that carries it (cleanup; another `--mark`).
pub fn clear_mark(kernel: &dyn Kernel, mark: u32) -> Result<usize, Error> {
    let mut flows = Vec::new();
    kernel.conntrack_dump(MarkFilter::with(mark), &mut |entry| flows.push(entry.key))?;
    if flows.is_empty() {
        return Ok(0);
    }
    Ok(kernel.conntrack_mark(&flows, mark, false)?.done)
}
