//! Policies that are called as ours are.

use super::MANAGER;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DynamicObject, ObjectMeta};
use kube::{Resource, ResourceExt};
use ringfence_api::NamespaceIsolation;
use ringfence_isolation::Rendered;
use ringfence_isolation::render::{EGRESS, INGRESS, MANAGED_BY};
use ringfence_policy::model::Policy;
use ringfence_policy::parse;
use serde_json::json;
use std::collections::BTreeMap;

/// A policy with the name of ours, as the API server keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// `metadata.uid`
    pub uid: String,
    /// `metadata.resourceVersion`
    pub version: String,
    /// Whether we wrote it.
    pub ours: bool,
    /// The uid of the `NamespaceIsolation` that owns it; `None` when it was retained.
    pub owner: Option<String>,
    /// What it means.
    policy: Policy,
    /// Whether it carries our label.
    labelled: bool,
    /// Of our annotations those that it has.
    annotations: BTreeMap<&'static str, String>,
}

impl Owned {
    /// Reads an object; `None` for one without a name, which no API server sends.
    pub fn read(object: &DynamicObject) -> Option<Self> {
        let metadata = &object.metadata;
        let value = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"namespace": metadata.namespace, "name": metadata.name},
            "spec": object.data["spec"],
        });
        let policy = parse::policy(&value).ok()?.policy;
        let annotations = [INGRESS, EGRESS].into_iter();
        let annotations = annotations.filter_map(|key| {
            let value = object.annotations().get(key)?;
            Some((key, value.clone()))
        });
        let annotations: BTreeMap<_, _> = annotations.collect();
        let labelled = object
            .labels()
            .get(MANAGED_BY.0)
            .is_some_and(|v| v == MANAGED_BY.1);
        let owner = owner(metadata);
        Some(Self {
            uid: object.uid().unwrap_or_default(),
            version: object.resource_version().unwrap_or_default(),
            // Each of them can be edited away by hand; what is ours stays ours then.
            ours: is_managed(metadata)
                || owner.is_some()
                || (labelled && annotations.contains_key(INGRESS)),
            owner,
            policy,
            labelled,
            annotations,
        })
    }

    /// Whether there is nothing to write.
    pub fn is(&self, rendered: &Rendered, owner: Option<&OwnerReference>) -> bool {
        let wanted: BTreeMap<_, _> = rendered.annotations().into_iter().collect();
        self.policy == rendered.policy
            && self.labelled
            && self.annotations == wanted
            && self.owner.as_deref() == owner.map(|o| o.uid.as_str())
    }
}

fn is_managed(metadata: &ObjectMeta) -> bool {
    let mut entries = metadata.managed_fields.iter().flatten();
    entries.any(|entry| {
        entry.manager.as_deref() == Some(MANAGER) && entry.operation.as_deref() == Some("Apply")
    })
}

fn owner(metadata: &ObjectMeta) -> Option<String> {
    let mut owners = metadata.owner_references.iter().flatten();
    let kind = NamespaceIsolation::kind(&());
    let found = owners.find(|o| o.kind == kind && o.api_version.starts_with(ringfence_api::GROUP));
    found.map(|o| o.uid.clone())
}
