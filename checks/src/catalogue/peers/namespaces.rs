//! Namespace labels that no namespace has (any more).

use super::typo::{Label, respelt, typo};
use super::used::{Over, Used, selectors};
use crate::catalogue::words::{selector, short};
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use crate::{Index, Occasion};
use ringfence_policy::model::{
    Direction, Labels, NamespaceMatch, Operator, Peer, Policy, Selector,
};
use ringfence_policy::snapshot::Kind;

/// The label that the API server gives to every namespace: its name.
const NAME: &str = "kubernetes.io/metadata.name";

/// A `namespaceSelector` that matches no namespace.
pub static NS_LABEL_NONE: Check = Check {
    id: "ns-label-none",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Patch,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy, Kind::Namespace],
    title: "no namespace has the label that a policy asks for",
    text: "\
`namespaceSelector` asks for *labels* of a namespace, not for its name. Where no namespace has
them, the peer lets nobody in, and nothing complains. `name: kube-system` is the usual case: it
looks like the name, but no namespace has a label `name` unless somebody has put it there.

Every namespace, those of the system too, has the label `kubernetes.io/metadata.name` with its
own name: use that, or label the namespace. When a *Namespace* loses a label by which policies
find it, the change of the Namespace is reported, because that is what cuts the traffic.",
    bad: "\
apiVersion: v1
kind: Namespace
metadata: {name: kube-system}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
  - from: [{namespaceSelector: {matchLabels: {name: kube-system}}}]
",
    good: "\
apiVersion: v1
kind: Namespace
metadata: {name: kube-system}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
  - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}}]
",
    run: ns_label_none,
};

fn ns_label_none(ask: &Ask, answers: &mut Answers) {
    if ask.subject.as_namespace().is_some() {
        return label_lost(ask, answers);
    }
    let of_namespaces = |used: &&Used| matches!(used.over, Over::Namespaces);
    let mut all = selectors(ask).iter().filter(of_namespaces).peekable();
    if all.peek().is_none() {
        return;
    }
    let Some(index) = ask.index(answers) else {
        return;
    };
    for used in &mut all {
        if !used.is_empty(ask, index) || used.is_unclear(ask, index) || typo(used, index).is_some()
        {
            continue;
        }
        let meant = name_meant(used.selector, index);
        // A folder of manifests seldom declares the namespaces of others.
        let by_name = used.selector.requirements().iter().any(|r| *r.key == *NAME);
        if by_name && ask.world.occasion == Occasion::Lint {
            continue;
        }
        let wanted = short(&selector(used.selector), 40);
        let remedy = match meant {
            Some(_) => format!("use {NAME}"),
            None => "label the namespace".to_owned(),
        };
        let sentence = format!("no namespace has {wanted}, so no traffic matches; {remedy}");
        let finding = answers.found(used.path(), sentence, selector(used.selector));
        let patch = meant.and_then(|(key, name)| {
            respelt(ask.subject.raw, &used.pointer(), (key, name), (NAME, name))
        });
        if let Some(patch) = patch {
            finding.mend(patch);
        }
    }
}

/// The label in which somebody wrote the name of a namespace.
fn name_meant<'a>(selector: &'a Selector, index: &Index) -> Option<Label<'a>> {
    selector
        .requirements()
        .iter()
        .find_map(|r| match &r.operator {
            Operator::In(values) if *r.key != *NAME => {
                let [value] = values.as_slice() else {
                    return None;
                };
                let exists = index.namespace(value).is_some();
                exists.then_some((&*r.key, &**value))
            }
            _ => None,
        })
}

/// A Namespace that loses a label by which policies find it.
fn label_lost(ask: &Ask, answers: &mut Answers) {
    let old = ask.old.get().and_then(|old| old.as_namespace());
    let (Some(old), Some(new)) = (old, ask.subject.as_namespace()) else {
        return;
    };
    if old.labels == new.labels {
        return;
    }
    let Some(index) = ask.index(answers) else {
        return;
    };
    let policies = index.snapshot().policies.values();
    let mut losers = policies.filter_map(|policy| {
        let lost = lost(policy, &old.labels, &new.labels)?;
        Some((policy, lost))
    });
    let Some((first, wanted)) = losers.next() else {
        return;
    };
    let others = match losers.count() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let key = short(&first.key.to_string(), 40);
    let wanted = selector(wanted);
    let sentence = format!(
        "policy {key}{others} will no longer match this namespace: it needs {}",
        short(&wanted, 30)
    );
    answers.found(
        "metadata.labels",
        sentence,
        format!("{} {wanted}", first.key),
    );
}

