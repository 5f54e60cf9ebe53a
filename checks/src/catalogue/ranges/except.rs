//! Exceptions that another block takes back.

use super::{Block, blocks};
use crate::Index;
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use crate::space::Space;
use ringfence_policy::model::{Direction, IpBlock, Peer, Policy, PortMatch, PortSpec, Rule};
use ringfence_policy::snapshot::Kind;

/// What `except` takes out is allowed elsewhere.
pub static REOPENED: Check = Check {
    id: "except-reopened",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "another rule allows what except takes out",
    text: "\
`except` belongs to its own `cidr` and to nothing else. It does not deny: it only makes this
one block smaller. Rules, and policies that select the same pods, add up, so what one block
leaves out another one can allow. Two blocks of everything with one exception each allow
everything.

Put every exception into each block, or make one block of them. A narrow block that allows
a part of an exception again on purpose is no finding; one that allows all of it is.",
    bad: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: fetcher, namespace: shop}
spec:
  podSelector: {matchLabels: {app: fetcher}}
  policyTypes: [Egress]
  egress:
  - to:
    - ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}
    - ipBlock: {cidr: 0.0.0.0/0, except: [192.168.0.0/16]}
",
    good: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: fetcher, namespace: shop}
spec:
  podSelector: {matchLabels: {app: fetcher}}
  policyTypes: [Egress]
  egress:
  - to:
    - ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8, 192.168.0.0/16]}
",
    run: reopened,
};

/// How many different lists of ports with exceptions are looked at: more than anybody
/// writes, few enough that nobody can keep the webhook busy.
const MOST: usize = 32;

fn reopened(ask: &Ask, answers: &mut Answers) {
    let Some(policy) = ask.subject.policy() else {
        return;
    };
    let with_except: Vec<Block> = blocks(ask.subject)
        .filter(|b| !b.range.except.is_empty())
        .collect();
    if with_except.is_empty() {
        return;
    }
    // The policy's own blocks are known in any case; those of others need the cluster.
    let index = ask.index(answers);
    let mut spaces: Vec<((Direction, &[PortMatch]), Space)> = Vec::new();
    for block in with_except {
        let direction = block.rule.direction;
        let key = (direction, &*block.rule.rule.ports);
        let at = match spaces.iter().position(|(k, _)| *k == key) {
            Some(at) => at,
            None if spaces.len() < MOST => {
                spaces.push((key, allowed(policy, index, direction, key.1)));
                spaces.len() - 1
            }
            None => return,
        };
        for except in &block.range.except {
            // The block itself allows nothing of its own exception.
            if spaces[at].1.covers(except) {
                let sentence =
                    format!("except {except} has no effect: other {direction} rules allow it");
                let path = format!("{}.ipBlock.except", block.rule.peer(block.index));
                answers.found(path, sentence, format!("{direction} {except}"));
            }
        }
    }
}

/// What blocks on some of these ports allow for the same pods.
fn allowed(
    policy: &Policy,
    index: Option<&Index>,
    direction: Direction,
    ports: &[PortMatch],
) -> Space {
    let others = index.into_iter().flat_map(|index| {
        let all = index.policies(&policy.key.namespace).map(AsRef::as_ref);
        all.filter(|other| shares_pods(index, policy, other))
    });
    let rules = std::iter::once(policy)
        .chain(others)
        .flat_map(|p| p.rules(direction).unwrap_or_default());
    let blocks: Vec<&IpBlock> = rules
        .filter(|rule| shares_ports(rule, ports))
        .flat_map(|rule| &rule.peers)
        .filter_map(|peer| match peer {
            Peer::Block(block) => Some(block),
            Peer::Pods { .. } => None,
        })
        .collect();
    Space::of_blocks(blocks)
}

fn shares_pods(index: &Index, policy: &Policy, other: &Policy) -> bool {
    let mut pods = index.selected(&policy.key.namespace, &policy.pod_selector);
    policy.key != other.key && pods.any(|w| other.pod_selector.matches(&w.pod.labels))
}

fn shares_ports(rule: &Rule, ports: &[PortMatch]) -> bool {
    if rule.ports.is_empty() || ports.is_empty() {
        return true;
    }
    let meets = |a: &PortMatch, b: &PortMatch| {
        a.protocol == b.protocol
            && match (&a.port, &b.port) {
                (PortSpec::Any, _) | (_, PortSpec::Any) => true,
                (PortSpec::Range(a, b), PortSpec::Range(c, d)) => a <= d && c <= b,
                (PortSpec::Named(a), PortSpec::Named(b)) => a == b,
                _ => false,
            }
    };
    rule.ports.iter().any(|a| ports.iter().any(|b| meets(a, b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Case;
    use test_case::test_case;

    fn policy(name: &str, app: &str, egress: &str) -> String {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
             metadata: {{name: {name}, namespace: default}}\n\
             spec: {{podSelector: {{{app}}}, policyTypes: [Egress], egress: {egress}}}\n"
        )
    }

    const EXCEPT: &str = "{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}";

    #[test_case("[{to: [EXCEPT, {ipBlock: {cidr: 0.0.0.0/0, except: [192.168.0.0/16]}}]}]", 2; "two blocks reopen each other")]
    #[test_case("[{to: [EXCEPT]}, {to: [{ipBlock: {cidr: 10.0.0.0/9}}, {ipBlock: {cidr: 10.128.0.0/9}}]}]", 1; "two halves in another rule")]
    #[test_case("[{to: [EXCEPT]}, {to: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: 443}]}]", 1; "on one port")]
    #[test_case("[{to: [EXCEPT]}, {to: [{ipBlock: {cidr: 10.1.2.3/32}}]}]", 0; "near miss: a part on purpose")]
    #[test_case("[{to: [EXCEPT], ports: [{port: 80}]}, {to: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: 443}]}]", 0; "near miss: other ports")]
    #[test_case("[{to: [EXCEPT, {podSelector: {}}]}]", 0; "near miss: pods by selector")]
    #[test_case("[{to: [EXCEPT]}]", 0; "alone")]
    fn in_one_policy(egress: &str, expected: usize) {
        let object = policy("p", "", &egress.replace("EXCEPT", EXCEPT));
        let found = Case::default().found(REOPENED.id, &object);
        assert_eq!(found.len(), expected, "{found:?}");
    }

    #[test_case("", 1; "the same pods")]
    #[test_case("matchLabels: {app: other}", 0; "near miss: other pods")]
    fn in_another_policy(app: &str, expected: usize) {
        let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {app: web}}\nspec: {nodeName: node-1}\n---\n";
        let other = policy("other", app, "[{to: [{ipBlock: {cidr: 10.0.0.0/8}}]}]");
        let object = policy("p", "", &format!("[{{to: [{EXCEPT}]}}]"));
        let found = Case::within(&format!("{pod}{other}")).found(REOPENED.id, &object);
        assert_eq!(found.len(), expected, "{found:?}");
        let unsynced = Case {
            cluster: None,
            ..Case::default()
        };
        assert!(unsynced.is_unknown(REOPENED.id, &object));
    }
}
