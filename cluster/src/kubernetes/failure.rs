//! From what went wrong with a request to what a person can do about it.

use super::position::{Outcome, group};
use crate::Reason;
use kube::core::Status;
use ringfence_policy::snapshot::Kind;
use std::error::Error;
use std::io;

/// A request that failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// What to do next.
    pub(super) outcome: Outcome,
    /// What to say; `None` for what is ordinary.
    pub(super) reason: Option<Reason>,
}

impl Failure {
    /// An end that is nobody's fault.
    pub(super) fn ordinary(outcome: Outcome) -> Self {
        Self {
            outcome,
            reason: None,
        }
    }

    fn because(reason: Reason) -> Self {
        Self {
            outcome: Outcome::Failed { retry_after: 0 },
            reason: Some(reason),
        }
    }

    /// Bytes that are no answer of an API server.
    pub(super) fn protocol(address: &str, outcome: Outcome, message: &dyn ToString) -> Self {
        let reason = Some(Reason::Protocol {
            address: address.to_owned(),
            message: message.to_string(),
        });
        Self { outcome, reason }
    }

    /// An answer of the server that says no.
    pub(super) fn status(kind: Kind, address: &str, streaming: bool, status: &Status) -> Self {
        let message = status.message.clone();
        match status.code {
            410 => return Self::ordinary(Outcome::Gone),
            // After a restore of etcd the server is behind us, and will stay there.
            504 if message.contains("Too large resource version") => {
                return Self::ordinary(Outcome::Gone);
            }
            400 | 422 if streaming => return Self::ordinary(Outcome::NoStreaming),
            _ => {}
        }
        let retry_after = status.details.as_ref().map_or(0, |d| d.retry_after_seconds);
        let address = address.to_owned();
        let reason = match status.code {
            401 => Reason::Unauthorized { address, message },
            403 => Reason::Forbidden {
                group: group(kind),
                resource: kind.plural(),
                message,
            },
            code => Reason::Server { code, message },
        };
        Self {
            outcome: Outcome::Failed { retry_after },
            reason: Some(reason),
        }
    }

    /// A request that got no answer, or one that says no.
    pub(super) fn request(kind: Kind, address: &str, streaming: bool, error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::status(kind, address, streaming, status),
            error => Self::because(connection(address, error)),
        }
    }

    /// A connection that broke while it was read.
    pub(super) fn read(address: &str, error: &io::Error) -> Self {
        Self::because(connection(address, error))
    }
}

/// Why there is no connection.
fn connection(address: &str, error: &(dyn Error + 'static)) -> Reason {
    let address = address.to_owned();
    let mut message = error.to_string();
    let mut next = Some(error);
    while let Some(error) = next {
        // The innermost says most; the outer ones only repeat that a request failed.
        message = error.to_string();
        if error.is::<rustls::Error>() {
            return Reason::Tls { address, message };
        }
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused) {
            return Reason::Refused { address };
        }
        // The source of an `io::Error` is its content's source, not its content.
        next = match io.and_then(io::Error::get_ref) {
            Some(content) => Some(content),
            None => error.source(),
        };
    }
    Reason::Unreachable { address, message }
}
