//! What the Secret holds.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use ringfence_certs::{Bundle, Key, Pair, Problem};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const CA: &str = "ca.crt";
const NEXT_CERTIFICATE: &str = "next.crt";
const NEXT_KEY: &str = "next.key";

/// The Secret's data, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// `tls.crt`, `tls.key`: what webhooks serve.
    pub current: Pair,
    /// `next.crt`, `next.key`: what they will serve.
    pub next: Option<Pair>,
    /// `ca.crt`: what every caBundle must be.
    pub ca: Bundle,
}

// === impl Contents ===

impl Contents {
    /// Reads a Secret's data.
    ///
    /// # Errors
    /// Something is missing, or no text, or the CAs cannot be read. Half of a next pair
    /// is no next pair: it is made again.
    pub fn read(secret: &Secret) -> Result<Self, Problem> {
        let empty = BTreeMap::new();
        let data = secret.data.as_ref().unwrap_or(&empty);
        let current = Pair {
            certificate: text(data, CERTIFICATE)?,
            key: Key::new(text(data, KEY)?),
        };
        let next = if data.contains_key(NEXT_CERTIFICATE) && data.contains_key(NEXT_KEY) {
            Some(Pair {
                certificate: text(data, NEXT_CERTIFICATE)?,
                key: Key::new(text(data, NEXT_KEY)?),
            })
        } else {
            None
        };
        let ca = Bundle::parse(&text(data, CA)?)?;
        Ok(Self { current, next, ca })
    }

    /// Puts this into a Secret, whose other keys, labels and version stay.
    pub fn write(&self, secret: &mut Secret) {
        secret
            .type_
            .get_or_insert_with(|| "kubernetes.io/tls".to_owned());
        let data = secret.data.get_or_insert_default();
        let mut put = |key: &str, text: Option<&str>| {
            match text {
                Some(text) => data.insert(key.to_owned(), ByteString(text.as_bytes().to_vec())),
                None => data.remove(key),
            };
        };
        put(CERTIFICATE, Some(&self.current.certificate));
        put(KEY, Some(self.current.key.pem()));
        put(CA, Some(&self.ca.pem()));
        put(
            NEXT_CERTIFICATE,
            self.next.as_ref().map(|n| n.certificate.as_str()),
        );
        put(NEXT_KEY, self.next.as_ref().map(|n| n.key.pem()));
    }

    /// The same for the same contents; says nothing about the keys.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let next = self.next.as_ref().map_or("", |n| n.certificate.as_str());
        for text in [self.current.certificate.as_str(), next, &self.ca.pem()] {
            hash.update(text.len().to_be_bytes());
            hash.update(text);
        }
        hash.finalize().into()
    }
}

fn text(data: &BTreeMap<String, ByteString>, key: &'static str) -> Result<String, Problem> {
    let malformed = |why: &str| Problem::Malformed {
        what: key,
        why: why.to_owned(),
    };
    let bytes = data
        .get(key)
        .ok_or_else(|| malformed("the Secret has no such key"))?;
    String::from_utf8(bytes.0.clone()).map_err(|_| malformed("it is no text"))
}
