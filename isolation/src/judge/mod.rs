//! Admission of the objects of isolation, and of policies that others write beside them.
//!
//! ```text
//!  IsolationRule ------> render (that rule alone) --> checks::judge --> findings about the rule
//!  NamespaceIsolation -> render --> whom it cuts without a word, what it cannot look up
//!  IsolationConfig ----> namespaces and DNS that are not there
//!  NetworkPolicy ------> does it open what isolation closes?
//! ```
//!
//! What the schema of the custom resources says itself (one peer, CIDRs, `except`) is not
//! repeated. Denied is an ingress CIDR of nodes or tunnels, unless an annotation overrides
//! it (`ignore.ringfence.dev/node-address-allowed: "until=2027-01-31 why"`), and somebody
//! else's policy where the configuration says so. Everything else depends on the order in
//! which files are applied, and warns.
//!
//! Other namespaces are named only where the object names them; else they are counted.

mod config;
mod fence;
mod fences;
mod foreign;
mod rule;

pub use config::config;
pub use fence::isolation;
pub use fences::{Fences, Unreadable};
pub(crate) use foreign::is_within;
pub use foreign::{Opening, foreign, opening};
pub use rule::rule;

use ringfence_checks::finding::SENTENCE;
use ringfence_checks::{Finding, Level, Report, Unknown, World};

/// Everything around an object.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// What checks look at.
    pub world: &'a World<'a>,
    /// `None` until it is known.
    pub fences: Option<&'a Fences>,
}

/// What is looked for in the objects of isolation, beyond the catalogue's checks. Their level
/// is their own: no configuration changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// Stable, as the catalogue's.
    pub id: &'static str,
    /// The worst that it leads to.
    pub level: Level,
    /// What is wrong, in whole sentences.
    pub title: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

const UNRESOLVED: Check = Check {
    id: "isolation-unresolved",
    level: Level::Warn,
    title: "A Service or namespace that is not there, a Service without selector or of type \
            ExternalName, a port that it has not; a tenant without a label; DNS that cannot be \
            found",
    remedy: "write the name of something that exists",
};
const EXPIRED: Check = Check {
    id: "isolation-expired",
    level: Level::Warn,
    title: "`expiresAt` is over",
    remedy: "write a time that is still to come, or none",
};
const NOT_ISOLATED: Check = Check {
    id: "isolation-off",
    level: Level::Warn,
    title: "A rule in a namespace that is not isolated (it stays, and counts from then on), or an \
            egress rule while egress is Open",
    remedy: "create NamespaceIsolation default in the namespace (`ringfence isolate`)",
};
const CUT: Check = Check {
    id: "isolation-cuts",
    level: Level::Warn,
    title: "When isolation is turned on: Services whose clients come from outside, routes whose \
            gateway is not allowed, webhooks that the API server calls",
    remedy: "write an IsolationRule for those who have to come in (`ringfence allow`)",
};
const HOST_NETWORK: Check = Check {
    id: "isolation-host-network",
    level: Level::Warn,
    title: "A gateway's or monitoring's pods use the node's network, and no namespace peer ever \
            matches them",
    remedy: "give its pods a network of their own, or write IsolationRules for their nodes",
};
const FOREIGN: Check = Check {
    id: "foreign-policy",
    level: Level::Deny,
    title: "Somebody else's NetworkPolicy in an isolated namespace, where the IsolationConfig says \
            `foreignPolicies: Deny`",
    remedy: "write an IsolationRule instead (`ringfence allow`); IsolationConfig default, \
             spec.foreignPolicies, says that NetworkPolicies of others are refused here",
};
const WIDENS: Check = Check {
    id: "foreign-policy-widens",
    level: Level::Warn,
    title: "Policies of others open the namespace all the same",
    remedy: "write an IsolationRule instead (`ringfence allow`), which can end and says why",
};
/// Of these nothing but `Unknown` is ever said.
const RULE: Check = Check {
    id: "isolation-rule",
    level: Level::Warn,
    title: "The object could not be judged: the cluster is not known yet",
    remedy: "see the condition of the object",
};

/// All of them, in the order of the documentation.
pub static CHECKS: [Check; 8] = [
    UNRESOLVED,
    EXPIRED,
    NOT_ISOLATED,
    CUT,
    HOST_NETWORK,
    FOREIGN,
    WIDENS,
    RULE,
];

/// One of this module by its id; `None` for others'.
pub fn find(id: &str) -> Option<&'static Check> {
    CHECKS.iter().find(|check| check.id == id)
}

// === impl Check ===

impl Check {
    fn found(self, level: Level, path: impl Into<String>, sentence: impl Into<String>) -> Finding {
        let mut sentence: String = sentence.into();
        if sentence.chars().count() > SENTENCE {
            sentence = sentence.chars().take(SENTENCE - 1).chain(['…']).collect();
        }
        Finding {
            check: self.id,
            level,
            path: path.into(),
            evidence: sentence.clone(),
            sentence,
            patch: None,
            softened: None,
        }
    }

    fn warns(self, path: impl Into<String>, sentence: impl Into<String>) -> Finding {
        self.found(Level::Warn, path, sentence)
    }

    fn unknown(self, missing: &'static str) -> Report {
        Report {
            findings: Vec::new(),
            unknown: vec![Unknown {
                check: self.id,
                missing,
            }],
        }
    }
}

/// Why nothing can be said.
const NO_CLUSTER: &str = "the cluster's objects are not known (yet)";
/// The same of the fences.
const NO_FENCES: &str = "the objects of isolation are not known (yet)";

#[cfg(test)]
mod tests;
