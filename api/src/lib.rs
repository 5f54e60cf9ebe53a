//! `ringfence.dev/v1alpha1`: the custom resources of project isolation. One small object
//! gives a namespace its ring fence, others open it for chosen peers.
//!
//! Types alone, without behaviour. manifests/base/crds is generated from here
//! (`RINGFENCE_WRITE_DOCS=1 cargo test -p ringfence-api --test crds`).

#![allow(
    clippy::duplicated_attributes,
    reason = "the derives repeat attributes in what they expand to"
)]

mod config;
mod isolation;
mod rule;

pub use config::{Dns, ForeignPolicies, IsolationConfig, IsolationConfigSpec};
pub use isolation::{
    Egress, Mode, NamespaceIsolation, NamespaceIsolationSpec, NamespaceIsolationStatus, OnDisable,
    Preview, Scope,
};
pub use rule::{
    Cidr, Direction, IsolationRule, IsolationRuleSpec, IsolationRuleStatus, Peer, PortNumber,
    RulePort, ServiceRef,
};

/// The API group of all three.
pub const GROUP: &str = "ringfence.dev";
/// Its version.
pub const VERSION: &str = "v1alpha1";
/// What an `IsolationConfig` and a `NamespaceIsolation` must be called: there is one.
pub const SINGLETON: &str = "default";
