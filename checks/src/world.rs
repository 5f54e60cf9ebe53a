//! What a check may look at besides the object.

use crate::config::{Config, Rules};
use crate::{Facts, Index};
use jiff::Timestamp;

/// Why an object is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// The API server asks about a new object. What the API server defaults or refuses
    /// itself is left to it.
    Create,
    /// The API server asks about a changed object.
    Update,
    /// `ringfence lint` of files: the object as somebody wrote it.
    Lint,
    /// The background scan, or `lint --cluster`: the object as the API server keeps it.
    Scan,
}

impl Occasion {
    /// Whether somebody is waiting for the answer to a request.
    pub fn is_admission(self) -> bool {
        matches!(self, Self::Create | Self::Update)
    }
}

/// Everything around an object.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// The cluster's objects; `None` until the caches are synced, or when a watch has
    /// been lost for too long: checks that need them answer Unknown.
    pub index: Option<&'a Index>,
    /// What else is known.
    pub facts: &'a Facts,
    /// The owner's choices.
    pub config: &'a Config,
    /// Now, for expiries.
    pub now: Timestamp,
    /// Why we look.
    pub occasion: Occasion,
}

impl<'a> World<'a> {
    /// The rules of the configuration that hold for a namespace.
    pub fn rules(&self, namespace: &str) -> Rules<'a> {
        let labels = self.index.and_then(|index| index.namespace(namespace));
        self.config.rules(namespace, labels)
    }
}
