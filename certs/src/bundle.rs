//! The CAs that a client trusts: `ca.crt` and `caBundle`.

use crate::{Problem, Validity, check};
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Certificates of CAs, in order, without repetitions. May be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle(Vec<CertificateDer<'static>>);

// === impl Bundle ===

impl Bundle {
    /// Reads concatenated PEM; blank text is an empty bundle.
    ///
    /// # Errors
    /// Text that is no PEM, or a certificate in it that cannot be read. Nothing is left
    /// out silently: a bundle that lost a CA would refuse a server.
    pub fn parse(pem: &str) -> Result<Self, Problem> {
        let mut bundle = Self::default();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|error| Problem::Malformed {
                what: "CA bundle",
                why: error.to_string(),
            })?;
            check::validity(&certificate, "CA bundle")?;
            bundle.push(certificate);
        }
        if bundle.0.is_empty() && !pem.trim().is_empty() {
            return Err(Problem::Malformed {
                what: "CA bundle",
                why: "there is no BEGIN CERTIFICATE in it".into(),
            });
        }
        Ok(bundle)
    }

    /// Concatenated PEM.
    pub fn pem(&self) -> String {
        let encode = |der: &CertificateDer<'_>| {
            let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
            pem::encode_config(&pem::Pem::new("CERTIFICATE", der.to_vec()), config)
        };
        self.0.iter().map(encode).collect()
    }

    /// This one, then what only `other` has.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        other.0.iter().cloned().for_each(|c| self.push(c));
        self
    }

    /// Without what has expired at `now`.
    ///
    /// # Errors
    /// A certificate that cannot be read.
    pub fn unexpired(&self, now: Timestamp) -> Result<Self, Problem> {
        let mut kept = Self::default();
        for certificate in &self.0 {
            if check::validity(certificate, "CA bundle")?.not_after > now {
                kept.push(certificate.clone());
            }
        }
        Ok(kept)
    }

    /// The part that may verify `leaf`'s chain: every CA that, alone, does.
    #[must_use]
    pub fn retain(&self, mut keep: impl FnMut(&Self) -> bool) -> Self {
        let single = self.0.iter().map(|c| Self(vec![c.clone()]));
        Self(
            single
                .filter(|one| keep(one))
                .flat_map(|one| one.0)
                .collect(),
        )
    }

    /// When the last of them expires; `None` when empty.
    ///
    /// # Errors
    /// A certificate that cannot be read.
    pub fn validity(&self) -> Result<Option<Validity>, Problem> {
        let mut last: Option<Validity> = None;
        for certificate in &self.0 {
            let validity = check::validity(certificate, "CA bundle")?;
            if last.is_none_or(|l| l.not_after < validity.not_after) {
                last = Some(validity);
            }
        }
        Ok(last)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In DER.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.0
    }

    fn push(&mut self, certificate: CertificateDer<'static>) {
        if !self.0.contains(&certificate) {
            self.0.push(certificate);
        }
    }
}
