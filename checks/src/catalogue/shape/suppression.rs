//! Annotations that ask for silence and do not get it.

use crate::catalogue::{CATALOGUE, Check, Mend, Scope, find};
use crate::config::nearest;
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use crate::suppress::{PREFIX, Suppression, suppressions};
use crate::{Subject, World};
use ringfence_policy::snapshot::Kind;
use serde_json::json;

/// An annotation that is not honoured.
pub static BAD: Check = Check {
    id: "bad-suppression",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Patch,
    scope: Scope::Object,
    kinds: &[Kind::NetworkPolicy, Kind::Service, Kind::Namespace],
    title: "a suppression that is not honoured",
    text: "\
An annotation `ignore.ringfence.dev/CHECK: \"until=2026-12-31 why\"` silences one check on one
object until that day. It is not honoured when there is no such check, when the day or the
reason is missing, when the day has passed, or when the configuration does not let authors
suppress this check. Then the check speaks as if the annotation were not there.

Correct it, or delete it.",
    bad: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: web
  namespace: shop
  annotations:
    ignore.ringfence.dev/allow-all-ingres: until=2026-12-31 public shop window
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - {}
",
    good: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: web
  namespace: shop
  annotations:
    ignore.ringfence.dev/allow-all-ingress: until=2026-12-31 public shop window
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - {}
",
    run: bad,
};

fn bad(ask: &Ask, answers: &mut Answers) {
    for suppression in suppressions(ask.subject) {
        let key = format!("{PREFIX}{}", suppression.check);
        let path = format!("metadata.annotations[{key:?}]");
        let Some(why) = refused(&suppression, ask.world) else {
            continue;
        };
        let sentence = format!("nothing is suppressed: {why}");
        let near = near(&suppression).filter(|near| !is_there(ask.subject, near));
        let finding = answers.found(path, sentence, key.as_str());
        if let Some(near) = near {
            let (from, path) = (pointer(&key), pointer(&format!("{PREFIX}{near}")));
            finding.mend(json!([{"op": "move", "from": from, "path": path}]));
        }
    }
}

/// Why a suppression is not honoured.
fn refused(suppression: &Suppression, world: &World) -> Option<String> {
    if find(suppression.check).is_none() {
        return Some(match near(suppression) {
            Some(near) => format!("there is no such check; did you mean {near}?"),
            None => "there is no such check; `ringfence checks` lists them".to_owned(),
        });
    }
    match suppression.terms {
        Err(remedy) => Some(remedy.to_owned()),
        Ok((until, _)) if suppression.is_over(world.now) => Some(format!(
            "it ended on {until}; delete it, or look again and date it anew"
        )),
        Ok(_) if !world.config.may_suppress(suppression.check) => {
            Some("the cluster's owner does not allow it for this check; delete it".to_owned())
        }
        Ok(_) => None,
    }
}

/// The check that was meant, where there is none of that id.
fn near(suppression: &Suppression) -> Option<&'static str> {
    if find(suppression.check).is_some() {
        return None;
    }
    nearest(suppression.check, CATALOGUE.iter().map(|c| c.id))
}

fn is_there(subject: &Subject, check: &str) -> bool {
    subject.annotation(&format!("{PREFIX}{check}")).is_some()
}

/// The JSON pointer of an annotation.
fn pointer(key: &str) -> String {
    let key = key.replace('~', "~0").replace('/', "~1");
    format!("/metadata/annotations/{key}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, document, policy};
    use test_case::test_case;

    fn annotated(check: &str, value: &str) -> String {
        let annotation = format!("name: p, annotations: {{{PREFIX}{check}: '{value}'}},");
        policy("{podSelector: {}}").replace("name: p,", &annotation)
    }

    // "Today" is 2026-06-01.
    #[test_case("old-api", "until=2026-06-01 it is so", None; "honoured on its last day")]
    #[test_case("old-api", "until=2026-05-31 it is so", Some("it ended on 2026-05-31; delete it, or look again and date it anew"); "expired")]
    #[test_case("old-api", "it is so", Some("begin with until=YYYY-MM-DD"); "no date")]
    #[test_case("old-api", "until=2026-12-31", Some("say why after the date"); "no reason")]
    #[test_case("old-apis", "until=2026-12-31 so", Some("there is no such check; did you mean old-api?"); "a near id")]
    #[test_case("xyz", "until=2026-12-31 so", Some("there is no such check; `ringfence checks` lists them"); "an unknown id")]
    fn honoured_or_not(check: &str, value: &str, expected: Option<&str>) {
        let found = Case::default().found(BAD.id, &annotated(check, value));
        let path = format!("metadata.annotations[\"{PREFIX}{check}\"]");
        let expected = expected.map(|e| format!("warn {path}: nothing is suppressed: {e}"));
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
    }

    #[test_case("{suppression: {except: [old-api]}}", 1; "this check may not")]
    #[test_case("{suppression: {forbidden: true}}", 1; "none may")]
    #[test_case("{suppression: {except: [allow-all-egress]}}", 0; "another may not")]
    fn what_the_configuration_allows(config: &str, expected: usize) {
        let case = Case::default().config(config);
        let object = annotated("old-api", "until=2026-12-31 so");
        assert_eq!(case.paths(BAD.id, &object).len(), expected);
    }

    #[test]
    fn the_patch_renames_and_overwrites_nothing() {
        let mut object = document(&annotated("old-apis", "until=2026-12-31 so"));
        let report = Case::default().judge(&object);
        let patch = |report: &crate::Report| report.findings[0].patch.clone();
        json_patch::patch(&mut object, &patch(&report).unwrap()).unwrap();
        let annotations = &object["metadata"]["annotations"];
        assert_eq!(
            annotations["ignore.ringfence.dev/old-api"],
            "until=2026-12-31 so"
        );

        object["metadata"]["annotations"]["ignore.ringfence.dev/old-apis"] = "x".into();
        assert_eq!(patch(&Case::default().judge(&object)), None);
    }
}
