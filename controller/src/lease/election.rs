//! The state machine: a Lease goes in, what to write comes out. Time is passed in.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use std::time::Duration;
use tokio::time::Instant;

/// How long things last. `retry` < `deadline` < `duration`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A Lease that has not changed for this long is free.
    pub duration: Duration,
    /// A leader that could not renew for this long steps down.
    pub deadline: Duration,
    /// Between two looks at the Lease.
    pub retry: Duration,
    /// How long one look, with its write, may take.
    pub request: Duration,
}

/// What to do with the Lease.
#[derive(Clone, Debug, PartialEq)]
pub enum Attempt {
    /// It is somebody else's.
    Wait,
    /// There is none.
    Create(Lease),
    /// It is ours to keep, or free to take. Carries the version that was read.
    Replace(Lease),
}

/// What one candidate knows.
#[derive(Clone, Debug)]
pub struct Election {
    identity: String,
    timing: Timing,
    /// The Lease's spec and since when it has been so, by our clock.
    seen: Option<(LeaseSpec, Instant)>,
    /// Our last successful write.
    renewed: Option<Instant>,
}

// === impl Timing ===

impl Default for Timing {
    /// client-go's.
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
            request: Duration::from_secs(5),
        }
    }
}

// === impl Election ===

impl Election {
    /// Knows nothing yet.
    pub fn new(identity: &str, timing: Timing) -> Self {
        Self {
            identity: identity.to_owned(),
            timing,
            seen: None,
            renewed: None,
        }
    }

    /// Looks at the Lease as it was read just now.
    pub fn attempt(
        &mut self,
        lease: Option<Lease>,
        name: &str,
        now: Instant,
        wall: Timestamp,
    ) -> Attempt {
        let Some(mut lease) = lease else {
            self.renewed = None;
            let metadata = ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            };
            let spec = Some(self.spec(None, wall));
            return Attempt::Create(Lease { metadata, spec });
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let since = match &self.seen {
            Some((seen, since)) if *seen == spec => *since,
            _ => now,
        };
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let ours = holder == self.identity;
        // The holder says how long it counts on its Lease; nobody may shorten that.
        let seconds = spec
            .lease_duration_seconds
            .and_then(|s| u64::try_from(s).ok());
        let lasts = seconds.map_or(self.timing.duration, Duration::from_secs);
        let free = holder.is_empty() || now.duration_since(since) >= lasts;
        if !ours {
            self.renewed = None;
        }
        lease.spec = Some(self.spec(Some(&spec), wall));
        self.seen = Some((spec, since));
        if ours || free {
            Attempt::Replace(lease)
        } else {
            Attempt::Wait
        }
    }

    /// What was to be written at `begin` is written.
    pub fn written(&mut self, lease: &Lease, begin: Instant) {
        self.seen = Some((lease.spec.clone().unwrap_or_default(), begin));
        self.renewed = Some(begin);
    }

    /// Somebody else has written.
    pub fn lost(&mut self) {
        self.renewed = None;
    }

    /// Whether we lead; another replica takes over later than this ends.
    pub fn is_leader(&self, now: Instant) -> bool {
        let recent = |at: Instant| now.duration_since(at) < self.timing.deadline;
        self.renewed.is_some_and(recent)
    }

    /// The Lease given back, if it is ours.
    pub fn released(&self, mut lease: Lease, wall: Timestamp) -> Option<Lease> {
        let spec = lease.spec.as_mut()?;
        if spec.holder_identity.as_deref() != Some(&self.identity) {
            return None;
        }
        spec.holder_identity = None;
        spec.renew_time = Some(MicroTime(wall));
        // A client that reads the holder only after the duration does not wait.
        spec.lease_duration_seconds = Some(1);
        Some(lease)
    }

    fn spec(&self, before: Option<&LeaseSpec>, wall: Timestamp) -> LeaseSpec {
        let holder = before.and_then(|b| b.holder_identity.as_deref());
        let same = holder == Some(&self.identity);
        let transitions = before.and_then(|b| b.lease_transitions).unwrap_or(0);
        let acquired = before.and_then(|b| b.acquire_time.clone()).filter(|_| same);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.timing.duration.as_secs()).ok(),
            acquire_time: acquired.or(Some(MicroTime(wall))),
            renew_time: Some(MicroTime(wall)),
            lease_transitions: Some(if same || before.is_none() {
                transitions
            } else {
                transitions.saturating_add(1)
            }),
            ..before.cloned().unwrap_or_default()
        }
    }
}
