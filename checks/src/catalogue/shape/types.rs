//! `policyTypes` and the sections it names.

use crate::Subject;
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use ringfence_policy::snapshot::Kind;
use serde_json::{Value, json};

/// Rules in a direction that `policyTypes` does not name.
pub static MISMATCH: Check = Check {
    id: "types-mismatch",
    baseline: Level::Deny,
    strict: Level::Deny,
    mends: Mend::Patch,
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

/// `egress: []` without `policyTypes`.
pub static IMPLICIT: Check = Check {
    id: "types-implicit",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Patch,
    scope: Scope::File,
    kinds: &[Kind::NetworkPolicy],
    title: "an empty egress section without policyTypes does not limit egress",
    text: "\
Without `policyTypes`, Kubernetes looks at the sections: ingress is always isolated, egress
only if there is at least one egress rule. `egress: []` has no rule, so it says nothing: the
pods may still connect to everyone, although the author wanted them to connect to nobody.
The API server then drops the empty list, and nobody can see any more that it was there.

Write `policyTypes: [Ingress, Egress]`.",
    bad: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: sealed, namespace: shop}
spec:
  podSelector: {matchLabels: {app: vault}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: api}}}]
  egress: []
",
    good: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: sealed, namespace: shop}
spec:
  podSelector: {matchLabels: {app: vault}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: api}}}]
  egress: []
",
    run: implicit,
};

fn implicit(ask: &Ask, answers: &mut Answers) {
    let raw = ask.subject.raw;
    let isolated = ask.subject.policy().is_some_and(|p| p.egress.is_some());
    if isolated || !(typed_in(raw) || typed_before(ask.subject) || applied(raw)) {
        return;
    }
    let sentence = "`egress: []` without policyTypes limits nothing: the pods may connect to \
                    everyone; name Egress in policyTypes";
    let types = json!(["Ingress", "Egress"]);
    let patch = json!([{"op": "add", "path": "/spec/policyTypes", "value": types}]);
    answers.found("spec.egress", sentence, "egress").mend(patch);
}

/// Whether an object has an egress section without rules and no `policyTypes`.
fn typed_in(object: &Value) -> bool {
    let empty = |field: &Value| field.as_array().is_none_or(Vec::is_empty);
    let spec = &object["spec"];
    let egress = spec.get("egress");
    empty(&spec["policyTypes"]) && egress.is_some_and(|e| e.is_null() || e == &json!([]))
}

/// The same of what kubectl remembers: the API server has dropped the empty list and
/// filled in `policyTypes`.
fn typed_before(subject: &Subject) -> bool {
    subject.last_applied().is_some_and(typed_in)
}

/// The same of server-side apply, which remembers the names of the fields.
fn applied(object: &Value) -> bool {
    let managers = object["metadata"]["managedFields"].as_array();
    managers.into_iter().flatten().any(|manager| {
        let spec = &manager["fieldsV1"]["f:spec"];
        spec.get("f:egress").is_some() && spec.get("f:policyTypes").is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Occasion;
    use crate::testing::{Case, policy};
    use test_case::test_case;

    #[test_case("{podSelector: {}, policyTypes: [Ingress], egress: [{}]}", &["spec.egress"]; "egress rules, Ingress only")]
    #[test_case("{podSelector: {}, policyTypes: [Egress], ingress: [{}], egress: []}", &["spec.ingress"]; "ingress rules, Egress only")]
    #[test_case("{podSelector: {}, policyTypes: [Ingress], egress: []}", &[]; "near miss: no rule")]
    #[test_case("{podSelector: {}, egress: [{}]}", &[]; "no policyTypes")]
    #[test_case("{podSelector: {}, policyTypes: [Egress, Ingress], ingress: [{}], egress: [{}]}", &[]; "both named")]
    fn mismatched(spec: &str, expected: &[&str]) {
        let found = Case::default().paths(MISMATCH.id, &policy(spec));
        assert_eq!(found, expected);
    }

    #[test_case("{podSelector: {}, egress: []}", true; "an empty section")]
    #[test_case("{podSelector: {}, ingress: [{}], egress: []}", true; "beside ingress rules")]
    #[test_case("{podSelector: {}, policyTypes: [], egress: }", true; "nothing written in both")]
    #[test_case("{podSelector: {}, egress: [{}]}", false; "near miss: a rule")]
    #[test_case("{podSelector: {}, policyTypes: [Egress], egress: []}", false; "named")]
    #[test_case("{podSelector: {}, policyTypes: [Ingress], egress: []}", false; "said to be ingress only")]
    #[test_case("{podSelector: {}}", false; "no section")]
    fn in_a_file(spec: &str, expected: bool) {
        let found = Case::default().paths(IMPLICIT.id, &policy(spec));
        assert_eq!(!found.is_empty(), expected);
    }

    const TYPED: &str = r#"annotations: {kubectl.kubernetes.io/last-applied-configuration: '{"spec":{"podSelector":{},"egress":[]}}'}"#;
    const NAMED: &str = r#"annotations: {kubectl.kubernetes.io/last-applied-configuration: '{"spec":{"policyTypes":["Ingress"],"egress":[]}}'}"#;
    const APPLIED: &str = "managedFields: [{operation: Apply, fieldsV1: {f:spec: {f:podSelector: {}, f:egress: {}}}}]";
    const BOTH: &str = "managedFields: [{operation: Apply, fieldsV1: {f:spec: {f:policyTypes: {}, f:egress: {}}}}]";

    #[test_case(TYPED, "[Ingress]", true; "last applied")]
    #[test_case(TYPED, "[Ingress, Egress]", false; "last applied, but it is named now")]
    #[test_case(NAMED, "[Ingress]", false; "last applied with types")]
    #[test_case(APPLIED, "[Ingress]", true; "managed fields")]
    #[test_case(BOTH, "[Ingress]", false; "managed fields with types")]
    #[test_case("labels: {}", "[Ingress]", false; "nothing remembered")]
    fn as_the_api_server_sends_it(metadata: &str, types: &str, expected: bool) {
        let object = policy(&format!("{{podSelector: {{}}, policyTypes: {types}}}"));
        let object = object.replace("name: p,", &format!("name: p, {metadata},"));
        let case = Case::default().on(Occasion::Create);
        assert_eq!(!case.paths(IMPLICIT.id, &object).is_empty(), expected);
    }
}
