//! Tells people what is wrong with objects: once in the log, once as an Event, and again
//! only when it changes.

use crate::events::{Notice, Notices, Reason};
use ringfence_cluster::{Severity, Store};
use ringfence_policy::compile::{Id, Structure};
use ringfence_policy::model::ObjectKey;
use ringfence_policy::snapshot::Kind;
use std::collections::{BTreeMap, BTreeSet};

/// What has been told.
#[derive(Debug)]
pub struct Reporter {
    notices: Notices,
    logged: BTreeSet<String>,
    faulty: BTreeMap<ObjectKey, String>,
    broken: BTreeMap<ObjectKey, String>,
}

// === impl Reporter ===

impl Reporter {
    /// Nothing told yet.
    pub fn new(notices: Notices) -> Self {
        Self {
            notices,
            logged: BTreeSet::new(),
            faulty: BTreeMap::new(),
            broken: BTreeMap::new(),
        }
    }

    /// Tells what is new among the problems of `store`. Events go only to policies that
    /// select a pod of this node: the cluster gets one a node, not one from every node.
    pub fn problems(&mut self, store: &Store, structure: &Structure) {
        if self.logged.is_empty() && store.problems().next().is_none() {
            return;
        }
        let local: BTreeSet<&ObjectKey> = structure.chains.values().map(|c| &c.policy).collect();
        let mut logged = BTreeSet::new();
        let mut faulty: BTreeMap<ObjectKey, String> = BTreeMap::new();
        for problem in store.problems() {
            let text = problem.to_string();
            if !self.logged.contains(&text) {
                match problem.severity {
                    Severity::Error => {
                        tracing::warn!(problem = text, "an object does not take effect as written");
                    }
                    Severity::Note => tracing::info!(note = text, "about an object"),
                }
            }
            logged.insert(text);
            if let (Severity::Error, Some((Kind::NetworkPolicy, key))) =
                (problem.severity, &problem.object)
                && local.contains(key)
            {
                let note = faulty.entry(key.clone()).or_insert_with(|| {
                    "this policy cannot be understood, so the pods that it selects are closed"
                        .into()
                });
                note.push_str("; ");
                note.push_str(&problem.message);
            }
        }
        self.logged = logged;
        tell(
            &self.notices,
            Reason::PolicyFaulty,
            &mut self.faulty,
            faulty,
        );
    }

    /// Tells which policies suffer from sets that the kernel refused.
    pub fn broken(&mut self, broken: &BTreeMap<Id, String>, structure: &Structure) {
        let mut suffering: BTreeMap<ObjectKey, String> = BTreeMap::new();
        if !broken.is_empty() {
            for chain in structure.chains.values() {
                if let Some(reason) = chain.sets().find_map(|id| broken.get(&id)) {
                    let note = format!(
                        "the kernel refused an address set of this policy, so what its rule \
                         would allow is closed until the next sync: {reason}"
                    );
                    suffering.entry(chain.policy.clone()).or_insert(note);
                }
            }
        }
        for (policy, note) in &suffering {
            if self.broken.get(policy) != Some(note) {
                tracing::warn!(%policy, note, "a policy is not programmed as a whole");
            }
        }
        tell(
            &self.notices,
            Reason::PolicyNotProgrammed,
            &mut self.broken,
            suffering,
        );
    }
}

fn tell(
    notices: &Notices,
    reason: Reason,
    told: &mut BTreeMap<ObjectKey, String>,
    now: BTreeMap<ObjectKey, String>,
) {
    for (policy, note) in &now {
        if told.get(policy) != Some(note) {
            notices.send(Notice {
                policy: policy.clone(),
                reason,
                note: note.clone(),
            });
        }
    }
    *told = now;
}
