//! Making a CA and the certificates that it signs. ECDSA P-256 throughout.

use crate::{Bundle, Key, Names, Pair, Problem};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use std::time::{Duration, SystemTime};

/// Certificates are valid from this long before they are made: clocks of clients that are
/// behind by less refuse nothing.
pub const BACKDATE: Duration = Duration::from_hours(1);
/// Shorter lives would be renewed faster than they can be rolled out.
pub const MIN_LIFETIME: Duration = Duration::from_mins(10);

/// A certificate authority with its key.
pub struct Authority {
    certificate: String,
    key: Key,
    not_after: Timestamp,
    issuer: Issuer<'static, KeyPair>,
}

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// Not long enough, or past the end of time.
    #[error("a certificate's life: found {0:?}; at least 10 minutes, at most 100 years")]
    Lifetime(Duration),
    /// The CA would be gone first.
    #[error("the CA expires at {0}: issue a new CA")]
    AuthorityExpired(Timestamp),
    /// A CA that cannot be used.
    #[error("the CA: {0}")]
    Authority(#[from] Problem),
    /// The library refuses.
    #[error("making a certificate: {0}")]
    Library(#[from] rcgen::Error),
}

// === impl Authority ===

impl Authority {
    /// A new, self-signed CA that may sign servers and no other CA. Each has a subject of
    /// its own, so that people can tell two in one bundle apart.
    ///
    /// # Errors
    /// A `lifetime` that makes no sense.
    pub fn create(lifetime: Duration, now: Timestamp) -> Result<Self, IssueError> {
        let key = KeyPair::generate()?;
        let (mut params, not_after) = params(Vec::new(), lifetime, now)?;
        params.distinguished_name = subject(&format!("ringfence-webhook-ca {now:.0}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self {
            certificate,
            key: Key::new(key.serialize_pem()),
            not_after,
            issuer: Issuer::new(params, key),
        })
    }

    /// A CA that was kept.
    ///
    /// # Errors
    /// PEM that cannot be read, several certificates, or the key of another CA.
    pub fn from_pem(certificate: &str, key: &Key) -> Result<Self, IssueError> {
        let malformed = |what, why: &dyn ToString| Problem::Malformed {
            what,
            why: why.to_string(),
        };
        let bundle = Bundle::parse(certificate)?;
        let [der] = bundle.certificates() else {
            let why = format!("found {} certificates where one is needed", bundle.len());
            return Err(malformed("ca.crt", &why).into());
        };
        let (_, parsed) = x509_parser::parse_x509_certificate(der)
            .map_err(|error| malformed("ca.crt", &error))?;
        if !parsed.is_ca() {
            return Err(malformed("ca.crt", &"this is no CA").into());
        }
        let pair = KeyPair::from_pem(key.pem()).map_err(|error| malformed("ca.key", &error))?;
        if parsed.public_key().subject_public_key.data.as_ref() != pair.public_key_raw() {
            return Err(malformed("ca.key", &"it is not the key of ca.crt").into());
        }
        let validity = crate::check::validity(der, "ca.crt")?;
        Ok(Self {
            certificate: bundle.pem(),
            key: key.clone(),
            not_after: validity.not_after,
            issuer: Issuer::from_ca_cert_der(der, pair)?,
        })
    }

    /// PEM, `ca.crt`.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// PEM, `ca.key`.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// When it ends.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// A new key, and a certificate for a TLS server with all of `names`, which does not
    /// outlive the CA.
    ///
    /// # Errors
    /// A `lifetime` that makes no sense, or a CA that has expired.
    pub fn issue(
        &self,
        names: &Names,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Pair, IssueError> {
        let left = Duration::try_from(self.not_after.duration_since(now)).unwrap_or_default();
        if left < MIN_LIFETIME {
            return Err(IssueError::AuthorityExpired(self.not_after));
        }
        let key = KeyPair::generate()?;
        let (mut params, _) = params(names.all().collect(), lifetime.min(left), now)?;
        params.distinguished_name = subject(names.host());
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Pair {
            certificate,
            key: Key::new(key.serialize_pem()),
        })
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// Parameters with names and validity. The serial number is rcgen's: a hash of the fresh
/// key, so no two certificates share one.
fn params(
    names: Vec<String>,
    lifetime: Duration,
    now: Timestamp,
) -> Result<(CertificateParams, Timestamp), IssueError> {
    const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);
    let refused = || IssueError::Lifetime(lifetime);
    if !(MIN_LIFETIME..=LONGEST).contains(&lifetime) {
        return Err(refused());
    }
    let not_after = now.checked_add(lifetime).map_err(|_| refused())?;
    let not_before = now.checked_sub(BACKDATE).map_err(|_| refused())?;
    let mut params = CertificateParams::new(names)?;
    params.not_before = SystemTime::from(not_before).into();
    params.not_after = SystemTime::from(not_after).into();
    Ok((params, not_after))
}

fn subject(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    // RFC 5280 allows 64 characters in a common name; the alternative names are what counts.
    let common_name: String = common_name.chars().take(64).collect();
    name.push(DnType::CommonName, common_name);
    name.push(DnType::OrganizationName, "Ringfence");
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use test_case::test_case;
    use x509_parser::prelude::*;

    const DAY: Duration = Duration::from_hours(24);

    fn now() -> Timestamp {
        "2026-06-01T12:00:00Z".parse().unwrap()
    }

    fn names() -> Names {
        Names::service("hook", "system", "cluster.local").unwrap()
    }

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    #[test]
    fn a_leaf_is_a_server_and_nothing_else() {
        let ca = Authority::create(30 * DAY, now()).unwrap();
        let pair = ca.issue(&names(), 10 * DAY, now()).unwrap();
        let (leaf, ca_der) = (der(&pair.certificate), der(ca.certificate()));
        let (_, leaf) = parse_x509_certificate(&leaf).unwrap();
        let (_, ca) = parse_x509_certificate(&ca_der).unwrap();
        assert_eq!(leaf.issuer(), ca.subject());
        assert!(!leaf.is_ca() && ca.is_ca());
        let usage = leaf.key_usage().unwrap().unwrap().value;
        assert!(usage.digital_signature() && !usage.key_cert_sign());
        let extended = leaf.extended_key_usage().unwrap().unwrap().value;
        assert!(extended.server_auth && !extended.client_auth && !extended.any);
        let constraints = ca.basic_constraints().unwrap().unwrap().value;
        assert_eq!(constraints.path_len_constraint, Some(0));
        assert_ne!(leaf.raw_serial(), ca.raw_serial());
        assert!(leaf.raw_serial().len() <= 20 && leaf.raw_serial().len() >= 8);
    }

    #[test]
    fn a_leaf_does_not_outlive_its_ca() {
        let ca = Authority::create(30 * DAY, now()).unwrap();
        let pair = ca.issue(&names(), 300 * DAY, now()).unwrap();
        let trusted = Bundle::parse(ca.certificate()).unwrap();
        let validity = crate::check(&pair, &trusted, &names(), now()).unwrap();
        assert_eq!(validity.not_after, ca.not_after());
        let late = ca.issue(&names(), DAY, now() + 31 * DAY).unwrap_err();
        assert!(matches!(late, IssueError::AuthorityExpired(_)), "{late}");
    }

    #[test]
    fn a_kept_ca_signs_again() {
        let first = Authority::create(30 * DAY, now()).unwrap();
        let kept = Authority::from_pem(first.certificate(), first.key()).unwrap();
        assert_eq!(kept.not_after(), first.not_after());
        let trusted = Bundle::parse(first.certificate()).unwrap();
        let (one, two) = (
            kept.issue(&names(), DAY, now()).unwrap(),
            kept.issue(&names(), DAY, now()).unwrap(),
        );
        assert_ne!(one.certificate, two.certificate);
        for pair in [one, two] {
            crate::check(&pair, &trusted, &names(), now()).unwrap();
        }
    }

    #[test]
    fn what_is_no_ca_signs_nothing() {
        let ca = Authority::create(30 * DAY, now()).unwrap();
        let other = Authority::create(30 * DAY, now()).unwrap();
        let leaf = ca.issue(&names(), DAY, now()).unwrap();
        let two = format!("{}{}", ca.certificate(), other.certificate());
        for (certificate, key, said) in [
            (ca.certificate(), other.key(), "it is not the key of ca.crt"),
            (&leaf.certificate, &leaf.key, "this is no CA"),
            (&two, ca.key(), "found 2 certificates"),
            ("", ca.key(), "found 0 certificates"),
            (ca.certificate(), &Key::new("x"), "ca.key: cannot be read"),
        ] {
            let error = Authority::from_pem(certificate, key).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test_case(Duration::ZERO; "none")]
    #[test_case(Duration::from_secs(599); "too short")]
    #[test_case(Duration::from_hours(1_000_000); "more than a century")]
    fn a_life_that_makes_no_sense(lifetime: Duration) {
        let error = Authority::create(lifetime, now()).unwrap_err();
        assert!(matches!(error, IssueError::Lifetime(_)), "{error}");
    }
}
