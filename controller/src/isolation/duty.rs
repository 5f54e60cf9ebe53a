//! What a namespace is due: pure, from what was seen.

use super::owned::Owned;
use super::seen::Seen;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};
use ringfence_api::{Mode, NamespaceIsolation, NamespaceIsolationSpec, OnDisable, SINGLETON};
use ringfence_isolation::Rendered;
use serde_json::Value;

/// The annotation by which `KubeSphere` isolates a project, and its value.
pub const KUBESPHERE: (&str, &str) = ("kubesphere.io/network-isolate", "enabled");

/// On a `NamespaceIsolation`: the annotation of the namespace that it was made for. With
/// that annotation it goes; without this mark it is somebody's own.
pub const MADE_FOR: &str = "isolation.ringfence.dev/made-for";

/// One write, or none.
#[derive(Clone, Debug, PartialEq)]
pub enum Duty {
    /// All is as it should be.
    Nothing,
    /// A policy of our name is not ours.
    Foreign,
    /// The namespace's annotation asks for isolation.
    Enable(Box<NamespaceIsolation>),
    /// It does so no more; uid and version of the object that we made for it.
    Disable(String, String),
    /// The policy is not there.
    Create(Value),
    /// It is not as it should be.
    Update(Value),
    /// It should not be there: its uid and version.
    Delete(String, String),
}

/// What a namespace is due. `rendered`: as it should be isolated, if it should.
pub fn duty(seen: &Seen, namespace: &str, rendered: Option<&Rendered>) -> Duty {
    if !seen.is_there(namespace) {
        return Duty::Nothing;
    }
    let isolation = seen.isolation(namespace);
    let note = seen.namespaces.get("", namespace);
    let wants = note.is_some_and(|note| note.wants_isolation);
    match isolation {
        None if wants => return Duty::Enable(Box::new(made_for_annotation(namespace))),
        // Somebody else's finalizer holds it, or garbage collection deletes our policy
        // first: what it owns would be deleted again and again.
        Some(isolation) if isolation.metadata.deletion_timestamp.is_some() => {
            return Duty::Nothing;
        }
        Some(isolation) if !wants && isolation.annotations().contains_key(MADE_FOR) => {
            let version = isolation.resource_version().unwrap_or_default();
            return Duty::Disable(isolation.uid().unwrap_or_default(), version);
        }
        _ => {}
    }
    let policy = seen.policy(namespace);
    match (isolation, rendered) {
        (Some(isolation), Some(rendered)) if isolation.spec.mode == Mode::Enforce => {
            enforce(policy, rendered, owner(isolation).as_ref())
        }
        _ => policy.map_or(Duty::Nothing, |policy| release(policy, isolation.is_some())),
    }
}

fn enforce(policy: Option<&Owned>, rendered: &Rendered, owner: Option<&OwnerReference>) -> Duty {
    let mut object = rendered.object(owner);
    match policy {
        None => Duty::Create(object),
        Some(policy) if !policy.ours => Duty::Foreign,
        Some(policy) if policy.is(rendered, owner) => Duty::Nothing,
        Some(policy) => {
            // Another object of that name meanwhile is a conflict.
            object["metadata"]["uid"] = policy.uid.as_str().into();
            Duty::Update(object)
        }
    }
}

/// Nothing is to be enforced. `previewed`: there is a `NamespaceIsolation`, in mode
/// `Preview`, so that not even what was retained may be.
fn release(policy: &Owned, previewed: bool) -> Duty {
    // Where it is owned, garbage collection does the same; this is sooner.
    if (previewed && policy.ours) || (!previewed && policy.owner.is_some()) {
        return Duty::Delete(policy.uid.clone(), policy.version.clone());
    }
    Duty::Nothing
}

/// Who the policy goes with; nobody where it is to be retained.
pub fn owner(isolation: &NamespaceIsolation) -> Option<OwnerReference> {
    let deleted_with = isolation.spec.on_disable == OnDisable::Delete;
    // Not as its controller: there is nothing that a controller reference adds here.
    let reference = isolation.owner_ref(&()).filter(|_| deleted_with)?;
    Some(reference)
}

fn made_for_annotation(namespace: &str) -> NamespaceIsolation {
    let mut isolation = NamespaceIsolation::new(SINGLETON, NamespaceIsolationSpec::default());
    isolation.metadata.namespace = Some(namespace.to_owned());
    let annotations = isolation.annotations_mut();
    annotations.insert(MADE_FOR.to_owned(), KUBESPHERE.0.to_owned());
    isolation
}

#[cfg(test)]
mod tests;
