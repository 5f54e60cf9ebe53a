//! What is wrong with one object or file, and where it stands.

use ringfence_policy::model::ObjectKey;
use ringfence_policy::snapshot::Kind;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Something a person should read. It never stops the other objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether something is lost, or only worth knowing.
    pub severity: Severity,
    /// The class, for metric labels.
    pub cause: Cause,
    /// The object, where it is known.
    pub object: Option<(Kind, ObjectKey)>,
    /// File and line, for objects from a folder.
    pub place: Option<Place>,
    /// What was found and what to do about it; one sentence, without the object's name
    /// unless `object` is `None`.
    pub message: String,
}

/// How bad a [`Problem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing is lost.
    Note,
    /// The object does not take effect as written.
    Error,
}

/// The class of a [`Problem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// A field of the object is wrong.
    Field,
    /// A file or a watch frame that is no YAML or JSON, or is cut off.
    Syntax,
    /// A file or folder that cannot be read.
    Read,
    /// The same object is written twice.
    Duplicate,
    /// An `apiVersion` that Kubernetes has removed.
    ApiVersion,
    /// A kind that has nothing to do with network policy.
    IgnoredKind,
    /// No namespace was written; the default one was taken.
    DefaultNamespace,
    /// An address, node or namespace that the object needs is missing.
    Incomplete,
}

impl Cause {
    /// All of them, for metrics that start at zero.
    pub const ALL: [Self; 8] = [
        Self::Field,
        Self::Syntax,
        Self::Read,
        Self::Duplicate,
        Self::ApiVersion,
        Self::IgnoredKind,
        Self::DefaultNamespace,
        Self::Incomplete,
    ];

    /// A metric label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Field => "field",
            Self::Syntax => "syntax",
            Self::Read => "read",
            Self::Duplicate => "duplicate",
            Self::ApiVersion => "api_version",
            Self::IgnoredKind => "ignored_kind",
            Self::DefaultNamespace => "default_namespace",
            Self::Incomplete => "incomplete",
        }
    }
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The file, relative to the source's folder.
    pub file: Arc<Path>,
    /// From 1; 0 when the whole file is meant.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        match self.line {
            0 => Ok(()),
            line => write!(f, ":{line}"),
        }
    }
}

/// `shop/web.yaml:12: NetworkPolicy shop/web: spec.podSelector: ...`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if let Some((kind, key)) = &self.object {
            write!(f, "{} ", kind.as_str())?;
            // Cluster-scoped objects have an empty namespace.
            if key.name.is_empty() {
                f.write_str("without a name: ")?;
            } else if key.namespace.is_empty() {
                write!(f, "{}: ", key.name)?;
            } else {
                write!(f, "{key}: ")?;
            }
        }
        f.write_str(&self.message)
    }
}
