//! Parts of policies in few words, for sentences.

use ringfence_policy::model::{PortMatch, Selector};

/// A selector as `kubectl -l` takes it: `app=db,tier notin (web)`.
pub(super) fn selector(selector: &Selector) -> String {
    selector.to_string()
}

/// A port: `TCP 80`, `UDP 53-60`, `TCP http`.
pub(super) fn port(port: &PortMatch) -> String {
    port.to_string()
}

/// Words cut to at most this many characters, so that the rest of a sentence stays.
pub(crate) fn short(words: &str, most: usize) -> String {
    // There are no more characters than bytes.
    if words.len() <= most || words.chars().count() <= most {
        return words.to_owned();
    }
    words
        .chars()
        .take(most.saturating_sub(1))
        .chain(['…'])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_policy::model::{Name, Operator, PortSpec, Protocol, Requirement};
    use test_case::test_case;

    #[test]
    fn selectors_as_kubectl_takes_them() {
        let values = |v: &[&str]| v.iter().map(|v| Name::from(*v)).collect();
        let all = [
            ("a", Operator::In(values(&["x"]))),
            ("b", Operator::In(values(&["x", "y"]))),
            ("c", Operator::NotIn(values(&["x"]))),
            ("d", Operator::Exists),
            ("e", Operator::DoesNotExist),
        ];
        let all = all.map(|(key, operator)| Requirement {
            key: key.into(),
            operator,
        });
        let text = selector(&Selector::new(all));
        assert_eq!(text, "a=x,b in (x,y),c notin (x),d,!e");
        assert_eq!(selector(&Selector::everything()), "");
    }

    #[test_case(PortSpec::Any, "TCP"; "any")]
    #[test_case(PortSpec::Range(80, 80), "TCP 80"; "one")]
    #[test_case(PortSpec::Range(80, 90), "TCP 80-90"; "several")]
    #[test_case(PortSpec::Named("http".into()), "TCP http"; "named")]
    fn ports(spec: PortSpec, expected: &str) {
        let protocol = Protocol::Tcp;
        assert_eq!(
            port(&PortMatch {
                protocol,
                port: spec
            }),
            expected
        );
    }

    #[test_case("short", "short"; "short enough")]
    #[test_case("exactly8", "exactly8"; "just")]
    #[test_case("ümlauts too", "ümlauts…"; "cut, at a character")]
    fn cut(words: &str, expected: &str) {
        assert_eq!(short(words, 8), expected);
    }
}
