//! A verdict: what each end says, and why.

use crate::model::{Direction, Name, ObjectKey};
use std::fmt;

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

    /// The source's egress or the destination's ingress.
    pub fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.allowed() { "allowed" } else { "denied" };
        write!(
            f,
            "{word}. Egress: {}. Ingress: {}.",
            self.egress, self.ingress
        )
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

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPod => f.write_str("no pod has this address, so no policy looks at it"),
            Self::Open(pod) => write!(f, "no policy isolates {pod}"),
            Self::Exempt(exemption) => exemption.fmt(f),
            Self::Allowed(ground) => write!(f, "allowed for {} by {ground}", ground.pod),
            Self::Denied { pod, policies } => {
                write!(f, "{pod} is isolated by {}", list(policies))?;
                f.write_str(", and no rule allows this")
            }
            Self::UnknownPod { node } => {
                write!(
                    f,
                    "the address is in the pod range of {node}, of no pod known there"
                )
            }
        }
    }
}

/// Keys in prose, with commas.
pub(super) fn list(keys: &[ObjectKey]) -> String {
    let names: Vec<String> = keys.iter().map(ToString::to_string).collect();
    names.join(", ")
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

impl fmt::Display for Exemption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NodeTraffic => "always allowed between a node and its own pods",
            Self::OwnAddress => "always allowed from a pod to itself",
            Self::NeighbourDiscovery => "always allowed: IPv6 cannot work without",
        })
    }
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

impl fmt::Display for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {} of {}", self.rule, self.policy)?;
        match (self.peer, self.port) {
            (None, None) => f.write_str(" (everyone, everything)"),
            (None, Some(port)) => write!(f, " (everyone, ports[{port}])"),
            (Some(peer), None) => write!(f, " (peer {peer}, everything)"),
            (Some(peer), Some(port)) => write!(f, " (peer {peer}, ports[{port}])"),
        }
    }
}
