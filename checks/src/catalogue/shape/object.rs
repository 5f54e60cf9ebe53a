//! Whether the API server takes the object at all.

use crate::catalogue::words::short;
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::{Level, SENTENCE};
use crate::subject::OLD_API;
use ringfence_policy::snapshot::Kind;
use serde_json::json;

/// `extensions/v1beta1`
pub static OLD: Check = Check {
    id: "old-api",
    baseline: Level::Deny,
    strict: Level::Deny,
    mends: Mend::Patch,
    scope: Scope::File,
    kinds: &[Kind::NetworkPolicy],
    title: "extensions/v1beta1 is gone",
    text: "\
Kubernetes 1.16 removed NetworkPolicies of `extensions/v1beta1`: the API server refuses the
file, so the pods that it is meant for stay open. Often only one file of many is so old, and
the error is lost among the others.

Write `apiVersion: networking.k8s.io/v1`. The fields are the same.",
    bad: "\
apiVersion: extensions/v1beta1
kind: NetworkPolicy
metadata: {name: default-deny, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Ingress]
",
    good: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default-deny, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Ingress]
",
    run: old,
};

/// What cannot be read.
pub static INVALID: Check = Check {
    id: "invalid",
    baseline: Level::Deny,
    strict: Level::Deny,
    mends: Mend::Author,
    scope: Scope::File,
    kinds: &[Kind::NetworkPolicy, Kind::Service, Kind::Namespace],
    title: "a part of the object cannot be understood",
    text: "\
A misspelt field, a value of the wrong type or a network that is none: the API server refuses
such an object, or leaves the part out, and what was meant to be isolated stays open. Where such
a policy exists nevertheless, Ringfence's enforcer takes the safe side: the policy isolates the
pods that it selects and allows nothing.

Each finding names the field, what stands there and what to write. Admission is silent about
this: the API server says so itself.",
    bad: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelektor: {matchLabels: {app: api}}}]
",
    good: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: api}}}]
",
    run: invalid,
};

fn old(ask: &Ask, answers: &mut Answers) {
    if ask.subject.raw["apiVersion"] != OLD_API {
        return;
    }
    let sentence = "Kubernetes 1.16 removed this version: the pods stay open; write \
                    networking.k8s.io/v1, the fields are the same";
    let patch = json!([{"op": "replace", "path": "/apiVersion", "value": "networking.k8s.io/v1"}]);
    answers.found("apiVersion", sentence, OLD_API).mend(patch);
}

fn invalid(ask: &Ask, answers: &mut Answers) {
    if ask.world.occasion.is_admission() {
        return;
    }
    let old = ask.subject.raw["apiVersion"] == OLD_API;
    for error in &ask.subject.errors {
        if old && error.path == "apiVersion" {
            continue;
        }
        // The remedy is what the author needs; what he wrote he can see.
        let room = SENTENCE.saturating_sub("found ; ".len() + error.remedy.chars().count());
        let sentence = format!(
            "found {}; {}",
            short(&error.found, room.max(8)),
            error.remedy
        );
        let evidence = format!("{} {}", without_indices(&error.path), error.found);
        answers.found(&error.path, sentence, evidence);
    }
}

/// `spec.ingress[0].from[1]` as `spec.ingress.from`.
fn without_indices(path: &str) -> String {
    let mut parts = path.split('[');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(']') {
            Some((index, rest)) if index.bytes().all(|b| b.is_ascii_digit()) => {
                text.push_str(rest);
            }
            _ => {
                text.push('[');
                text.push_str(part);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Occasion;
    use crate::testing::{Case, policy};
    use test_case::test_case;

    #[test_case("extensions/v1beta1", &["old-api"]; "the removed one, and it is not invalid too")]
    #[test_case("networking.k8s.io/v1", &[]; "the one that is")]
    #[test_case("networking.k8s.io/v1beta1", &["invalid"]; "near miss: one that never was")]
    fn versions(version: &str, expected: &[&str]) {
        let object = policy("{podSelector: {}}").replace("networking.k8s.io/v1", version);
        let case = Case::default();
        let of = |check: &Check| !case.paths(check.id, &object).is_empty();
        let found: Vec<_> = [&OLD, &INVALID].into_iter().filter(|c| of(c)).collect();
        let ids: Vec<_> = found.iter().map(|c| c.id).collect();
        assert_eq!(ids, expected);
    }

    #[test_case("{podSelector: {}, ingres: []}", &["spec.ingres"]; "a misspelt field")]
    #[test_case("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/33}}], ports: [{port: 0}]}]}",
        &["spec.ingress[0].from[0].ipBlock.cidr", "spec.ingress[0].ports[0].port"]; "two faults")]
    #[test_case("{podSelector: {}}", &[]; "near miss: little, but all right")]
    fn faults(spec: &str, expected: &[&str]) {
        let object = policy(spec);
        assert_eq!(Case::default().paths(INVALID.id, &object), expected);
        let admission = Case::default().on(Occasion::Create);
        assert_eq!(admission.paths(INVALID.id, &object), &[] as &[&str]);
    }

    #[test]
    fn a_service_can_be_invalid() {
        let service = "{apiVersion: v1, kind: Service, metadata: {name: s, namespace: default}, \
                       spec: {ports: [{port: 80}], externalTrafficPolicy: local}}";
        let found = Case::default().found(INVALID.id, service);
        assert_eq!(
            found,
            [
                "deny spec.externalTrafficPolicy: found \"local\"; write Cluster or \
              Local, with a capital letter"
            ]
        );
    }

    #[test_case("spec.ingress[0].from[12].ipBlock", "spec.ingress.from.ipBlock"; "indices")]
    #[test_case("metadata.labels[\"a[0]\"]", "metadata.labels[\"a\"]"; "inside of a name, which does no harm")]
    #[test_case("metadata.labels[\"a.b\"]", "metadata.labels[\"a.b\"]"; "a name")]
    #[test_case("", ""; "nothing")]
    fn places_without_indices(path: &str, expected: &str) {
        assert_eq!(without_indices(path), expected);
    }
}
