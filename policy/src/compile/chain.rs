//! One policy in one direction to a chain and the sets it refers to.

use super::cidrs::networks;
use super::program::{
    Chain, ChainRule, Id, PeerMatch, PodSet, PodSetNamespaces, PortTest, SetSpec,
};
use crate::model::{Direction, Name, Peer, Policy, PortSpec, Protocol, Rule};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A chain with the definitions of its sets.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) chain: Arc<Chain>,
    pub(super) sets: BTreeMap<Id, Arc<SetSpec>>,
}

impl Compiled {
    /// Translates the rules of a direction. A policy without rules gives a chain
    /// without rules: it still isolates.
    pub(super) fn new(policy: &Policy, direction: Direction) -> Self {
        let mut sets = Sets::default();
        let rules = policy
            .rules(direction)
            .unwrap_or_default()
            .iter()
            .enumerate()
            .filter_map(|(index, rule)| {
                let peers = sets.peers(rule, &policy.key.namespace);
                // `except` can take a whole block away. A rule without a peer
                // matches nothing; as an empty list it would read as "everyone".
                if peers.is_empty() {
                    return None;
                }
                let ports = sets.ports(rule, direction);
                (!ports.is_empty()).then_some(ChainRule {
                    index,
                    peers,
                    ports,
                })
            })
            .collect();
        let mut compiled = Self {
            chain: Arc::new(Chain {
                policy: policy.key.clone(),
                direction,
                rules,
            }),
            sets: sets.0,
        };
        compiled.drop_unused_sets();
        compiled
    }

    /// A rule that matches no port has registered its peers' sets in vain.
    fn drop_unused_sets(&mut self) {
        let used: BTreeSet<Id> = self.chain.sets().collect();
        self.sets.retain(|id, _| used.contains(id));
    }
}

impl Chain {
    /// The sets that its rules refer to, with repetitions.
    pub fn sets(&self) -> impl Iterator<Item = Id> {
        self.rules.iter().flat_map(|rule| {
            let peers = rule.peers.iter().filter_map(|peer| match peer {
                PeerMatch::Set(id) => Some(*id),
                PeerMatch::Anyone | PeerMatch::AnyV4 | PeerMatch::AnyV6 => None,
            });
            let ports = rule.ports.iter().filter_map(|port| match port {
                PortTest::Named(id, _) => Some(*id),
                PortTest::AnyProtocol | PortTest::Protocol(_) | PortTest::Ranges(..) => None,
            });
            peers.chain(ports)
        })
    }
}

#[derive(Default)]
struct Sets(BTreeMap<Id, Arc<SetSpec>>);

impl Sets {
    fn define(&mut self, spec: SetSpec) -> Id {
        let id = spec.id();
        self.0.entry(id).or_insert_with(|| Arc::new(spec));
        id
    }

    /// Sorted, without repetitions; empty when the rule matches nobody.
    fn peers(&mut self, rule: &Rule, own: &Name) -> Vec<PeerMatch> {
        if rule.peers.is_empty() {
            return vec![PeerMatch::Anyone];
        }
        let mut peers = BTreeSet::new();
        let mut blocks = Vec::new();
        for peer in &rule.peers {
            match peer {
                Peer::Pods { namespaces, pods } => {
                    let id = self.define(SetSpec::Pods(PodSet {
                        namespaces: PodSetNamespaces::of(namespaces, own),
                        pods: pods.clone(),
                    }));
                    peers.insert(PeerMatch::Set(id));
                }
                Peer::Block(block) => blocks.push(block),
            }
        }
        let blocks = networks(&blocks);
        if blocks.all_v4 {
            peers.insert(PeerMatch::AnyV4);
        }
        if blocks.all_v6 {
            peers.insert(PeerMatch::AnyV6);
        }
        if !blocks.rest.is_empty() {
            peers.insert(PeerMatch::Set(self.define(SetSpec::Cidrs(blocks.rest))));
        }
        peers.into_iter().collect()
    }

    /// By protocol; empty when the rule matches no port.
    fn ports(&mut self, rule: &Rule, direction: Direction) -> Vec<PortTest> {
        if rule.ports.is_empty() {
            return vec![PortTest::AnyProtocol];
        }
        let mut tests = Vec::new();
        for protocol in Protocol::ALL {
            let mut whole = false;
            let mut ranges = Vec::new();
            let mut names = BTreeSet::new();
            for item in rule.ports.iter().filter(|item| item.protocol == protocol) {
                match &item.port {
                    PortSpec::Any => whole = true,
                    PortSpec::Range(first, last) => ranges.push((*first, *last)),
                    PortSpec::Named(name) => {
                        names.insert(name);
                    }
                }
            }
            if whole {
                tests.push(PortTest::Protocol(protocol));
                continue;
            }
            let ranges = unite(ranges);
            if !ranges.is_empty() {
                tests.push(PortTest::Ranges(protocol, ranges));
            }
            tests.extend(names.into_iter().map(|name| {
                let set = self.define(SetSpec::NamedPort {
                    name: Name::clone(name),
                    protocol,
                    // On ingress the port is the target's, and targets are local.
                    local_only: direction == Direction::Ingress,
                });
                PortTest::Named(set, protocol)
            }));
        }
        tests
    }
}

