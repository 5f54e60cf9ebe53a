//! NetworkPolicies.

use super::{Name, ObjectKey, Selector};
use ipnet::IpNet;
use std::fmt;
use std::sync::Arc;

/// Which side of a pod's traffic: into it or out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Into the pod.
    Ingress,
    /// Out of the pod.
    Egress,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

/// A NetworkPolicy as it takes effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Namespace and name.
    pub key: ObjectKey,
    /// The pods of the policy's namespace that it applies to.
    pub pod_selector: Selector,
    /// Rules for traffic into the pods. `None`: the policy does not isolate this
    /// direction. `Some` of nothing: it isolates and allows nothing.
    pub ingress: Option<Vec<Rule>>,
    /// Rules for traffic out of the pods, as above.
    pub egress: Option<Vec<Rule>>,
    /// Why the object could not be understood. Such a policy isolates the pods it
    /// selects and allows nothing (fail closed); the text is for Events and logs.
    pub fault: Option<Arc<str>>,
    /// It adds to what other policies allow and isolates nothing by itself: a companion
    /// (see [`crate::parse::policy`]). Pods that only such policies select are open.
    pub allow_only: bool,
}

impl Policy {
    /// The rules of one direction; `None` when that direction is not isolated.
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }
}

/// One rule: any of the peers on any of the ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rule {
    /// Who; empty means everyone, inside the cluster and outside.
    pub peers: Vec<Peer>,
    /// On what; empty means every protocol and port, ICMP too.
    pub ports: Vec<PortMatch>,
}

/// One item of `from` or `to`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    /// Pods (never hostNetwork ones) by namespace AND label.
    Pods {
        /// In which namespaces.
        namespaces: NamespaceMatch,
        /// Which of their pods.
        pods: Selector,
    },
    /// Addresses, of pods or of anything else.
    Block(IpBlock),
}

/// The namespaces of a pod peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NamespaceMatch {
    /// The policy's own namespace: no `namespaceSelector` was given.
    Own,
    /// Namespaces by label.
    Labels(Selector),
}

/// `ipBlock`: a range less its exceptions. Networks are truncated (no host bits).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IpBlock {
    /// The range.
    pub cidr: IpNet,
    /// Taken out of **this** range only; another block may allow them.
    pub except: Vec<IpNet>,
}

/// One item of `ports`: pod ports after DNAT, never Service ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortMatch {
    /// TCP when the object says nothing.
    pub protocol: Protocol,
    /// Which ports of that protocol.
    pub port: PortSpec,
}

/// `TCP 80`, `UDP 53-60`, `TCP http`, `SCTP`
impl fmt::Display for PortMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = self.protocol;
        match &self.port {
            PortSpec::Any => write!(f, "{protocol}"),
            PortSpec::Range(first, last) if first == last => write!(f, "{protocol} {first}"),
            PortSpec::Range(first, last) => write!(f, "{protocol} {first}-{last}"),
            PortSpec::Named(name) => write!(f, "{protocol} {name}"),
        }
    }
}

/// The port part of a [`PortMatch`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PortSpec {
    /// Every port of the protocol.
    Any,
    /// First and last port, both included; equal for a single port.
    Range(u16, u16),
    /// A container port's name, resolved per destination pod and protocol.
    Named(Name),
}

/// The protocols that a policy can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
}

impl Protocol {
    /// All of them, for tables.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// `tcp`, `udp`, `sctp`: the word that iptables, ipset and nft use.
    pub fn netfilter(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}
