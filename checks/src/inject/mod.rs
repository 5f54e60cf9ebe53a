//! Adding what policies forget: DNS egress and ingress from monitoring namespaces.
//!
//! ```text
//!  dns, monitoring   what the rules of a policy lack        rule    rules as JSON, their hashes
//!  policy            which rules come and go, and why       record  the annotations about them
//!  local             externalTrafficPolicy of Services      edit    operations on the raw JSON
//! ```
//!
//! Decided from the object, the DNS Service and the configuration alone, so that two
//! policies of one file, two replicas, and a dry run agree. A rule that turns out to be
//! redundant does no harm.

pub mod dns;
mod edit;
mod local;
pub mod monitoring;
mod policy;
mod record;
pub mod rule;

pub use edit::appended;
pub use record::{FORGED, forged};

use crate::catalogue::{Check, cuts, dns::missing as dns_checks};
use crate::engine::judge_by;
use crate::finding::{Finding, Unknown};
use crate::subject::Body;
use crate::{Before, Subject, World};
use json_patch::Patch;
use ringfence_policy::model::Direction;
use serde_json::Value;

/// What the mutating webhook answers about an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Injected {
    /// Operations on the JSON as it was received; none: nothing is to be changed. It has
    /// been applied and parsed.
    pub patch: Patch,
    /// What is missing and is not added (mode `warn`, no usable DNS Service, ...).
    pub findings: Vec<Finding>,
    /// What could not be decided.
    pub unknown: Vec<Unknown>,
    /// Why a patch was made and is not sent: it did not apply, or its result did not
    /// parse. To be counted: it would have given the author a 500.
    pub rejected: Option<String>,
    /// In mode `companion`: what a policy beside this one has to allow.
    pub companion: Option<Companion>,
}

/// The rules of a companion policy for the same pods, as the API knows them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Companion {
    /// `spec.ingress`
    pub ingress: Vec<Value>,
    /// `spec.egress`
    pub egress: Vec<Value>,
}

/// What can be injected into a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Egress to the cluster's DNS.
    Dns,
    /// Ingress from the monitoring namespaces.
    Monitoring,
}

// === impl Part ===

impl Part {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Dns, Self::Monitoring];

    /// The section that it goes into.
    pub fn direction(self) -> Direction {
        match self {
            Self::Dns => Direction::Egress,
            Self::Monitoring => Direction::Ingress,
        }
    }

    /// The annotation by which an author opts out, with the value `off`. The
    /// configuration cannot forbid it: opting out opens nothing.
    pub fn switch(self) -> &'static str {
        match self {
            Self::Dns => "inject.ringfence.dev/dns",
            Self::Monitoring => "inject.ringfence.dev/monitoring",
        }
    }

    /// The annotation that names what was injected.
    pub fn record(self) -> &'static str {
        match self {
            Self::Dns => "injected.ringfence.dev/dns",
            Self::Monitoring => "injected.ringfence.dev/monitoring",
        }
    }

    /// Whether the author has opted out.
    pub fn is_off(self, subject: &Subject) -> bool {
        let value = subject.annotation(self.switch());
        value.is_some_and(|v| v.trim().eq_ignore_ascii_case("off"))
    }
}

/// The policy that isolates a namespace for a `NamespaceIsolation`. What may come in and go out is
/// said there, and its controller would take away again whatever is added.
pub const ISOLATION: &str = "ringfence-isolation";

/// The checks that are silent once everything has been injected.
static MENDED: [&Check; 3] = [
    &dns_checks::NONE,
    &dns_checks::UDP_ONLY,
    &cuts::monitoring::MONITORING,
];

/// What is to be added to `subject`, which was `old` before.
pub fn inject<'a>(subject: &'a Subject<'a>, old: Before<'a>, world: &'a World<'a>) -> Injected {
    // The API server refuses an object that cannot be read; what is going away needs
    // nothing, and a patch could keep a finalizer from being removed.
    if subject.is_deleted() || !subject.errors.is_empty() {
        return Injected::default();
    }
    match &subject.body {
        Body::Policy(policy) if *policy.key.name == *ISOLATION => Injected::default(),
        Body::Policy(policy) => {
            let changed = policy::is_changed(subject, old.get());
            let mut injected = policy::inject(subject, policy, old.get(), changed, world);
            if changed {
                report(&mut injected, subject, old, world);
            }
            injected
        }
        Body::Service(service) => local::inject(subject, service, old.get(), world),
        Body::Namespace(_) => Injected::default(),
    }
}

/// Says what the policy still lacks, in the words of the validating hook: kubectl shows
/// one text once.
fn report(injected: &mut Injected, subject: &Subject, old: Before, world: &World) {
    let report = if injected.patch.is_empty() {
        judge_by(&MENDED, subject, old, world)
    } else {
        let mut patched = subject.raw.clone();
        // It has been applied before.
        let applied = json_patch::patch(&mut patched, &injected.patch).is_ok();
        let after = Subject::read(&patched);
        let after = after.as_ref().ok().filter(|_| applied).unwrap_or(subject);
        judge_by(&MENDED, after, old, world)
    };
    injected.findings = report.findings;
    for unknown in report.unknown {
        if !injected.unknown.contains(&unknown) {
            injected.unknown.push(unknown);
        }
    }
}
