//! Whether objects went because somebody deleted them, or because their CRD goes and takes
//! all of them along. Rules that go with their kind were nobody's wish, and without them
//! egress that is `Auto` would open: they count as they were until the kind is back.
//!
//! ```text
//!  a rule has vanished --> Kept: it lingers --> look at the CRDs
//!     all are there: it is gone <--+--> its CRD is gone or going: it stays, and status says so
//! ```
//!
//! A look that begins after an object has vanished is decisive: the API server marks a CRD
//! as deleted before it deletes the first of its objects.

use crate::failure::explain;
use crate::health::Health;
use crate::metrics::Trouble;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Of `IsolationConfig`.
pub const CONFIGS: &str = "isolationconfigs.ringfence.dev";
/// Of `IsolationRule`.
pub const RULES: &str = "isolationrules.ringfence.dev";
/// The CRDs whose objects linger. A `NamespaceIsolation` does not: its presence is what
/// isolates, and garbage collection deletes the policy with it whoever is up.
const CRDS: [&str; 2] = [CONFIGS, RULES];
/// Between two looks while something is wrong.
const AGAIN: Duration = Duration::from_secs(2);
/// A server that does not answer for so long does not answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a look has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// These are gone or going; mostly none.
    At(Vec<&'static str>),
    /// Nobody may look, for this reason.
    Forbidden(String),
    /// It must be tried again.
    Failed(String),
}

/// What is known of the kinds.
#[derive(Debug)]
pub struct Kinds {
    /// Whether a look has ever told anything.
    known: bool,
    looking: bool,
    /// What is gone or going, and how often its objects had been listed then.
    going: BTreeMap<&'static str, u64>,
    not_before: Instant,
    /// Why nobody may look, told once.
    told: Option<String>,
}

// === impl Kinds ===

impl Kinds {
    /// Nothing is known: a list may have come from a kind that was going.
    pub fn new() -> Self {
        Self {
            known: false,
            looking: false,
            going: BTreeMap::new(),
            not_before: Instant::now(),
            told: None,
        }
    }

    /// When the next look is to begin, if one is wanted. `lingers`: something has vanished.
    pub fn due(&self, lingers: bool) -> Option<Instant> {
        let wanted = lingers || !self.known || !self.going.is_empty();
        (wanted && !self.looking).then_some(self.not_before)
    }

    /// A look begins.
    pub fn begin(&mut self) {
        self.looking = true;
    }

    /// Takes what a look has found; whether it has told anything. `lists`: how often the
    /// objects of a CRD have been listed whole. A kind that was gone is back when they have
    /// been once more.
    pub fn looked(&mut self, looked: Looked, lists: impl Fn(&str) -> u64, health: &Health) -> bool {
        self.looking = false;
        let missing = match looked {
            Looked::At(missing) => missing,
            Looked::Forbidden(why) => {
                if self.told.as_ref() != Some(&why) {
                    tracing::warn!(
                        why,
                        "isolation: CRDs cannot be read, so rules end with theirs (allow get of \
                         them in the ClusterRole)"
                    );
                    self.told = Some(why);
                }
                Vec::new()
            }
            Looked::Failed(why) => {
                health.metrics.failed(Trouble::Watch);
                tracing::warn!(why, "isolation: CRDs could not be read; tried again");
                self.not_before = Instant::now() + AGAIN;
                return false;
            }
        };
        self.known = true;
        self.going
            .retain(|crd, seen| missing.contains(crd) || lists(crd) <= *seen);
        for crd in missing {
            self.going.entry(crd).or_insert_with(|| {
                health.metrics.failed(Trouble::Watch);
                tracing::warn!(
                    crd,
                    "isolation: a kind is gone or going; its objects count as they were until it \
                     is back"
                );
                lists(crd)
            });
        }
        if !self.going.is_empty() {
            self.not_before = Instant::now() + AGAIN;
        }
        true
    }

    /// What is gone or going.
    pub fn going(&self) -> Option<&'static str> {
        self.going.keys().next().copied()
    }

    /// Whether objects of this CRD that have vanished are gone.
    pub fn stays(&self, crd: &str) -> bool {
        self.known && !self.going.contains_key(crd)
    }

    /// Whether lists are what there is.
    pub fn are_known(&self) -> bool {
        self.known && self.going.is_empty()
    }
}

/// Looks at the CRDs.
pub async fn look(client: Client) -> Looked {
    let crds: Api<CustomResourceDefinition> = Api::all(client);
    let mut missing = Vec::new();
    for crd in CRDS {
        // Their schemas are of no interest.
        match timeout(PATIENCE, crds.get_metadata_opt(crd)).await {
            Ok(Ok(Some(found))) if found.metadata.deletion_timestamp.is_none() => {}
            Ok(Ok(_)) => missing.push(crd),
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                return Looked::Forbidden(status.message.clone());
            }
            Ok(Err(error)) => return Looked::Failed(explain(&error)),
            Err(_) => return Looked::Failed(format!("no answer within {PATIENCE:?}")),
        }
    }
    Looked::At(missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use std::sync::Arc;

    fn looked(kinds: &mut Kinds, found: Looked, lists: u64) -> bool {
        let health = Health {
            status: Arc::default(),
            metrics: Arc::new(Metrics::default()),
        };
        kinds.begin();
        assert_eq!(kinds.due(true), None, "one look at a time");
        kinds.looked(found, |_| lists, &health)
    }

    #[test]
    fn the_first_look_is_waited_for() {
        let mut kinds = Kinds::new();
        assert!(kinds.due(false).is_some() && !kinds.are_known());
        assert!(looked(&mut kinds, Looked::At(Vec::new()), 1));
        assert!(kinds.are_known() && kinds.stays(RULES));
        assert_eq!(kinds.due(false), None);
        assert!(kinds.due(true).is_some(), "something has vanished");
    }

    #[test]
    fn a_kind_that_goes_is_back_when_it_was_listed_again() {
        let mut kinds = Kinds::new();
        assert!(looked(&mut kinds, Looked::At(vec![RULES]), 7));
        assert!(!kinds.stays(RULES) && kinds.stays(CONFIGS));
        assert!(kinds.due(false).is_some(), "though nothing vanishes");
        looked(&mut kinds, Looked::At(Vec::new()), 7);
        assert_eq!(kinds.going(), Some(RULES), "what is seen is older than it");
        looked(&mut kinds, Looked::At(Vec::new()), 8);
        assert!(kinds.are_known());
    }

    #[test]
    fn who_could_not_look_looks_again_and_who_may_not_goes_on() {
        let mut kinds = Kinds::new();
        assert!(!looked(&mut kinds, Looked::Failed("refused".into()), 1));
        assert!(!kinds.are_known() && kinds.due(false).is_some());
        assert!(looked(&mut kinds, Looked::Forbidden("no".into()), 1));
        assert!(kinds.are_known());
    }
}
