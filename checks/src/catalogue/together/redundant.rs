//! Policies and rules that add nothing.

use super::contains::contains;
use super::is_dns_only;
use crate::catalogue::budget::Budget;
use crate::catalogue::words::short;
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use crate::subject::Place;
use ringfence_policy::model::{Peer, Policy, PortMatch, Rule};
use ringfence_policy::snapshot::Kind;
use std::collections::BTreeSet;

/// Two policies of the same effect.
pub static DUPLICATE: Check = Check {
    id: "duplicate",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "another policy of the namespace does exactly the same",
    text: "\
Two policies select the same pods and allow the same. Nothing breaks, until somebody tightens one of
them: policies add up, so the other one still allows what he took away, and he looks in the wrong
place.

Delete one of the two.",
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
metadata: {name: postgres, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: api}}}]
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
metadata: {name: cache, namespace: shop}
spec:
  podSelector: {matchLabels: {app: cache}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: api}}}]
",
    run: duplicate,
};

/// A rule that is contained in another.
pub static SHADOWED: Check = Check {
    id: "shadowed",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "a rule allows nothing that another rule does not allow already",
    text: "\
Rules add up. Where one rule lets in everything that another one lets in, for the same pods, the
narrower one does nothing: the reader believes that port 5432 is limited to `app: api`, while a wider
rule beside it opens it to the namespace.

Delete the wider rule if the narrower one is meant, else the narrower one. The rule that contains it
stands in the same policy, or in one that selects the same pods. Rules that allow only DNS are not
compared across policies: each policy should have its own.",
    bad: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: api}}}]
    ports: [{port: 5432}]
  - from: [{podSelector: {}}]
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
    ports: [{port: 5432}]
",
    run: shadowed,
};

/// Pairs of peers or ports that are compared for one policy.
const COMPARISONS: usize = 20_000;

fn duplicate(ask: &Ask, answers: &mut Answers) {
    let Some(policy) = ask.subject.policy() else {
        return;
    };
    if let Some(other) = others(ask, policy, answers).find(|other| is_same(policy, other)) {
        let name = short(&other.key.name, 50);
        let sentence = format!(
            "policy {name} does exactly the same: whoever tightens one changes nothing; delete one"
        );
        answers.found("metadata.name", sentence, &*other.key.name);
    }
}

/// The other policies of the namespace that select the same pods. Of two that stand in
/// files or in the cluster already, only the later one is held against the other.
fn others<'a>(
    ask: &Ask<'a>,
    policy: &'a Policy,
    answers: &mut Answers,
) -> impl Iterator<Item = &'a Policy> + use<'a> {
    let either = ask.world.occasion.is_admission();
    let index = ask.index(answers);
    let all = index
        .into_iter()
        .flat_map(|i| i.policies(&policy.key.namespace));
    all.map(AsRef::as_ref).filter(move |other| {
        // A companion repeats its author's policy on purpose.
        other.pod_selector == policy.pod_selector
            && !(other.allow_only || policy.allow_only)
            && other.fault.is_none()
            && other.key != policy.key
            && (either || other.key < policy.key)
    })
}

/// Whether two policies with the same selector have the same effect.
fn is_same(a: &Policy, b: &Policy) -> bool {
    let same = |a: &Option<Vec<Rule>>, b: &Option<Vec<Rule>>| match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) if a == b => true,
        (Some(a), Some(b)) => may_be_same(a, b) && canonical(a) == canonical(b),
        _ => false,
    };
    same(&a.ingress, &b.ingress) && same(&a.egress, &b.egress)
}

/// Whether the first of some rules is among others, in whatever order of peers and ports:
/// most policies differ there, and that is quickly seen.
fn may_be_same(a: &[Rule], b: &[Rule]) -> bool {
    let Some(first) = a.first() else {
        return b.is_empty();
    };
    let (peers, ports) = (first.peers.first(), first.ports.first());
    b.iter().any(|rule| {
        peers.is_none_or(|peer| rule.peers.contains(peer))
            && ports.is_none_or(|port| rule.ports.contains(port))
            && rule.peers.is_empty() == first.peers.is_empty()
            && rule.ports.is_empty() == first.ports.is_empty()
    })
}

/// Rules without order and repetition.
fn canonical(rules: &[Rule]) -> BTreeSet<(BTreeSet<&Peer>, BTreeSet<&PortMatch>)> {
    let rules = rules.iter();
    rules
        .map(|rule| (rule.peers.iter().collect(), rule.ports.iter().collect()))
        .collect()
}

