//! Where the object goes.

use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use ringfence_policy::snapshot::Kind;

/// A policy in a namespace of the system.
pub static SYSTEM_NAMESPACE: Check = Check {
    id: "system-namespace",
    baseline: Level::Warn,
    strict: Level::Deny,
    mends: Mend::Author,
    scope: Scope::Object,
    kinds: &[Kind::NetworkPolicy],
    title: "a policy in a namespace of the system",
    text: "\
In `kube-system` and the like live DNS, the network itself and what the API server calls. A
policy there that forgets one of their clients stops name resolution, or admission, for the
whole cluster, and the tools to mend it may be cut off with it.

Isolate the system's pods only with a test at hand, and suppress this check with the reason.
The list of namespaces is `systemNamespaces` in the configuration. Admission is silent about
this: whoever may write there is expected to know; `lint` and the scan report it.",
    bad: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default-deny, namespace: kube-system}
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
    run: system_namespace,
};

/// A manifest without a namespace.
pub static NS_IMPLICIT: Check = Check {
    id: "ns-implicit",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::File,
    kinds: &[Kind::NetworkPolicy, Kind::Service],
    title: "a manifest without namespace lands wherever kubectl points",
    text: "\
A policy selects pods of its own namespace only. A file that does not name the namespace lands
in whichever one `kubectl -n` or the current context names: applied to the wrong one, it
isolates other pods or none, and the pods that it was written for stay open.

Write `metadata.namespace`. Where a tool sets it on the way (Helm, Kustomize), lint what the
tool renders.",
    bad: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default-deny}
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
    run: ns_implicit,
};

fn system_namespace(ask: &Ask, answers: &mut Answers) {
    let namespace = ask.subject.namespace();
    let mut system = ask.world.config.system_namespaces.iter();
    if ask.world.occasion.is_admission() || !system.any(|s| **s == *namespace) {
        return;
    }
    let sentence = "the cluster's own pods live here: what this forgets to allow (DNS, webhooks) \
                    fails for everyone";
    answers.found("metadata.namespace", sentence, namespace);
}

fn ns_implicit(ask: &Ask, answers: &mut Answers) {
    if !ask.subject.implied_namespace {
        return;
    }
    let sentence = "lands wherever `kubectl -n` points, and the pods it is meant for may stay \
                    open; write metadata.namespace";
    answers.found("metadata", sentence, "no namespace");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, document, policy};
    use crate::{Before, Config, Facts, Occasion, Subject, World, judge};
    use test_case::test_case;

    #[test_case("kube-system", Occasion::Lint, true; "lint")]
    #[test_case("kube-public", Occasion::Scan, true; "scan")]
    #[test_case("kube-system", Occasion::Create, false; "admission is silent")]
    #[test_case("kube-system-tools", Occasion::Lint, false; "near miss: another name")]
    #[test_case("default", Occasion::Lint, false; "an ordinary one")]
    fn system(namespace: &str, occasion: Occasion, expected: bool) {
        let object = policy("{podSelector: {}}").replace("default", namespace);
        let found = Case::default()
            .on(occasion)
            .paths(SYSTEM_NAMESPACE.id, &object);
        assert_eq!(!found.is_empty(), expected);
    }

    #[test]
    fn the_configuration_names_the_system() {
        let case = Case::default().config("systemNamespaces: [platform]");
        let system = policy("{podSelector: {}}").replace("default", "kube-system");
        let platform = policy("{podSelector: {}}").replace("default", "platform");
        assert!(case.paths(SYSTEM_NAMESPACE.id, &system).is_empty());
        assert_eq!(case.paths(SYSTEM_NAMESPACE.id, &platform).len(), 1);
    }

    #[test_case(true, 1; "put in by the reader")]
    #[test_case(false, 0; "named, be it default")]
    fn implied(implied: bool, expected: usize) {
        let object = document(&policy("{podSelector: {}}"));
        let mut subject = Subject::read(&object).unwrap();
        subject.implied_namespace = implied;
        let world = World {
            index: None,
            facts: &Facts::default(),
            config: &Config::default(),
            now: "2026-06-01T12:00:00Z".parse().unwrap(),
            occasion: Occasion::Lint,
        };
        let report = judge(&subject, Before::Nothing, &world);
        let found = report.findings.iter().filter(|f| f.check == NS_IMPLICIT.id);
        assert_eq!(found.count(), expected);
    }
}
