//! What isolation would cut: in mode `Preview`, from the cluster as it is cached.

use ringfence_api::Preview;
use ringfence_checks::Index;
use ringfence_checks::impact::{Edit, Limits, compare};
use ringfence_isolation::Rendered;
use ringfence_policy::Snapshot;
use ringfence_policy::model::Name;
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
    pub fn of(&mut self, snapshot: &Snapshot, rendered: &Rendered) -> Preview {
        let now = Instant::now();
        if self
            .index
            .as_ref()
            .is_some_and(|(made, _)| now > *made + AGE)
        {
            self.index = None;
        }
        let (_, index) = self
            .index
            .get_or_insert_with(|| (now, Index::new(snapshot.clone())));
        let own = BTreeSet::from([Name::clone(&rendered.policy.key.namespace)]);
        let limits = Limits {
            steps: STEPS,
            rows: EXAMPLES,
            namespaces: Some(&own),
        };
        let edit = Edit::default().put(Arc::new(rendered.policy.clone()));
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
