//! Adding what policies forget: DNS egress and ingress from monitoring namespaces.

use crate::finding::{Finding, Unknown};
use crate::{Subject, World};
use json_patch::Patch;

/// What the mutating webhook answers about a policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Injected {
    /// Operations on the JSON as it was received; none: nothing is to be changed. It has
    /// been applied and parsed.
    pub patch: Patch,
    /// What is missing and is not added (mode `warn`, no usable DNS Service, ...).
    pub findings: Vec<Finding>,
    /// What could not be decided.
    pub unknown: Vec<Unknown>,
}

/// What is to be added to `subject`, which was `old` before.
pub fn inject(_subject: &Subject, _old: Option<&Subject>, _world: &World) -> Injected {
    Injected::default()
}
