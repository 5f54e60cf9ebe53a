//! What was written, and whether who watches it has it.

use crate::controlplane::ResourceVersion;
use serde_json::Value;
use std::collections::BTreeMap;

/// Who waits for objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watcher {
    /// On every node.
    Enforcer,
    /// It reads Services as well.
    Webhook,
}

impl Watcher {
    /// The kinds that are watched, with the plurals by which they are reported.
    fn kinds(self) -> &'static [(&'static str, &'static str)] {
        const KINDS: [(&str, &str); 5] = [
            ("Namespace", "namespaces"),
            ("NetworkPolicy", "networkpolicies"),
            ("Node", "nodes"),
            ("Pod", "pods"),
            ("Service", "services"),
        ];
        match self {
            Self::Enforcer => &KINDS[..4],
            Self::Webhook => &KINDS,
        }
    }
}

/// The last write of each kind.
#[derive(Clone, Debug, Default)]
pub struct Written(BTreeMap<String, u64>);

impl Written {
    /// An object of this kind got this version.
    pub fn wrote(&mut self, kind: &str, version: ResourceVersion) {
        let last = self.0.entry(kind.to_owned()).or_default();
        *last = version.0.max(*last);
    }

    /// See [`Objects::mark`].
    pub fn mark(&self, watcher: Watcher) -> Mark {
        let kinds = watcher.kinds().iter();
        let written = kinds.filter_map(|(kind, plural)| {
            let version = self.0.get(*kind)?;
            Some(((*plural).to_owned(), *version))
        });
        Mark::Versions(written.collect())
    }
}

/// Something that `/generation` can be compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The digest of a folder's content.
    Digest(String),
    /// The last write of each kind, by the kind's plural.
    Versions(BTreeMap<String, u64>),
}

impl Mark {
    /// Whether this answer of `/generation` says that all of it counts: that an enforcer has
    /// it in the kernel, or that the webhook judges by it.
    pub fn is_reached(&self, generation: &str) -> bool {
        let Ok(generation) = serde_json::from_str::<Value>(generation) else {
            return false;
        };
        let reached = generation.get("programmed").or(generation.get("published"));
        let reached = reached.unwrap_or(&Value::Null);
        match self {
            Self::Digest(digest) => reached["digest"] == **digest,
            Self::Versions(wanted) => wanted.iter().all(|(kind, version)| {
                reached["resourceVersions"][kind]
                    .as_str()
                    .and_then(|text| text.parse::<u64>().ok())
                    .is_some_and(|reached| reached >= *version)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case(r#"{"programmed": {"digest": "ab"}}"# => true; "the folder's content")]
    #[test_case(r#"{"programmed": {"digest": null}}"# => false; "nothing yet")]
    #[test_case(r#"{"received": {"digest": "ab"}}"# => false; "only received")]
    #[test_case("" => false; "no answer")]
    fn a_folder_is_reached(generation: &str) -> bool {
        Mark::Digest("ab".into()).is_reached(generation)
    }

    #[test_case(r#"{"programmed": {"resourceVersions": {"pods": "10"}}}"# => true; "numbers, not text")]
    #[test_case(r#"{"programmed": {"resourceVersions": {"pods": "8"}}}"# => false; "before it")]
    #[test_case(r#"{"published": {"resourceVersions": {"pods": "9"}}}"# => true; "the webhook's answer")]
    #[test_case(r#"{"published": {}}"# => false; "nothing is known")]
    fn a_version_is_reached(generation: &str) -> bool {
        Mark::Versions([("pods".into(), 9)].into()).is_reached(generation)
    }

    #[test]
    fn who_does_not_read_services_does_not_wait_for_them() {
        let mut written = Written::default();
        for (kind, version) in [("Service", 9), ("Pod", 7), ("Pod", 5), ("Secret", 11)] {
            written.wrote(kind, ResourceVersion(version));
        }
        let versions = |marks: &[(&str, u64)]| {
            let marks = marks
                .iter()
                .map(|(kind, version)| ((*kind).to_owned(), *version));
            Mark::Versions(marks.collect())
        };
        assert_eq!(written.mark(Watcher::Enforcer), versions(&[("pods", 7)]));
        let both = versions(&[("pods", 7), ("services", 9)]);
        assert_eq!(written.mark(Watcher::Webhook), both);
    }
}
