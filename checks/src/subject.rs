//! The object that is judged: as it was received, and as it was understood.

use crate::inject::{Part, rule};
use ringfence_policy::model::{Direction, Namespace, ObjectKey, Policy, Rule, Service};
use ringfence_policy::parse::{self, ParseError, Parsed};
use ringfence_policy::snapshot::{Kind, Object};
use serde_json::Value;
use std::cell::OnceCell;

/// kubectl keeps what the author typed in this annotation.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An object of a kind that is judged.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// The JSON as it was received; patches are made for it.
    pub raw: &'a Value,
    /// What it says.
    pub body: Body,
    /// What of it cannot be read. The API server refuses such an object itself.
    pub errors: Vec<ParseError>,
    /// The file names no namespace, and the reader has put one in.
    pub implied_namespace: bool,
    /// See [`Self::last_applied`]: several checks ask for it.
    last_applied: OnceCell<Option<Value>>,
}

/// What an object says.
#[derive(Clone, Debug)]
pub enum Body {
    /// A NetworkPolicy. With any error it is closed and has `fault`.
    Policy(Policy),
    /// A Service.
    Service(Service),
    /// A Namespace.
    Namespace(Namespace),
}

// === impl Subject ===

impl<'a> Subject<'a> {
    /// Reads an object by its `kind`. A NetworkPolicy of the removed
    /// `extensions/v1beta1` is read as if it were of `networking.k8s.io/v1` (the fields
    /// are the same); the check `old-api` says so.
    ///
    /// # Errors
    /// An object without a name, or of a kind that is not judged.
    pub fn read(raw: &'a Value) -> Result<Self, ParseError> {
        let version = raw.get("apiVersion").and_then(Value::as_str);
        let (object, errors) = if version == Some(OLD_API) {
            let mut converted = raw.clone();
            converted["apiVersion"] = "networking.k8s.io/v1".into();
            parse::object(&converted)?
        } else {
            parse::object(raw)?
        };
        let body = match object {
            Object::Policy(policy) => Body::Policy(policy),
            Object::Service(service) => Body::Service(service),
            Object::Namespace(namespace) => Body::Namespace(namespace),
            Object::Pod(_) | Object::Node(_) => {
                return Err(ParseError {
                    kind: "object",
                    object: ObjectKey::new("", ""),
                    path: "kind".to_owned(),
                    found: raw["kind"].to_string(),
                    remedy: "pass a NetworkPolicy, Service or Namespace".to_owned(),
                });
            }
        };
        Ok(Self {
            raw,
            body,
            errors,
            implied_namespace: false,
            last_applied: OnceCell::new(),
        })
    }

    /// The same, read from a file that names no namespace: `kubectl -n` decides.
    #[must_use]
    pub fn with_implied_namespace(mut self) -> Self {
        self.implied_namespace = true;
        self
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self.body {
            Body::Policy(_) => Kind::NetworkPolicy,
            Body::Service(_) => Kind::Service,
            Body::Namespace(_) => Kind::Namespace,
        }
    }

    /// Namespace and name; a Namespace has no namespace.
    pub fn key(&self) -> ObjectKey {
        match &self.body {
            Body::Policy(policy) => policy.key.clone(),
            Body::Service(service) => service.key.clone(),
            Body::Namespace(namespace) => ObjectKey::new("", namespace.name.clone()),
        }
    }

    /// The namespace whose configuration holds: a Namespace's own.
    pub fn namespace(&self) -> &str {
        match &self.body {
            Body::Policy(policy) => &policy.key.namespace,
            Body::Service(service) => &service.key.namespace,
            Body::Namespace(namespace) => &namespace.name,
        }
    }

    /// The policy, unless it is another kind or cannot be understood.
    pub fn policy(&self) -> Option<&Policy> {
        match &self.body {
            Body::Policy(policy) if policy.fault.is_none() => Some(policy),
            _ => None,
        }
    }

