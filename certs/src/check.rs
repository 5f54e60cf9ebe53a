//! Whether a pair may be served: what a client that trusts a bundle would find.

use crate::{Bundle, Names, Pair};
use jiff::{SignedDuration, Timestamp};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, RootCertStore};
use std::sync::Arc;
use std::time::Duration;

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: Timestamp,
    /// The last second.
    pub not_after: Timestamp,
}

/// Why a pair, or a bundle, is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It cannot be read.
    #[error("{what}: cannot be read: {why}; write PEM")]
    Malformed {
        /// Which part.
        what: &'static str,
        /// What the parser said.
        why: String,
    },
    /// Two different pairs were mixed.
    #[error("tls.key is not the key of tls.crt: take both from the same pair")]
    KeyMismatch,
    /// Too late.
    #[error("tls.crt, or the CA that signed it, expired at {at}: issue a new pair")]
    Expired {
        /// When.
        at: Timestamp,
    },
    /// Too early.
    #[error(
        "tls.crt, or the CA that signed it, is valid from {from} only: look at this machine's clock"
    )]
    NotYetValid {
        /// When.
        from: Timestamp,
    },
    /// Nobody would trust it.
    #[error("no CA of the bundle signed tls.crt: put that CA into the bundle, or issue a new pair")]
    UnknownIssuer,
    /// A name is missing.
    #[error("tls.crt does not cover {name:?}: issue a new pair for it")]
    NameMissing {
        /// The name or address.
        name: String,
    },
    /// Anything else that a client would refuse.
    #[error("tls.crt: a client refuses it: {why}; issue a new pair")]
    Refused {
        /// What the verifier said.
        why: String,
    },
}

// === impl Validity ===

impl Validity {
    /// When it should be replaced: after two thirds of its life, so that a third is left
    /// to find out that renewal does not work.
    pub fn renewal(&self) -> Timestamp {
        let life = self.not_after.duration_since(self.not_before);
        // Never later than the end, whatever the certificate says.
        self.not_after
            .saturating_sub(life / 3)
            .unwrap_or(self.not_after)
    }

    /// Seconds until it ends; negative afterwards.
    pub fn left(&self, now: Timestamp) -> SignedDuration {
        self.not_after.duration_since(now)
    }
}

/// Checks that key and certificate belong together, that the chain leads to a CA of
/// `trusted`, that everything is valid at `now`, and that every name is covered.
///
/// Returns how long the leaf is valid.
///
/// # Errors
/// The first problem, in this order.
pub fn check(
    pair: &Pair,
    trusted: &Bundle,
    names: &Names,
    now: Timestamp,
) -> Result<Validity, Problem> {
    let chain = read_chain(&pair.certificate)?;
    let (leaf, intermediates) = chain.split_first().ok_or_else(|| Problem::Malformed {
        what: "tls.crt",
        why: "there is no BEGIN CERTIFICATE in it".into(),
    })?;
    let validity = validity(leaf, "tls.crt")?;
    let key = PrivateKeyDer::from_pem_slice(pair.key.pem().as_bytes()).map_err(|error| {
        Problem::Malformed {
            what: "tls.key",
            why: error.to_string(),
        }
    })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    CertifiedKey::from_der(chain.clone(), key, &provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => Problem::KeyMismatch,
        other => Problem::Malformed {
            what: "tls.key",
            why: other.to_string(),
        },
    })?;

    let mut roots = RootCertStore::empty();
    for certificate in trusted.certificates() {
        roots
            .add(certificate.clone())
            .map_err(|error| Problem::Malformed {
                what: "CA bundle",
                why: error.to_string(),
            })?;
    }
    // Without a single root the verifier cannot be made.
    if roots.is_empty() {
        return Err(Problem::UnknownIssuer);
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| Problem::Refused {
            why: error.to_string(),
        })?;
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let at = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    for name in names.all() {
        let server = ServerName::try_from(name.clone())
            .map_err(|_| Problem::NameMissing { name: name.clone() })?;
        verifier
            .verify_server_cert(leaf, intermediates, &server, &[], at)
            .map_err(|error| refusal(&error, name, &validity))?;
    }
    Ok(validity)
}

fn read_chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, Problem> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| Problem::Malformed {
            what: "tls.crt",
            why: error.to_string(),
        })
}

/// When one certificate is valid; `what` names it in the message.
///
/// # Errors
/// It cannot be read.
pub fn validity(certificate: &CertificateDer<'_>, what: &'static str) -> Result<Validity, Problem> {
    let malformed = |why: String| Problem::Malformed { what, why };
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|error| malformed(error.to_string()))?;
    let time = |time: x509_parser::time::ASN1Time| {
        Timestamp::from_second(time.timestamp()).map_err(|error| malformed(error.to_string()))
    };
    Ok(Validity {
        not_before: time(parsed.validity().not_before)?,
        not_after: time(parsed.validity().not_after)?,
    })
}

fn refusal(error: &rustls::Error, name: String, leaf: &Validity) -> Problem {
    let instant = |time: UnixTime, otherwise| {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        Timestamp::from_second(seconds).unwrap_or(otherwise)
    };
    let rustls::Error::InvalidCertificate(reason) = error else {
        return Problem::Refused {
            why: error.to_string(),
        };
    };
    match reason {
        CertificateError::Expired => Problem::Expired { at: leaf.not_after },
        CertificateError::ExpiredContext { not_after, .. } => Problem::Expired {
            at: instant(*not_after, leaf.not_after),
        },
        CertificateError::NotValidYet => Problem::NotYetValid {
            from: leaf.not_before,
        },
        CertificateError::NotValidYetContext { not_before, .. } => Problem::NotYetValid {
            from: instant(*not_before, leaf.not_before),
        },
        // A CA of the same name with another key gives a bad signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Problem::UnknownIssuer,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Problem::NameMissing { name }
        }
        other => Problem::Refused {
            why: other.to_string(),
        },
    }
}

#[cfg(test)]
mod tests;
