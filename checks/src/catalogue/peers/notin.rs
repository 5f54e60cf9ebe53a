//! `NotIn`, which an absent label satisfies.

use super::used::{Over, Used, selectors};
use crate::Index;
use crate::catalogue::words::short;
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use ringfence_policy::model::{Operator, Requirement};
use ringfence_policy::snapshot::Kind;

/// `NotIn` that lets in what has no such label.
pub static NOTIN_ABSENT: Check = Check {
    id: "notin-absent",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "NotIn also matches what does not have the label at all",
    text: "\
`{key: region, operator: NotIn, values: [bar]}` holds for whatever does not have the value `bar`,
and so for every namespace (or pod) without a label `region`. Nobody labels `kube-system`, or the
namespace that a colleague makes tomorrow: all of them are let in.

Say whom you mean with `In`. Where NotIn is right, add `{key: region, operator: Exists}` beside it
to leave out what has no such label. Only peers are looked at: in the policy's own `podSelector`
NotIn selects more pods, which is the safe side.",
    bad: "\
apiVersion: v1
kind: Namespace
metadata: {name: legacy}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: test-network-policy, namespace: foo}
spec:
  podSelector: {}
  policyTypes: [Ingress]
  ingress:
  - from:
    - namespaceSelector: {matchExpressions: [{key: region, operator: NotIn, values: [bar]}]}
",
    good: "\
apiVersion: v1
kind: Namespace
metadata: {name: legacy}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: test-network-policy, namespace: foo}
spec:
  podSelector: {}
  policyTypes: [Ingress]
  ingress:
  - from:
    - namespaceSelector:
        matchExpressions:
        - {key: region, operator: NotIn, values: [bar]}
        - {key: region, operator: Exists}
",
    run: notin_absent,
};

fn notin_absent(ask: &Ask, answers: &mut Answers) {
    for used in selectors(ask) {
        if used.peer.is_none() {
            continue;
        }
        for requirement in used.selector.requirements() {
            let Operator::NotIn(values) = &requirement.operator else {
                continue;
            };
            let Some(index) = ask.index(answers) else {
                return;
            };
            let without = without(used, requirement, index);
            if without == 0 {
                continue;
            }
            let what = match used.over {
                Over::Namespaces => "namespace(s)",
                Over::Pods(_) => "pod(s)",
            };
            let key = short(&requirement.key, 24);
            let sentence = format!(
                "NotIn also matches {without} {what} without the label {key}; add \
                 {{key: {key}, operator: Exists}}"
            );
            let evidence = format!("{what} {} {}", requirement.key, values.join(","));
            answers.found(used.path(), sentence, evidence);
        }
    }
}

/// How many match although they do not have the label.
fn without(used: &Used, requirement: &Requirement, index: &Index) -> usize {
    let without = used.candidates(index).filter(|(labels, _)| {
        labels.get(&requirement.key).is_none() && used.selector.matches(labels)
    });
    without.map(|(_, count)| count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, policy};
    use test_case::test_case;

    const CLUSTER: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: default, labels: {region: foo}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: bar, labels: {region: bar}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: kube-system}}
---
{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {app: web}}, spec: {nodeName: node1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: b, labels: {app: web}}, spec: {nodeName: node1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: c, labels: {app: db, tier: data}}, spec: {nodeName: node1}}
";

    fn from(peer: &str) -> Vec<String> {
        let object = policy(&format!(
            "{{podSelector: {{}}, ingress: [{{from: [{peer}]}}]}}"
        ));
        Case::within(CLUSTER).found(NOTIN_ABSENT.id, &object)
    }

    #[test]
    fn of_namespaces() {
        assert_eq!(
            from(
                "{namespaceSelector: {matchExpressions: [{key: region, operator: NotIn, values: [bar]}]}}"
            ),
            [
                "warn spec.ingress[0].from[0].namespaceSelector: NotIn also matches 1 namespace(s) \
              without the label region; add {key: region, operator: Exists}"
            ]
        );
    }

    #[test]
    fn of_pods_each_counts() {
        let found = from(
            "{podSelector: {matchExpressions: [{key: tier, operator: NotIn, values: [data]}]}}",
        );
        assert!(
            found[0].contains("matches 2 pod(s) without the label tier"),
            "{found:?}"
        );
    }

    #[test_case("{namespaceSelector: {matchExpressions: [{key: region, operator: NotIn, values: [bar]}, {key: region, operator: Exists}]}}"; "near miss: it must exist")]
    #[test_case("{namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, values: [bar]}]}}"; "near miss: all have it")]
    #[test_case("{namespaceSelector: {matchExpressions: [{key: region, operator: In, values: [foo]}]}}"; "In")]
    #[test_case("{podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [db]}]}}"; "all pods have it")]
    fn silent(peer: &str) {
        assert_eq!(from(peer), Vec::<String>::new());
    }

    #[test]
    fn the_own_selector_is_left_alone() {
        let spec = "{podSelector: {matchExpressions: [{key: tier, operator: NotIn, values: [x]}]}}";
        let case = Case::within(CLUSTER);
        assert!(case.paths(NOTIN_ABSENT.id, &policy(spec)).is_empty());
    }
}
