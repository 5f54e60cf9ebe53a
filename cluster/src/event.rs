//! What a source says to the store.

use crate::Problem;
use ringfence_policy::model::ObjectKey;
use ringfence_policy::snapshot::{Kind, Object};
use thiserror::Error;

/// One step of a source. Give every one of them, in order, to
/// [`Store::handle`](crate::Store::handle).
#[derive(Clone, Debug)]
pub enum Event {
    /// An object as it is now.
    Apply(Decoded),
    /// An object is gone.
    Delete(Kind, ObjectKey),
    /// A list of everything of this kind begins: what is not applied before
    /// [`Event::ListDone`] no longer exists. Starting over means this event again.
    ListStarted(Kind),
    /// The list is complete and the kind is synced.
    ListDone {
        /// Which kind.
        kind: Kind,
        /// The version the list stands for.
        resource_version: Box<str>,
    },
    /// Nothing happened up to this version; also a sign of life.
    Bookmark {
        /// Which kind.
        kind: Kind,
        /// The version reached.
        resource_version: Box<str>,
    },
    /// Everything of every kind at once: a folder was read.
    Replace(Box<Replacement>),
    /// Something that belongs to no object, for example a watch frame that is no JSON.
    Problem(Problem),
    /// The kind cannot be read now; the source keeps trying. What is known stands.
    Unavailable {
        /// Which kind.
        kind: Kind,
        /// Why.
        reason: Reason,
    },
}

/// One object of a source, decoded as far as it goes.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// Its kind.
    pub kind: Kind,
    /// Its name; cluster-scoped kinds have an empty namespace.
    pub key: ObjectKey,
    /// `None` when it is unusable: the store then keeps what it has under this key.
    /// A faulty NetworkPolicy is never `None`: it is closed.
    pub object: Option<Object>,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
    /// `metadata.resourceVersion`; `None` in a folder.
    pub resource_version: Option<Box<str>>,
}

/// A whole folder.
#[derive(Clone, Debug)]
pub struct Replacement {
    /// Every object once.
    pub objects: Vec<Decoded>,
    /// What belongs to no object, or to one that does not take effect.
    pub problems: Vec<Problem>,
    /// Which content this is.
    pub generation: Generation,
}

/// Names the content of a folder, so that whoever wrote it can wait for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Generation {
    /// Counts the reloads of this process, from 1.
    pub number: u64,
    /// [`folder::digest`](crate::folder::digest) of the content, in hex.
    pub digest: String,
}

/// Why a kind cannot be read. The text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Reason {
    /// 403
    #[error(
        "the API server forbids it ({message}); add this rule to the agent's ClusterRole: \
         {{apiGroups: [\"{group}\"], resources: [\"{resource}\"], verbs: [\"list\", \"watch\"]}}"
    )]
    Forbidden {
        /// `apiGroups`
        group: &'static str,
        /// `resources`
        resource: &'static str,
        /// What the server said.
        message: String,
    },
    /// 401
    #[error(
        "the API server at {address} does not accept our credentials ({message}); \
         check the service account's token or the kubeconfig's user"
    )]
    Unauthorized {
        /// The server.
        address: String,
        /// What the server said.
        message: String,
    },
    /// Connection refused.
    #[error("nothing listens at the API server's address {address} (connection refused)")]
    Refused {
        /// The server.
        address: String,
    },
    /// A certificate that does not verify, or no TLS at all.
    #[error(
        "no trusted TLS connection to the API server at {address}: {message}; \
         check certificate-authority-data and the server's name in the kubeconfig"
    )]
    Tls {
        /// The server.
        address: String,
        /// What the library said.
        message: String,
    },
    /// No name, no route, a connection that broke.
    #[error("cannot talk to the API server at {address}: {message}")]
    Unreachable {
        /// The server.
        address: String,
        /// What the system said.
        message: String,
    },
    /// Any other answer of the server.
    #[error("the API server answered {code}: {message}")]
    Server {
        /// The HTTP status.
        code: u16,
        /// What the server said.
        message: String,
    },
    /// Bytes that are no answer.
    #[error("the API server at {address} sent what is no Kubernetes answer: {message}")]
    Protocol {
        /// The server.
        address: String,
        /// What was found.
        message: String,
    },
    /// The folder cannot be read.
    #[error("the folder {folder} cannot be read: {message}")]
    Folder {
        /// The folder.
        folder: String,
        /// What the system said.
        message: String,
    },
}