/// The first selector of a policy's peers that no longer matches.
fn lost<'a>(policy: &'a Policy, old: &Labels, new: &Labels) -> Option<&'a Selector> {
    let directions = [Direction::Ingress, Direction::Egress];
    let rules = directions.map(|d| policy.rules(d).unwrap_or_default());
    let peers = rules.into_iter().flatten().flat_map(|rule| &rule.peers);
    peers
        .filter_map(|peer| match peer {
            Peer::Pods {
                namespaces: NamespaceMatch::Labels(selector),
                ..
            } => Some(selector),
            _ => None,
        })
        .find(|selector| selector.matches(old) && !selector.matches(new))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, document, policy};
    use test_case::test_case;

    const CLUSTER: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: default}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: kube-system}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: pay, labels: {team: payments}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {nodeName: node1}}
";

    fn from(labels: &str) -> String {
        let peer = format!("{{namespaceSelector: {{matchLabels: {labels}}}}}");
        policy(&format!(
            "{{podSelector: {{}}, ingress: [{{from: [{peer}]}}]}}"
        ))
    }

    #[test_case("{name: kube-system}", true; "the name in a label that is not there")]
    #[test_case("{team: nobody}", true; "no such value")]
    #[test_case("{team: payments}", false; "there")]
    #[test_case("{kubernetes.io/metadata.name: pay}", false; "by name")]
    #[test_case("{team: payment}", false; "near miss: label-typo says it")]
    #[test_case("{}", false; "every namespace")]
    fn labels(labels: &str, expected: bool) {
        let case = Case::within(CLUSTER).on(Occasion::Scan);
        assert_eq!(
            !case.paths(NS_LABEL_NONE.id, &from(labels)).is_empty(),
            expected
        );
    }

    #[test_case(Occasion::Scan, true; "the whole cluster is known")]
    #[test_case(Occasion::Lint, false; "files seldom declare all namespaces")]
    fn a_name_that_is_not_there(occasion: Occasion, expected: bool) {
        let object = from("{kubernetes.io/metadata.name: elsewhere}");
        let found = Case::within(CLUSTER)
            .on(occasion)
            .paths(NS_LABEL_NONE.id, &object);
        assert_eq!(!found.is_empty(), expected);
    }

    #[test_case(&[], 1; "pods have been there for minutes")]
    #[test_case(&["default"], 0; "a chart is being installed")]
    fn on_create(young: &[&str], expected: usize) {
        let case = Case {
            young: young.iter().map(ToString::to_string).collect(),
            ..Case::within(CLUSTER).on(Occasion::Create)
        };
        let found = case.paths(NS_LABEL_NONE.id, &from("{name: kube-system}"));
        assert_eq!(found.len(), expected);
    }

    #[test]
    fn the_patch_uses_the_label_that_is_always_there() {
        let mut object = document(&from("{name: kube-system}"));
        let report = Case::within(CLUSTER).judge(&object);
        let finding = report.findings.iter().find(|f| f.check == NS_LABEL_NONE.id);
        json_patch::patch(&mut object, finding.unwrap().patch.as_ref().unwrap()).unwrap();
        assert_eq!(
            object,
            document(&from("{kubernetes.io/metadata.name: kube-system}"))
        );
    }

    fn namespace(labels: &str) -> String {
        format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: pay, labels: {labels}}}}}")
    }

    #[test_case("{team: payments}", "{}", 1; "the label goes")]
    #[test_case("{team: payments}", "{team: finance}", 1; "the value changes")]
    #[test_case("{team: payments}", "{team: payments, x: z}", 0; "near miss: another label comes")]
    #[test_case("{x: z}", "{}", 0; "a label of which no policy speaks")]
    fn a_namespace_changes(old: &str, new: &str, expected: usize) {
        let case = Case::within(&from("{team: payments}")).after(&namespace(old));
        assert_eq!(
            case.paths(NS_LABEL_NONE.id, &namespace(new)).len(),
            expected
        );
    }

    #[test]
    fn the_sentence_names_the_policy() {
        let more = from("{team: payments}").replace("name: p,", "name: q,");
        let policies = format!("{}---\n{more}", from("{team: payments}"));
        let case = Case::within(&policies).after(&namespace("{team: payments}"));
        assert_eq!(
            case.found(NS_LABEL_NONE.id, &namespace("{}")),
            [
                "warn metadata.labels: policy default/p and 1 more will no longer match this \
              namespace: it needs team=payments"
            ]
        );
    }
}
