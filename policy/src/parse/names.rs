//! The syntax of names, as `k8s.io/apimachinery/pkg/util/validation` defines it.

/// RFC 1123 subdomain: names of most objects.
pub(super) fn subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(part)
}

/// RFC 1123 label: names of namespaces.
pub(super) fn label(text: &str) -> bool {
    text.len() <= 63 && part(text)
}

/// A label's key: an optional subdomain and a slash, then a name.
pub(super) fn label_key(text: &str) -> bool {
    let name = match text.split_once('/') {
        Some((prefix, name)) => {
            if !subdomain(prefix) {
                return false;
            }
            name
        }
        None => text,
    };
    !name.is_empty() && label_value(name)
}

/// A label's value; may be empty.
pub(super) fn label_value(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    text.len() <= 63 && text.bytes().all(inner) && ends(text, |b| b.is_ascii_alphanumeric())
}

/// `IANA_SVC_NAME`: names of container ports.
pub(super) fn port(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && part(text)
        && !text.contains("--")
        && text.bytes().any(|b| b.is_ascii_lowercase())
}

fn part(text: &str) -> bool {
    let end = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    !text.is_empty() && text.bytes().all(|b| end(b) || b == b'-') && ends(text, end)
}

fn ends(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_none_or(|b| allowed(*b)) && bytes.last().is_none_or(|b| allowed(*b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case("db-allow", true)]
    #[test_case("default.postgres", true)]
    #[test_case("DB", false)]
    #[test_case("a..b", false)]
    #[test_case("-a", false)]
    #[test_case("", false)]
    #[test_case("a\nb", false)]
    fn subdomains(text: &str, expected: bool) {
        assert_eq!(subdomain(text), expected);
    }

    #[test]
    fn lengths() {
        assert!(subdomain(&"a".repeat(253)) && !subdomain(&"a".repeat(254)));
        assert!(label(&"a".repeat(63)) && !label(&"a".repeat(64)));
        assert!(label_value(&"a".repeat(63)) && !label_value(&"a".repeat(64)));
    }

    #[test_case("app", true)]
    #[test_case("app.kubernetes.io/name", true)]
    #[test_case("UPPER_case.ok", true)]
    #[test_case("/name", false)]
    #[test_case("app/", false)]
    #[test_case("a/b/c", false)]
    #[test_case("with space", false)]
    fn label_keys(text: &str, expected: bool) {
        assert_eq!(label_key(text), expected);
    }

    #[test_case("http", true)]
    #[test_case("my-http", true)]
    #[test_case("80", false; "digits only")]
    #[test_case("a--b", false)]
    #[test_case("HTTP", false; "upper case")]
    #[test_case("a-very-long-name", false)]
    fn ports(text: &str, expected: bool) {
        assert_eq!(port(text), expected);
    }
}