fn shadowed(ask: &Ask, answers: &mut Answers) {
    let Some(policy) = ask.subject.policy() else {
        return;
    };
    let others: Vec<&Policy> = others(ask, policy, answers)
        .filter(|other| !is_same(policy, other))
        .collect();
    let mut budget = Budget(COMPARISONS);
    for place in ask.subject.rules() {
        if !budget.spend(1) {
            return;
        }
        let wider = wider(policy, &others, &place, &mut budget);
        // An injected rule depends on no other policy, and does no harm.
        let Some(wider) = wider.filter(|_| !ask.subject.is_injected(&place)) else {
            continue;
        };
        let sentence =
            format!("{wider} already allows all of this; delete whichever of the two is not meant");
        let direction = place.direction;
        let evidence = ask.evidence(|| {
            let rule = &ask.subject.raw["spec"][direction.to_string()][place.index];
            format!("{direction} {rule}")
        });
        answers.found(place.path(), sentence, evidence);
    }
}

/// Where a rule stands that allows all that this one allows.
fn wider(
    policy: &Policy,
    others: &[&Policy],
    place: &Place,
    budget: &mut Budget,
) -> Option<String> {
    let Place {
        direction,
        index,
        rule,
    } = *place;
    let mut contains = |wide: &Rule, narrow: &Rule| {
        let (peers, ports) = (&wide.peers, &wide.ports);
        let cost = 1 + peers.len() * narrow.peers.len() + ports.len() * narrow.ports.len();
        budget.spend(cost) && contains(wide, narrow)
    };
    let own = policy.rules(direction).unwrap_or_default().iter();
    // Of two equal rules the later one is too much.
    let wider = own.enumerate().position(|(at, wide)| {
        at != index && contains(wide, rule) && (at < index || !contains(rule, wide))
    });
    if let Some(at) = wider {
        return Some(format!("{direction}[{at}]"));
    }
    if is_dns_only(direction, rule) {
        return None;
    }
    let wider = others.iter().find(|other| {
        let rules = other.rules(direction).unwrap_or_default();
        rules.iter().any(|wide| contains(wide, rule))
    })?;
    Some(format!("policy {}", short(&wider.key.name, 40)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Occasion;
    use crate::testing;
    use crate::testing::{Case, policy};
    use test_case::test_case;

    const DB: &str = "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: 1}]}]}";

    #[test_case("{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: 1}]}]}", true; "the same")]
    #[test_case("{podSelector: {matchExpressions: [{key: app, operator: In, values: [db]}]}, policyTypes: [Ingress], ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}, {podSelector: {}}, {podSelector: {}}], ports: [{port: 1, protocol: TCP}]}]}", true; "in other words")]
    #[test_case("{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: 2}]}]}", false; "near miss: another port")]
    #[test_case("{podSelector: {}, ingress: [{from: [{podSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: 1}]}]}", false; "near miss: other pods")]
    #[test_case("{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress, Egress], ingress: [{from: [{podSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: 1}]}]}", false; "near miss: egress too")]
    fn duplicates(spec: &str, expected: bool) {
        let other = policy(DB).replace("name: p,", "name: a,");
        let found = Case::within(&other).paths(DUPLICATE.id, &policy(spec));
        assert_eq!(!found.is_empty(), expected);
    }

    #[test_case("a", Occasion::Scan, 1; "the later one is reported")]
    #[test_case("z", Occasion::Scan, 0; "the earlier one is not")]
    #[test_case("z", Occasion::Create, 1; "but a new one is")]
    #[test_case("p", Occasion::Update, 0; "never against itself")]
    fn of_two(name: &str, occasion: Occasion, expected: usize) {
        let other = policy(DB).replace("name: p,", &format!("name: {name},"));
        let case = Case::within(&other).on(occasion);
        assert_eq!(case.paths(DUPLICATE.id, &policy(DB)).len(), expected);
    }

    const API: &str = "{from: [{podSelector: {matchLabels: {app: api}}}], ports: [{port: 80}]}";

    #[test_case(&format!("{API}, {{from: [{{podSelector: {{}}}}]}}"), &["spec.ingress[0]"]; "more pods, more ports")]
    #[test_case(&format!("{{}}, {API}"), &["spec.ingress[1]"]; "everyone")]
    #[test_case(&format!("{API}, {API}"), &["spec.ingress[1]"]; "twice the same: the later one")]
    #[test_case(&format!("{API}, {{from: [{{podSelector: {{}}}}], ports: [{{port: 81}}]}}"), &[]; "near miss: another port")]
    #[test_case(&format!("{API}, {{from: [{{podSelector: {{matchLabels: {{app: web}}}}}}]}}"), &[]; "near miss: other pods")]
    #[test_case("{from: [{ipBlock: {cidr: 10.1.0.0/16}}]}, {from: [{ipBlock: {cidr: 10.0.0.0/8}}]}", &["spec.ingress[0]"]; "a block in a block")]
    #[test_case("{from: [{ipBlock: {cidr: 10.1.0.0/16}}]}, {from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.1.0/24]}}]}", &[]; "near miss: but for a part")]
    #[test_case("{from: [{ipBlock: {cidr: 10.1.0.0/16, except: [10.1.0.0/17]}}]}, {from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.1.0/24]}}]}", &["spec.ingress[0]"]; "of which the other knows")]
    #[test_case("{ports: [{port: 80}]}, {ports: [{port: 1, endPort: 99}]}", &["spec.ingress[0]"]; "a port in a range")]
    #[test_case("{ports: [{port: 80, protocol: UDP}]}, {ports: [{port: 1, endPort: 99}]}", &[]; "near miss: another protocol")]
    #[test_case("{ports: [{port: http}]}, {ports: [{}]}", &["spec.ingress[0]"]; "a name among all ports")]
    #[test_case("{ports: [{port: 80}]}, {from: [{podSelector: {}}]}", &[]; "near miss: everyone is no narrower")]
    fn in_one_policy(rules: &str, expected: &[&str]) {
        let object = policy(&format!("{{podSelector: {{}}, ingress: [{rules}]}}"));
        assert_eq!(Case::default().paths(SHADOWED.id, &object), expected);
    }

    #[test_case("{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {}}]}]}", 1; "wider")]
    #[test_case("{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}", 0; "near miss: of other pods")]
    #[test_case("{podSelector: {matchLabels: {app: db}}, egress: [{to: [{podSelector: {}}]}]}", 0; "near miss: of the other direction")]
    fn across_policies(other: &str, expected: usize) {
        let other = policy(other).replace("name: p,", "name: a,");
        let object = policy(&format!(
            "{{podSelector: {{matchLabels: {{app: db}}}}, ingress: [{API}]}}"
        ));
        assert_eq!(
            Case::within(&other).paths(SHADOWED.id, &object).len(),
            expected
        );
    }

    #[test_case("a", "p"; "its author's policy beside it")]
    #[test_case("p", "a"; "beside its author's policy")]
    fn a_companion_is_neither_too_much_nor_enough(companion: &str, judged: &str) {
        let spec = format!("{{podSelector: {{}}, ingress: [{API}]}}");
        let named = |name: &str| {
            let policy = policy(&spec).replace("name: p,", &format!("name: {name},"));
            if name == companion {
                testing::companion(&policy)
            } else {
                policy
            }
        };
        let other = if judged == "p" { "a" } else { "p" };
        let case = Case::within(&named(other)).on(Occasion::Create);
        let report = case.judge(&crate::testing::document(&named(judged)));
        let mut found = report.findings.iter().map(|f| f.check);
        assert!(!found.any(|check| [DUPLICATE.id, SHADOWED.id].contains(&check)));
    }

    #[test]
    fn every_policy_may_have_its_dns() {
        let dns = "{podSelector: {}, egress: [{ports: [{port: 53, protocol: UDP}]}]}";
        let other =
            policy("{podSelector: {}, egress: [{ports: [{protocol: UDP}, {protocol: TCP}]}]}");
        let case = Case::within(&other.replace("name: p,", "name: a,"));
        assert!(case.paths(SHADOWED.id, &policy(dns)).is_empty());
    }

    #[test]
    fn an_injected_rule_may_be_too_much() {
        use crate::inject::{Part, rule};
        use crate::testing::document;
        let mut object = document(&policy(&format!("{{podSelector: {{}}, ingress: [{API}]}}")));
        let other = policy("{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}");
        let case = Case::within(&other.replace("name: p,", "name: a,"));
        let found = |object: &serde_json::Value| {
            let report = case.judge(object);
            report.findings.iter().any(|f| f.check == SHADOWED.id)
        };
        assert!(found(&object));
        let subject = crate::Subject::read(&object).unwrap();
        let place = subject.rules().next().unwrap();
        let record = rule::record(&[rule::hash(place.direction, place.rule)]);
        object["metadata"]["annotations"] = serde_json::json!({Part::Monitoring.record(): record});
        assert!(!found(&object));
    }

    #[test_case("[a]", "[a, b]", true; "In of more")]
    #[test_case("[a, c]", "[a, b]", false; "In of others")]
    fn selectors_in(narrow: &str, wide: &str, expected: bool) {
        let rule = |values: &str| {
            format!(
                "{{from: [{{podSelector: {{matchExpressions: [{{key: k, operator: In, values: {values}}}]}}}}]}}"
            )
        };
        let object = policy(&format!(
            "{{podSelector: {{}}, ingress: [{}, {}]}}",
            rule(narrow),
            rule(wide)
        ));
        assert_eq!(
            Case::default().paths(SHADOWED.id, &object).len(),
            usize::from(expected)
        );
    }

    #[test]
    fn ten_thousand_rules_are_not_all_compared() {
        let rules: Vec<_> = (0..10_000)
            .map(|i| format!("{{ports: [{{port: {}}}]}}", i + 1))
            .collect();
        let object = policy(&format!(
            "{{podSelector: {{}}, ingress: [{}]}}",
            rules.join(",")
        ));
        assert!(Case::default().paths(SHADOWED.id, &object).is_empty());
    }
}
