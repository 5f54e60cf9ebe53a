//! What a change cuts and opens between the pods that exist.

use super::edit;
use crate::catalogue::words::short;
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::{Level, SENTENCE};
use crate::impact::{End, Flows, Limits, Port, Row, compare};
use crate::subject::Subject;
use ringfence_policy::model::{Name, NamespaceMatch, Operator, Peer, Protocol, Selector};
use ringfence_policy::snapshot::Kind;
use std::collections::BTreeSet;

/// Flows between existing pods end or begin.
pub static IMPACT: Check = Check {
    id: "impact",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy, Kind::Namespace],
    title: "connections between pods that exist are cut or opened",
    text: "\
A policy changes what passes at the moment when it lands, also for connections that are open.
This says how many pairs of existing pods can connect no longer, or newly, by port, with some
examples. A port is one that the receiving pod declares by name, or to which a Service sends; where
nothing tells the ports, \"any\". Workloads of namespaces that the policy does not name are counted
and not named. A change that is too large to be worked out while somebody waits is said to be so.

Nothing is wrong when that is what was meant. `ringfence preview -f FILE` shows all of it before
anything is applied.",
    bad: "\
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: shop, labels: {app: web}}
spec: {nodeName: node1}
---
apiVersion: v1
kind: Pod
metadata: {name: db-0, namespace: shop, labels: {app: db}}
spec: {nodeName: node1, containers: [{name: c, ports: [{name: sql, containerPort: 5432}]}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: api}}}]
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
spec: {nodeName: node1, containers: [{name: c, ports: [{name: sql, containerPort: 5432}]}]}
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
    run: impact,
};

/// Characters of a workload's name.
const NAME: usize = 14;

fn impact(ask: &Ask, answers: &mut Answers) {
    let Some(edit) = edit(ask) else {
        return;
    };
    let Some(index) = ask.index(answers) else {
        return;
    };
    let named = named(ask.subject);
    let limits = Limits {
        namespaces: Some(&named),
        ..Limits::ADMISSION
    };
    let path = match ask.subject.kind() {
        Kind::Namespace => "metadata.labels",
        _ => "spec",
    };
    let Ok(impact) = compare(index, edit, &limits) else {
        let sentence = "what this cuts and opens is not computed: too much to do; \
                        see `ringfence preview`";
        answers.found(path, sentence, "not computed");
        return;
    };
    for (verb, flows) in [("cuts", &impact.cut), ("opens", &impact.opened)] {
        if flows.count > 0 {
            let sentence = sentence(verb, flows, ask.subject.namespace());
            answers.found(path, sentence.clone(), sentence);
        }
    }
}

/// The namespaces that the object names: its own, and those of peers by their names.
fn named(subject: &Subject) -> BTreeSet<Name> {
    let peers = subject.rules().flat_map(|place| &place.rule.peers);
    let selectors = peers.filter_map(|peer| match peer {
        Peer::Pods {
            namespaces: NamespaceMatch::Labels(selector),
            ..
        } => Some(selector),
        _ => None,
    });
    let names = selectors.flat_map(Selector::requirements).filter_map(|r| {
        let by_name = *r.key == *crate::inject::dns::NAMESPACE_NAME;
        match &r.operator {
            Operator::In(names) if by_name => Some(names),
            _ => None,
        }
    });
    let own = Name::from(subject.namespace());
    names.flatten().cloned().chain([own]).collect()
}

/// `cuts 12 flows: web -> db TCP 5432, ...`, with as many examples as there is room for.
fn sentence(verb: &str, flows: &Flows, own: &str) -> String {
    let plural = if flows.count == 1 { "" } else { "s" };
    let mut sentence = format!("{verb} {} flow{plural} between pods", flows.count);
    let shown: u64 = flows.rows.values().sum();
    let rest = if shown < flows.count { ", ..." } else { "" };
    let mut separator = ": ";
    for row in flows.rows.keys() {
        let example = format!("{separator}{}", example(row, own));
        if sentence.len() + example.len() + rest.len() > SENTENCE {
            break;
        }
        sentence += &example;
        separator = ", ";
    }
    if separator == ", " {
        sentence += rest;
    }
    sentence
}

fn example(row: &Row, own: &str) -> String {
    let name = |end: &End| {
        let name = short(&end.name, NAME);
        if *end.namespace == *own {
            return name;
        }
        format!("{}/{name}", short(&end.namespace, NAME))
    };
    format!("{}->{}{}", name(&row.from), name(&row.to), port(row.port))
}

