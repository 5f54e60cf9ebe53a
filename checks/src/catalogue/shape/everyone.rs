//! Rules that mean everyone.

use crate::Subject;
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use ringfence_policy::model::Direction;
use ringfence_policy::snapshot::Kind;
use serde_json::Value;

/// `from: []`, `to: []`.
pub static PEERS_EMPTY: Check = Check {
    id: "peers-empty",
    baseline: Level::Warn,
    strict: Level::Deny,
    mends: Mend::Author,
    scope: Scope::Object,
    kinds: &[Kind::NetworkPolicy],
    title: "an empty list of peers means everyone, not nobody",
    text: "\
`from` and `to` list who may connect. One would expect that an empty list lets nobody in; but
Kubernetes takes `from: []` for a list that is not there, and a rule without the list lets
*everyone* in, from outside the cluster too. Templates often produce such a list when a value
is empty.

For nobody delete the whole rule: what no rule allows is denied. For everyone leave `from` or
`to` out, so that the reader sees what is meant. The API server drops the empty list, so in a
live object this is found only where kubectl has kept what was typed.",
    bad: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
  - from: []
    ports: [{port: 5432}]
",
    good: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress: []
",
    run: peers_empty,
};

/// `ingress: [{}]`
pub static ALLOW_ALL_INGRESS: Check = Check {
    id: "allow-all-ingress",
    baseline: Level::Warn,
    strict: Level::Deny,
    mends: Mend::Author,
    scope: Scope::Object,
    kinds: &[Kind::NetworkPolicy],
    title: "an empty ingress rule lets everyone in",
    text: "\
A rule says who (`from`) may connect on which ports. A rule that says neither, `{}`, lets
everyone in on every port: other namespaces, nodes, and the world where it can reach the pod.
Policies add up, so this one also undoes whatever other policies leave out for these pods.

Name who may connect, and on which ports. Where everyone is really meant, suppress this check
with the reason.",
    bad: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - {}
",
    good: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: gateway}}}]
    ports: [{port: 8080}]
",
    run: |ask, answers| allow_all(Direction::Ingress, ask, answers),
};

/// `egress: [{}]`
pub static ALLOW_ALL_EGRESS: Check = Check {
    id: "allow-all-egress",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Object,
    kinds: &[Kind::NetworkPolicy],
    title: "an empty egress rule lets the pods connect to everyone",
    text: "\
An egress rule says to whom (`to`) pods may connect and on which ports. A rule that says
neither, `{}`, lets them connect to everyone: other namespaces, nodes, the cloud's metadata
service and the internet. Policies add up, so this one also undoes whatever other policies
leave out for these pods.

Name the peers that the pods need, or do not isolate egress at all.",
    bad: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Egress]
  egress:
  - {}
",
    good: "\
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
    run: |ask, answers| allow_all(Direction::Egress, ask, answers),
};

/// A rule with an empty list of peers: its section, its place there, the list's name.
type Hollow = (&'static str, usize, &'static str);

fn peers_empty(ask: &Ask, answers: &mut Answers) {
    for (section, index, far) in hollow(ask.subject) {
        let whom = match far {
            "from" => "lets everyone in, from outside too",
            _ => "lets the pods connect to everyone",
        };
        let sentence = format!(
            "`{far}: []` {whom}; for nobody delete the rule, for everyone leave `{far}` out"
        );
        answers.found(format!("spec.{section}[{index}].{far}"), sentence, section);
    }
}

/// As typed, or as kubectl remembers where the API server has dropped the list.
fn hollow(subject: &Subject) -> Vec<Hollow> {
    let mut found = hollow_in(subject.raw);
    let before = subject.last_applied().map(|typed| hollow_in(typed));
    let gone = |(section, index, far): &Hollow| {
        let rule = subject.raw["spec"][section].get(index);
        rule.is_some_and(|rule| rule.get(far).is_none())
    };
    found.extend(before.into_iter().flatten().filter(gone));
    found
}

