//! The controller's question whether the API server really calls us: a dry run that
//! carries a random number, which we repeat in a warning (docs/certificates.md).

use crate::admit::{Hook, Judged};
use crate::review::{Operation, Request};
use serde_json::Value;

/// The annotation that carries the number.
const NONCE: &str = "probe.ringfence.dev/nonce";
/// Hexadecimal digits of the number.
const DIGITS: usize = 32;

/// The warning for a probe; `None` for every other request. It repeats nothing but digits.
pub fn answer(hook: Hook, request: &Request) -> Option<String> {
    let is_probe = request.dry_run == Some(true)
        && request.operation == Operation::Create
        && Judged::of(request) == Some(Judged::NetworkPolicy);
    let object = request.object.filter(|_| is_probe)?.get();
    // Only a probe is read a second time.
    if !object.contains(NONCE) {
        return None;
    }
    let object: Value = serde_json::from_str(object).ok()?;
    let nonce = object["metadata"]["annotations"][NONCE].as_str()?;
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_number = nonce.len() == DIGITS && nonce.bytes().all(is_digit);
    is_number.then(|| format!("ringfence-probe {} {nonce}", hook.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::review;
    use serde_json::json;
    use test_case::test_case;

    const NUMBER: &str = "0123456789abcdef0123456789abcdef";

    #[test_case("CREATE", true, NUMBER, true; "a probe")]
    #[test_case("CREATE", false, NUMBER, false; "not a dry run")]
    #[test_case("UPDATE", true, NUMBER, false; "an update")]
    #[test_case("CREATE", true, "0123456789ABCDEF0123456789ABCDEF", false; "capitals")]
    #[test_case("CREATE", true, "0123", false; "too short")]
    #[test_case("CREATE", true, "x\" injected 0123456789abcdef01234", false; "words")]
    fn who_is_answered(operation: &str, dry_run: bool, nonce: &str, answered: bool) {
        let body = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "u", "operation": operation, "dryRun": dry_run,
                "kind": {"group": "networking.k8s.io", "version": "v1", "kind": "NetworkPolicy"},
                "resource": {"group": "networking.k8s.io", "version": "v1", "resource": "networkpolicies"},
                "namespace": "ringfence-probe", "name": "p", "userInfo": {"username": "c"},
                "object": {
                    "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                    "metadata": {
                        "namespace": "ringfence-probe", "name": "p",
                        "annotations": {NONCE: nonce},
                    },
                    "spec": {"podSelector": {}},
                },
                "oldObject": null,
            },
        });
        let body = serde_json::to_vec(&body).unwrap();
        let request = review::parse(&body).unwrap();
        let expected = answered.then(|| format!("ringfence-probe validate {NUMBER}"));
        assert_eq!(answer(Hook::Validate, &request), expected);
    }
}
