//! Policies that become more rules than an enforcer should carry.

use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use ringfence_policy::model::{Direction, Peer, Rule};
use ringfence_policy::snapshot::Kind;

/// Rules times pods are too many.
pub static EXPLOSION: Check = Check {
    id: "explosion",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "the policy becomes very many rules",
    text: "\
Enforcers write a policy out: each peer with each port, for each pod that the policy selects. A list
of a hundred address blocks and a few ports, on hundreds of pods, becomes tens of thousands of
entries. They take memory on every node with such pods, and each change of a pod takes longer to
reach the kernel; some enforcers give up. (Ringfence shares lists between pods; others may not.)

Said above 20,000 entries. Write larger blocks instead of many small ones, ranges of ports instead
of single ones, and select only the pods that need it.",
    bad: BAD,
    good: GOOD,
    run: explosion,
};

/// Said above as many entries.
const MOST: usize = 20_000;

/// Twelve times the same.
macro_rules! dozen {
    ($($text:tt)*) => {
        concat!($($text)*, $($text)*, $($text)*, $($text)*, $($text)*, $($text)*,
                $($text)*, $($text)*, $($text)*, $($text)*, $($text)*, $($text)*)
    };
}

/// What both examples begin with.
macro_rules! beginning {
    () => {
        "\
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: shop, labels: {app: web}}
spec: {nodeName: node1}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
"
    };
}

/// 144 blocks, and as many ports.
const BAD: &str = concat!(
    beginning!(),
    "  - from: [",
    dozen!(dozen!("{ipBlock: {cidr: 198.51.100.0/32}}, ")),
    "]\n    ports: [",
    dozen!(dozen!("{port: 8000}, ")),
    "]\n",
);
const GOOD: &str = concat!(
    beginning!(),
    "  - from: [{ipBlock: {cidr: 198.51.100.0/24}}]\n    ports: [{port: 8000, endPort: 8143}]\n",
);

fn explosion(ask: &Ask, answers: &mut Answers) {
    let Some(policy) = ask.subject.policy() else {
        return;
    };
    let lines = |direction: Direction| -> usize {
        let rules = policy.rules(direction).unwrap_or_default();
        rules.iter().map(entries).sum()
    };
    let lines = lines(Direction::Ingress) + lines(Direction::Egress);
    // Few rules are few entries on any number of pods that a namespace can have.
    if lines < 2 {
        return;
    }
    let Some(index) = ask.index(answers) else {
        return;
    };
    let selected = index.selected(&policy.key.namespace, &policy.pod_selector);
    let judged = selected.filter(|workload| !workload.pod.host_network);
    let pods: usize = judged.map(|workload| workload.count).sum();
    let all = lines.saturating_mul(pods);
    if all > MOST {
        let sentence = format!(
            "{lines} peers by port on {pods} pods are {all} entries; use larger blocks, or fewer ports"
        );
        answers.found("spec", sentence, "entries");
    }
}

/// Each peer with each port.
fn entries(rule: &Rule) -> usize {
    let peers = rule.peers.iter().map(|peer| match peer {
        Peer::Block(block) => 1 + block.except.len(),
        Peer::Pods { .. } => 1,
    });
    peers.sum::<usize>().max(1) * rule.ports.len().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, policy};
    use test_case::test_case;

    fn blocks(n: usize) -> String {
        "{ipBlock: {cidr: 198.51.100.0/24}},".repeat(n)
    }

    fn pods(n: usize) -> String {
        let pod = |i: usize| {
            format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: p{i}, labels: {{a: b}}}}, spec: {{nodeName: n1}}}}\n---\n"
            )
        };
        (0..n).map(pod).collect()
    }

    #[test_case(200, 11, "{port: 1}, {port: 2},", 10, true; "blocks by ports by pods")]
    #[test_case(100, 10, "{port: 1}, {port: 2},", 10, false; "near miss: exactly as many")]
    #[test_case(200, 10, "{port: 1, endPort: 2}", 10, false; "a range of ports")]
    #[test_case(200, 0, "{port: 1}", 10, false; "nobody is selected")]
    fn entries(blocks_: usize, pods_: usize, ports: &str, rules: usize, found: bool) {
        let rule = format!("{{from: [{}], ports: [{ports}]}},", blocks(blocks_ / rules));
        let spec = format!(
            "{{podSelector: {{}}, ingress: [{}]}}",
            rule.repeat(rules * 10)
        );
        let case = Case::within(&pods(pods_));
        assert_eq!(!case.paths(EXPLOSION.id, &policy(&spec)).is_empty(), found);
    }

    #[test]
    fn exceptions_are_entries_too() {
        let except = "10.0.0.0/16,".repeat(200);
        let rule = format!("{{from: [{{ipBlock: {{cidr: 10.0.0.0/8, except: [{except}]}}}}]}},");
        let spec = format!("{{podSelector: {{}}, ingress: [{}]}}", rule.repeat(10));
        let found = |n: usize| Case::within(&pods(n)).found(EXPLOSION.id, &policy(&spec));
        assert_eq!(found(9), [""; 0]);
        let told = "warn spec: 2010 peers by port on 10 pods are 20100 entries; use larger blocks, or fewer ports";
        assert_eq!(found(10), [told]);
    }
}
