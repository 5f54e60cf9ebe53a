//! The two webhook configurations: what they say, and what they should say. Pure.
//!
//! Two fields are ours: `caBundle` (when we keep the certificates) and `failurePolicy` of
//! the entries that the configuration's owner has marked with [`FAIL_CLOSED`]. An entry is
//! raised from Ignore to Fail only on proof: the API server itself has just called it.
//!
//! Only facts that stand in the API lower it again: a caBundle by which no server can be
//! verified. What an attacker on the network could cause (a hook that does not answer, or
//! answers with a strange certificate) never opens anything.

pub mod probe;
mod view;

pub use view::{Configuration, Entry, FailurePolicy, Unreadable};

use jiff::Timestamp;
use json_patch::Patch;
use k8s_openapi::ByteString;
use probe::Proof;
use ringfence_certs::Bundle;
use serde_json::{Value, json};

/// Annotation on a configuration: names of the entries that shall be `Fail`, separated by
/// commas.
pub const FAIL_CLOSED: &str = "ringfence.dev/fail-closed";

/// One of the two kinds of configuration; also which endpoint of the webhook it calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// `MutatingWebhookConfiguration`
    Mutate,
    /// `ValidatingWebhookConfiguration`
    Validate,
}

/// A change of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Its place in `webhooks`.
    pub index: usize,
    /// Its name, for messages and as a guard against a changed order.
    pub name: String,
    /// The new caBundle.
    pub ca_bundle: Option<Vec<u8>>,
    /// The new failurePolicy.
    pub failure_policy: Option<FailurePolicy>,
}

/// A mark that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// No such entry.
    #[error("{FAIL_CLOSED} names {0:?}, which is no entry of this configuration: correct the name")]
    Unknown(String),
    /// The probe is a NetworkPolicy.
    #[error(
        "{0:?} stays Ignore: only an entry for networkpolicies alone can be proved; take it out of {FAIL_CLOSED}"
    )]
    NotPolicies(String),
    /// The answer does not say which entry was called.
    #[error(
        "{0:?} stays Ignore: several entries are for networkpolicies, so that none can be proved; join them"
    )]
    Ambiguous(String),
}

// === impl Hook ===

impl Hook {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Mutate, Self::Validate];

    /// The endpoint's name, and the value of a label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Mutate => "mutate",
            Self::Validate => "validate",
        }
    }
}

/// Brings a configuration in line with what is certain: the caBundle, when we keep the
/// certificates (`managed`), and Ignore where no server could be verified.
pub fn repair(
    configuration: &Configuration,
    managed: Option<&Bundle>,
    now: Timestamp,
) -> Vec<Edit> {
    let wanted = managed.map(|bundle| bundle.pem().into_bytes());
    let edits = configuration
        .entries
        .iter()
        .enumerate()
        .map(|(index, entry)| {
            let ca_bundle = wanted.clone().filter(|wanted| *wanted != entry.ca_bundle);
            let then = ca_bundle.as_ref().unwrap_or(&entry.ca_bundle);
            let closed =
                configuration.is_marked(entry) && entry.failure_policy == FailurePolicy::Fail;
            let failure_policy = (closed && !verifies(then, now)).then_some(FailurePolicy::Ignore);
            Edit {
                index,
                name: entry.name.clone(),
                ca_bundle,
                failure_policy,
            }
        });
    edits
        .filter(|edit| edit.ca_bundle.is_some() || edit.failure_policy.is_some())
        .collect()
}

/// Whether an entry waits for proof: marked, provable, still Ignore, with a caBundle that
/// can verify.
pub fn wants_proof(configuration: &Configuration, now: Timestamp) -> bool {
    !raisable(configuration, now).is_empty()
}

/// Raises what `proof` proves.
pub fn raise(configuration: &Configuration, proof: &Proof, now: Timestamp) -> Vec<Edit> {
    if !proof.proves(configuration.hook) {
        return Vec::new();
    }
    let entries = raisable(configuration, now).into_iter();
    let raised = entries.map(|(index, entry)| Edit {
        index,
        name: entry.name.clone(),
        ca_bundle: None,
        failure_policy: Some(FailurePolicy::Fail),
    });
    raised.collect()
}

/// Whether a marked entry is Fail now.
pub fn fails_closed(configuration: &Configuration) -> bool {
    let mut entries = configuration.entries.iter();
    entries.any(|e| configuration.is_marked(e) && e.failure_policy == FailurePolicy::Fail)
}

/// Whether every entry's caBundle is this.
pub fn agrees(configuration: &Configuration, bundle: &Bundle) -> bool {
    let wanted = bundle.pem();
    configuration
        .entries
        .iter()
        .all(|entry| entry.ca_bundle == wanted.as_bytes())
}

/// Marks that are not followed, and why.
pub fn doubts(configuration: &Configuration) -> Vec<Doubt> {
    let known = |name: &String| configuration.entries.iter().any(|e| e.name == *name);
    let unknown = configuration
        .marked
        .iter()
        .filter(|name| !known(name))
        .cloned();
    let unprovable = configuration
        .entries
        .iter()
        .filter(|e| configuration.is_marked(e));
    let unprovable = unprovable.filter_map(|entry| provable(configuration, entry).err());
    unknown.map(Doubt::Unknown).chain(unprovable).collect()
}

/// The JSON Patch of `edits`: refused by the API server when the configuration is no
/// longer the one that was looked at.
///
/// # Errors
/// Never in practice: what is built is a patch.
pub fn patch(configuration: &Configuration, edits: &[Edit]) -> Result<Patch, serde_json::Error> {
    let version = &configuration.resource_version;
    let mut steps =
        vec![json!({"op": "test", "path": "/metadata/resourceVersion", "value": version})];
    for edit in edits {
        let at = |field: &str| format!("/webhooks/{}/{field}", edit.index);
        steps.push(json!({"op": "test", "path": at("name"), "value": edit.name}));
        if let Some(bundle) = &edit.ca_bundle {
            let value = serde_json::to_value(ByteString(bundle.clone()))?;
            steps.push(json!({"op": "add", "path": at("clientConfig/caBundle"), "value": value}));
        }
        if let Some(policy) = edit.failure_policy {
            steps.push(json!({"op": "add", "path": at("failurePolicy"), "value": policy}));
        }
    }
    serde_json::from_value(Value::Array(steps))
}

fn raisable(configuration: &Configuration, now: Timestamp) -> Vec<(usize, &Entry)> {
    let entries = configuration.entries.iter().enumerate();
    let wanted = entries.filter(|(_, entry)| {
        configuration.is_marked(entry)
            && entry.failure_policy == FailurePolicy::Ignore
            && verifies(&entry.ca_bundle, now)
            && provable(configuration, entry).is_ok()
    });
    wanted.collect()
}

fn provable(configuration: &Configuration, entry: &Entry) -> Result<(), Doubt> {
    if !entry.only_policies {
        return Err(Doubt::NotPolicies(entry.name.clone()));
    }
    if configuration.entries.iter().filter(|e| e.policies).count() > 1 {
        return Err(Doubt::Ambiguous(entry.name.clone()));
    }
    Ok(())
}

/// Whether a server could be verified by this caBundle: it can be read, and not
/// everything in it has expired.
fn verifies(ca_bundle: &[u8], now: Timestamp) -> bool {
    let text = std::str::from_utf8(ca_bundle).unwrap_or_default();
    let unexpired = Bundle::parse(text).and_then(|bundle| bundle.unexpired(now));
    unexpired.is_ok_and(|bundle| !bundle.is_empty())
}

#[cfg(test)]
mod tests;
