//! From a file to the objects in it.

use super::syntax::{self, Document, SyntaxError};
use super::written::{At, Written};
use crate::{Cause, Decoded, Place, Problem, Severity, decode};
use ringfence_policy::model::ObjectKey;
use ringfence_policy::snapshot::{Kind, Object};
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;

/// What a file says.
#[derive(Clone, Debug, Default)]
pub(super) struct Manifest {
    /// Its objects, with the line at which each begins.
    pub(super) objects: Vec<(Place, Decoded)>,
    /// What belongs to no object of it.
    pub(super) problems: Vec<Problem>,
    /// Something in it cannot be told to be an object: the rest of the file is no YAML or
    /// JSON, or a document has no kind or no name. Which objects it meant is unknown.
    pub(super) broken: bool,
    /// Every object of it as it is written, of whatever kind; only when that is wanted.
    pub(super) written: Vec<Written>,
}

/// Lists in lists; kubectl prints one level.
const DEEPEST_LIST: usize = 8;

// === impl Manifest ===

impl Manifest {
    /// Reads a file; never fails as a whole.
    pub(super) fn parse(file: &Arc<Path>, bytes: &[u8], reading: &Reading) -> Self {
        let json = file
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("json"));
        let (documents, fault) = syntax::documents(bytes, json);
        let mut reader = Reader {
            file,
            reading,
            manifest: Self::default(),
            at: At::default(),
        };
        for (number, Document { line, value, items }) in documents.into_iter().enumerate() {
            reader.at = At {
                document: number,
                items: Vec::new(),
            };
            reader.object(line, value, None, &items);
        }
        if let Some(SyntaxError { line, message }) = fault {
            let form = if json { "JSON" } else { "YAML" };
            let message = format!("is no {form} from here on: {message}");
            reader.problem(line, Severity::Error, Cause::Syntax, message);
        }
        reader.manifest
    }
}

struct Reader<'a> {
    file: &'a Arc<Path>,
    reading: &'a Reading,
    manifest: Manifest,
    at: At,
}

/// How files are read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    /// Where objects belong that name no namespace.
    pub(super) default_namespace: Arc<str>,
    /// Whether objects are wanted as they are written, too.
    pub(super) keep_written: bool,
}

