//! What the webhook says of itself.

use ringfence_cluster::Position;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What there is to say. One sentence may stand under each at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Concern {
    /// On its way out.
    Draining,
    /// There is no certificate to serve with.
    NoCertificate,
    /// The sources have not told everything yet.
    Caches,
    /// A watch has been lost for too long: results are Unknown.
    Stale,
    /// The pair on disk is broken; the one of before is in use.
    Certificate,
    /// The certificate is not valid now.
    Expired,
    /// The configuration on disk is broken; the one of before is in force.
    Configuration,
}

/// Shared by reference; every method is short.
#[derive(Debug, Default)]
pub struct Status {
    concerns: Mutex<BTreeMap<Concern, String>>,
    published: Mutex<Position>,
}

// === impl Concern ===

impl Concern {
    /// Whether requests should go to another replica. With a stale cache they should not:
    /// all replicas lose their watches together, and what needs no cache is still judged.
    fn blocks(self) -> bool {
        matches!(self, Self::Draining | Self::NoCertificate | Self::Caches)
    }
}

// === impl Status ===

impl Status {
    /// Something is to be said. True when that is news.
    pub fn raise(&self, concern: Concern, reason: impl Into<String>) -> bool {
        let reason = reason.into();
        let mut concerns = self.concerns();
        if concerns.get(&concern) == Some(&reason) {
            return false;
        }
        concerns.insert(concern, reason);
        true
    }

    /// It is over. True when that is news.
    pub fn settle(&self, concern: Concern) -> bool {
        self.concerns().remove(&concern).is_some()
    }

    /// Whether something stands now.
    pub fn has(&self, concern: Concern) -> bool {
        self.concerns().contains_key(&concern)
    }

    /// Whether requests are welcome, and what there is to say, one reason a line.
    pub fn readiness(&self) -> (bool, String) {
        let concerns = self.concerns();
        let ready = !concerns.keys().any(|concern| concern.blocks());
        let mut text = String::from(if ready { "ok\n" } else { "not ready\n" });
        for reason in concerns.values() {
            // A string takes any write.
            let _ = writeln!(text, "{reason}");
        }
        (ready, text)
    }

    /// Answers from now on count everything up to `position`; nothing while the cluster is
    /// unknown.
    pub fn published(&self, position: Position) {
        *lock(&self.published) = position;
    }

    /// The JSON of `/generation`.
    ///
    /// # Errors
    /// Never in practice: plain strings.
    pub fn progress(&self) -> serde_json::Result<String> {
        serde_json::to_string(&serde_json::json!({ "published": *lock(&self.published) }))
    }

    fn concerns(&self) -> MutexGuard<'_, BTreeMap<Concern, String>> {
        lock(&self.concerns)
    }
}

/// No method can leave it half changed, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_file_is_told_but_does_not_take_the_replica_away() {
        let status = Status::default();
        assert_eq!(status.readiness(), (true, "ok\n".to_owned()));
        assert!(status.raise(Concern::Configuration, "checks: found x"));
        assert!(!status.raise(Concern::Configuration, "checks: found x"));
        assert_eq!(
            status.readiness(),
            (true, "ok\nchecks: found x\n".to_owned())
        );
        assert!(status.settle(Concern::Configuration));
        assert!(!status.settle(Concern::Configuration));
    }

    #[test]
    fn caches_and_draining_make_it_unready() {
        for concern in [Concern::Caches, Concern::Draining, Concern::NoCertificate] {
            let status = Status::default();
            status.raise(concern, "because");
            assert_eq!(
                status.readiness(),
                (false, "not ready\nbecause\n".to_owned())
            );
        }
    }
}
