//! Which job a namespace is due for.

use super::{Desk, Name};
use crate::isolation::duty::{self, Duty, duty};
use crate::isolation::jobs::Job;
use crate::isolation::notices::Reason;
use crate::isolation::preview;
use crate::isolation::report::{View, notice, report};
use jiff::Timestamp;
use ringfence_api::Mode;
use ringfence_isolation::{Condition, Input, Rendered, Statement, Status, render};
use serde_json::Value;
use std::hash::{DefaultHasher, Hash, Hasher};
use tokio::time::Instant;

impl Desk {
    /// The policy that a namespace should have; `None` where it is not isolated.
    fn render(&mut self, namespace: &Name) -> Option<Rendered> {
        let isolation = self.seen.isolation(namespace)?;
        let rules = self.seen.rules.of(namespace);
        let rules = rules.filter(|(_, rule)| rule.metadata.deletion_timestamp.is_none());
        let store = self.cluster.store();
        let rendered = render(&Input {
            namespace,
            config: &self.config,
            isolation: &isolation.spec,
            rules: &rules
                .map(|(name, rule)| (Name::clone(name), rule))
                .collect(),
            snapshot: store.snapshot(),
            dns: &self.dns,
            now: Timestamp::now(),
        });
        drop(store);
        match rendered.next_expiry {
            Some(end) => drop(self.ends.insert(Name::clone(namespace), end)),
            None => drop(self.ends.remove(namespace)),
        }
        Some(rendered)
    }

    pub(super) fn policy_job(&mut self, namespace: &Name) -> Option<Job> {
        self.waiting.remove(namespace);
        let rendered = self.render(namespace);
        let duty = duty(&self.seen, namespace, rendered.as_ref());
        match &duty {
            Duty::Nothing => return None,
            Duty::Foreign => {
                self.tell_foreign(namespace);
                return None;
            }
            // Somebody insists: ever further apart.
            Duty::Update(_) if self.is_drift(namespace, &duty) => {
                let contest = self.contests.entry(Name::clone(namespace)).or_default();
                if let Err(wait) = contest.repair(Instant::now()) {
                    self.waiting
                        .insert(Name::clone(namespace), Instant::now() + wait);
                    return None;
                }
            }
            _ => {}
        }
        self.foreign.remove(namespace);
        Some(Job::Duty(duty))
    }

    /// Whether what is to be written was written before: somebody else changed it.
    pub(super) fn is_drift(&self, namespace: &Name, duty: &Duty) -> bool {
        let Duty::Update(object) = duty else {
            return false;
        };
        self.last.get(namespace) == Some(&digest(object))
    }

    fn tell_foreign(&mut self, namespace: &Name) {
        let isolation = self.seen.isolation(namespace);
        if let Some(isolation) = isolation
            && self.foreign.insert(Name::clone(namespace))
        {
            let note = standing_foreign().message;
            self.notices
                .tell(notice(Reason::ForeignPolicy, isolation, note));
        }
    }

    pub(super) fn status_job(&mut self, namespace: &Name) -> Option<Job> {
        if !self.seen.is_there(namespace) {
            return None;
        }
        let rendered = self.render(namespace);
        let standing = self.standing(namespace, rendered.as_ref());
        let isolation = self.seen.isolation(namespace);
        let previewed = isolation.is_some_and(|i| i.spec.mode == Mode::Preview);
        let preview = match &rendered {
            Some(rendered) if previewed => {
                let store = self.cluster.store();
                let preview = self.previews.of(store.snapshot(), &rendered.policy);
                // After it: by then the index is too old, and is made anew.
                let again = Instant::now() + preview::AGE;
                self.waiting.insert(Name::clone(namespace), again);
                Some(preview)
            }
            _ => None,
        };
        let previews = self.seen.isolations.all();
        if !previewed
            && !previews
                .into_iter()
                .any(|(_, i)| i.spec.mode == Mode::Preview)
        {
            self.previews.clear();
        }
        let store = self.cluster.store();
        let report = report(&View {
            namespace,
            seen: &self.seen,
            snapshot: store.snapshot(),
            look: self.look,
            rendered: rendered.as_ref(),
            standing: &standing,
            preview: preview.as_ref(),
            now: Timestamp::now(),
        });
        (!report.writes.is_empty()).then_some(Job::Status(report.writes, report.notices))
    }

    /// `Ready` of the namespace.
    fn standing(&self, namespace: &Name, rendered: Option<&Rendered>) -> Statement {
        let said = |status, reason, message: &str| {
            Statement::new(Condition::Ready, status, reason, message)
        };
        let (Some(isolation), Some(rendered)) = (self.seen.isolation(namespace), rendered) else {
            return said(
                Status::False,
                "NotIsolated",
                "the namespace is not isolated: create NamespaceIsolation default in it",
            );
        };
        if isolation.spec.mode == Mode::Preview {
            let message =
                "mode Preview: nothing is enforced; status.preview says what would be cut";
            return said(Status::False, "Preview", message);
        }
        let owner = duty::owner(isolation);
        match (self.seen.policy(namespace), self.failures.get(namespace)) {
            (Some(policy), _) if policy.ours && policy.is(rendered, owner.as_ref()) => {
                let (reason, message) = match self.kinds.going() {
                    None => (
                        "Rendered",
                        "NetworkPolicy ringfence-isolation isolates the namespace".to_owned(),
                    ),
                    Some(crd) => ("KindMissing", kind_missing(crd)),
                };
                said(Status::True, reason, &message)
            }
            (Some(policy), _) if !policy.ours => standing_foreign(),
            (_, Some((_, why))) => said(
                Status::False,
                "NotWritten",
                &format!("NetworkPolicy ringfence-isolation could not be written: {why}"),
            ),
            _ => said(
                Status::False,
                "Pending",
                "NetworkPolicy ringfence-isolation is being written",
            ),
        }
    }
}

fn kind_missing(crd: &str) -> String {
    format!(
        "NetworkPolicy ringfence-isolation isolates the namespace; CRD {crd} is gone or going, \
         and its objects count as they were until it is back"
    )
}

fn standing_foreign() -> Statement {
    let message = "NetworkPolicy ringfence-isolation is somebody else's: rename or delete it";
    Statement::new(Condition::Ready, Status::False, "ForeignPolicy", message)
}

/// Of what we write: a thousand policies are too much to keep for nothing but this.
pub(super) fn digest(object: &Value) -> u64 {
    let metadata = &object["metadata"];
    let mut hasher = DefaultHasher::new();
    object["spec"].hash(&mut hasher);
    metadata["annotations"].hash(&mut hasher);
    metadata["ownerReferences"].hash(&mut hasher);
    hasher.finish()
}