/// What an `apiVersion` and `kind` are to us.
enum Meaning {
    /// An object of a kind that decides about packets.
    Object(Kind),
    /// `List`, or a list of one kind.
    List(Option<&'static str>),
    /// `extensions/v1beta1` and the like.
    Removed(Kind),
    /// Nothing to do with packets.
    Ignored,
}

fn meaning(version: &str, kind: &str) -> Meaning {
    if let Some(kind) = Kind::ALL.into_iter().find(|k| k.as_str() == kind) {
        return match (kind, version) {
            (Kind::NetworkPolicy, "extensions/v1beta1" | "networking.k8s.io/v1beta1") => {
                Meaning::Removed(kind)
            }
            // A wrong or missing version of a core kind is the parser's to explain.
            (Kind::NetworkPolicy, "networking.k8s.io/v1" | "" | "v1") => Meaning::Object(kind),
            (Kind::NetworkPolicy, _) => Meaning::Ignored,
            (_, "v1" | "") => Meaning::Object(kind),
            _ => Meaning::Ignored,
        };
    }
    match kind.strip_suffix("List") {
        Some("") => Meaning::List(None),
        Some(item) => match Kind::ALL.into_iter().find(|k| k.as_str() == item) {
            Some(kind) => Meaning::List(Some(kind.as_str())),
            None => Meaning::Ignored,
        },
        None => Meaning::Ignored,
    }
}

// === impl Reader ===

impl Reader<'_> {
    /// One document, or one item of a list whose items are all of `implied` kind.
    fn object(
        &mut self,
        line: usize,
        value: Value,
        implied: Option<(&str, &str)>,
        items: &[usize],
    ) {
        let Value::Object(mut object) = value else {
            let message = "is no object; a manifest begins with apiVersion and kind".to_owned();
            return self.problem(line, Severity::Error, Cause::Syntax, message);
        };
        if let Some((version, kind)) = implied {
            object.entry("apiVersion").or_insert_with(|| version.into());
            object.entry("kind").or_insert_with(|| kind.into());
        }
        let text = |field: &str| {
            object
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (version, kind) = (text("apiVersion").to_owned(), text("kind").to_owned());
        if kind.is_empty() {
            let message = "has no kind; a manifest begins with apiVersion and kind".to_owned();
            return self.problem(line, Severity::Error, Cause::Syntax, message);
        }
        let meaning = meaning(&version, &kind);
        let defaulted = match meaning {
            Meaning::Object(kind) | Meaning::Removed(kind) => {
                !matches!(kind, Kind::Namespace | Kind::Node) && self.default(&mut object)
            }
            Meaning::List(_) | Meaning::Ignored => false,
        };
        if self.reading.keep_written && !matches!(meaning, Meaning::List(_)) {
            self.manifest.written.push(Written {
                place: self.place(line),
                value: Value::Object(object.clone()),
                implied_namespace: defaulted,
                at: self.at.clone(),
            });
        }
        match meaning {
            Meaning::Object(kind) => self.known(line, kind, object, defaulted),
            Meaning::List(item) => {
                let item = item.map(|kind| (version.as_str(), kind));
                self.list(line, object, item, items);
            }
            Meaning::Removed(_) => {
                let message = format!(
                    "{kind} {}: Kubernetes has removed apiVersion {version} of this kind; \
                     write apiVersion: networking.k8s.io/v1 (the fields are the same)",
                    name(&object)
                );
                self.problem(line, Severity::Error, Cause::ApiVersion, message);
            }
            Meaning::Ignored => {
                let message = format!(
                    "{kind} {} ({version}) is passed over; it does not decide about packets",
                    name(&object)
                );
                self.problem(line, Severity::Note, Cause::IgnoredKind, message);
            }
        }
    }

    fn list(
        &mut self,
        line: usize,
        mut object: Map<String, Value>,
        item: Option<(&str, &str)>,
        lines: &[usize],
    ) {
        let items = match object.remove("items") {
            Some(Value::Array(items)) if self.at.items.len() < DEEPEST_LIST => items,
            Some(Value::Null) | None => return,
            Some(_) => {
                let message = "items is no list of objects, or lists are nested too deeply";
                return self.problem(line, Severity::Error, Cause::Syntax, message.to_owned());
            }
        };
        for (index, value) in items.into_iter().enumerate() {
            let line = lines.get(index).copied().unwrap_or(line);
            self.at.items.push(index);
            self.object(line, value, item, &[]);
            self.at.items.pop();
        }
    }

    fn known(&mut self, line: usize, kind: Kind, object: Map<String, Value>, defaulted: bool) {
        match decode::value(kind, &Value::Object(object)) {
            Ok(mut decoded) => {
                if defaulted {
                    let message = format!(
                        "has no namespace and is taken to belong to {}",
                        self.reading.default_namespace
                    );
                    decoded
                        .problems
                        .push(note(Cause::DefaultNamespace, message));
                }
                if let Some(Object::Pod(pod)) = &decoded.object {
                    decoded.problems.extend(gaps(pod));
                }
                let place = self.place(line);
                for problem in &mut decoded.problems {
                    problem.object = Some((kind, decoded.key.clone()));
                    problem.place = Some(place.clone());
                }
                if kind == Kind::NetworkPolicy && decoded.object.is_none() {
                    // Half a name is no name: there is nothing that could be closed.
                    self.manifest.problems.append(&mut decoded.problems);
                    self.manifest.broken = true;
                } else {
                    self.manifest.objects.push((place, decoded));
                }
            }
            Err(mut problem) => {
                problem.place = Some(self.place(line));
                self.manifest.problems.push(problem);
                self.manifest.broken = true;
            }
        }
    }

    /// Gives an object the default namespace if it names none.
    fn default(&self, object: &mut Map<String, Value>) -> bool {
        let metadata = object
            .entry("metadata")
            .or_insert_with(|| Map::new().into());
        let Value::Object(metadata) = metadata else {
            return false;
        };
        let namespace = metadata.entry("namespace").or_insert(Value::Null);
        let missing = matches!(namespace, Value::Null) || namespace.as_str() == Some("");
        if missing {
            *namespace = (*self.reading.default_namespace).into();
        }
        missing
    }

    fn place(&self, line: usize) -> Place {
        let file = Arc::clone(self.file);
        Place { file, line }
    }

    fn problem(&mut self, line: usize, severity: Severity, cause: Cause, message: String) {
        let place = Some(self.place(line));
        self.manifest.broken |= severity == Severity::Error;
        self.manifest.problems.push(Problem {
            severity,
            cause,
            object: None,
            place,
            message,
        });
    }
}

/// What a pod needs to take part, and what a scheduler or kubelet would have filled in.
fn gaps(pod: &ringfence_policy::model::Pod) -> Vec<Problem> {
    let mut notes = Vec::new();
    if pod.node.is_empty() {
        let message = "has no spec.nodeName, so no node enforces its policies";
        notes.push(note(Cause::Incomplete, message.to_owned()));
    }
    if pod.ips.is_empty() {
        let message = "has no status.podIP, so no rule can name it";
        notes.push(note(Cause::Incomplete, message.to_owned()));
    }
    notes
}

fn note(cause: Cause, message: String) -> Problem {
    Problem {
        severity: Severity::Note,
        cause,
        object: None,
        place: None,
        message,
    }
}

/// `namespace/name` as far as it is written, for messages.
fn name(object: &Map<String, Value>) -> String {
    let text = |field| {
        let metadata = object.get("metadata").and_then(|m| m.get(field));
        metadata.and_then(Value::as_str)
    };
    match (text("namespace"), text("name")) {
        (Some(namespace), Some(name)) => ObjectKey::new(namespace, name).to_string(),
        (None, Some(name)) => name.to_owned(),
        (_, None) => "without a name".to_owned(),
    }
}