fn hollow_in(object: &Value) -> Vec<Hollow> {
    let mut found = Vec::new();
    for (section, far) in [("ingress", "from"), ("egress", "to")] {
        let rules = object["spec"][section].as_array();
        for (index, rule) in rules.into_iter().flatten().enumerate() {
            let list = rule.get(far);
            if list.is_some_and(|l| l.is_null() || l.as_array().is_some_and(Vec::is_empty)) {
                found.push((section, index, far));
            }
        }
    }
    found
}

fn allow_all(direction: Direction, ask: &Ask, answers: &mut Answers) {
    let sentence = match direction {
        Direction::Ingress => {
            "`{}` lets everyone in on every port, from outside the cluster too; \
             name who may connect in `from`"
        }
        Direction::Egress => {
            "`{}` lets the pods connect to everyone, outside the cluster too; \
             name whom they need in `to`"
        }
    };
    let empty = ask.subject.rules().filter(|place| {
        place.direction == direction && place.rule.peers.is_empty() && place.rule.ports.is_empty()
    });
    for place in empty {
        answers.found(place.path(), sentence, direction.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Occasion;
    use crate::testing::{Case, policy};
    use test_case::test_case;

    #[test_case("{podSelector: {}, ingress: [{from: [], ports: [{port: 80}]}]}", &["spec.ingress[0].from"]; "from of nobody")]
    #[test_case("{podSelector: {}, ingress: [{from: }]}", &["spec.ingress[0].from"]; "nothing behind the colon")]
    #[test_case("{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 1}]}, {to: []}]}", &["spec.egress[1].to"]; "to of nobody")]
    #[test_case("{podSelector: {}, ingress: [{ports: [{port: 80}]}]}", &[]; "near miss: left out")]
    #[test_case("{podSelector: {}, ingress: []}", &[]; "no rule")]
    fn hollow_lists(spec: &str, expected: &[&str]) {
        assert_eq!(
            Case::default().paths(PEERS_EMPTY.id, &policy(spec)),
            expected
        );
    }

    #[test_case("[{}]", 1; "dropped by the API server")]
    #[test_case("[{ports: [{port: 80}]}]", 1; "with ports")]
    #[test_case("[{from: [{podSelector: {}}]}]", 0; "mended since")]
    #[test_case("[]", 0; "rule deleted since")]
    fn hollow_lists_that_kubectl_remembers(ingress: &str, expected: usize) {
        let object = policy(&format!("{{podSelector: {{}}, ingress: {ingress}}}")).replace(
            "name: p,",
            r#"name: p, annotations: {kubectl.kubernetes.io/last-applied-configuration: '{"spec":{"ingress":[{"from":[]}]}}'},"#,
        );
        let case = Case::default().on(Occasion::Create);
        assert_eq!(case.paths(PEERS_EMPTY.id, &object).len(), expected);
    }

    #[test_case("{podSelector: {}, ingress: [{}]}", &["spec.ingress[0]"]; "one empty rule")]
    #[test_case("{podSelector: {}, ingress: [{from: [{podSelector: {}}]}, {}]}", &["spec.ingress[1]"]; "the second")]
    #[test_case("{podSelector: {}, ingress: [{ports: [{port: 80}]}]}", &[]; "near miss: only on a port")]
    #[test_case("{podSelector: {}, policyTypes: [Egress], ingress: [{}], egress: [{}]}", &[]; "ingress is not isolated")]
    #[test_case("{podSelector: {}, policyTypes: [Ingress]}", &[]; "default deny")]
    fn everyone_in(spec: &str, expected: &[&str]) {
        assert_eq!(
            Case::default().paths(ALLOW_ALL_INGRESS.id, &policy(spec)),
            expected
        );
    }

    #[test_case("{podSelector: {}, egress: [{}]}", &["spec.egress[0]"]; "one empty rule")]
    #[test_case("{podSelector: {}, egress: [{ports: [{port: 53, protocol: UDP}]}]}", &[]; "near miss: only on a port")]
    #[test_case("{podSelector: {}, ingress: [{}]}", &[]; "ingress only")]
    fn out_to_everyone(spec: &str, expected: &[&str]) {
        assert_eq!(
            Case::default().paths(ALLOW_ALL_EGRESS.id, &policy(spec)),
            expected
        );
    }
}
