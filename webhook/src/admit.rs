//! From a request and what is known to a [`Decision`]. Pure.

mod isolation;

use crate::review::{Operation, Request};
use json_patch::Patch;
use ringfence_checks::inject;
use ringfence_checks::{Before, Finding, Level, Occasion, Subject, Unknown, World, judge};
use ringfence_isolation::judge::Around;
use ringfence_policy::model::ObjectKey;
use serde_json::Value;
use serde_json::value::RawValue;
use std::cell::LazyCell;

/// Which of the two webhooks is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// `/mutate`
    Mutate,
    /// `/validate`
    Validate,
}

/// The kinds that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Judged {
    /// `networking.k8s.io NetworkPolicy`
    NetworkPolicy,
    /// `v1 Service`
    Service,
    /// `v1 Namespace`
    Namespace,
    /// `ringfence.dev IsolationRule`
    IsolationRule,
    /// `ringfence.dev NamespaceIsolation`
    NamespaceIsolation,
    /// `ringfence.dev IsolationConfig`
    IsolationConfig,
}

/// What is answered.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// Why the request is refused, whatever the findings say.
    pub refusal: Option<Refusal>,
    /// Why nothing was judged.
    pub skipped: Option<Skip>,
    /// `namespace/name` of the object, as far as it is known.
    pub object: Option<ObjectKey>,
    /// What was found, worst first. A [`Level::Deny`] refuses the request.
    pub findings: Vec<Finding>,
    /// What could not be checked.
    pub unknown: Vec<Unknown>,
    /// Warnings beside the findings, without the object's name.
    pub notes: Vec<String>,
    /// The warning that answers the controller's probe, as it stands.
    pub probe: Option<String>,
    /// What the mutating webhook changes.
    pub patch: Patch,
    /// A patch that would not have applied, or would have broken the object, and was
    /// therefore not sent.
    pub withheld: Option<String>,
}

/// A request that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status for the author.
    pub code: u16,
    /// One word for programs.
    pub reason: &'static str,
    /// What was found and what to do.
    pub message: String,
}

/// Why a request is none of our business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Skip {
    /// DELETE, CONNECT.
    Operation,
    /// An object of another kind, or a subresource.
    Kind,
    /// The configuration exempts this user in this namespace.
    Exempt,
}

/// With more JSON objects and lists than this, in both objects of a request together, it
/// is not judged: the trees would take hundreds of megabytes. 10,000 rules of two peers
/// each stay below when they are created.
pub const MOST_NODES: usize = 150_000;

// === impl Hook ===

impl Hook {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Mutate, Self::Validate];

    /// The last part of the path, and the label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mutate => "mutate",
            Self::Validate => "validate",
        }
    }
}

// === impl Judged ===

impl Judged {
    /// The kind of a request; `None` for what is not looked at.
    pub fn of(request: &Request) -> Option<Self> {
        if !request.sub_resource.is_empty() {
            return None;
        }
        match (&*request.kind.group, &*request.kind.kind) {
            ("networking.k8s.io" | "extensions", "NetworkPolicy") => Some(Self::NetworkPolicy),
            ("", "Service") => Some(Self::Service),
            ("", "Namespace") => Some(Self::Namespace),
            (ringfence_api::GROUP, "IsolationRule") => Some(Self::IsolationRule),
            (ringfence_api::GROUP, "NamespaceIsolation") => Some(Self::NamespaceIsolation),
            (ringfence_api::GROUP, "IsolationConfig") => Some(Self::IsolationConfig),
            _ => None,
        }
    }

    /// As written in objects.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NetworkPolicy => "NetworkPolicy",
            Self::Service => "Service",
            Self::Namespace => "Namespace",
            Self::IsolationRule => "IsolationRule",
            Self::NamespaceIsolation => "NamespaceIsolation",
            Self::IsolationConfig => "IsolationConfig",
        }
    }
}

// === impl Decision ===

impl Decision {
    /// Nothing was judged.
    pub fn skip(why: Skip) -> Self {
        Self {
            skipped: Some(why),
            ..Self::default()
        }
    }

    /// The request itself makes no sense.
    pub fn refuse(message: impl Into<String>) -> Self {
        Self {
            refusal: Some(Refusal {
                code: 400,
                reason: "BadRequest",
                message: message.into(),
            }),
            ..Self::default()
        }
    }

    /// The object was not judged, and its author is told.
    pub fn unjudged(note: impl Into<String>) -> Self {
        Self {
            notes: vec![note.into()],
            ..Self::default()
        }
    }

    /// Whether the request may go on.
    pub fn is_allowed(&self) -> bool {
        self.refusal.is_none() && self.of(Level::Deny).next().is_none()
    }

    /// The findings of one level.
    pub fn of(&self, level: Level) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |f| f.level == level)
    }
}

