//! The oracle: what should happen to a flow, and who says so.

use crate::model::{Flow, Name, ObjectKey};
use crate::snapshot::{Settings, Snapshot};

/// Judges the first packet of a flow on its whole way through the cluster: the
/// egress rules where the source pod lives, the ingress rules where the destination
/// pod lives.
pub fn evaluate(snapshot: &Snapshot, settings: Settings, flow: &Flow) -> Verdict {
    let _ = (snapshot, settings, flow);
    Verdict {
        egress: Side::NoPod,
        ingress: Side::NoPod,
    }
}

/// The judgement of a flow, one per end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The source pod's side.
    pub egress: Side,
    /// The destination pod's side.
    pub ingress: Side,
}

impl Verdict {
    /// Whether the flow passes: both sides must let it.
    pub fn allowed(&self) -> bool {
        self.egress.allowed() && self.ingress.allowed()
    }
}

/// What one end says, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// No pod that policies see has this address.
    NoPod,
    /// No policy isolates the pod in this direction.
    Open(ObjectKey),
    /// Policy does not apply to this traffic at all.
    Exempt(Exemption),
    /// This rule of this policy allows it.
    Allowed(Ground),
    /// These policies isolate the pod and none of them allows it.
    Denied {
        /// The pod.
        pod: ObjectKey,
        /// The isolating policies, sorted.
        policies: Vec<ObjectKey>,
    },
    /// An address of the node's pod range that belongs to no known pod.
    UnknownPod {
        /// The node whose range it is.
        node: Name,
    },
}

impl Side {
    /// Whether this side lets the flow pass.
    pub fn allowed(&self) -> bool {
        !matches!(self, Self::Denied { .. } | Self::UnknownPod { .. })
    }
}

/// Traffic that no policy can refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exemption {
    /// Between a node and its own pods.
    NodeTraffic,
    /// A pod to its own address.
    OwnAddress,
    /// ICMPv6 neighbour discovery and multicast listener discovery.
    NeighbourDiscovery,
}

/// The rule that allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ground {
    /// The pod that is isolated.
    pub pod: ObjectKey,
    /// The policy.
    pub policy: ObjectKey,
    /// Index of the rule in `spec.ingress` or `spec.egress`.
    pub rule: usize,
    /// Index in `from` or `to`; `None` when that is empty (everyone).
    pub peer: Option<usize>,
    /// Index in `ports`; `None` when that is empty (every protocol).
    pub port: Option<usize>,
}
