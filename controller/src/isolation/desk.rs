//! Who is due for what. Synchronous: what arrives is noted, what is to be written is handed
//! out, and what became of it comes back.
//!
//! Policies come before statuses, over all namespaces: a thousand namespaces are isolated
//! before the first of them has read all about it.

mod about;
mod after;
mod work;

use super::duty::KUBESPHERE;
use super::jobs::Job;
use super::kinds::{self, Kinds, Looked};
use super::look::Look;
use super::notices::Notices;
use super::owned::Owned;
use super::preview::Previews;
use super::seen::{NamespaceNote, Seen};
use super::watch::Event;
use crate::health::Health;
use crate::keeper::pace::{Contest, Retry};
use crate::metrics::Trouble;
use about::About;
use jiff::Timestamp;
use kube::api::PartialObjectMeta;
use kube::{Resource, ResourceExt};
use ringfence_api::{IsolationConfigSpec, SINGLETON};
use ringfence_cluster::{Mirror, News};
use ringfence_isolation::Dns;
use ringfence_policy::Change;
pub use ringfence_policy::model::Name;
use ringfence_policy::model::ObjectKey;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// Looks again at least this often, whatever the clocks say.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// Everything that is known, and who is due.
#[derive(Debug)]
pub struct Desk {
    health: Health,
    notices: Notices,
    seen: Seen,
    kinds: Kinds,
    cluster: Mirror,
    look: Look,
    /// The configuration's, or the defaults.
    config: IsolationConfigSpec,
    dns: Dns,
    /// Whether everything was listed, and everybody was due once since.
    begun: bool,
    /// The DNS Service or something about it has changed.
    dns_is_old: bool,
    /// Namespaces that rules may name and that have changed, or whose Services have.
    touched: BTreeSet<Name>,
    /// Namespaces whose policies have changed: that matters for statuses alone.
    guarded: BTreeSet<Name>,
    /// Which namespaces have rules that name a namespace.
    about: About,
    /// Due for a look at the policy.
    policies: BTreeSet<Name>,
    /// Due for a look at the statuses.
    statuses: BTreeSet<Name>,
    /// At work.
    busy: BTreeSet<Name>,
    /// When a rule ends next.
    ends: BTreeMap<Name, Timestamp>,
    /// When to look again after a failure or a contest.
    waiting: BTreeMap<Name, Instant>,
    /// Namespaces whose last write failed.
    failures: BTreeMap<Name, (Retry, String)>,
    /// What we wrote last, as a digest: whoever changed it since was somebody else.
    last: BTreeMap<Name, u64>,
    contests: BTreeMap<Name, Contest>,
    /// Told once.
    foreign: BTreeSet<Name>,
    previews: Previews,
}

// === impl Desk ===

impl Desk {
    /// An empty one.
    pub fn new(health: Health, notices: Notices, cluster: Mirror) -> Self {
        Self {
            health,
            notices,
            seen: Seen::default(),
            kinds: Kinds::new(),
            cluster,
            look: Look::default(),
            config: IsolationConfigSpec::default(),
            dns: Dns::default(),
            begun: false,
            dns_is_old: true,
            touched: BTreeSet::new(),
            guarded: BTreeSet::new(),
            about: About::default(),
            policies: BTreeSet::new(),
            statuses: BTreeSet::new(),
            busy: BTreeSet::new(),
            ends: BTreeMap::new(),
            waiting: BTreeMap::new(),
            failures: BTreeMap::new(),
            last: BTreeMap::new(),
            contests: BTreeMap::new(),
            foreign: BTreeSet::new(),
            previews: Previews::default(),
        }
    }

    /// Takes what a watch says.
    pub fn note(&mut self, event: Event) {
        let seen = &mut self.seen;
        let (kind, changed, all) = match event {
            Event::Config(said) => ("IsolationConfig", seen.configs.note(said, Some), true),
            Event::Isolation(said) => (
                "NamespaceIsolation",
                seen.isolations.note(said, Some),
                false,
            ),
            Event::Rule(said) => ("IsolationRule", seen.rules.note(said, Some), false),
            Event::Policy(said) => {
                let changed = seen.policies.note(said, |object| Owned::read(&object));
                ("NetworkPolicy", changed, false)
            }
            Event::Namespace(said) => {
                let changed = seen
                    .namespaces
                    .note(said, |object| Some(namespace_note(&object)));
                let changed = changed.map(|keys| keys.into_iter().map(namespace_key).collect());
                ("Namespace", changed, false)
            }
        };
        match changed {
            Ok(keys) if all && !keys.is_empty() => self.configured(),
            Ok(keys) => {
                if kind == "IsolationRule" {
                    for key in &keys {
                        self.about
                            .note(key, self.seen.rules.get(&key.namespace, &key.name));
                    }
                }
                self.policies
                    .extend(keys.into_iter().map(|key| key.namespace));
            }
            Err(why) => {
                self.health.metrics.failed(Trouble::Watch);
                tracing::warn!(kind, why, "cannot be watched; what is isolated stays so");
            }
        }
        let isolated = i64::try_from(self.seen.isolations.len());
        self.health
            .metrics
            .isolated
            .set(isolated.unwrap_or(i64::MAX));
    }

