//! Traffic that one end allows and the other does not.

use super::pair::Pair;
use crate::catalogue::budget::Budget;
use crate::catalogue::words::{selector, short};
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use crate::index::Workload;
use ringfence_policy::model::{Direction, NamespaceMatch, Peer};
use ringfence_policy::snapshot::Kind;

/// Allowed here, denied there.
pub static ONE_SIDED: Check = Check {
    id: "one-sided",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "one end allows the traffic, and the other end denies it",
    text: "\
A connection passes when the egress policies of the pod that opens it *and* the ingress policies of
the pod that receives it allow it. This policy allows one half; policies at the other end deny the
other half for every pod that the peer names, so nothing comes through.

Add the missing rule at the other end: ingress in the peer's namespace for an egress rule, egress
there for an ingress rule. Reported only where *all* pods of a peer are out of reach. At admission
this is said only where pods have been running for some minutes, because charts install one policy
after the other.",
    bad: "\
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: shop, labels: {app: web}}
spec: {nodeName: node1}
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
  - from: [{podSelector: {matchLabels: {app: api}}}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Egress]
  egress:
  - to: [{podSelector: {matchLabels: {app: db}}}]
    ports: [{port: 5432}]
",
    good: "\
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: shop, labels: {app: web}}
spec: {nodeName: node1}
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
    ports: [{port: 5432}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Egress]
  egress:
  - to: [{podSelector: {matchLabels: {app: db}}}]
    ports: [{port: 5432}]
",
    run: one_sided,
};

/// With more workloads at either end nothing is said: a peer that names so many is seldom
/// meant to reach each of them.
const MOST: usize = 6;

/// Peers of one policy that are looked at: for each, pods have to be found.
const PEERS: usize = 64;

/// Policies, and peers and ports of their rules, that are looked at for one policy.
const LOOKS: usize = 2_000;

fn one_sided(ask: &Ask, answers: &mut Answers) {
    let Some(policy) = ask.subject.policy() else {
        return;
    };
    let mut pods = ask.subject.rules().flat_map(|place| &place.rule.peers);
    if !pods.any(|peer| matches!(peer, Peer::Pods { .. })) {
        return;
    }
    let Some(index) = ask.index(answers) else {
        return;
    };
    let own = &*policy.key.namespace;
    if ask.is_early(index, own) {
        return;
    }
    let Some(here) = few(index.selected(own, &policy.pod_selector)) else {
        return;
    };
    let mut budget = Budget(LOOKS);
    let mut peers = 0;
    for place in ask.subject.rules() {
        for (at, peer) in place.rule.peers.iter().enumerate() {
            let Peer::Pods { namespaces, pods } = peer else {
                continue;
            };
            peers += 1;
            if peers > PEERS {
                return;
            }
            let Some(there) = few(index.matching(own, namespaces, pods)) else {
                continue;
            };
            let mut pairs = there
                .iter()
                .flat_map(|far| here.iter().map(move |near| (*near, *far)));
            let closed = pairs.all(|(near, far)| {
                let pair = Pair {
                    index,
                    policy,
                    place,
                    near: &near.pod,
                    far,
                };
                pair.is_closed(&mut budget)
            });
            let Some(example) = there.first().filter(|_| closed) else {
                continue;
            };
            let name = short(&example.pod.key.to_string(), 40);
            let sentence = match place.direction {
                Direction::Egress => format!(
                    "nothing gets through: policies of {name} do not let these pods in; add an \
                     ingress rule there"
                ),
                Direction::Ingress => format!(
                    "nothing comes: policies of {name} do not let it connect here; add an egress \
                     rule there"
                ),
            };
            let evidence = ask.evidence(|| {
                let namespaces = match namespaces {
                    NamespaceMatch::Own => "own".to_owned(),
                    NamespaceMatch::Labels(labels) => selector(labels),
                };
                format!("{} {namespaces} {}", place.direction, selector(pods))
            });
            answers.found(place.peer(at), sentence, evidence);
        }
    }
}

