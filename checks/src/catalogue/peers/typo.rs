//! Labels that are nearly right.

use super::used::{Over, Used, selectors};
use crate::Index;
use crate::catalogue::words::short;
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use ringfence_policy::model::{Name, Operator, Requirement, Selector};
use ringfence_policy::snapshot::Kind;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A label that nothing has, near one that something has.
pub static LABEL_TYPO: Check = Check {
    id: "label-typo",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Patch,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "a selector matches nothing, but would with a label that is spelt nearly the same",
    text: "\
Selectors compare letters. `app: databse` matches no pod, and nothing complains: a policy that
selects no pod protects none, and a peer that matches no pod lets nobody in. This selector matches
nothing in the cluster, and would match if one key or value were spelt like one that exists.

Spell it like the label that exists; the suggested patch does.",
    bad: "\
apiVersion: v1
kind: Pod
metadata: {name: db-0, namespace: shop, labels: {app: database}}
spec: {nodeName: node1}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: databse}}
  policyTypes: [Ingress]
",
    good: "\
apiVersion: v1
kind: Pod
metadata: {name: db-0, namespace: shop, labels: {app: database}}
spec: {nodeName: node1}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: database}}
  policyTypes: [Ingress]
",
    run: label_typo,
};

/// A label as it is written, and as it was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Typo<'a> {
    written: Label<'a>,
    meant: Label<'a>,
}

/// Key and value.
pub(super) type Label<'a> = (&'a str, &'a str);

fn label_typo(ask: &Ask, answers: &mut Answers) {
    let Some(index) = ask.index(answers) else {
        return;
    };
    for used in selectors(ask) {
        if !used.is_empty(ask, index) {
            continue;
        }
        let Some(typo) = typo(used, index) else {
            continue;
        };
        let label = |(key, value): Label| short(&format!("{key}={value}"), 36);
        let what = match used.over {
            Over::Namespaces => "namespace",
            Over::Pods(_) => "pod",
        };
        let sentence = format!(
            "no {what} has {}, so this does nothing; did you mean {}?",
            label(typo.written),
            label(typo.meant)
        );
        let evidence = format!("{what} {}={}", typo.written.0, typo.written.1);
        let finding = answers.found(used.path(), sentence, evidence);
        if let Some(patch) = respelt(ask.subject.raw, &used.pointer(), typo.written, typo.meant) {
            finding.mend(patch);
        }
    }
}

/// Why a selector that matches nothing does so, if it is for one misspelt label.
pub(super) fn typo<'a>(used: &Used<'a>, index: &'a Index) -> Option<Typo<'a>> {
    used.selector.requirements().iter().find_map(|requirement| {
        let Operator::In(values) = &requirement.operator else {
            return None;
        };
        let [value] = values.as_slice() else {
            return None;
        };
        let key = &requirement.key;
        let values = near(value, known_values(used.over, index, key)).into_iter();
        let values = values.map(|new| (&**key, &**new));
        let keys = near(key, known_keys(used.over, index)).into_iter();
        let keys = keys.map(|new| (&**new, &**value));
        let mut others = values.chain(keys);
        let meant = others.find(|meant| {
            let mended = replaced(used.selector, requirement, *meant);
            used.would_match(index, &mended)
        })?;
        Some(Typo {
            written: (key, value),
            meant,
        })
    })
}

/// The keys of the labels that namespaces or pods have.
fn known_keys<'a>(over: Over, index: &'a Index) -> Box<dyn Iterator<Item = &'a Name> + 'a> {
    match over {
        Over::Namespaces => {
            let labels = index.all_namespaces().flat_map(|(_, labels)| labels.iter());
            Box::new(labels.map(|(key, _)| key))
        }
        Over::Pods(_) => Box::new(index.label_keys()),
    }
}

/// The values that a label has.
fn known_values<'a>(
    over: Over,
    index: &'a Index,
    key: &'a str,
) -> Box<dyn Iterator<Item = &'a Name> + 'a> {
    match over {
        Over::Namespaces => {
            let all = index.all_namespaces();
            Box::new(all.filter_map(move |(_, labels)| labels.get(key)))
        }
        Over::Pods(_) => Box::new(index.label_values(key)),
    }
}

fn replaced(selector: &Selector, wrong: &Requirement, (key, value): Label) -> Selector {
    let right = Requirement {
        key: key.into(),
        operator: Operator::In(vec![value.into()]),
    };
    let others = selector.requirements().iter().filter(|r| *r != wrong);
    Selector::new(others.cloned().chain([right]))
}

/// Words that are looked at: a label that differs on every pod is no place for a slip.
const MOST: usize = 1_000;

/// The words that may have been meant, the nearest first.
fn near<'a>(word: &str, known: impl Iterator<Item = &'a Name>) -> Vec<&'a Name> {
    let near = known
        .take(MOST)
        .filter_map(|known| Some((distance(word, known)?, known)));
    let near: BTreeSet<(usize, &Name)> = near.collect();
    near.into_iter().map(|(_, known)| known).collect()
}

