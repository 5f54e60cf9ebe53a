//! Proof that the API server calls our webhook: a question that goes all the way round.
//!
//! We ask the API server to create a NetworkPolicy as a dry run. It carries a random
//! number in an annotation. The webhook, and nobody else, answers a dry run that carries
//! it with the warning `ringfence-probe <hook> <number>`, which the API server hands to
//! us as a `Warning` header. A hook that was not called (down, refused by TLS, skipped
//! by a selector, overloaded) leaves no warning under `Ignore`.

use super::Hook;
use http::HeaderMap;
use http::header::WARNING;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The annotation that carries the number.
pub const NONCE: &str = "probe.ringfence.dev/nonce";
/// How the warning begins.
pub const WORD: &str = "ringfence-probe";

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    nonce: String,
}

/// Which hooks have answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof(BTreeSet<Hook>);

// === impl Probe ===

impl Probe {
    /// A question that was never asked before.
    pub fn new(random: u128) -> Self {
        Self {
            nonce: format!("{random:032x}"),
        }
    }

    /// The policy: it selects no pod and isolates nothing, even if it were stored.
    pub fn policy(&self) -> Value {
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {
                "name": format!("ringfence-probe-{}", self.nonce),
                "annotations": {NONCE: self.nonce},
            },
            "spec": {
                "podSelector": {"matchLabels": {"probe.ringfence.dev/selects": "nothing"}},
                "policyTypes": ["Ingress"],
                "ingress": [{"from": [{"podSelector": {}}]}],
            },
        })
    }

    /// The number.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Who has answered, by the headers of the API server's answer (whatever its code: a
    /// denial was called as well).
    pub fn heard(&self, headers: &HeaderMap) -> Proof {
        let warnings = headers.get_all(WARNING).iter();
        let texts: Vec<String> = warnings
            .filter_map(|w| warn_text(w.to_str().ok()?))
            .collect();
        let answered =
            |hook: &Hook| texts.contains(&format!("{WORD} {} {}", hook.label(), self.nonce));
        Proof(Hook::ALL.into_iter().filter(answered).collect())
    }
}

// === impl Proof ===

impl Proof {
    /// Whether this hook has answered.
    pub fn proves(&self, hook: Hook) -> bool {
        self.0.contains(&hook)
    }
}

/// The text of `299 - "text"`, unquoted (RFC 7234, 5.5).
fn warn_text(header: &str) -> Option<String> {
    let quoted = header.strip_prefix("299 ")?.split_once(" \"")?.1;
    let mut text = String::new();
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => return Some(text),
            '\\' => text.push(characters.next()?),
            other => text.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use test_case::test_case;

    const NUMBER: &str = "0000000000000000000000000000002a";

    #[test_case(&["299 - \"ringfence-probe validate N\""], &[Hook::Validate]; "one hook")]
    #[test_case(&["299 - \"ringfence-probe mutate N\"", "299 - \"ringfence-probe validate N\""], &Hook::ALL; "both")]
    #[test_case(&["299 - \"a policy: cuts DNS\"", "299 - \"ringfence-probe mutate N\""], &[Hook::Mutate]; "after another warning")]
    #[test_case(&[], &[]; "nobody")]
    #[test_case(&["299 - \"ringfence-probe validate 43\""], &[]; "another question's answer")]
    #[test_case(&["299 - \"annotation probe.ringfence.dev/nonce: N is not allowed\""], &[]; "somebody who repeats annotations")]
    #[test_case(&["299 - \"denied: ringfence-probe validate N\""], &[]; "quoted by somebody else")]
    #[test_case(&["299 - \"ringfence-probe validate N"], &[]; "cut off")]
    #[test_case(&["299 - \"\\\"ringfence-probe validate N\\\"\""], &[]; "inside quotes")]
    #[test_case(&["ringfence-probe validate N"], &[]; "no warning code")]
    fn hears(warnings: &[&str], wanted: &[Hook]) {
        let probe = Probe::new(42);
        assert_eq!(probe.nonce(), NUMBER);
        let mut headers = HeaderMap::new();
        for warning in warnings {
            let text = warning.replace('N', NUMBER);
            headers.append(WARNING, HeaderValue::from_str(&text).unwrap());
        }
        let proof = probe.heard(&headers);
        let heard: Vec<Hook> = Hook::ALL.into_iter().filter(|h| proof.proves(*h)).collect();
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        assert_eq!(heard, wanted);
    }

    #[test]
    fn a_policy_that_harms_nobody() {
        let policy = Probe::new(42).policy();
        assert_eq!(policy["metadata"]["annotations"][NONCE], NUMBER);
        assert!(policy["spec"].get("egress").is_none());
        assert!(policy["metadata"]["name"].as_str().unwrap().len() <= 63);
    }
}
