//! What one node has to program, independent of the tool that programs it.

use crate::model::{Direction, Name, NamespaceMatch, ObjectKey, Protocol, Selector};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// 16 hexadecimal digits of a hash over an unambiguous key: stable across runs,
/// nodes and versions of this program as long as the meaning is the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub u64);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Everything a node programs: the structure (rules) and the members of its sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Chains, endpoints and the definitions of sets.
    pub structure: Arc<Structure>,
    /// Members of every set in `structure.sets`; a set without members has an entry too.
    pub members: BTreeMap<Id, BTreeSet<Element>>,
}

/// The part of a [`Program`] that becomes rules. Changes only when a local pod, a
/// policy, a namespace or this node changes, never when a remote pod comes or goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Structure {
    /// Every address of a pod of this node that policies see, isolated or not.
    pub endpoints: BTreeMap<IpAddr, Endpoint>,
    /// Policy combinations in use: pods under the same policies share one.
    pub signatures: BTreeMap<Id, Signature>,
    /// One chain per policy and direction.
    pub chains: BTreeMap<Id, Arc<Chain>>,
    /// The sets that chains and the entry rules refer to.
    pub sets: BTreeMap<Id, Arc<SetSpec>>,
    /// Pod ranges of this node in which an address without an endpoint is shut
    /// (`Settings::drop_unknown_pods`); empty when that is off or unknown.
    pub unknown_ranges: Vec<IpNet>,
    /// `Settings::enforce_node_traffic`
    pub enforce_node_traffic: bool,
}

/// A local pod's address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Who claims the address, normally one pod.
    pub pods: Vec<ObjectKey>,
    /// Signatures that must **all** allow what comes in; empty: not isolated. More
    /// than one only while several pods claim the address.
    pub ingress: Vec<Id>,
    /// The same for what goes out.
    pub egress: Vec<Id>,
}

/// A combination of policies: any one of them allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Direction of all its chains.
    pub direction: Direction,
    /// Chains, sorted.
    pub chains: Vec<Id>,
}

/// The rules of one policy in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The policy, for comments and explanations.
    pub policy: ObjectKey,
    /// The direction.
    pub direction: Direction,
    /// Any one of them allows.
    pub rules: Vec<ChainRule>,
}

/// One rule of a policy: a packet passes when **some** peer and **some** port match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainRule {
    /// Index in the policy's `ingress` or `egress`, for comments.
    pub index: usize,
    /// Which far ends (source on ingress, destination on egress). Never empty.
    pub peers: Vec<PeerMatch>,
    /// Which protocols and ports. Never empty.
    pub ports: Vec<PortTest>,
}

/// How a far end is matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PeerMatch {
    /// Every address of both families.
    Anyone,
    /// Every IPv4 address (`0.0.0.0/0`).
    AnyV4,
    /// Every IPv6 address (`::/0`).
    AnyV6,
    /// Members of a set of kind [`SetSpec::Pods`] or [`SetSpec::Cidrs`].
    Set(Id),
}

/// How protocol and destination port are matched.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PortTest {
    /// Any protocol, ICMP too.
    AnyProtocol,
    /// Any port of one protocol.
    Protocol(Protocol),
    /// Inclusive port ranges of one protocol: sorted, disjoint, not adjacent.
    Ranges(Protocol, Vec<(u16, u16)>),
    /// (destination address, protocol, destination port) in a [`SetSpec::NamedPort`] set.
    Named(Id, Protocol),
}

/// What a set holds. Its [`Id`] is a hash of this, so equal meaning is one set.
/// Renderers make one kernel set per address family of each.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SetSpec {
    /// Addresses of pods by selector.
    Pods(PodSet),
    /// Networks: exceptions subtracted, sorted, aggregated, none of length 0.
    Cidrs(Vec<IpNet>),
    /// (address, protocol, port) of pods that name a port so; `local_only` restricts
    /// it to this node's endpoints (ingress), otherwise all pods of the cluster.
    NamedPort {
        /// The container port's name.
        name: Name,
        /// Its protocol.
        protocol: Protocol,
        /// This node's pods only.
        local_only: bool,
    },
    /// All addresses in `Structure::endpoints`: the known pods of this node.
    LocalPods,
    /// The endpoints that are isolated in some direction.
    IsolatedPods,
    /// The endpoints that are ingress-isolated.
    IngressIsolatedPods,
    /// Pairs (address, the same address) of isolated endpoints.
    SelfPairs,
}

/// The pods that a selector peer selects.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodSet {
    /// In which namespaces.
    pub namespaces: PodSetNamespaces,
    /// With which labels.
    pub pods: Selector,
}

/// [`NamespaceMatch`] with the policy's own namespace filled in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PodSetNamespaces {
    /// This one.
    Named(Name),
    /// By label.
    Labels(Selector),
}

impl PodSetNamespaces {
    /// Resolves a peer's namespaces for a policy in `own`.
    pub fn of(peer: &NamespaceMatch, own: &Name) -> Self {
        match peer {
            NamespaceMatch::Own => Self::Named(Name::clone(own)),
            NamespaceMatch::Labels(selector) => Self::Labels(selector.clone()),
        }
    }
}

/// A member of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Element {
    /// An address (`Pods`, `LocalPods`, `IsolatedPods`, `IngressIsolatedPods`).
    Address(IpAddr),
    /// A network (`Cidrs`).
    Net(IpNet),
    /// An address and port (`NamedPort`).
    Port(IpAddr, Protocol, u16),
    /// An address with itself (`SelfPairs`).
    Pair(IpAddr),
}

impl Element {
    /// Whether the element belongs in the IPv4 or in the IPv6 set.
    pub fn is_ipv4(&self) -> bool {
        match self {
            Self::Address(a) | Self::Port(a, ..) | Self::Pair(a) => a.is_ipv4(),
            Self::Net(IpNet::V4(Ipv4Net { .. })) => true,
            Self::Net(IpNet::V6(Ipv6Net { .. })) => false,
        }
    }

    /// The pod address in it; `None` for a network.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(a) | Self::Port(a, ..) | Self::Pair(a) => Some(*a),
            Self::Net(_) => None,
        }
    }
}

/// What a batch of changes did to a [`Program`].
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// The structure before, when it changed.
    pub previous: Option<Arc<Structure>>,
    /// The structure now.
    pub structure: Arc<Structure>,
    /// Net change of members of sets that exist before **and** after, by set:
    /// (removed, added). Sets that came or went are not in here: a new set's members
    /// are in `Program::members`.
    pub members: BTreeMap<Id, (BTreeSet<Element>, BTreeSet<Element>)>,
    /// Addresses whose identity changed (other pod, other labels, gone, new).
    /// They leave every set before they enter one.
    pub moved: BTreeSet<IpAddr>,
}

impl Update {
    /// True when the kernel need not be touched.
    pub fn is_empty(&self) -> bool {
        self.previous.is_none() && self.members.is_empty()
    }
}
