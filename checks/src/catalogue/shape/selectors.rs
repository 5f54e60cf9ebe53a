//! Selectors that say more than was meant.

use crate::catalogue::together::is_dns_only;
use crate::catalogue::words::{selector, short};
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use ringfence_policy::model::{Direction, NamespaceMatch, Peer, Policy};
use ringfence_policy::snapshot::Kind;
use serde_json::Value;

/// `- namespaceSelector` and then `- podSelector`.
pub static DASH_OR: Check = Check {
    id: "dash-or",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Object,
    kinds: &[Kind::NetworkPolicy],
    title: "one dash too many makes an AND an OR",
    text: "\
Each dash under `from` or `to` begins a peer, and any one of the peers is enough. So this

```yaml
- namespaceSelector: {matchLabels: {user: alice}}
- podSelector: {matchLabels: {role: client}}
```

lets in every pod of alice's namespaces *or* every client of the policy's own namespace. Without
the second dash it is one peer, and both must hold: the clients in alice's namespaces. The two
differ by one character, and the first lets in far more.

Where AND is meant, delete the dash. Where OR is meant, write the `podSelector` first or in a rule
of its own: then nobody takes it for a slip.",
    bad: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
  - from:
    - namespaceSelector: {matchLabels: {user: alice}}
    - podSelector: {matchLabels: {role: client}}
",
    good: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
  - from:
    - namespaceSelector: {matchLabels: {user: alice}}
      podSelector: {matchLabels: {role: client}}
",
    run: dash_or,
};

/// `namespaceSelector: {}`
pub static NS_ALL: Check = Check {
    id: "ns-all",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Object,
    kinds: &[Kind::NetworkPolicy],
    title: "an empty namespaceSelector means every namespace",
    text: "\
`namespaceSelector: {}` asks nothing of a namespace, so every namespace matches, also those that
are created tomorrow and belong to somebody else. A `podSelector` beside it does not protect:
whoever owns a namespace can give his pods any label.

Name the namespaces: every one has the label `kubernetes.io/metadata.name` with its own name. For
the policy's own namespace leave the `namespaceSelector` out. An egress peer that also narrows
the pods (to the DNS pods, say) is not reported.",
    bad: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
  - from: [{namespaceSelector: {}}]
",
    good: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
  - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: billing}}}]
",
    run: ns_all,
};

/// `podSelector: {}` with rules, beside narrower policies.
pub static EMPTY_SELECTOR: Check = Check {
    id: "empty-selector",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "a policy for the whole namespace widens narrower ones",
    text: "\
`podSelector: {}` selects every pod of the namespace. Policies add up: what this one allows is
allowed to every pod, also to those for which another policy has been written to allow less. The
narrower policy does not override the wider one, whatever their names or order.

Select the pods that need the rule. A policy for the whole namespace that allows nothing (a default
deny) or only DNS is right, and is not reported.",
    bad: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: api}}}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: from-gateway, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Ingress]
  ingress:
  - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: gateway}}}]
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
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: from-gateway, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: gateway}}}]
",
    run: empty_selector,
};

fn dash_or(ask: &Ask, answers: &mut Answers) {
    for place in ask.subject.rules() {
        let spec = &ask.subject.raw["spec"];
        let rule = &spec[place.direction.to_string()][place.index];
        let peers = rule[place.far_end()].as_array();
        let pairs = peers.map_or(&[][..], Vec::as_slice).windows(2);
        for (index, pair) in pairs.enumerate() {
            let (Some(namespaces), Some(pods)) = (
                only(&pair[0], "namespaceSelector"),
                only(&pair[1], "podSelector"),
            ) else {
                continue;
            };
            // "The own namespace and these": an AND with it would mean nothing.
            let Peer::Pods { pods: labels, .. } = &place.rule.peers[index + 1] else {
                continue;
            };
            if labels.is_everything() {
                continue;
            }
            let sentence = "two items are OR: all pods of those namespaces, and these of the own \
                            one; for AND delete this dash";
            let evidence = format!("{namespaces} or {pods}");
            answers.found(place.peer(index + 1), sentence, evidence);
        }
    }
}

/// The only field of a peer.
fn only<'a>(peer: &'a Value, field: &str) -> Option<&'a Value> {
    let mut fields = peer.as_object()?.iter().filter(|(_, v)| !v.is_null());
    match (fields.next(), fields.next()) {
        (Some((name, value)), None) if name == field => Some(value),
        _ => None,
    }
}

fn ns_all(ask: &Ask, answers: &mut Answers) {
    for place in ask.subject.rules() {
        for (index, peer) in place.rule.peers.iter().enumerate() {
            let Peer::Pods {
                namespaces: NamespaceMatch::Labels(namespaces),
                pods,
            } = peer
            else {
                continue;
            };
            if !namespaces.is_everything() {
                continue;
            }
            let narrow = !pods.is_everything();
            let sentence = match (place.direction, narrow) {
                (Direction::Egress, true) => continue,
                (Direction::Egress, false) => {
                    "the pods may connect to every namespace, future ones too; name them by \
                     kubernetes.io/metadata.name"
                }
                (Direction::Ingress, true) => {
                    "lets in pods of every namespace whose owner gives them this label; name the \
                     namespaces too"
                }
                (Direction::Ingress, false) => {
                    "lets in every pod of every namespace, future ones too; name them by \
                     kubernetes.io/metadata.name"
                }
            };
            let path = format!("{}.namespaceSelector", place.peer(index));
            answers.found(
                path,
                sentence,
                format!("{} {}", place.direction, selector(pods)),
            );
        }
    }
}

