//! Which namespaces have had pods for long enough to draw conclusions from them. Pure.

use ringfence_checks::Index;
use ringfence_policy::model::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Charts install policies before pods, and pods come one after the other.
pub const SETTLING: Duration = Duration::from_mins(2);

/// Since when namespaces have had pods.
#[derive(Debug, Default)]
pub struct Settled {
    /// `None`: since before we looked.
    since: BTreeMap<Name, Option<Instant>>,
    looked: bool,
}

// === impl Settled ===

impl Settled {
    /// Takes in the namespaces that have pods now; returns those that are settled.
    pub fn look(&mut self, index: &Index, now: Instant) -> BTreeSet<Name> {
        let with_pods: BTreeSet<&Name> = index.all().map(|w| &w.pod.key.namespace).collect();
        self.since.retain(|name, _| with_pods.contains(name));
        let first = !std::mem::replace(&mut self.looked, true);
        for name in with_pods {
            let since = (!first).then_some(now);
            self.since.entry(name.clone()).or_insert(since);
        }
        let settled = self.since.iter();
        settled
            .filter(|(_, since)| since.is_none_or(|since| now >= since + SETTLING))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// When the next namespace will be.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        let due = self.since.values().flatten().map(|since| *since + SETTLING);
        due.filter(|due| *due > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_policy::{Snapshot, parse};
    use serde_json::json;

    fn index(namespaces: &[&str]) -> Index {
        let mut snapshot = Snapshot::default();
        for namespace in namespaces {
            let pod = json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "p", "namespace": namespace}});
            snapshot.apply(parse::object(&pod).unwrap().0);
        }
        Index::new(snapshot)
    }

    fn names(settled: &BTreeSet<Name>) -> Vec<&str> {
        settled.iter().map(|name| &**name).collect()
    }

    #[test]
    fn what_was_there_first_is_settled_and_the_rest_after_a_while() {
        let mut settled = Settled::default();
        let start = Instant::now();
        assert_eq!(names(&settled.look(&index(&["a"]), start)), ["a"]);
        assert_eq!(settled.next(start), None);
        assert_eq!(names(&settled.look(&index(&["a", "b"]), start)), ["a"]);
        assert_eq!(settled.next(start), Some(start + SETTLING));
        let later = start + SETTLING;
        assert_eq!(names(&settled.look(&index(&["a", "b"]), later)), ["a", "b"]);
        assert_eq!(settled.next(later), None);
    }

    #[test]
    fn a_namespace_that_lost_its_pods_begins_anew() {
        let mut settled = Settled::default();
        let start = Instant::now();
        settled.look(&index(&["a"]), start);
        settled.look(&index(&[]), start);
        assert!(settled.look(&index(&["a"]), start).is_empty());
    }
}