/// How far apart two spellings are, if they are near: one slip in a short word, two in a
/// long one. `v1` and `v2` are two names, not one misspelt.
fn distance(a: &str, b: &str) -> Option<usize> {
    let (shorter, longer) = (a.len().min(b.len()), a.len().max(b.len()));
    let most = match shorter {
        0..3 => return None,
        3..6 => 1,
        _ => 2,
    };
    if longer - shorter > most || letters(a).eq(letters(b)) {
        return None;
    }
    if a.eq_ignore_ascii_case(b) {
        return Some(0);
    }
    Some(strsim::damerau_levenshtein(a, b)).filter(|d| *d <= most)
}

fn letters(word: &str) -> impl Iterator<Item = char> {
    word.chars().filter(|c| !c.is_ascii_digit())
}

/// The patch that spells a label of `matchLabels` otherwise.
pub(super) fn respelt(
    object: &Value,
    selector: &str,
    (key, value): Label,
    (new_key, new_value): Label,
) -> Option<Value> {
    let pointer = |key: &str| {
        let key = key.replace('~', "~0").replace('/', "~1");
        format!("{selector}/matchLabels/{key}")
    };
    let (old, new) = (pointer(key), pointer(new_key));
    if object.pointer(&old)?.as_str() != Some(value) {
        return None;
    }
    if key == new_key {
        return Some(json!([{"op": "replace", "path": old, "value": new_value}]));
    }
    // The new key must not overwrite another requirement.
    if object.pointer(&new).is_some() {
        return None;
    }
    Some(json!([
        {"op": "remove", "path": old},
        {"op": "add", "path": new, "value": new_value},
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, document, policy};
    use test_case::test_case;

    const CLUSTER: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: default}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: pay, labels: {team: payments}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {app: database, env: prod}}, spec: {nodeName: node1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: b, labels: {app: shop-v1, env: test}}, spec: {nodeName: node1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: c, namespace: pay, labels: {app: ledger}}, spec: {nodeName: node1}}
";

    #[test_case("{app: databse}", &["app=database"]; "a letter is missing")]
    #[test_case("{app: Database}", &["app=database"]; "a capital letter")]
    #[test_case("{ap: database}", &[]; "near miss: too short a key")]
    #[test_case("{apps: database}", &["app=database"]; "the key")]
    #[test_case("{app: shop-v2}", &[]; "near miss: another number")]
    #[test_case("{app: frontend}", &[]; "nothing near")]
    #[test_case("{app: databse, env: test}", &[]; "near miss: would match nothing still")]
    #[test_case("{app: database}", &[]; "right")]
    fn of_pods(labels: &str, expected: &[&str]) {
        let object = policy(&format!("{{podSelector: {{matchLabels: {labels}}}}}"));
        let found = Case::within(CLUSTER).found(LABEL_TYPO.id, &object);
        let meant: Vec<_> = found
            .iter()
            .map(|f| f.rsplit(' ').next().unwrap())
            .collect();
        let expected: Vec<_> = expected.iter().map(|e| format!("{e}?")).collect();
        assert_eq!(meant, expected);
    }

    #[test_case("{namespaceSelector: {matchLabels: {team: payment}}}", &["spec.ingress[0].from[0].namespaceSelector"]; "a namespace's label")]
    #[test_case("{namespaceSelector: {matchLabels: {team: payments}}, podSelector: {matchLabels: {app: leger}}}", &["spec.ingress[0].from[0].podSelector"]; "a pod's label there")]
    #[test_case("{podSelector: {matchLabels: {app: leger}}}", &[]; "near miss: not here")]
    fn of_peers(peer: &str, expected: &[&str]) {
        let object = policy(&format!(
            "{{podSelector: {{}}, ingress: [{{from: [{peer}]}}]}}"
        ));
        assert_eq!(
            Case::within(CLUSTER).paths(LABEL_TYPO.id, &object),
            expected
        );
    }

    #[test_case("{podSelector: {matchLabels: {app: databse}}}", "{app: databse}", "{app: database}"; "the value")]
    #[test_case("{podSelector: {matchLabels: {apps: database}}}", "{apps: database}", "{app: database}"; "the key")]
    fn the_patch_spells_it_right(spec: &str, before: &str, after: &str) {
        let mut object = document(&policy(spec));
        assert_eq!(
            object["spec"]["podSelector"]["matchLabels"],
            document(before)
        );
        let report = Case::within(CLUSTER).judge(&object);
        let finding = report.findings.iter().find(|f| f.check == LABEL_TYPO.id);
        json_patch::patch(&mut object, finding.unwrap().patch.as_ref().unwrap()).unwrap();
        assert_eq!(
            object["spec"]["podSelector"]["matchLabels"],
            document(after)
        );
    }

    #[test_case("databse", "database", Some(1); "one slip")]
    #[test_case("web", "wbe", Some(1); "two letters swapped")]
    #[test_case("web", "wab", Some(1); "one letter of three")]
    #[test_case("web", "wxy", None; "two letters of three")]
    #[test_case("app-1", "app-2", None; "numbers")]
    #[test_case("a", "b", None; "too short")]
    #[test_case("redis", "redis-master", None; "much longer")]
    fn distances(a: &str, b: &str, expected: Option<usize>) {
        assert_eq!(distance(a, b), expected);
    }
}
