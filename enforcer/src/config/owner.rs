//! The `DaemonSet` that an agent belongs to, as it is typed.

use ringfence_policy::model::ObjectKey;

/// Parses `NAMESPACE/NAME`.
///
/// # Errors
/// A sentence that says what was found and what to write.
pub fn parse(text: &str) -> Result<ObjectKey, String> {
    match text.split_once('/') {
        Some((namespace, name))
            if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
        {
            Ok(ObjectKey::new(namespace, name))
        }
        _ => Err(format!(
            "found {text:?}; write NAMESPACE/NAME, for example ringfence-system/ringfence-enforcer"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;
    use ringfence_policy::model::ObjectKey;
    use test_case::test_case;

    #[test]
    fn namespace_and_name() {
        assert_eq!(parse("a/b"), Ok(ObjectKey::new("a", "b")));
    }

    #[test_case(""; "nothing")]
    #[test_case("b"; "no namespace")]
    #[test_case("/b"; "an empty namespace")]
    #[test_case("a/"; "an empty name")]
    #[test_case("a/b/c"; "three parts")]
    fn refuses(text: &str) {
        assert!(parse(text).unwrap_err().contains("NAMESPACE/NAME"));
    }
}
