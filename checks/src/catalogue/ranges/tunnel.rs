//! A generated list of tunnel addresses that came out empty.
//!
//! The mend that seed 002 tells of whitelists the tunnel address of every node. Nobody
//! types such a list: a template or script makes it from the nodes, and a list without
//! entries, or an address without its length, is everyone. An empty `from` alone does not
//! tell that story (`peers-empty` and `allow-all-ingress` judge it), so one of four signs
//! is needed; each is absurd in a policy that means what it says:
//!
//! 1. a block with an address but the length 0: `10.233.96.0/0`;
//! 2. `from:` written and empty, in a policy whose name, labels or annotations speak of
//!    tunnels;
//! 3. a rule without peers beside a rule with the same ports whose peers are all node or
//!    tunnel addresses, which it makes pointless;
//! 4. on an update: a rule without peers where the old object had, with the same ports,
//!    node or tunnel addresses only.

use crate::Subject;
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use crate::ranges::{Meaning, Ranges};
use ringfence_policy::model::{Direction, Peer, PortMatch, Rule};
use ringfence_policy::snapshot::Kind;
use serde_json::Value;
use std::collections::HashSet;
use std::net::IpAddr;

/// An empty list of tunnel addresses.
pub static ZERO_LENGTH: Check = Check {
    id: "tunnel-zero-length",
    baseline: Level::Deny,
    strict: Level::Deny,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "a generated list of node or tunnel addresses is empty, and that means everyone",
    text: "\
Lists of the nodes' tunnel addresses are made by templates and scripts. When such a list
comes out empty, `from` is empty, and an empty `from` does not mean nobody: it means
everyone. The same happens to an address whose length got lost: `10.233.96.0/0` is not this
address, it is every address.

This is refused where a policy shows that a list was meant: a block with an address but the
length 0; an empty `from` in a policy whose name, labels or annotations speak of tunnels; a
rule without peers beside a rule, or in place of a rule, that allowed only node or tunnel
addresses.

Mend the generator so that it makes no rule from an empty list. Better, do without the list:
it admits every pod of the cluster (see `node-address-allowed`).",
    bad: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: dashboard
  namespace: tools
  annotations: {example.com/generated-by: tunnel-addresses.sh}
spec:
  podSelector: {matchLabels: {app: dashboard}}
  policyTypes: [Ingress]
  ingress:
  - from: []
",
    good: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: dashboard
  namespace: tools
  annotations: {example.com/generated-by: tunnel-addresses.sh}
spec:
  podSelector: {matchLabels: {app: dashboard}}
  policyTypes: [Ingress]
  ingress: []
",
    run: zero_length,
};

fn zero_length(ask: &Ask, answers: &mut Answers) {
    let subject = ask.subject;
    if subject.policy().is_none_or(|p| p.ingress.is_none()) {
        return;
    }
    zero_prefixes(subject, answers);
    let mut open = everyone(subject).peekable();
    if open.peek().is_none() {
        return;
    }
    let typed = subject.last_applied();
    let generated = speaks_of_tunnels(subject.raw);
    let (mut beside, mut before) = (None, None);
    for (index, ports) in open {
        let path = format!("spec.ingress[{index}].from");
        let written = |object: &Value| is_written_empty(object, index);
        let is_written = written(subject.raw) || typed.is_some_and(written);
        if generated && is_written {
            let sentence =
                "the list of tunnel addresses is empty, and an empty from admits everyone";
            answers.found(path, sentence, format!("empty {ports:?}"));
        } else if beside
            .get_or_insert_with(|| ports_of_addresses(subject, ask, answers))
            .contains(ports)
        {
            let sentence =
                "admits everyone, beside a rule of node addresses only: its list came out empty";
            answers.found(path, sentence, format!("beside {ports:?}"));
        } else if before
            .get_or_insert_with(|| {
                let old = ask.old.get();
                old.map_or_else(HashSet::new, |old| ports_of_addresses(old, ask, answers))
            })
            .contains(ports)
        {
            let sentence =
                "admits everyone, where only node addresses were: the list came out empty";
            answers.found(path, sentence, format!("emptied {ports:?}"));
        }
    }
}

/// `10.233.96.0/0`
fn zero_prefixes(subject: &Subject, answers: &mut Answers) {
    for block in super::blocks_of(subject, Direction::Ingress) {
        if block.range.cidr.prefix_len() > 0 {
            continue;
        }
        let (rule, peer) = (block.rule.index, block.index);
        let text = &subject.raw["spec"]["ingress"][rule]["from"][peer]["ipBlock"]["cidr"];
        let Some(text) = text.as_str() else { continue };
        let address = text.split('/').next().unwrap_or_default();
        if address.parse().is_ok_and(|a: IpAddr| !a.is_unspecified()) {
            let sentence = format!("{text} is not one address but every one: its length is 0");
            answers.found(block.path(), sentence, text);
        }
    }
}

/// The ingress rules without peers: place and ports.
fn everyone<'a>(subject: &'a Subject) -> impl Iterator<Item = (usize, &'a [PortMatch])> {
    let rules = subject.rules();
    rules
        .filter(|r| r.direction == Direction::Ingress && r.rule.peers.is_empty())
        .map(|r| (r.index, &*r.rule.ports))
}

/// Whether `from` is there and empty: a key that somebody or something has written.
fn is_written_empty(object: &Value, index: usize) -> bool {
    let rule = &object["spec"]["ingress"][index];
    let from = rule.as_object().and_then(|rule| rule.get("from"));
    from.is_some_and(|from| from.is_null() || from.as_array().is_some_and(Vec::is_empty))
}

