//! Selectors that match no pod.

use super::typo::typo;
use super::used::{Over, Used, selectors};
use crate::catalogue::words::{selector, short};
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use crate::subject::Place;
use ringfence_policy::model::Direction;
use ringfence_policy::snapshot::Kind;

/// A policy that selects no pod.
pub static SELECTS_NONE: Check = Check {
    id: "selects-none",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "the policy selects no pod",
    text: "\
A policy protects the pods of *its own namespace* that have the labels of `podSelector`. This one
matches none: the pods that it was written for stay open to everyone. At admission this is said only
where the namespace has had pods for some minutes, because charts install policies first. A default
deny for a namespace without pods is right and not reported.

Compare with `kubectl get pods --show-labels`: mostly a label differs, or the policy is in another
namespace than the pods.",
    bad: "\
apiVersion: v1
kind: Pod
metadata: {name: db-0, namespace: shop, labels: {app.kubernetes.io/name: postgres}}
spec: {nodeName: node1}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: postgres}}
  policyTypes: [Ingress]
",
    good: "\
apiVersion: v1
kind: Pod
metadata: {name: db-0, namespace: shop, labels: {app.kubernetes.io/name: postgres}}
spec: {nodeName: node1}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app.kubernetes.io/name: postgres}}
  policyTypes: [Ingress]
",
    run: selects_none,
};

/// A peer that matches no pod.
pub static PEER_NONE: Check = Check {
    id: "peer-none",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "a peer matches no pod",
    text: "\
A peer with `podSelector` means pods of the policy's own namespace, or of the namespaces that the
`namespaceSelector` beside it matches. This one matches no pod there, so it allows nothing: the
client that was meant is still shut out. At admission this is said only where pods have been running
for some minutes.

Look where the client lives and which labels it has: mostly it is in another namespace (add a
`namespaceSelector` to the same item), or its labels differ.",
    bad: "\
apiVersion: v1
kind: Pod
metadata: {name: db-0, namespace: shop, labels: {app: db}}
spec: {nodeName: node1}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: invoices}}}]
",
    good: "\
apiVersion: v1
kind: Pod
metadata: {name: db-0, namespace: shop, labels: {app: db}}
spec: {nodeName: node1}
---
apiVersion: v1
kind: Pod
metadata: {name: invoices-0, namespace: shop, labels: {app: invoices}}
spec: {nodeName: node1}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: invoices}}}]
",
    run: peer_none,
};

fn selects_none(ask: &Ask, answers: &mut Answers) {
    let has_rules = ask.subject.rules().any(|p| !ask.subject.is_injected(&p));
    for (used, _) in matching_nothing(ask, answers, |used| used.peer.is_none()) {
        // Whatever pod comes is to be shut: that needs no pod yet.
        if used.selector.is_everything() && !has_rules {
            continue;
        }
        let sentence = match short(&selector(used.selector), 40).as_str() {
            "" => "the namespace has no pod: this does nothing; a policy selects pods of its own \
                   namespace only"
                .to_owned(),
            wanted => format!("no pod here has {wanted}: the pods that are meant stay open"),
        };
        answers.found(used.path(), sentence, selector(used.selector));
    }
}

fn peer_none(ask: &Ask, answers: &mut Answers) {
    let narrow = |used: &Used| {
        let pods = matches!(used.over, Over::Pods(_));
        used.peer.is_some() && pods && !used.selector.is_everything()
    };
    for (used, place) in matching_nothing(ask, answers, narrow) {
        let Some(place) = place else { continue };
        let wanted = short(&selector(used.selector), 40);
        let whom = match place.direction {
            Direction::Ingress => "lets nobody in",
            Direction::Egress => "leads nowhere",
        };
        let sentence = format!("no pod of these namespaces has {wanted}: this peer {whom}");
        let evidence = format!("{} {}", place.direction, selector(used.selector));
        answers.found(used.path(), sentence, evidence);
    }
}

/// The selectors of a policy that match no pod, and not for a slip of spelling. A peer
/// without namespaces is `ns-label-none`'s.
fn matching_nothing<'a>(
    ask: &Ask<'a>,
    answers: &mut Answers,
    wanted: impl Fn(&Used) -> bool,
) -> Vec<(Used<'a>, Option<Place<'a>>)> {
    let all = selectors(ask).iter().copied();
    let mut all: Vec<Used> = all.filter(wanted).collect();
    if all.is_empty() {
        return Vec::new();
    }
    let Some(index) = ask.index(answers) else {
        return Vec::new();
    };
    all.retain(|used| {
        used.is_empty(ask, index)
            && used.has_namespace(index)
            && !used.is_unclear(ask, index)
            && typo(used, index).is_none()
    });
    let place = |used: Used<'a>| (used, used.peer.map(|(place, _)| place));
    all.into_iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Occasion;
    use crate::testing::{Case, policy};
    use test_case::test_case;

    const CLUSTER: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: default}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: pay}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: empty}}
