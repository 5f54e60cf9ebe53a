//! What a check has to say about an object.

use json_patch::Patch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much a finding weighs. Ordered: the worst is the greatest.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The check does not run.
    Off,
    /// For the scan and `lint` only; admission is silent.
    Audit,
    /// The author is told.
    Warn,
    /// The object is refused.
    Deny,
}

impl Level {
    /// As written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Audit => "audit",
            Self::Warn => "warn",
            Self::Deny => "deny",
        }
    }
}

/// One thing that a check found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The check's id.
    pub check: &'static str,
    /// What it leads to, after configuration, ratchet and suppression.
    pub level: Level,
    /// JSON path, for example `spec.ingress[0].from[1].ipBlock.cidr`.
    pub path: String,
    /// One sentence about traffic, at most [`SENTENCE`] characters.
    pub sentence: String,
    /// What was found, without its place: two findings of one check with equal evidence
    /// are the same finding (the ratchet compares old and new object by it). Empty where a
    /// check takes long to write it and nobody compares.
    pub evidence: String,
    /// The change to the object that would mend it.
    pub patch: Option<Patch>,
    /// Why the finding counts for less than its check says: suppressed, or there before.
    pub softened: Option<String>,
}

/// The longest sentence, in characters.
pub const SENTENCE: usize = 120;

/// A patch from its JSON, which a check has written: `None` would be a defect of the check,
/// and a finding without patch is still a finding.
pub(crate) fn patch(operations: serde_json::Value) -> Option<Patch> {
    serde_json::from_value(operations).ok()
}

/// A check that could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The check's id.
    pub check: &'static str,
    /// What it needed and what is not known.
    pub missing: &'static str,
}