fn empty_selector(ask: &Ask, answers: &mut Answers) {
    let Some(policy) = ask.subject.policy() else {
        return;
    };
    // A companion has its author's selector.
    if !policy.pod_selector.is_everything() || policy.allow_only {
        return;
    }
    for direction in [Direction::Ingress, Direction::Egress] {
        let mut rules = ask.subject.rules().filter(|p| p.direction == direction);
        let opens = rules.any(|p| !is_dns_only(direction, p.rule) && !ask.subject.is_injected(&p));
        if !opens {
            continue;
        }
        let Some(index) = ask.index(answers) else {
            return;
        };
        let narrower = |other: &&Policy| {
            other.key != policy.key
                && !other.allow_only
                && !other.pod_selector.is_everything()
                && other.rules(direction).is_some()
        };
        let own = index.policies(&policy.key.namespace).map(AsRef::as_ref);
        let Some(other) = own.into_iter().find(narrower) else {
            continue;
        };
        let sentence = format!(
            "its {direction} rules hold for every pod here, those of {} too: policies add up",
            short(&other.key.name, 40)
        );
        answers.found("spec.podSelector", sentence, direction.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, policy};
    use test_case::test_case;

    const NS: &str = "namespaceSelector: {matchLabels: {user: alice}}";
    const POD: &str = "podSelector: {matchLabels: {role: client}}";

    #[test_case(&format!("{{{NS}}}, {{{POD}}}"), &["spec.ingress[0].from[1]"]; "two items")]
    #[test_case(&format!("{{ipBlock: {{cidr: 10.0.0.0/8}}}}, {{{NS}}}, {{{POD}}}"), &["spec.ingress[0].from[2]"]; "after a block")]
    #[test_case(&format!("{{namespaceSelector: {{}}}}, {{{POD}}}"), &["spec.ingress[0].from[1]"]; "every namespace")]
    #[test_case(&format!("{{{NS}, {POD}}}"), &[]; "one item")]
    #[test_case(&format!("{{{POD}}}, {{{NS}}}"), &[]; "near miss: pods first")]
    #[test_case(&format!("{{{NS}}}, {{podSelector: {{}}}}"), &[]; "near miss: the own namespace")]
    #[test_case(&format!("{{{NS}}}, {{{NS}, {POD}}}"), &[]; "near miss: the second has both")]
    fn or_for_and(from: &str, expected: &[&str]) {
        let object = policy(&format!(
            "{{podSelector: {{}}, ingress: [{{from: [{from}]}}]}}"
        ));
        assert_eq!(Case::default().paths(DASH_OR.id, &object), expected);
    }

    #[test_case("{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}", &["spec.ingress[0].from[0].namespaceSelector"]; "ingress")]
    #[test_case("{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {}}, podSelector: {matchLabels: {app: admin}}}]}]}", &["spec.ingress[0].from[0].namespaceSelector"]; "a label anybody can give")]
    #[test_case("{podSelector: {}, egress: [{to: [{namespaceSelector: {}}]}]}", &["spec.egress[0].to[0].namespaceSelector"]; "egress")]
    #[test_case("{podSelector: {}, egress: [{to: [{namespaceSelector: {}, podSelector: {matchLabels: {k8s-app: kube-dns}}}]}]}", &[]; "near miss: egress to few pods")]
    #[test_case("{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}", &[]; "near miss: the own namespace")]
    #[test_case("{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {a: b}}}]}]}", &[]; "by label")]
    fn every_namespace(spec: &str, expected: &[&str]) {
        assert_eq!(Case::default().paths(NS_ALL.id, &policy(spec)), expected);
    }

    fn beside(selector: &str, types: &str) -> Case {
        Case::within(
            &policy(&format!(
                "{{podSelector: {selector}, policyTypes: {types}}}"
            ))
            .replace("name: p", "name: narrow"),
        )
    }

    const ALL: &str = "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}";

    #[test_case("{matchLabels: {app: db}}", "[Ingress]", ALL, 1; "a narrower policy")]
    #[test_case("{matchLabels: {app: db}}", "[Egress]", ALL, 0; "of the other direction")]
    #[test_case("{}", "[Ingress]", ALL, 0; "of the same width")]
    #[test_case("{matchLabels: {app: db}}", "[Ingress]", "{podSelector: {}}", 0; "near miss: a default deny")]
    #[test_case("{matchLabels: {app: db}}", "[Egress]", "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 53, protocol: UDP}]}]}", 0; "near miss: only DNS")]
    fn the_whole_namespace(selector: &str, types: &str, spec: &str, expected: usize) {
        let case = beside(selector, types);
        assert_eq!(case.paths(EMPTY_SELECTOR.id, &policy(spec)).len(), expected);
    }

    #[test]
    fn the_whole_namespace_of_an_unknown_cluster() {
        let case = Case {
            cluster: None,
            ..Case::default()
        };
        assert!(case.is_unknown(EMPTY_SELECTOR.id, &policy(ALL)));
        assert!(!case.is_unknown(EMPTY_SELECTOR.id, &policy("{podSelector: {}}")));
    }
}
