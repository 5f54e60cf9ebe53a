//! How far a store is: for whoever wrote something and waits until it is known.

use super::Store;
use crate::Generation;
use ringfence_policy::snapshot::Kind;
use serde::Serialize;
use std::collections::BTreeMap;

/// What a store has taken in. As JSON `{"resourceVersions":{"pods":"8123"}}`, or
/// `{"digest":"..."}` with a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    /// Kubernetes: the last `resourceVersion` of each kind, by plural name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resource_versions: BTreeMap<&'static str, String>,
    /// Folder: SHA-256 of its content, see [`crate::folder::digest`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

impl Store {
    /// Where it stands now.
    pub fn position(&self) -> Position {
        Position {
            resource_versions: Kind::ALL
                .into_iter()
                .filter_map(|kind| Some((kind.plural(), self.resource_version(kind)?.to_owned())))
                .collect(),
            digest: self
                .generation()
                .map(|Generation { digest, .. }| digest.clone()),
        }
    }
}
