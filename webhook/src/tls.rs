//! Certificate and key: from files to what rustls serves with.

use anyhow::{Context, bail};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, crypto::ring};
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A pair that belongs together.
#[derive(Clone, Debug)]
pub struct Pair {
    /// What serves with it.
    pub config: Arc<ServerConfig>,
    /// From when the leaf is valid, in seconds since 1970.
    pub not_before: i64,
    /// Until when.
    pub not_after: i64,
}

// === impl Pair ===

impl Pair {
    /// Reads PEM texts: a chain with the leaf first, its key, and the CA whose client
    /// certificates are let in (`None`: every client is).
    ///
    /// # Errors
    /// What is wrong with which of them.
    pub fn read(chain: &[u8], key: &[u8], client_ca: Option<&[u8]>) -> anyhow::Result<Self> {
        let chain = certificates(chain).context("the certificate file")?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .context("the key file: write one unencrypted private key in PEM")?;
        let (not_before, not_after) = validity(&chain[0])?;
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .context("TLS 1.2 and 1.3")?;
        let builder = match client_ca {
            Some(ca) => builder.with_client_cert_verifier(verifier(ca)?),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .context("certificate and key do not belong together")?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            not_before,
            not_after,
        })
    }

    /// What is to be said about its time at `now` (seconds since 1970).
    pub fn untimely(&self, now: i64) -> Option<&'static str> {
        if now < self.not_before {
            Some("the certificate is not valid yet: check the clocks of issuer and node")
        } else if now > self.not_after {
            Some("the certificate has expired: the API server will not accept it")
        } else {
            None
        }
    }
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.context("is no PEM")?;
    if chain.is_empty() {
        bail!("holds no certificate; write PEM, beginning with -----BEGIN CERTIFICATE-----");
    }
    Ok(chain)
}

fn validity(leaf: &CertificateDer) -> anyhow::Result<(i64, i64)> {
    let (_, leaf) = X509Certificate::from_der(leaf).context("the first certificate is no X.509")?;
    let validity = leaf.validity();
    Ok((
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    ))
}

fn verifier(ca: &[u8]) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca).context("the client CA file")? {
        roots
            .add(certificate)
            .context("the client CA file holds what is no CA certificate")?;
    }
    let provider = Arc::new(ring::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .context("the client CA file")
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_pair_that_belongs_together() {
        let (chain, key) = pair();
        let read = Pair::read(chain.as_bytes(), key.as_bytes(), Some(chain.as_bytes())).unwrap();
        assert!(read.not_before < read.not_after);
        assert_eq!(read.untimely(read.not_after), None);
        assert!(
            read.untimely(read.not_after + 1)
                .unwrap()
                .contains("expired")
        );
        assert!(
            read.untimely(read.not_before - 1)
                .unwrap()
                .contains("not valid yet")
        );
    }

    #[test_case("", None, None => "the certificate file: holds no certificate"; "empty")]
    #[test_case("-----BEGIN CERTIFICATE-----\nAAAA\n", None, None => "the certificate file: is no PEM"; "cut off")]
    #[test_case("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", None, None
        => "the first certificate is no X.509"; "garbage within")]
    #[test_case("good", Some("x"), None => "the key file"; "no key")]
    #[test_case("good", Some("other"), None => "certificate and key do not belong together"; "another key")]
    #[test_case("good", None, Some("x") => "the client CA file: holds no certificate"; "no ca")]
    fn broken(chain: &str, key: Option<&str>, ca: Option<&str>) -> &'static str {
        let (good, good_key) = pair();
        let chain = if chain == "good" { &good } else { chain };
        let other = pair().1;
        let key = match key {
            None => &good_key,
            Some("other") => &other,
            Some(key) => key,
        };
        let ca = ca.map(str::as_bytes);
        let error = Pair::read(chain.as_bytes(), key.as_bytes(), ca).unwrap_err();
        let text = format!("{error:#}");
        let known = [
            "the certificate file: holds no certificate",
            "the certificate file: is no PEM",
            "the first certificate is no X.509",
            "the key file",
            "certificate and key do not belong together",
            "the client CA file: holds no certificate",
        ];
        known
            .into_iter()
            .find(|known| text.starts_with(known))
            .unwrap_or_else(|| panic!("{text}"))
    }
}