fn speaks_of_tunnels(object: &Value) -> bool {
    let tunnel = |text: &str| {
        let text = text.to_lowercase();
        text.contains("tunnel") || text.contains("tunl")
    };
    let metadata = &object["metadata"];
    let pairs = ["labels", "annotations"]
        .iter()
        .filter_map(|field| metadata[field].as_object())
        .flatten()
        // It repeats the whole object, which names this check's subject in any case.
        .filter(|(key, _)| !key.ends_with("last-applied-configuration"));
    let mut pairs = pairs;
    metadata["name"].as_str().is_some_and(tunnel)
        || pairs.any(|(key, value)| tunnel(key) || value.as_str().is_some_and(tunnel))
}

/// The ports of the ingress rules whose peers are all node or tunnel addresses.
fn ports_of_addresses<'a>(
    subject: &'a Subject,
    ask: &Ask,
    answers: &mut Answers,
) -> HashSet<&'a [PortMatch]> {
    let only_blocks = |rule: &Rule| {
        !rule.peers.is_empty() && rule.peers.iter().all(|p| matches!(p, Peer::Block(_)))
    };
    let mut rules = subject
        .rules()
        .filter(|r| r.direction == Direction::Ingress && only_blocks(r.rule))
        .map(|r| r.rule)
        .peekable();
    if rules.peek().is_none() {
        return HashSet::new();
    }
    let Some(index) = ask.index(answers) else {
        return HashSet::new();
    };
    let ranges = Ranges::of(ask.world, index);
    let of_node = |peer: &Peer| match peer {
        Peer::Block(block) => {
            matches!(ranges.meaning(&block.cidr), Meaning::Node | Meaning::Tunnel)
        }
        Peer::Pods { .. } => false,
    };
    let rules = rules.filter(|rule| rule.peers.iter().all(of_node));
    rules.map(|rule| &*rule.ports).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Case;
    use test_case::test_case;

    const NODE: &str = "
apiVersion: v1
kind: Node
metadata: {name: node1}
spec: {podCIDRs: [10.233.90.0/24]}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
";

    fn policy(metadata: &str, ingress: &str) -> String {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
             metadata: {{namespace: default, {metadata}}}\n\
             spec: {{podSelector: {{}}, ingress: {ingress}}}\n"
        )
    }

    #[test_case("name: p", "[{from: [{ipBlock: {cidr: 10.233.90.0/0}}]}]", 1; "an address of length 0")]
    #[test_case("name: p", "[{from: [{ipBlock: {cidr: 'fd00:1::/0'}}]}]", 1; "the same in IPv6")]
    #[test_case("name: p", "[{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]", 0; "near miss: everyone, openly")]
    #[test_case("name: allow-tunnels", "[{from: []}]", 1; "an empty list in a policy about tunnels")]
    #[test_case("name: p, annotations: {made-from: tunl0}", "[{from: null}]", 1; "a list without entries")]
    #[test_case("name: cloudflare-tunnel", "[{}]", 0; "near miss: no list was written")]
    #[test_case("name: p", "[{from: []}]", 0; "near miss: nothing about tunnels")]
    #[test_case("name: allow-tunnels", "[]", 0; "nobody")]
    #[test_case("name: p", "[{from: [{ipBlock: {cidr: 10.233.90.0/32}}]}, {}]", 1; "beside tunnel addresses")]
    #[test_case("name: p", "[{from: [{ipBlock: {cidr: 10.233.90.0/32}}], ports: [{port: 80}]}, {}]", 0; "near miss: other ports")]
    #[test_case("name: p", "[{from: [{ipBlock: {cidr: 10.2.3.4/32}}]}, {}]", 0; "near miss: beside a client")]
    fn lists(metadata: &str, ingress: &str, expected: usize) {
        let found = Case::within(NODE).found(ZERO_LENGTH.id, &policy(metadata, ingress));
        assert_eq!(found.len(), expected, "{found:?}");
        assert!(found.iter().all(|f| f.starts_with("deny ")), "{found:?}");
    }

    #[test]
    fn what_was_typed_counts_where_the_api_server_has_dropped_it() {
        let typed = r#"{"spec":{"ingress":[{"from":[]}]}}"#;
        let key = "kubectl.kubernetes.io/last-applied-configuration";
        let object = policy(
            &format!("name: tunnels, annotations: {{{key}: '{typed}'}}"),
            "[{}]",
        );
        assert_eq!(Case::default().found(ZERO_LENGTH.id, &object).len(), 1);
    }

    #[test]
    fn an_update_that_empties_the_list_is_refused() {
        let old = policy(
            "name: p",
            "[{from: [{ipBlock: {cidr: 10.233.90.0/32}}, {ipBlock: {cidr: 192.0.2.1/32}}]}]",
        );
        let new = policy("name: p", "[{}]");
        assert_eq!(
            Case::within(NODE)
                .after(&old)
                .found(ZERO_LENGTH.id, &new)
                .len(),
            1
        );
        let other = policy("name: p", "[{from: [{podSelector: {}}]}]");
        assert_eq!(
            Case::within(NODE)
                .after(&other)
                .found(ZERO_LENGTH.id, &new)
                .len(),
            0
        );
        let unsynced = Case {
            cluster: None,
            ..Case::default()
        };
        assert!(unsynced.after(&old).is_unknown(ZERO_LENGTH.id, &new));
    }
}
