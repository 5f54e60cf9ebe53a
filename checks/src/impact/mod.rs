//! What a change will cut and open, before it lands.
//!
//! ```text
//!  Index --> Ground: pods as bits, by workload; ports; who is isolated    (made once)
//!  Edit ---> the policies that change --> the workloads they are about
//!            for each, and each port: whom did it reach, whom will it?    (sets of bits)
//!            where that differs: does the other end allow it?
//!        --> Impact { cut, opened }
//! ```
//!
//! A flow is a pair of existing pods and a port on which the second is reached: one that it
//! declares by name, or to which a Service sends. Where nothing tells its ports there is one
//! flow, on "any": it passes when each end has a rule for the other, whatever the port.
//!
//! Not looked at: `hostNetwork` pods (no policy is about them), terminating ones, addresses
//! outside of the cluster, and any but the first address of a pod. The gateways, the API
//! server and its webhooks are in [`ways`].

mod bits;
mod compare;
mod edit;
mod ground;
mod reach;
mod rules;
mod ways;

pub use compare::compare;
pub use edit::Edit;
pub(crate) use ground::Ground;
pub use ways::{Way, Ways, ways};

use ringfence_policy::model::{Name, Protocol};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use thiserror::Error;

/// Protocol and number; `None` where nothing tells on which port a pod is reached.
pub type Port = Option<(Protocol, u16)>;

/// What a change does to the flows between existing pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Impact {
    /// They pass now and will not.
    pub cut: Flows,
    /// They do not pass now and will.
    pub opened: Flows,
}

/// Some flows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flows {
    /// How many: pairs of pods, by port.
    pub count: u64,
    /// The same by workload, with the number of flows of each; not more than were asked for.
    pub rows: BTreeMap<Row, u64>,
    /// There are more rows than are shown.
    pub more: bool,
}

/// Flows between two workloads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Who connects.
    pub from: End,
    /// To whom.
    pub to: End,
    /// Where.
    pub port: Port,
}

/// A workload: pods of one namespace that are called the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// Its namespace.
    pub namespace: Name,
    /// Of the labels `app.kubernetes.io/name`, `app` and `k8s-app` the first that is there;
    /// else the name of a pod.
    pub name: Name,
}

/// How much is worked out.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    /// Steps, of a nanosecond or a few each. They are counted, not timed: the same question
    /// has the same answer wherever and whenever it is asked.
    pub steps: usize,
    /// Rows of each kind.
    pub rows: usize,
    /// The namespaces that rows may name; `None`: any. Others are only counted.
    pub namespaces: Option<&'a BTreeSet<Name>>,
}

/// The question is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not computed: it takes more than {steps} steps")]
pub struct NotComputed {
    /// As many as were allowed.
    pub steps: usize,
}

// === impl Limits ===

impl Limits<'_> {
    /// For an admission request, with which somebody waits: at most 50 ms on any machine
    /// that can serve at all, usually far less.
    pub const ADMISSION: Self = Self {
        steps: 4_000_000,
        rows: 3,
        namespaces: None,
    };

    /// For somebody who waits for a full answer: some seconds at most.
    pub const FULL: Self = Self {
        steps: 2_000_000_000,
        rows: 10_000,
        namespaces: None,
    };
}

// === impl Impact ===

impl Impact {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.cut.count == 0 && self.opened.count == 0
    }
}

// === impl Row ===

/// `shop/web -> shop/db TCP 5432`
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.from, self.to)?;
        match self.port {
            Some((protocol, port)) => write!(f, " {protocol} {port}"),
            None => Ok(()),
        }
    }
}

// === impl End ===

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