    /// The Service, unless it is another kind.
    pub fn service(&self) -> Option<&Service> {
        match &self.body {
            Body::Service(service) => Some(service),
            _ => None,
        }
    }

    /// The Namespace, unless it is another kind.
    pub fn as_namespace(&self) -> Option<&Namespace> {
        match &self.body {
            Body::Namespace(namespace) => Some(namespace),
            _ => None,
        }
    }

    /// The rules of the policy in the directions that it isolates, with their place.
    pub fn rules(&self) -> impl Iterator<Item = Place<'_>> {
        [Direction::Ingress, Direction::Egress]
            .into_iter()
            .flat_map(move |direction| {
                let rules = self.policy().and_then(|p| p.rules(direction));
                let rules = rules.unwrap_or_default().iter().enumerate();
                rules.map(move |(index, rule)| Place {
                    direction,
                    index,
                    rule,
                })
            })
    }

    /// Whether we have added the rule, as an annotation tells.
    pub fn is_injected(&self, place: &Place) -> bool {
        let parts = Part::ALL.into_iter();
        let records = parts
            .filter(|part| part.direction() == place.direction)
            .filter_map(|part| rule::recorded(self.annotation(part.record())?));
        let mut records = records.peekable();
        if records.peek().is_none() {
            return false;
        }
        let hash = rule::hash(place.direction, place.rule);
        records.any(|hashes| hashes.contains(&&*hash))
    }

    /// An annotation.
    pub fn annotation(&self, key: &str) -> Option<&'a str> {
        self.raw
            .get("metadata")?
            .get("annotations")?
            .get(key)?
            .as_str()
    }

    /// Whether somebody has asked for its deletion.
    pub fn is_deleted(&self) -> bool {
        let metadata = self.raw.get("metadata");
        metadata.is_some_and(|m| m.get("deletionTimestamp").is_some_and(|d| !d.is_null()))
    }

    /// What the author typed, where kubectl kept it. The API server drops empty lists
    /// (`from: []` arrives as `{}`), and only this still shows them.
    pub fn last_applied(&self) -> Option<&Value> {
        let read = || serde_json::from_str(self.annotation(LAST_APPLIED)?).ok();
        self.last_applied.get_or_init(read).as_ref()
    }
}

/// The version of NetworkPolicies that Kubernetes 1.16 removed.
pub const OLD_API: &str = "extensions/v1beta1";

/// A rule and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// In which section.
    pub direction: Direction,
    /// At which place in it.
    pub index: usize,
    /// The rule.
    pub rule: &'a Rule,
}

// === impl Place ===

impl Place<'_> {
    /// `spec.ingress[0]`
    pub fn path(&self) -> String {
        format!("spec.{}[{}]", self.direction, self.index)
    }

    /// `from` or `to`
    pub fn far_end(&self) -> &'static str {
        match self.direction {
            Direction::Ingress => "from",
            Direction::Egress => "to",
        }
    }

    /// `spec.ingress[0].from[1]`
    pub fn peer(&self, index: usize) -> String {
        let (section, rule) = (self.direction, self.index);
        format!("spec.{section}[{rule}].{}[{index}]", self.far_end())
    }

    /// `spec.ingress[0].ports[1]`
    pub fn port(&self, index: usize) -> String {
        format!("{}.ports[{index}]", self.path())
    }

    /// The JSON pointer of the rule, for patches: `/spec/ingress/0`.
    pub fn pointer(&self) -> String {
        format!("/spec/{}/{}", self.direction, self.index)
    }
}

/// The parts of a parsed policy.
impl<'a> From<(&'a Value, Parsed)> for Subject<'a> {
    fn from((raw, parsed): (&'a Value, Parsed)) -> Self {
        Self {
            raw,
            body: Body::Policy(parsed.policy),
            errors: parsed.errors,
            implied_namespace: false,
            last_applied: OnceCell::new(),
        }
    }
}