---
{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {app: database}}, spec: {nodeName: node1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: done, labels: {app: job}}, spec: {nodeName: node1}, status: {phase: Succeeded}}
---
{apiVersion: v1, kind: Pod, metadata: {name: b, namespace: pay, labels: {app: ledger}}, spec: {nodeName: node1}}
";

    #[test_case("{matchLabels: {app: web}}", true; "no such pod")]
    #[test_case("{matchLabels: {app: job}}", true; "only one that has ended")]
    #[test_case("{matchLabels: {app: database}}", false; "a pod")]
    #[test_case("{matchLabels: {app: databse}}", false; "near miss: label-typo says it")]
    #[test_case("{}", false; "all")]
    fn selected(selector: &str, expected: bool) {
        let object = policy(&format!("{{podSelector: {selector}}}"));
        let found = Case::within(CLUSTER).paths(SELECTS_NONE.id, &object);
        assert_eq!(!found.is_empty(), expected);
    }

    #[test_case("{podSelector: {}}", Occasion::Scan, 0; "a default deny is right")]
    #[test_case("{podSelector: {}, ingress: [{ports: [{port: 80}]}]}", Occasion::Scan, 1; "rules for nobody")]
    #[test_case("{podSelector: {matchLabels: {a: b}}}", Occasion::Scan, 1; "a label")]
    #[test_case("{podSelector: {matchLabels: {a: b}}}", Occasion::Lint, 0; "files without the pods")]
    #[test_case("{podSelector: {matchLabels: {a: b}}}", Occasion::Create, 0; "before the pods")]
    fn in_a_namespace_without_pods(spec: &str, occasion: Occasion, expected: usize) {
        let object = policy(spec).replace("default", "empty");
        let case = Case::within(CLUSTER).on(occasion);
        assert_eq!(case.paths(SELECTS_NONE.id, &object).len(), expected);
    }

    #[test_case(&[], 1; "pods have been there for minutes")]
    #[test_case(&["default"], 0; "a chart is being installed")]
    fn on_create(young: &[&str], expected: usize) {
        let case = Case {
            young: young.iter().map(ToString::to_string).collect(),
            ..Case::within(CLUSTER).on(Occasion::Create)
        };
        let spec = "{podSelector: {matchLabels: {app: web}}, \
                    egress: [{to: [{podSelector: {matchLabels: {app: web}}}]}]}";
        assert_eq!(case.paths(SELECTS_NONE.id, &policy(spec)).len(), expected);
        assert_eq!(case.paths(PEER_NONE.id, &policy(spec)).len(), expected);
    }

    const IN_PAY: &str = "namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: pay}}";

    #[test_case("{podSelector: {matchLabels: {app: ledger}}}", 1; "it lives elsewhere")]
    #[test_case(&format!("{{{IN_PAY}, podSelector: {{matchLabels: {{app: ledger}}}}}}"), 0; "there")]
    #[test_case(&format!("{{{IN_PAY}, podSelector: {{matchLabels: {{app: web}}}}}}"), 1; "no such pod there")]
    #[test_case(&format!("{{{IN_PAY}}}"), 0; "the namespace")]
    #[test_case("{namespaceSelector: {matchLabels: {x: y}}, podSelector: {matchLabels: {app: web}}}", 0; "near miss: no such namespace")]
    #[test_case("{namespaceSelector: {}, podSelector: {matchLabels: {app: ledger}}}", 0; "anywhere")]
    #[test_case("{ipBlock: {cidr: 10.0.0.0/8}}", 0; "a block")]
    fn peers(peer: &str, expected: usize) {
        let object = policy(&format!(
            "{{podSelector: {{}}, ingress: [{{from: [{peer}]}}]}}"
        ));
        assert_eq!(
            Case::within(CLUSTER).paths(PEER_NONE.id, &object).len(),
            expected
        );
    }

    #[test]
    fn in_an_unknown_cluster() {
        let case = Case {
            cluster: None,
            ..Case::default()
        };
        assert!(case.is_unknown(SELECTS_NONE.id, &policy("{podSelector: {}}")));
        assert!(!case.is_unknown(PEER_NONE.id, &policy("{podSelector: {}}")));
    }
}