/// Decides about a request. The world's occasion does not matter: the operation tells it.
pub fn admit(hook: Hook, request: &Request, around: &Around) -> Decision {
    let occasion = match request.operation {
        Operation::Create => Occasion::Create,
        Operation::Update => Occasion::Update,
        Operation::Delete | Operation::Connect | Operation::Other => {
            return Decision::skip(Skip::Operation);
        }
    };
    let Some(kind) = Judged::of(request) else {
        return Decision::skip(Skip::Kind);
    };
    let user = &request.user_info;
    let namespace = match kind {
        Judged::Namespace => &request.name,
        _ => &request.namespace,
    };
    if around
        .world
        .config
        .exempts(namespace, &user.username, &user.groups)
    {
        return Decision::skip(Skip::Exempt);
    }
    let world = World {
        occasion,
        ..*around.world
    };
    let around = Around {
        world: &world,
        ..*around
    };
    let Some(object) = request.object else {
        let operation = request.operation.as_str();
        return Decision::refuse(format!("found a {operation} without request.object"));
    };
    let old = match occasion {
        Occasion::Update => request.old_object,
        _ => None,
    };
    let mut decision = decide(hook, kind, request, (object, old), &around);
    if decision.object.is_none() {
        decision.object = Some(ObjectKey::new(&*request.namespace, &*request.name));
    }
    decision
}

fn decide(
    hook: Hook,
    kind: Judged,
    request: &Request,
    (object, old): (&RawValue, Option<&RawValue>),
    around: &Around,
) -> Decision {
    let nodes = nodes(object) + old.map_or(0, nodes);
    if nodes > MOST_NODES {
        return Decision::unjudged(format!(
            "not judged: {nodes} JSON nodes, at most {MOST_NODES} are; split the object"
        ));
    }
    // Few requests have anything to compare: what the object was is read when asked for.
    let before = LazyCell::new(|| old.map(|old| tree(old, request)));
    let raw = match tree(object, request) {
        Ok(raw) => raw,
        // An object that exists stays editable: its finalizers must go some day.
        Err(error) if matches!(*before, Some(Err(_))) => {
            return Decision::unjudged(format!("not judged: {error}"));
        }
        Err(error) => return Decision::refuse(format!("request.object: {error}")),
    };
    if matches!(
        kind,
        Judged::IsolationRule | Judged::NamespaceIsolation | Judged::IsolationConfig
    ) {
        if hook == Hook::Mutate {
            return Decision::default();
        }
        let old = before.as_ref().and_then(|old| old.as_ref().ok());
        return isolation::decide(kind, raw, old, around);
    }
    let subject = match Subject::read(&raw) {
        Ok(subject) => subject,
        // The API server says what is invalid better than we can, and after mutation.
        Err(_) if hook == Hook::Mutate => return Decision::default(),
        Err(error) => return Decision::unjudged(format!("not judged: {error}")),
    };
    // What the object was does not matter any more where it cannot be understood.
    let before = LazyCell::new(|| Subject::read(before.as_ref()?.as_ref().ok()?).ok());
    let before = Before::Unread(&before);
    let mut decision = match hook {
        Hook::Validate => validate(&subject, before, around.world),
        Hook::Mutate => mutate(&subject, before, around.world),
    };
    if hook == Hook::Validate && kind == Judged::NetworkPolicy {
        isolation::beside(&mut decision, request, &subject, before, around);
    }
    decision.object = Some(subject.key());
    decision
}

fn validate<'a>(subject: &'a Subject<'a>, old: Before<'a>, world: &'a World<'a>) -> Decision {
    let report = judge(subject, old, world);
    let faults = subject.errors.iter();
    let mut findings = inject::forged(subject, old);
    findings.extend(report.findings);
    Decision {
        findings,
        unknown: report.unknown,
        notes: faults
            .map(|e| {
                format!(
                    "{}: found {}; {} (until then its pods are closed)",
                    e.path, e.found, e.remedy
                )
            })
            .collect(),
        ..Decision::default()
    }
}

fn mutate<'a>(subject: &'a Subject<'a>, old: Before<'a>, world: &'a World<'a>) -> Decision {
    let injected = inject::inject(subject, old, world);
    Decision {
        // `/validate` refuses, once for all; here it would hide what the others say.
        findings: injected
            .findings
            .into_iter()
            .filter(|f| f.level != Level::Deny)
            .collect(),
        unknown: injected.unknown,
        patch: injected.patch,
        withheld: injected.rejected,
        ..Decision::default()
    }
}

/// JSON objects and lists, about: braces within strings count as well.
fn nodes(object: &RawValue) -> usize {
    let opens = |byte: &u8| u8::from(matches!(byte, b'{' | b'['));
    // So many at a time fit into a byte, and a byte's sum is worked out for many at once.
    let parts = object.get().as_bytes().chunks(u8::MAX.into());
    parts
        .map(|part| usize::from(part.iter().map(opens).sum::<u8>()))
        .sum()
}

/// The object's JSON. What the API server knows but the object does not say yet (with
/// `generateName`, or before the namespace was filled in) is added.
fn tree(object: &RawValue, request: &Request) -> serde_json::Result<Value> {
    let mut value: Value = serde_json::from_str(object.get())?;
    if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
        let is_missing = |v: Option<&Value>| v.is_none_or(|v| v.is_null() || *v == "");
        if is_missing(metadata.get("name")) {
            let stem = metadata.get("generateName").and_then(Value::as_str);
            let name = match stem.filter(|stem| !stem.is_empty()) {
                // Five letters follow, as the API server will choose them.
                Some(stem) => format!("{stem}xxxxx"),
                None => request.name.to_string(),
            };
            metadata.insert("name".to_owned(), name.into());
        }
        if is_missing(metadata.get("namespace")) && request.kind.kind != "Namespace" {
            metadata.insert("namespace".to_owned(), (&*request.namespace).into());
        }
    }
    Ok(value)
}

#[cfg(test)]
mod tests;
