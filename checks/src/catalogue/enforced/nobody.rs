//! Nodes on which nobody enforces.

use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use ringfence_policy::snapshot::Kind;
use std::collections::BTreeSet;

/// The policy does nothing on some nodes.
pub static NO_ENFORCER: Check = Check {
    id: "no-enforcer",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "nobody enforces the policy on some nodes",
    text: "\
The API server stores a NetworkPolicy whether anybody acts on it or not. Where no enforcer runs on a
node, the pods there are as open as before, and nothing says so.

This is said of the nodes on which the policy has pods while no pod of Ringfence's enforcer is ready
there and no other enforcer is known. A cluster without any enforcer that Ringfence knows is told of
by `ringfence lint --cluster` and the background scan only: it may have one that is not known.

Install the enforcer, or look why its pod is not ready: `ringfence doctor` says it for each node.",
    bad: "\
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: ringfence-enforcer, namespace: ringfence-system, labels: {app.kubernetes.io/name: ringfence-enforcer}}
---
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
  - from: [{podSelector: {matchLabels: {app: web}}}]
",
    good: "\
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: ringfence-enforcer, namespace: ringfence-system, labels: {app.kubernetes.io/name: ringfence-enforcer}}
---
apiVersion: v1
kind: Pod
metadata: {name: ringfence-enforcer-7k2mz, namespace: ringfence-system, labels: {app.kubernetes.io/name: ringfence-enforcer}}
spec: {nodeName: node1, hostNetwork: true}
status: {conditions: [{type: Ready, status: 'True'}]}
---
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
  - from: [{podSelector: {matchLabels: {app: web}}}]
",
    run: no_enforcer,
};

fn no_enforcer(ask: &Ask, answers: &mut Answers) {
    // A file says nothing of enforcers, and nobody expects it to.
    let (Some(policy), Some(enforcement)) = (ask.subject.policy(), &ask.world.facts.enforcement)
    else {
        return;
    };
    if !enforcement.others.is_empty() {
        return;
    }
    if !enforcement.installed {
        let sentence = "no enforcer that Ringfence knows runs in this cluster: \
                        the policy may do nothing at all";
        let draft = answers.found("spec", sentence, "none");
        if ask.world.occasion.is_admission() {
            draft.at_most(Level::Audit);
        }
        return;
    }
    let Some(index) = ask.index(answers) else {
        return;
    };
    let own = &policy.key.namespace;
    let selected = index
        .pods_of(own)
        .filter(|pod| !pod.host_network && policy.pod_selector.matches(&pod.labels));
    let bare: BTreeSet<&str> = selected
        .map(|pod| &*pod.node)
        .filter(|node| !node.is_empty() && !enforcement.ready.contains(*node))
        .collect();
    if !bare.is_empty() {
        let (n, s) = (bare.len(), if bare.len() == 1 { "" } else { "s" });
        let sentence = format!(
            "no enforcer is ready on {n} node{s} with pods of this policy: it does nothing there"
        );
        answers.found("spec.podSelector", sentence, "nodes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Occasion;
    use crate::facts::enforcement::{Enforcement, Other};
    use crate::testing::{Case, policy};
    use ringfence_policy::model::ObjectKey;
    use test_case::test_case;

    const CLUSTER: &str = "
{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {app: a}}, spec: {nodeName: n1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: b, labels: {app: a}}, spec: {nodeName: n2}}
---
{apiVersion: v1, kind: Pod, metadata: {name: c, labels: {app: c}}, spec: {nodeName: n3}}
";

    fn case(installed: bool, ready: &[&str], others: &[&str]) -> Case {
        let mut case = Case::within(CLUSTER);
        case.facts.enforcement = Some(Enforcement {
            installed,
            ready: ready.iter().map(|n| (*n).into()).collect(),
            others: others
                .iter()
                .map(|name| Other {
                    daemon_set: ObjectKey::new("kube-system", *name),
                    remedy: "",
                })
                .collect(),
        });
        case
    }

    #[test_case(&["n1"], "{matchLabels: {app: a}}", "1 node "; "one of two")]
    #[test_case(&[], "{}", "3 nodes "; "nowhere")]
    #[test_case(&["n1", "n2"], "{matchLabels: {app: a}}", ""; "near miss: a node without pods of it")]
    #[test_case(&[], "{matchLabels: {app: none}}", ""; "about nobody")]
    fn nodes(ready: &[&str], selector: &str, expected: &str) {
        let spec = policy(&format!("{{podSelector: {selector}}}"));
        let found = case(true, ready, &[]).found(NO_ENFORCER.id, &spec);
        assert_eq!(found.is_empty(), expected.is_empty(), "{found:?}");
        assert!(found.iter().all(|f| f.contains(expected)), "{found:?}");
    }

    #[test]
    fn another_enforcer_none_and_not_known() {
        let spec = policy("{podSelector: {}}");
        let levels = |case: &Case| -> Vec<String> {
            let found = case.found(NO_ENFORCER.id, &spec);
            found.iter().map(|f| f[..5].to_owned()).collect()
        };
        assert_eq!(levels(&case(true, &[], &["calico-node"])), [""; 0]);
        assert_eq!(levels(&case(false, &[], &["calico-node"])), [""; 0]);
        assert_eq!(levels(&case(false, &[], &[]).on(Occasion::Scan)), ["warn "]);
        assert_eq!(
            levels(&case(false, &[], &[]).on(Occasion::Create)),
            ["audit"]
        );
        assert_eq!(levels(&Case::within(CLUSTER)), [""; 0]);
    }
}