/// The workloads that policies judge, if they are few and there is any.
fn few<'a>(workloads: impl Iterator<Item = &'a Workload>) -> Option<Vec<&'a Workload>> {
    let judged = workloads.filter(|w| !w.pod.host_network);
    let few: Vec<&Workload> = judged.take(MOST + 1).collect();
    (1..=MOST).contains(&few.len()).then_some(few)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Occasion;
    use crate::testing::{Case, companion, policy};
    use test_case::test_case;

    const PODS: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: default}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: far, labels: {team: far}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {app: web}}, spec: {nodeName: node1, containers: [{name: c, ports: [{name: http, containerPort: 80}]}]}, status: {podIPs: [{ip: 10.0.0.1}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, namespace: far, labels: {app: db}}, spec: {nodeName: node1, containers: [{name: c, ports: [{name: sql, containerPort: 5432}]}]}, status: {podIPs: [{ip: 10.0.1.1}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db-b, namespace: far, labels: {app: db, role: standby}}, spec: {nodeName: node1}, status: {podIPs: [{ip: 10.0.1.2}]}}
---
";
    const NEAR: &str = "namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: default}}";
    const TO: &str = "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {team: far}}, podSelector: {matchLabels: {app: db}}}], ports: [{port: 5432}]}]}";
    const FROM: &str = "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: far}}, podSelector: {matchLabels: {app: db}}}], ports: [{port: http}]}]}";

    fn beside(spec: &str) -> Case {
        let far = policy(spec).replace("namespace: default", "namespace: far");
        Case::within(&format!("{PODS}{far}"))
    }

    #[test_case("{podSelector: {}}", true; "a default deny")]
    #[test_case("{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}", true; "for its own namespace")]
    #[test_case(&format!("{{podSelector: {{}}, ingress: [{{from: [{{{NEAR}}}], ports: [{{port: 80}}]}}]}}"), true; "on another port")]
    #[test_case("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/24, except: [10.0.0.1/32]}}]}]}", true; "an address that is taken out")]
    #[test_case(&format!("{{podSelector: {{}}, ingress: [{{from: [{{{NEAR}}}], ports: [{{port: sql}}]}}]}}"), false; "near miss: by the port's name")]
    #[test_case("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/24}}]}]}", false; "near miss: by address")]
    #[test_case("{podSelector: {matchLabels: {role: standby}}}", false; "near miss: one of two pods is open")]
    #[test_case("{podSelector: {}, policyTypes: [Egress]}", false; "near miss: only its egress is isolated")]
    #[test_case("{podSelector: {}, ingress: [{}]}", false; "open to all")]
    fn out_of_a_pod(far: &str, expected: bool) {
        assert_eq!(
            !beside(far).paths(ONE_SIDED.id, &policy(TO)).is_empty(),
            expected
        );
    }

    #[test_case("{podSelector: {}, policyTypes: [Egress]}", true; "no egress")]
    #[test_case("{podSelector: {}, egress: [{ports: [{port: 53, protocol: UDP}]}]}", true; "only DNS")]
    #[test_case(&format!("{{podSelector: {{}}, egress: [{{to: [{{{NEAR}}}], ports: [{{port: 1, endPort: 99}}]}}]}}"), false; "near miss: a range of ports")]
    #[test_case("{podSelector: {}}", false; "near miss: only its ingress is isolated")]
    fn into_a_pod(far: &str, expected: bool) {
        assert_eq!(
            !beside(far).paths(ONE_SIDED.id, &policy(FROM)).is_empty(),
            expected
        );
    }

    #[test]
    fn a_policy_may_stand_in_its_own_way() {
        let spec = "{podSelector: {}, policyTypes: [Ingress, Egress], egress: [{to: [{podSelector: {}}]}]}";
        assert_eq!(
            Case::within(PODS.trim_end().trim_end_matches("---"))
                .paths(ONE_SIDED.id, &policy(spec)),
            ["spec.egress[0].to[0]"]
        );
        // What the cluster still has under its name does not count.
        let old = policy(spec);
        let new = spec.replace("egress: [", "ingress: [{}], egress: [");
        let case = Case::within(&format!("{PODS}{old}")).after(&old);
        assert!(case.paths(ONE_SIDED.id, &policy(&new)).is_empty());
    }

    #[test]
    fn a_companion_isolates_nobody() {
        let far = policy("{podSelector: {}}").replace("namespace: default", "namespace: far");
        let found = |far: &str| {
            let case = Case::within(&format!("{PODS}{far}"));
            case.paths(ONE_SIDED.id, &policy(TO)).len()
        };
        assert_eq!((found(&far), found(&companion(&far))), (1, 0));
    }

    /// Nobody isolates the pods before, so that only the companion is there for them.
    #[test_case("podSelector: {}", true; "one that lets in")]
    #[test_case("podSelector: {matchLabels: {app: other}}", false; "near miss: others")]
    fn a_companion_of_a_policy_that_stands_in_its_own_way(from: &str, helps: bool) {
        let helper = format!("{{podSelector: {{}}, ingress: [{{from: [{{{from}}}]}}]}}");
        let helper = companion(&policy(&helper)).replace("name: p,", "name: p-companion,");
        let case = Case::within(&format!("{PODS}{helper}"));
        let spec = "{podSelector: {}, policyTypes: [Ingress, Egress], egress: [{to: [{podSelector: {}}]}]}";
        let found = case.paths(ONE_SIDED.id, &policy(spec));
        assert_eq!(found.is_empty(), helps);
    }

    #[test]
    fn pods_that_are_leaving_are_there_yet() {
        let leaving = PODS.replace(
            "labels: {app: db}}",
            "labels: {app: db}, deletionTimestamp: '2026-06-01T12:00:00Z'}",
        );
        let far = policy("{podSelector: {}}").replace("namespace: default", "namespace: far");
        let leaving = leaving.replace(
            "{name: db-b, namespace: far",
            "{name: db-b, namespace: default",
        );
        let case = Case::within(&format!("{leaving}{far}"));
        assert_eq!(case.paths(ONE_SIDED.id, &policy(TO)).len(), 1);
    }

    #[test]
    fn a_chart_is_being_installed() {
        let case = Case {
            young: vec!["default".to_owned()],
            ..beside("{podSelector: {}}").on(Occasion::Create)
        };
        assert!(case.paths(ONE_SIDED.id, &policy(TO)).is_empty());
    }

    #[test]
    fn the_last_of_many_peers_is_not_looked_at() {
        let peers = |others: usize| {
            let nobody = "{podSelector: {matchLabels: {no: body}}}, ".repeat(others);
            policy(&TO.replace("to: [", &format!("to: [{nobody}")))
        };
        let case = beside("{podSelector: {}}");
        assert_eq!(case.paths(ONE_SIDED.id, &peers(PEERS - 1)).len(), 1);
        assert_eq!(case.paths(ONE_SIDED.id, &peers(PEERS)).len(), 0);
    }

    #[test]
    fn a_crowd_is_not_looked_at() {
        use std::fmt::Write;
        let mut many = PODS.to_owned();
        for i in 0..=MOST {
            let _ = write!(
                many,
                "{{apiVersion: v1, kind: Pod, metadata: {{name: x{i}, namespace: far, labels: {{app: db, i: '{i}'}}}}, spec: {{nodeName: node1}}}}\n---\n"
            );
        }
        let deny = policy("{podSelector: {}}").replace("namespace: default", "namespace: far");
        let case = Case::within(&format!("{many}{deny}"));
        assert!(case.paths(ONE_SIDED.id, &policy(TO)).is_empty());
    }
}
