//! `policyTypes` and the sections it names.

use crate::catalogue::{Check, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use ringfence_policy::snapshot::Kind;
use serde_json::json;

/// Rules in a direction that `policyTypes` does not name.
pub static MISMATCH: Check = Check {
    id: "types-mismatch",
    baseline: Level::Deny,
    strict: Level::Deny,
    mends: false,
    scope: Scope::Object,
    kinds: &[Kind::NetworkPolicy],
    title: "rules in a direction that policyTypes does not name are ignored",
    text: "\
`policyTypes` says in which directions a policy isolates the pods that it selects. Rules
of a direction that is not named there do nothing: they neither allow nor deny. Somebody
who writes `egress` rules wants egress to be limited to them, and it is not limited at all.

Name both directions, or delete the rules.",
    bad: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: api}}}]
  egress:
  - to: [{ipBlock: {cidr: 192.0.2.0/24}}]
",
    good: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: api}}}]
  egress:
  - to: [{ipBlock: {cidr: 192.0.2.0/24}}]
",
    run: mismatch,
};

fn mismatch(ask: &Ask, answers: &mut Answers) {
    let spec = &ask.subject.raw["spec"];
    let Some(types) = spec["policyTypes"].as_array().filter(|t| !t.is_empty()) else {
        return;
    };
    for (section, direction) in [("ingress", "Ingress"), ("egress", "Egress")] {
        let rules = spec[section].as_array().map_or(0, Vec::len);
        if rules == 0 || types.iter().any(|t| t == direction) {
            continue;
        }
        let sentence = format!(
            "the {rules} {section} rule(s) are ignored: policyTypes does not name {direction}"
        );
        let patch = json!([{"op": "add", "path": "/spec/policyTypes/-", "value": direction}]);
        answers
            .found(format!("spec.{section}"), sentence, section)
            .mend(patch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Case;
    use test_case::test_case;

    const HEAD: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: default}
";

    #[test_case("spec: {podSelector: {}, policyTypes: [Ingress], egress: [{}]}", &["spec.egress"]; "egress rules, Ingress only")]
    #[test_case("spec: {podSelector: {}, policyTypes: [Egress], ingress: [{}], egress: []}", &["spec.ingress"]; "ingress rules, Egress only")]
    #[test_case("spec: {podSelector: {}, policyTypes: [Ingress], egress: []}", &[]; "near miss: no rule")]
    #[test_case("spec: {podSelector: {}, egress: [{}]}", &[]; "no policyTypes")]
    #[test_case("spec: {podSelector: {}, policyTypes: [Egress, Ingress], ingress: [{}], egress: [{}]}", &[]; "both named")]
    fn mismatched(spec: &str, expected: &[&str]) {
        let object = format!("{HEAD}{spec}");
        assert_eq!(Case::default().paths(MISMATCH.id, &object), expected);
    }
}
