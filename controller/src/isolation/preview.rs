//! What isolation would cut: in mode `Preview`, from the cluster as it is cached.

use ringfence_api::Preview;
use ringfence_checks::Index;
use ringfence_checks::impact::{Edit, Limits, compare};
use ringfence_policy::Snapshot;
use ringfence_policy::model::{Name, Policy};
use ringfence_policy::snapshot::Kind;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How old the cluster may be that previews look at: an index of it takes its time.
pub const AGE: Duration = Duration::from_mins(1);
/// A few nanoseconds each: the Lease is renewed by the same thread.
const STEPS: usize = 50_000_000;
/// Examples in status.
const EXAMPLES: usize = 10;

/// Looks at a snapshot, which is indexed anew when it is too old.
#[derive(Debug, Default)]
pub struct Previews {
    index: Option<(Instant, Index)>,
}

// === impl Previews ===

impl Previews {
    /// What a policy would cut; names of namespaces stand only for those that it is about.
    pub fn of(&mut self, snapshot: &Snapshot, policy: &Policy) -> Preview {
        let now = Instant::now();
        let key = &policy.key;
        // Where the mode was another a moment ago, the cluster still has what is previewed.
        let fits = |(made, index): &(Instant, Index)| {
            now < *made + AGE && !index.snapshot().policies.contains_key(key)
        };
        let known = self.index.take().filter(fits);
        let (_, index) = self.index.insert(known.unwrap_or_else(|| {
            let mut without = snapshot.clone();
            without.remove(Kind::NetworkPolicy, key);
            (now, Index::new(without))
        }));
        let own = BTreeSet::from([Name::clone(&key.namespace)]);
        let limits = Limits {
            steps: STEPS,
            rows: EXAMPLES,
            namespaces: Some(&own),
        };
        let edit = Edit::default().put(Arc::new(policy.clone()));
        match compare(index, &edit, &limits) {
            Ok(impact) => Preview {
                would_cut: impact.cut.count,
                examples: impact.cut.rows.keys().map(ToString::to_string).collect(),
            },
            Err(too_much) => Preview {
                would_cut: 0,
                examples: vec![too_much.to_string()],
            },
        }
    }

    /// Gives the memory back where nothing is previewed.
    pub fn clear(&mut self) {
        self.index = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_policy::parse;
    use serde_json::{Value, json};

    fn pod(namespace: &str, ip: &str) -> Value {
        json!({
            "kind": "Pod", "metadata": {"name": "a", "namespace": namespace},
            "spec": {"nodeName": "node1"},
            "status": {"phase": "Running", "podIPs": [{"ip": ip}]},
        })
    }

    #[test]
    fn what_is_still_enforced_would_be_cut_all_the_same() {
        let policy = json!({
            "kind": "NetworkPolicy",
            "metadata": {"name": "ringfence-isolation", "namespace": "shop"},
            "spec": {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]},
        });
        let ours = parse::policy(&policy).unwrap().policy;
        let mut snapshot = Snapshot::default();
        for object in [pod("shop", "10.0.0.1"), pod("other", "10.0.0.2")] {
            snapshot.apply(parse::object(&object).unwrap().0);
        }
        let mut previews = Previews::default();
        assert_eq!(previews.of(&snapshot, &ours).would_cut, 1);
        snapshot.apply(parse::object(&policy).unwrap().0);
        assert_eq!(previews.of(&snapshot, &ours).would_cut, 1, "as it was");
        previews.clear();
        assert_eq!(previews.of(&snapshot, &ours).would_cut, 1, "it goes");
    }
}
