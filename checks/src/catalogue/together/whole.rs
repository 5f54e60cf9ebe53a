//! What a namespace is without its policies.

use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use ringfence_policy::model::{Policy, Rule};
use ringfence_policy::snapshot::Kind;

/// A namespace without a default deny.
pub static NS_NO_DEFAULT_DENY: Check = Check {
    id: "ns-no-default-deny",
    baseline: Level::Audit,
    strict: Level::Audit,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::Namespace],
    title: "a namespace in which pods are open unless somebody closes them",
    text: "\
A pod that no policy selects is open to everyone. Where a namespace has no *default deny*, a policy
that selects every pod and allows nothing, each new Deployment starts open, and stays so until
somebody remembers to write a policy for it.

Add one: `podSelector: {}` with `policyTypes: [Ingress]`, then allow what is needed beside it. A
policy for the whole namespace that has rules counts too, unless one of them lets everyone in. The
scan and `lint` report it, admission does not; namespaces of the system are left out.",
    bad: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
",
    good: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default-deny, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Ingress]
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
",
    run: ns_no_default_deny,
};

fn ns_no_default_deny(ask: &Ask, answers: &mut Answers) {
    let name = ask.subject.namespace();
    let mut system = ask.world.config.system_namespaces.iter();
    if ask.world.occasion.is_admission() || system.any(|s| **s == *name) {
        return;
    }
    let Some(index) = ask.index(answers) else {
        return;
    };
    if index.policies(name).any(|policy| is_default_deny(policy)) {
        return;
    }
    let sentence = "no default deny: pods that no policy selects let everyone in; add podSelector \
                    {} with [Ingress]";
    answers.found("metadata.name", sentence, "ingress");
}

fn is_default_deny(policy: &Policy) -> bool {
    let everyone = |rules: &Vec<Rule>| rules.contains(&Rule::default());
    let ingress = policy.ingress.as_ref();
    !policy.allow_only
        && policy.pod_selector.is_everything()
        && ingress.is_some_and(|rules| !everyone(rules))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Occasion;
    use crate::testing::{Case, companion, policy};
    use test_case::test_case;

    #[test_case("{podSelector: {}}", "default", false; "a default deny")]
    #[test_case("{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}", "default", false; "the own namespace only")]
    #[test_case("{podSelector: {}, ingress: [{}]}", "default", true; "near miss: everyone is let in")]
    #[test_case("{podSelector: {matchLabels: {app: db}}}", "default", true; "some pods")]
    #[test_case("{podSelector: {}, policyTypes: [Egress]}", "default", true; "only egress")]
    #[test_case("{podSelector: {}}", "other", true; "another namespace")]
    #[test_case("{podSelector: {}}", "kube-system", false; "one of the system")]
    fn namespaces(spec: &str, name: &str, expected: bool) {
        let namespace = format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}");
        let case = Case::within(&policy(spec));
        let paths = |case: &Case| case.paths(NS_NO_DEFAULT_DENY.id, &namespace);
        assert_eq!(!paths(&case).is_empty(), expected);
        assert_eq!(paths(&case.on(Occasion::Create)), &[] as &[&str]);
    }

    #[test]
    fn a_companion_denies_nothing() {
        let deny = policy("{podSelector: {}}");
        let case = Case::within(&companion(&deny));
        let namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: default}}";
        assert_eq!(case.paths(NS_NO_DEFAULT_DENY.id, namespace).len(), 1);
    }
}