    /// Whether to look at the kinds now: something has vanished, or is not known. Then the
    /// look counts as begun.
    pub fn doubts_kinds(&mut self) -> bool {
        let begins = self.look_due().is_some_and(|due| due <= Instant::now());
        if begins {
            self.kinds.begin();
            self.seen.rules.look_begins();
            self.seen.configs.look_begins();
        }
        begins
    }

    fn look_due(&self) -> Option<Instant> {
        let seen = &self.seen;
        let synced = seen.rules.is_synced() && seen.configs.is_synced();
        let lingers = seen.rules.lingers() || seen.configs.lingers();
        self.kinds.due(lingers).filter(|_| synced)
    }

    /// Takes what the look has found.
    pub fn looked(&mut self, looked: Looked) {
        let before = self.kinds.going();
        let seen = &mut self.seen;
        let lists = |crd: &str| match crd {
            kinds::RULES => seen.rules.lists(),
            _ => seen.configs.lists(),
        };
        if self.kinds.looked(looked, lists, &self.health) {
            if self.kinds.stays(kinds::RULES) {
                for key in seen.rules.release() {
                    self.about.note(&key, None);
                    self.policies.insert(key.namespace);
                }
            }
            if self.kinds.stays(kinds::CONFIGS) && !seen.configs.release().is_empty() {
                self.configured();
            }
        }
        if before != self.kinds.going() {
            self.all_due();
        }
    }

    /// The configuration is another one.
    fn configured(&mut self) {
        let config = self.seen.configs.get("", SINGLETON);
        self.config = config.map(|c| c.spec.clone()).unwrap_or_default();
        self.dns_is_old = true;
        self.all_due();
    }

    /// Takes what has changed in the cluster.
    pub fn cluster(&mut self, news: News) {
        match news {
            News::Changed(change) => self.changed(&change),
            News::Listed => {}
            News::Missed => {
                self.dns_is_old = true;
                self.all_due();
            }
        }
    }

    fn changed(&mut self, change: &Change) {
        let (namespace, matters_to) = match change {
            Change::Pod(a, b) => (a.as_ref().or(b.as_ref()).map(|o| &o.key.namespace), None),
            Change::Namespace(a, b) => (
                a.as_ref().or(b.as_ref()).map(|o| &o.name),
                Some(&mut self.touched),
            ),
            Change::Policy(a, b) => (
                a.as_ref().or(b.as_ref()).map(|o| &o.key.namespace),
                Some(&mut self.guarded),
            ),
            Change::Service(a, b) => (
                a.as_ref().or(b.as_ref()).map(|o| &o.key.namespace),
                Some(&mut self.touched),
            ),
            Change::Node(..) => (None, None),
        };
        let Some(namespace) = namespace else { return };
        let dns = self.config.dns.service.split_once('/');
        let about_dns = dns.is_some_and(|(dns, _)| *dns == **namespace);
        self.dns_is_old |= about_dns && !matches!(change, Change::Policy(..));
        if let Some(set) = matters_to {
            set.insert(Name::clone(namespace));
        }
    }

    /// Takes what no watch brings.
    pub fn look(&mut self, look: Look) {
        self.look = look;
        let isolated = self.seen.isolations.all();
        self.statuses
            .extend(isolated.map(|(key, _)| Name::clone(&key.namespace)));
    }

    /// Whether there is anything to isolate, or to clean up.
    pub fn has_work(&self) -> bool {
        let seen = &self.seen;
        seen.is_synced()
            && (seen.isolations.all().next().is_some()
                || seen.rules.all().next().is_some()
                || seen.policies.all().any(|(_, policy)| policy.ours)
                || seen.namespaces.all().any(|(_, note)| note.wants_isolation))
    }