/// Sorts port ranges and joins those that overlap or touch; inverted ones are empty.
fn unite(mut ranges: Vec<(u16, u16)>) -> Vec<(u16, u16)> {
    ranges.retain(|(first, last)| first <= last);
    ranges.sort_unstable();
    let mut united: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match united.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => united.push((first, last)),
        }
    }
    united
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{IpBlock, NamespaceMatch, ObjectKey, PortMatch, Selector};
    use test_case::test_case;

    fn compiled(direction: Direction, rules: Vec<Rule>) -> Compiled {
        let (ingress, egress) = match direction {
            Direction::Ingress => (Some(rules), None),
            Direction::Egress => (None, Some(rules)),
        };
        let policy = Policy {
            key: ObjectKey::new("shop", "p"),
            pod_selector: Selector::everything(),
            ingress,
            egress,
            fault: None,
            allow_only: false,
        };
        Compiled::new(&policy, direction)
    }

    fn block(cidr: &str, except: &[&str]) -> Peer {
        Peer::Block(IpBlock {
            cidr: cidr.parse().unwrap(),
            except: except.iter().map(|e| e.parse().unwrap()).collect(),
        })
    }

    fn port(protocol: Protocol, port: PortSpec) -> PortMatch {
        PortMatch { protocol, port }
    }

    #[test]
    fn no_rule_is_a_chain_without_rules() {
        let compiled = compiled(Direction::Ingress, vec![]);
        assert!(compiled.chain.rules.is_empty());
        assert!(compiled.sets.is_empty());
    }

    #[test]
    fn an_empty_rule_is_anyone_on_anything() {
        let compiled = compiled(Direction::Egress, vec![Rule::default()]);
        assert_eq!(compiled.chain.rules[0].peers, [PeerMatch::Anyone]);
        assert_eq!(compiled.chain.rules[0].ports, [PortTest::AnyProtocol]);
    }

    #[test]
    fn all_pods_is_a_set_and_not_anyone() {
        let all = Peer::Pods {
            namespaces: NamespaceMatch::Labels(Selector::everything()),
            pods: Selector::everything(),
        };
        let rule = Rule {
            peers: vec![all.clone(), all],
            ports: vec![],
        };
        let compiled = compiled(Direction::Ingress, vec![rule]);
        let [PeerMatch::Set(id)] = compiled.chain.rules[0].peers[..] else {
            panic!("{:?}", compiled.chain);
        };
        assert!(matches!(&*compiled.sets[&id], SetSpec::Pods(_)));
    }

    #[test]
    fn a_rule_that_lost_its_peers_matches_nothing() {
        let rules = vec![
            Rule {
                peers: vec![block("10.0.0.0/8", &["10.0.0.0/8"])],
                ports: vec![],
            },
            Rule {
                peers: vec![block("0.0.0.0/0", &[]), block("fd00::/8", &[])],
                ports: vec![],
            },
        ];
        let compiled = compiled(Direction::Ingress, rules);
        let [rule] = &compiled.chain.rules[..] else {
            panic!("{:?}", compiled.chain);
        };
        assert_eq!(rule.index, 1);
        let spec = SetSpec::Cidrs(vec!["fd00::/8".parse().unwrap()]);
        assert_eq!(rule.peers, [PeerMatch::AnyV4, PeerMatch::Set(spec.id())]);
    }

    #[test]
    fn a_rule_without_a_port_that_can_match_is_dropped_with_its_sets() {
        let rule = Rule {
            peers: vec![block("10.0.0.0/8", &[])],
            ports: vec![port(Protocol::Tcp, PortSpec::Range(9, 8))],
        };
        let compiled = compiled(Direction::Ingress, vec![rule]);
        assert!(compiled.chain.rules.is_empty());
        assert!(compiled.sets.is_empty());
    }

    #[test_case(&[(80, 80), (443, 443)], &[(80, 80), (443, 443)]; "apart")]
    #[test_case(&[(81, 90), (80, 80)], &[(80, 90)]; "adjacent")]
    #[test_case(&[(1, 65535), (65535, 65535), (7, 9)], &[(1, 65535)]; "inside")]
    #[test_case(&[(10, 20), (15, 30), (40, 50)], &[(10, 30), (40, 50)]; "overlapping")]
    fn ranges(given: &[(u16, u16)], wanted: &[(u16, u16)]) {
        assert_eq!(unite(given.to_vec()), wanted);
    }

    #[test]
    fn ports_by_protocol() {
        let rule = Rule {
            peers: vec![],
            ports: vec![
                port(Protocol::Udp, PortSpec::Range(53, 53)),
                port(Protocol::Tcp, PortSpec::Named("http".into())),
                port(Protocol::Tcp, PortSpec::Range(53, 53)),
                port(Protocol::Udp, PortSpec::Any),
                port(Protocol::Udp, PortSpec::Named("dns".into())),
            ],
        };
        for direction in [Direction::Ingress, Direction::Egress] {
            let compiled = compiled(direction, vec![rule.clone()]);
            let http = SetSpec::NamedPort {
                name: "http".into(),
                protocol: Protocol::Tcp,
                local_only: direction == Direction::Ingress,
            };
            assert_eq!(
                compiled.chain.rules[0].ports,
                [
                    PortTest::Ranges(Protocol::Tcp, vec![(53, 53)]),
                    PortTest::Named(http.id(), Protocol::Tcp),
                    PortTest::Protocol(Protocol::Udp),
                ]
            );
            assert_eq!(compiled.sets.len(), 1, "the named UDP port is swallowed");
        }
    }
}
