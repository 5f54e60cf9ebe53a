//! Blocks that are the whole world, openly or by halves.

use super::{Block, blocks};
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use crate::space::Space;
use ipnet::IpNet;
use ringfence_policy::model::{Direction, PortMatch};
use ringfence_policy::snapshot::Kind;
use std::collections::BTreeMap;

/// `0.0.0.0/0` or `::/0` without `except`.
pub static WORLD: Check = Check {
    id: "cidr-world",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Object,
    kinds: &[Kind::NetworkPolicy],
    title: "an ipBlock of every address allows the whole world",
    text: "\
An `ipBlock` is judged by address alone, and `0.0.0.0/0` is every IPv4 address: the
internet, the nodes, and every pod of the cluster in every namespace. As a source it shuts
nobody out; as a destination it also opens the cloud's metadata address and the whole
cluster. `::/0` is the same for IPv6, and neither stands for the other.

Name the ranges that are meant. Where the internet is meant but not the cluster, take the
cluster's ranges out with `except`, and allow pods by selectors.",
    bad: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from: [{ipBlock: {cidr: 0.0.0.0/0}}]
    ports: [{port: 8080}]
",
    good: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}]
    ports: [{port: 8080}]
",
    run: world,
};

/// Blocks that make up the world together.
pub static SPLIT_WORLD: Check = Check {
    id: "cidr-split-world",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Object,
    kinds: &[Kind::NetworkPolicy],
    title: "ipBlocks that together are every address allow the whole world",
    text: "\
`0.0.0.0/1` and `128.0.0.0/1` are the two halves of all IPv4 addresses. No single block
looks like the world, so a search for `0.0.0.0/0` finds nothing; together they allow
everyone, on the ports that the rules have in common. Blocks of one policy add up, whether
they stand in one rule or in two.

If everyone is meant, write `0.0.0.0/0`, so that the next reader sees it. If not, name the
ranges that are meant.",
    bad: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from:
    - ipBlock: {cidr: 0.0.0.0/1}
    - ipBlock: {cidr: 128.0.0.0/1}
",
    good: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from:
    - ipBlock: {cidr: 192.0.2.0/25}
    - ipBlock: {cidr: 198.51.100.0/24}
",
    run: split,
};

fn is_open_world(block: &Block) -> bool {
    block.range.cidr.prefix_len() == 0 && block.range.except.is_empty()
}

fn world(ask: &Ask, answers: &mut Answers) {
    for block in blocks(ask.subject).filter(is_open_world) {
        let cidr = block.range.cidr;
        let sentence = match block.rule.direction {
            Direction::Ingress => format!("{cidr} lets everyone in: internet, nodes and every pod"),
            Direction::Egress => format!(
                "{cidr} lets the pods out to everyone: internet, nodes, every pod, cloud metadata"
            ),
        };
        answers.found(block.path(), sentence, block.evidence());
    }
}

fn split(ask: &Ask, answers: &mut Answers) {
    // Blocks add up where they open the same ports.
    let mut together: BTreeMap<(Direction, bool, &[PortMatch]), Vec<Block>> = BTreeMap::new();
    for block in blocks(ask.subject) {
        let v4 = matches!(block.range.cidr, IpNet::V4(_));
        let key = (block.rule.direction, v4, &*block.rule.rule.ports);
        together.entry(key).or_default().push(block);
    }
    for ((direction, v4, _), blocks) in together {
        // `::/0` is cidr-world's, and `2000::/3` says openly that it is the internet.
        let open = |b: &Block| {
            let cidr = b.range.cidr;
            cidr.prefix_len() == 0 || (cidr.prefix_len() == 3 && Space::of([cidr]).is_world(v4))
        };
        let union = || Space::of_blocks(blocks.iter().map(|b| b.range));
        if blocks.len() < 2 || blocks.iter().any(open) || !union().is_world(v4) {
            continue;
        }
        let (count, family) = (blocks.len(), if v4 { "IPv4" } else { "IPv6" });
        let sentence =
            format!("together {count} blocks are every {family} address: {direction} is open");
        let ports = &blocks[0].rule.rule.ports;
        let evidence = format!("{direction} {family} {ports:?}");
        answers.found(blocks[0].path(), sentence, evidence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Case;
    use test_case::test_case;

    fn paths(check: &Check, spec: &str) -> Vec<String> {
        let head = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
                    metadata: {name: p, namespace: default}\n";
        Case::default().paths(check.id, &format!("{head}spec: {spec}"))
    }

    #[test_case("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}", &["spec.ingress[0].from[0].ipBlock.cidr"]; "ingress")]
    #[test_case("{podSelector: {}, egress: [{to: [{podSelector: {}}, {ipBlock: {cidr: '::/0'}}]}]}", &["spec.egress[0].to[1].ipBlock.cidr"]; "egress, IPv6")]
    #[test_case("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}]}]}", &[]; "near miss: except")]
    #[test_case("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/1}}]}]}", &[]; "half")]
    #[test_case("{podSelector: {}, policyTypes: [Egress], ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}", &[]; "in a direction that is not isolated")]
    fn worlds(spec: &str, expected: &[&str]) {
        assert_eq!(paths(&WORLD, spec), expected);
    }

    #[test_case("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/1}}, {ipBlock: {cidr: 128.0.0.0/1}}]}]}", 1; "halves")]
    #[test_case("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/1}}]}, {from: [{ipBlock: {cidr: 128.0.0.0/1}}]}]}", 1; "halves in two rules")]
    #[test_case("{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 1.0.0.0/8}}, {ipBlock: {cidr: 2.0.0.0/7}}, {ipBlock: {cidr: 4.0.0.0/6}}, {ipBlock: {cidr: 8.0.0.0/5}}, {ipBlock: {cidr: 16.0.0.0/4}}, {ipBlock: {cidr: 32.0.0.0/3}}, {ipBlock: {cidr: 64.0.0.0/2}}, {ipBlock: {cidr: 128.0.0.0/2}}, {ipBlock: {cidr: 192.0.0.0/3}}]}]}", 1; "everything that can be routed")]
    #[test_case("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '::/1'}}, {ipBlock: {cidr: '8000::/1'}}]}]}", 1; "IPv6")]
    #[test_case("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/1}}], ports: [{port: 80}]}, {from: [{ipBlock: {cidr: 128.0.0.0/1}}]}]}", 0; "near miss: other ports")]
    #[test_case("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/1, except: [10.0.0.0/8]}}, {ipBlock: {cidr: 128.0.0.0/1}}]}]}", 0; "near miss: less an exception")]
    #[test_case("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}, {ipBlock: {cidr: 128.0.0.0/1}}]}]}", 0; "one block is all: cidr-world")]
    #[test_case("{podSelector: {}, egress: [{to: [{ipBlock: {cidr: '2000::/3'}}]}]}", 0; "the internet in one block")]
    fn halves(spec: &str, expected: usize) {
        assert_eq!(paths(&SPLIT_WORLD, spec).len(), expected);
    }
}