    /// When to look again, if nothing happens.
    pub fn due(&mut self) -> Instant {
        let (now, clock) = (Instant::now(), Timestamp::now());
        let ended = self.ends.iter().filter(|(_, end)| **end <= clock);
        let ended: Vec<Name> = ended.map(|(name, _)| Name::clone(name)).collect();
        let waited = self.waiting.iter().filter(|(_, until)| **until <= now);
        let waited: Vec<Name> = waited.map(|(name, _)| Name::clone(name)).collect();
        for name in ended {
            self.ends.remove(&name);
            self.policies.insert(name);
        }
        for name in waited {
            self.waiting.remove(&name);
            self.policies.insert(name);
        }
        let end = self.ends.values().min().map(|end| {
            let wait = Duration::try_from(end.duration_since(clock)).unwrap_or_default();
            now + wait.min(LONGEST_WAIT)
        });
        let wait = self.waiting.values().min().copied();
        let next = [end, wait, self.look_due()].into_iter().flatten().min();
        next.unwrap_or(now + LONGEST_WAIT).min(now + LONGEST_WAIT)
    }

    /// The next job, if anybody is due for one and everything is known.
    pub fn take(&mut self) -> Option<(Name, Job)> {
        if !self.begin() {
            return None;
        }
        self.refresh();
        while let Some(namespace) = next(&mut self.policies, &self.busy) {
            if let Some(job) = self.policy_job(&namespace) {
                self.busy.insert(Name::clone(&namespace));
                return Some((namespace, job));
            }
            self.statuses.insert(namespace);
        }
        while let Some(namespace) = next(&mut self.statuses, &self.busy) {
            if let Some(job) = self.status_job(&namespace) {
                self.busy.insert(Name::clone(&namespace));
                return Some((namespace, job));
            }
        }
        None
    }

    /// Whether everything was listed; then everybody is due, once.
    fn begin(&mut self) -> bool {
        let seen = &self.seen;
        if !self.begun
            && seen.is_synced()
            && self.kinds.are_known()
            && self.cluster.store().knows(&super::KINDS)
        {
            self.begun = true;
            self.all_due();
            tracing::info!("isolation: everything is known");
        }
        self.begun
    }

    fn all_due(&mut self) {
        let seen = &self.seen;
        let isolated = seen.isolations.all().map(|(key, _)| &key.namespace);
        let ruled = seen.rules.all().map(|(key, _)| &key.namespace);
        let written = seen.policies.all().map(|(key, _)| &key.namespace);
        let wanting = seen
            .namespaces
            .all()
            .filter(|(_, note)| note.wants_isolation);
        let wanting = wanting.map(|(key, _)| &key.name);
        let all = isolated.chain(ruled).chain(written).chain(wanting);
        self.policies.extend(all.cloned());
    }

    /// Works out whom changes of the cluster concern.
    fn refresh(&mut self) {
        if self.dns_is_old {
            self.dns_is_old = false;
            let dns = Dns::find(self.cluster.store().snapshot(), &self.config);
            if dns != self.dns {
                self.dns = dns;
                self.all_due();
            }
        }
        for namespace in std::mem::take(&mut self.guarded) {
            self.statuses.extend(self.about.of(&namespace).cloned());
            self.statuses.insert(namespace);
        }
        let listed = self.config.allowed_ingress_namespaces.iter();
        let mut listed = listed.chain(&self.config.gateway_namespaces);
        if listed.any(|name| self.touched.contains(name.as_str())) {
            self.all_due();
        }
        for namespace in std::mem::take(&mut self.touched) {
            self.policies.extend(self.about.of(&namespace).cloned());
            self.policies.insert(namespace);
        }
    }
}

/// The first that nobody works at.
fn next(due: &mut BTreeSet<Name>, busy: &BTreeSet<Name>) -> Option<Name> {
    let found = due.iter().find(|name| !busy.contains(*name)).cloned()?;
    due.remove(&found);
    Some(found)
}

fn namespace_note<K: Resource>(object: &PartialObjectMeta<K>) -> NamespaceNote {
    let value = object.annotations().get(KUBESPHERE.0);
    NamespaceNote {
        wants_isolation: value.is_some_and(|value| value == KUBESPHERE.1),
        terminating: object.metadata.deletion_timestamp.is_some(),
    }
}

/// A namespace is in itself.
fn namespace_key(key: ObjectKey) -> ObjectKey {
    ObjectKey::new(key.name, "")
}

#[cfg(test)]
mod tests;
