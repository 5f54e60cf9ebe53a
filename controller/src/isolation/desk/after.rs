//! What became of jobs.

use super::work::digest;
use super::{Desk, Name};
use crate::isolation::api::Refusal;
use crate::isolation::duty::Duty;
use crate::isolation::jobs::{Done, Written};
use crate::isolation::kept::key;
use crate::isolation::notices::{Notice, Reason};
use crate::isolation::owned::Owned;
use crate::isolation::report::notice;
use crate::metrics::{Isolated, Trouble};
use kube::ResourceExt;
use ringfence_api::SINGLETON;
use ringfence_policy::model::ObjectKey;
use tokio::time::Instant;

impl Desk {
    /// Takes what became of a job.
    pub fn done(&mut self, done: Done) {
        let Done {
            namespace,
            written,
            refusal,
        } = done;
        self.busy.remove(&namespace);
        match refusal {
            None => {
                self.failures.remove(&namespace);
                self.wrote(&namespace, written);
            }
            // The watches say so too.
            Some(Refusal::Gone) => drop(self.failures.remove(&namespace)),
            Some(Refusal::Changed(why)) => {
                self.wrote_some(written);
                self.failed(namespace, why, false);
            }
            Some(Refusal::Failed(why)) => {
                self.wrote_some(written);
                self.failed(namespace, why, true);
            }
        }
    }

    fn failed(&mut self, namespace: Name, why: String, is_error: bool) {
        let (retry, known) = self.failures.entry(Name::clone(&namespace)).or_default();
        let wait = retry.failed();
        if is_error {
            self.health.metrics.failed(Trouble::Isolation);
        }
        if *known != why {
            tracing::warn!(
                namespace = &*namespace,
                why,
                "isolation: a write failed; it is tried again"
            );
            *known = why;
        }
        self.statuses.insert(Name::clone(&namespace));
        self.waiting.insert(namespace, Instant::now() + wait);
    }

    fn wrote(&mut self, namespace: &Name, written: Written) {
        let Written::Duty(duty, object) = written else {
            self.wrote_some(written);
            return;
        };
        self.policies.insert(Name::clone(namespace));
        let key = ObjectKey::new(Name::clone(namespace), ringfence_isolation::POLICY);
        if let Some(policy) = object.as_deref().and_then(Owned::read) {
            let version = policy.version.clone();
            self.seen.policies.created(&key, &version, policy);
        }
        let isolation = self.seen.isolation(namespace);
        let reason = match &duty {
            Duty::Nothing | Duty::Foreign | Duty::Enable(_) => return,
            Duty::Disable(uid, _) => {
                // What somebody has made since stays.
                if isolation.and_then(ResourceExt::uid).as_ref() == Some(uid) {
                    let key = ObjectKey::new(Name::clone(namespace), SINGLETON);
                    self.seen.isolations.deleted(&key);
                }
                return;
            }
            Duty::Create(_) => Reason::Enabled,
            Duty::Update(_) if self.is_drift(namespace, &duty) => Reason::DriftRepaired,
            Duty::Update(_) => {
                self.health.metrics.wrote(Isolated::Changed);
                self.remember(namespace, duty);
                return;
            }
            Duty::Delete(..) => Reason::Disabled,
        };
        let (what, note) = match reason {
            Reason::Enabled => (Isolated::Enabled, "the namespace is isolated"),
            Reason::DriftRepaired => (
                Isolated::Repaired,
                "somebody changed NetworkPolicy ringfence-isolation; it is as before",
            ),
            _ => (
                Isolated::Disabled,
                "NetworkPolicy ringfence-isolation is deleted",
            ),
        };
        self.health.metrics.wrote(what);
        tracing::info!(namespace = &**namespace, note, "isolation");
        if let Some(isolation) = isolation {
            self.notices
                .tell(notice(reason, isolation, note.to_owned()));
        } else {
            self.notices
                .tell(Notice::of_namespace(reason, namespace, note));
        }
        if let Duty::Delete(uid, _) = &duty
            && self.seen.policy(namespace).is_some_and(|p| p.uid == *uid)
        {
            self.seen.policies.deleted(&key);
        }
        self.remember(namespace, duty);
    }

    fn remember(&mut self, namespace: &Name, duty: Duty) {
        match duty {
            Duty::Create(object) | Duty::Update(object) => {
                self.last.insert(Name::clone(namespace), digest(&object));
            }
            _ => {
                self.last.remove(namespace);
                self.contests.remove(namespace);
            }
        }
    }

    fn wrote_some(&mut self, written: Written) {
        let Written::Status {
            rules,
            isolation,
            notices,
        } = written
        else {
            return;
        };
        for rule in rules {
            let version = rule.resource_version().unwrap_or_default();
            let key = key(&rule);
            if self.seen.rules.wrote(&key, &version, rule) {
                let rule = self.seen.rules.get(&key.namespace, &key.name);
                self.about.note(&key, rule);
                self.policies.insert(key.namespace);
            }
        }
        if let Some(isolation) = isolation {
            let version = isolation.resource_version().unwrap_or_default();
            let key = key(&*isolation);
            if self.seen.isolations.wrote(&key, &version, *isolation) {
                self.policies.insert(key.namespace);
            }
        }
        for notice in notices {
            self.notices.tell(notice);
        }
    }
}
