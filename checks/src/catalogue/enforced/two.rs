//! Two enforcers beside each other.

use crate::catalogue::words::short;
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use ringfence_policy::snapshot::Kind;

/// Another enforcer beside Ringfence's.
pub static TWO_ENFORCERS: Check = Check {
    id: "two-enforcers",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::Namespace],
    title: "another enforcer of NetworkPolicies runs beside Ringfence's",
    text: "\
Two enforcers on one node judge each packet twice, each by its own reading of the policies: a packet
passes only where both agree, and where they differ (named ports, `except`, policies that are being
changed) connections fail that each of them alone would let through. Both also pay for it.

Said of the namespace in which the other's DaemonSet is. Keep one of the two: docs/replacing.md says
how to turn the other off, and `ringfence doctor` also sees chains that it left behind.",
    bad: "\
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: ringfence-enforcer, namespace: ringfence-system, labels: {app.kubernetes.io/name: ringfence-enforcer}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: calico-node, namespace: kube-system}
---
apiVersion: v1
kind: Namespace
metadata: {name: kube-system}
",
    good: "\
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: ringfence-enforcer, namespace: ringfence-system, labels: {app.kubernetes.io/name: ringfence-enforcer}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: kube-flannel-ds, namespace: kube-system}
---
apiVersion: v1
kind: Namespace
metadata: {name: kube-system}
",
    run: two_enforcers,
};

fn two_enforcers(ask: &Ask, answers: &mut Answers) {
    let Some(enforcement) = &ask.world.facts.enforcement else {
        return;
    };
    // Nobody who labels a namespace has anything to do with it.
    if !enforcement.installed || ask.world.occasion.is_admission() {
        return;
    }
    let own = ask.subject.namespace();
    let others = enforcement.others.iter().map(|other| &other.daemon_set);
    for other in others.filter(|other| *other.namespace == *own) {
        let name = short(&other.name, 40);
        let sentence = format!(
            "DaemonSet {name} enforces policies beside Ringfence: both must let a packet pass"
        );
        answers.found("metadata", sentence, name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Occasion;
    use crate::facts::read;
    use crate::testing::{Case, documents};
    use test_case::test_case;

    const OURS: &str = "{kind: DaemonSet, metadata: {name: e, namespace: r, labels: {app.kubernetes.io/name: ringfence-enforcer}}}";

    #[test_case("cilium", "a", true, Occasion::Scan, true; "both")]
    #[test_case("cilium", "b", true, Occasion::Scan, false; "near miss: of another namespace")]
    #[test_case("flannel", "a", true, Occasion::Scan, false; "no enforcer")]
    #[test_case("cilium", "a", false, Occasion::Scan, false; "ours is not there")]
    #[test_case("cilium", "a", true, Occasion::Update, false; "whoever labels the namespace is not told")]
    fn beside(name: &str, namespace: &str, ours: bool, occasion: Occasion, expected: bool) {
        let other =
            format!("{{kind: DaemonSet, metadata: {{name: {name}, namespace: {namespace}}}}}");
        let all = if ours {
            format!("{OURS}\n---\n{other}")
        } else {
            other
        };
        let mut case = Case::default().on(occasion);
        case.facts = read(&documents(&all));
        let found = case.paths(
            TWO_ENFORCERS.id,
            "{apiVersion: v1, kind: Namespace, metadata: {name: a}}",
        );
        assert_eq!(!found.is_empty(), expected);
    }
}
