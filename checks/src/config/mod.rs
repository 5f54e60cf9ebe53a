//! The owner's choices: which checks, how strict, where, and what the cluster looks like.
//!
//! One YAML file for the webhook, the controller and `ringfence lint`. What was typed
//! ([`file`]) and what it resolves to ([`Config`]) are two types.

pub mod file;
mod resolve;
#[cfg(test)]
mod tests;

pub(crate) use resolve::nearest;
pub use resolve::{ConfigError, schema};

use crate::catalogue::{self, Check};
use crate::finding::Level;
use ipnet::IpNet;
use ringfence_policy::model::{Labels, Name, ObjectKey, Selector};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// How strict the checks are before anything else is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Refuses what is surely a mistake or a hole; warns of the rest.
    #[default]
    Baseline,
    /// Refuses whatever the catalogue marks as refused.
    Strict,
}

/// What the webhook does about missing allowances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Injection {
    /// The rule is added to the author's object.
    #[default]
    InPlace,
    /// The controller keeps an extra policy beside the author's; the object stays.
    Companion,
    /// The author is told.
    Warn,
    /// Nothing.
    Off,
}

/// Whether nodes and network carry SCTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sctp {
    /// Nobody has said so: rules that need it get a warning.
    #[default]
    Unknown,
    /// Yes.
    Supported,
    /// No.
    Unsupported,
}

/// The configuration, resolved: every name is known, every range is parsed.
#[derive(Clone, Debug)]
pub struct Config {
    /// For namespaces without rules of their own.
    pub profile: Profile,
    /// Levels of checks by id, for every namespace.
    pub levels: BTreeMap<&'static str, Level>,
    /// Rules for some namespaces, in order: a later entry overrides an earlier one.
    pub namespaces: Vec<NamespaceRules>,
    /// Injection where no entry of `namespaces` says otherwise.
    pub injection: Injection,
    /// The cluster's DNS.
    pub dns: Dns,
    /// The namespaces whose pods may scrape every isolated pod.
    pub monitoring: Vec<Name>,
    /// What lets traffic into the cluster.
    pub gateways: Vec<Gateway>,
    /// Ranges that the API does not tell.
    pub ranges: Ranges,
    /// Whose requests are not judged.
    pub exemptions: Vec<Exemption>,
    /// Which checks an author may suppress by annotation.
    pub suppression: Suppression,
    /// SCTP in this cluster.
    pub sctp: Sctp,
    /// Namespaces of the system, for `system-namespace`.
    pub system_namespaces: Vec<Name>,
    /// Default Services that become `NodePort` or `LoadBalancer` behind an ipBlock rule to
    /// `externalTrafficPolicy: Local`.
    pub default_local: bool,
}

/// Where DNS is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// The Service: `kube-system/kube-dns`.
    pub service: ObjectKey,
    /// Node-local caches, for example 169.254.20.10.
    pub node_local: Vec<IpAddr>,
    /// Inject DNS into a policy that denies all egress, too.
    pub into_deny_all: bool,
}

/// An ingress controller or load balancer inside the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Its namespace.
    pub namespace: Name,
    /// Its pods.
    pub pods: Selector,
}

/// Known ranges, added to what the API tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// Of pods.
    pub pods: Vec<IpNet>,
    /// Of Services.
    pub services: Vec<IpNet>,
    /// Of nodes.
    pub nodes: Vec<IpNet>,
    /// Of tunnel devices.
    pub tunnels: Vec<IpNet>,
    /// Node addresses at which a `hostNetwork` peer lives that policies may allow (a
    /// gateway, a Prometheus).
    pub host_network_peers: Vec<IpNet>,
}

/// Requests that are not judged: namespace **and** one of users or groups. With `GitOps`
/// the user is the tool, and exempting it alone would exempt every tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemption {
    /// The namespaces.
    pub namespaces: Vec<Name>,
    /// User names.
    pub users: Vec<Name>,
    /// Groups.
    pub groups: Vec<Name>,
}