fn port(port: Port) -> String {
    port.map_or_else(String::new, |(protocol, number)| match protocol {
        Protocol::Tcp => format!(":{number}"),
        other => format!(":{number}/{other}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Occasion;
    use crate::testing::{Case, policy};
    use test_case::test_case;

    const CLUSTER: &str = "
{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {app: web}}, spec: {nodeName: n1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: api, labels: {app: api}}, spec: {nodeName: n1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, labels: {app: db}}, spec: {nodeName: n1,
  containers: [{name: c, ports: [{name: sql, containerPort: 5432}]}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: x, namespace: other, labels: {app: secret}}, spec: {nodeName: n1}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: other, labels: {team: a}}}
";

    fn found(case: &Case, spec: &str) -> Vec<String> {
        case.found(IMPACT.id, &policy(spec))
    }

    #[test_case("{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}",
        &["warn spec: cuts 2 flows between pods: api->db:5432, ..."]; "another namespace is counted, not named")]
    #[test_case("{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: other}}, podSelector: {matchLabels: {app: none}}}]}]}",
        &["warn spec: cuts 3 flows between pods: api->db:5432, web->db:5432, other/secret->db:5432"]; "unless the policy names it")]
    #[test_case("{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: a}}, podSelector: {matchLabels: {app: none}}}]}]}",
        &["warn spec: cuts 3 flows between pods: api->db:5432, web->db:5432, ..."]; "a label is no name")]
    #[test_case("{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}",
        &["warn spec: cuts 3 flows between pods: web->api, web->db:5432, ..."]; "egress")]
    #[test_case("{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {}}]}]}", &[]; "near miss: all come in")]
    #[test_case("{podSelector: {matchLabels: {app: none}}}", &[]; "about nobody")]
    fn a_new_policy(spec: &str, expected: &[&str]) {
        for occasion in [Occasion::Create, Occasion::Update] {
            let case = Case::within(CLUSTER).on(occasion);
            assert_eq!(found(&case, spec), expected);
        }
    }

    #[test]
    fn a_change_counts_from_what_the_cluster_has() {
        let deny = "{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]}";
        let cluster = format!("{CLUSTER}---\n{}", policy(deny));
        let case = Case::within(&cluster).after(&policy(deny));
        assert_eq!(found(&case, deny), [""; 0]);
        let open =
            "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {}}]}]}";
        let expected = "warn spec: opens 2 flows between pods: api->db:5432, web->db:5432";
        assert_eq!(found(&case, open), [expected]);
    }

    #[test]
    fn the_labels_of_a_namespace() {
        let spec = "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: a}}}]}]}";
        let case = Case::within(&format!("{CLUSTER}---\n{}", policy(spec)));
        let judge = |labels: &str| {
            let namespace = format!(
                "{{apiVersion: v1, kind: Namespace, metadata: {{name: other, labels: {labels}}}}}"
            );
            case.found(IMPACT.id, &namespace)
        };
        assert_eq!(judge("{team: a, extra: b}"), [""; 0]);
        // Nothing but a number: the policy is of another namespace.
        assert_eq!(
            judge("{team: b}"),
            ["warn metadata.labels: cuts 1 flow between pods"]
        );
    }

    #[test]
    fn the_scan_sees_no_changes() {
        let deny = policy("{podSelector: {}, policyTypes: [Ingress]}");
        let case = Case::within(CLUSTER).on(Occasion::Scan);
        assert_eq!(case.found(IMPACT.id, &deny), [""; 0]);
    }

    #[test]
    fn an_object_that_goes_changes_nothing() {
        let case = Case::within(CLUSTER);
        let deny = policy("{podSelector: {}, policyTypes: [Ingress]}");
        let gone = deny.replace(
            "name: p,",
            "name: p, deletionTimestamp: 2026-01-01T00:00:00Z,",
        );
        assert!(!case.found(IMPACT.id, &deny).is_empty());
        assert_eq!(case.found(IMPACT.id, &gone), [""; 0]);
    }

    #[test]
    fn without_a_cluster_it_is_unknown() {
        let case = Case {
            cluster: None,
            ..Case::default()
        };
        assert!(case.is_unknown(IMPACT.id, &policy("{podSelector: {}}")));
    }

    #[test]
    fn what_takes_too_long_is_said_to_do_so() {
        let pods = |n: usize| {
            format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: p{n}, labels: {{a: 'x{n}'}}}}, spec: {{nodeName: n1}}}}\n---\n"
            )
        };
        let cluster: String = (0..400).map(pods).collect();
        let peer = |n: usize| {
            format!(
                "{{podSelector: {{matchExpressions: [{{key: a, operator: NotIn, values: [y{n}]}}]}}}},"
            )
        };
        let peers: String = (0..2_000).map(peer).collect();
        let spec = format!("{{podSelector: {{}}, ingress: [{{from: [{peers}]}}]}}");
        let found = found(&Case::within(&cluster), &spec);
        assert!(found[0].contains("not computed"), "{found:?}");
    }
}
