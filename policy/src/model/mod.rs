//! The objects that decide about packets, reduced to what decides.
//!
//! Everything here is plain data: cheap to clone (names and label strings are
//! shared), ordered, and free of Kubernetes' optional fields. [`crate::parse`]
//! makes it from API objects; [`mod@crate::evaluate`] and [`mod@crate::compile`]
//! share it and nothing else.

mod flow;
mod labels;
mod objects;
mod policy;

pub use flow::{Flow, L4};
pub use labels::{Labels, Operator, Requirement, Selector};
pub use objects::{
    Namespace, Node, Phase, Pod, PodPort, Service, ServicePort, ServiceType, TargetPort,
    TrafficPolicy,
};
pub use policy::{
    Direction, IpBlock, NamespaceMatch, Peer, Policy, PortMatch, PortSpec, Protocol, Rule,
};

use std::fmt;
use std::sync::Arc;

/// A shared name. Kubernetes allows 253 bytes.
pub type Name = Arc<str>;

/// Namespace and name of an object; cluster-scoped kinds have an empty namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// `metadata.namespace`
    pub namespace: Name,
    /// `metadata.name`
    pub name: Name,
}

impl ObjectKey {
    /// A key from anything that converts to shared strings.
    pub fn new(namespace: impl Into<Name>, name: impl Into<Name>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