/// Which checks an author may suppress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Suppression {
    /// Any.
    Allowed,
    /// Any but these ids.
    Except(Vec<&'static str>),
    /// None.
    Forbidden,
}

/// Rules for some namespaces.
#[derive(Clone, Debug)]
pub struct NamespaceRules {
    /// By name.
    pub names: Vec<Name>,
    /// By label.
    pub selector: Option<Selector>,
    /// In place of the general ones.
    pub profile: Option<Profile>,
    /// Over the general ones.
    pub levels: BTreeMap<&'static str, Level>,
    /// In place of the general one.
    pub injection: Option<Injection>,
}

/// What holds for one namespace.
#[derive(Clone, Debug)]
pub struct Rules<'a> {
    profile: Profile,
    /// Later entries win.
    levels: Vec<&'a BTreeMap<&'static str, Level>>,
    /// What to do about missing allowances.
    pub injection: Injection,
}

// === impl Config ===

impl Default for Config {
    /// An empty file.
    fn default() -> Self {
        Self {
            profile: Profile::Baseline,
            levels: BTreeMap::new(),
            namespaces: Vec::new(),
            injection: Injection::InPlace,
            dns: Dns {
                service: ObjectKey::new("kube-system", "kube-dns"),
                node_local: Vec::new(),
                into_deny_all: false,
            },
            monitoring: Vec::new(),
            gateways: Vec::new(),
            ranges: Ranges::default(),
            exemptions: Vec::new(),
            suppression: Suppression::Allowed,
            sctp: Sctp::Unknown,
            system_namespaces: ["kube-system", "kube-public", "kube-node-lease"]
                .map(Name::from)
                .to_vec(),
            default_local: false,
        }
    }
}

impl Config {
    /// The rules for a namespace, whose labels are not known where it does not exist.
    pub fn rules(&self, namespace: &str, labels: Option<&Labels>) -> Rules<'_> {
        let mut rules = Rules {
            profile: self.profile,
            levels: vec![&self.levels],
            injection: self.injection,
        };
        for entry in &self.namespaces {
            let named = entry.names.iter().any(|name| **name == *namespace);
            let labelled = entry.selector.as_ref().zip(labels);
            if !named && !labelled.is_some_and(|(s, labels)| s.matches(labels)) {
                continue;
            }
            rules.profile = entry.profile.unwrap_or(rules.profile);
            rules.injection = entry.injection.unwrap_or(rules.injection);
            rules.levels.push(&entry.levels);
        }
        rules
    }

    /// Whether a request is not judged.
    pub fn exempts(&self, namespace: &str, user: &str, groups: &[impl AsRef<str>]) -> bool {
        self.exemptions.iter().any(|e| {
            let group = |g: &Name| groups.iter().any(|group| group.as_ref() == &**g);
            e.namespaces.iter().any(|n| **n == *namespace)
                && (e.users.iter().any(|u| **u == *user) || e.groups.iter().any(group))
        })
    }

    /// Whether an author may suppress a check.
    pub fn may_suppress(&self, check: &str) -> bool {
        match &self.suppression {
            Suppression::Allowed => true,
            Suppression::Except(ids) => !ids.contains(&check),
            Suppression::Forbidden => false,
        }
    }
}

// === impl Rules ===

impl Rules<'_> {
    /// What a finding of this check leads to.
    pub fn level(&self, check: &Check) -> Level {
        let set = self.levels.iter().rev().find_map(|l| l.get(check.id));
        set.copied().unwrap_or(match self.profile {
            Profile::Baseline => check.baseline,
            Profile::Strict => check.strict,
        })
    }
}

/// The id as the catalogue spells it.
pub(crate) fn known_id(id: &str) -> Option<&'static str> {
    catalogue::find(id).map(|check| check.id)
}
