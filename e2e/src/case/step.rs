//! What happens in a case, as data.

use super::{Expect, Stage};
use crate::probe::Transport;
use anyhow::Result;
use serde_json::Value;

/// One step of a case.
#[derive(Clone, Debug)]
pub enum Step {
    /// Applies every object of a YAML text; those without a namespace go to `namespace`.
    Apply {
        /// One or more documents.
        yaml: String,
        /// For objects without a namespace.
        namespace: &'static str,
    },
    /// `kubectl apply` through the webhook, with an answer that was recorded.
    Admit(Recorded),
    /// What a person types, and what must come of it: plays wherever kubectl reaches the API
    /// server and its webhook.
    Type(&'static str, fn(&mut Stage) -> Result<()>),
    /// There is a DNS Service: a cluster has its own.
    Dns,
    /// Whether this pod resolves this name, over UDP and over TCP.
    Resolve(&'static str, &'static str, bool),
    /// Applies objects of isolation, and waits until the policies of namespaces come from
    /// these sources and are enforced, see [`Stage::isolate`].
    Isolate(String, Vec<(&'static str, &'static str)>),
    /// Deletes an object of isolation, written `Kind namespace/name`, and waits likewise.
    Unisolate(&'static str, Vec<(&'static str, &'static str)>),
    /// Waits until the policy of an isolated namespace has this value at this JSON pointer.
    Rendered(&'static str, &'static str, Value),
    /// Waits for a condition of an object of isolation: object, condition, `STATUS REASON`.
    Condition(&'static str, &'static str, &'static str),
    /// Changes an object, written `Kind namespace/name`, by a JSON merge patch in YAML.
    Patch(&'static str, &'static str),
    /// Deletes an object, written `Kind namespace/name` or `Kind name`.
    Delete(&'static str),
    /// Sets labels (`None` takes one away) of an object written as above.
    Label(&'static str, Vec<(&'static str, Option<&'static str>)>),
    /// Writes a file beside the objects, or removes it: for what is no object.
    File(&'static str, Option<&'static str>),
    /// Probes and compares.
    Expect(Expect),
    /// Opens two flows, one for each end to speak first after a change.
    Open {
        /// By which later steps call it.
        name: &'static str,
        /// The client.
        from: &'static str,
        /// The server.
        to: &'static str,
        /// TCP or UDP, and the port.
        transport: Transport,
        /// Over IPv4 (else IPv6).
        v4: bool,
    },
    /// Nothing may pass on these flows any more, in either direction.
    Cut(Vec<&'static str>),
    /// These flows must still carry what both ends say.
    Kept(Vec<&'static str>),
    /// Anything else: faults, restarts, hand-made rules. Needs an enforcer.
    Do(&'static str, fn(&mut Stage) -> Result<()>),
}

/// A file and what kubectl said when it was applied through the webhook.
#[derive(Clone, Copy, Debug)]
pub struct Recorded {
    /// Of the file, without `.yaml`, below `fixtures/seeds`.
    pub name: &'static str,
    /// The file.
    pub yaml: &'static str,
    /// For objects without a namespace.
    pub namespace: &'static str,
    /// What was said: see [`Stage::admit`].
    pub answer: &'static str,
}
