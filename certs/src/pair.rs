//! A certificate and its key, as PEM text.

use std::fmt;

/// A private key in PEM. Its `Debug` says nothing, so that no log line can.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

/// A serving certificate (the leaf first, intermediates after it) and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// PEM, `tls.crt`.
    pub certificate: String,
    /// PEM, `tls.key`.
    pub key: Key,
}

// === impl Key ===

impl Key {
    /// PEM text, not looked at yet.
    pub fn new(pem: impl Into<String>) -> Self {
        Self(pem.into())
    }

    /// The PEM text.
    pub fn pem(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_printed() {
        let pair = Pair {
            certificate: String::new(),
            key: Key::new("secret"),
        };
        assert!(!format!("{pair:?}").contains("secret"));
    }
}
