//! Stable names: hashes over keys that no two meanings share.

use super::program::{Id, PodSet, PodSetNamespaces, SetSpec};
use crate::model::{Direction, ObjectKey, Operator, Protocol, Selector};
use ipnet::IpNet;
use sha2::{Digest, Sha256};
use std::net::IpAddr;

/// Collects the parts of a key. Text carries its length and lists their count, so
/// that `dev` + `1x` and `dev1` + `x` differ (kube-router's names collide there).
struct Key(Sha256);

impl Key {
    fn new(kind: &str) -> Self {
        Self(Sha256::new()).text(kind)
    }

    fn number(mut self, number: u64) -> Self {
        self.0.update(number.to_be_bytes());
        self
    }

    fn count(self, count: usize) -> Self {
        self.number(count as u64)
    }

    fn text(mut self, text: &str) -> Self {
        self = self.count(text.len());
        self.0.update(text.as_bytes());
        self
    }

    fn direction(self, direction: Direction) -> Self {
        self.number(match direction {
            Direction::Ingress => 0,
            Direction::Egress => 1,
        })
    }

    fn protocol(self, protocol: Protocol) -> Self {
        self.text(protocol.netfilter())
    }

    fn network(mut self, network: &IpNet) -> Self {
        match network.network() {
            IpAddr::V4(address) => self.0.update(address.octets()),
            IpAddr::V6(address) => self.0.update(address.octets()),
        }
        self.number(u64::from(network.prefix_len()))
    }

    fn selector(mut self, selector: &Selector) -> Self {
        let requirements = selector.requirements();
        self = self.count(requirements.len());
        for requirement in requirements {
            let (operator, values) = match &requirement.operator {
                Operator::In(values) => (0, values.as_slice()),
                Operator::NotIn(values) => (1, values.as_slice()),
                Operator::Exists => (2, &[][..]),
                Operator::DoesNotExist => (3, &[][..]),
            };
            self = self
                .text(&requirement.key)
                .number(operator)
                .count(values.len());
            for value in values {
                self = self.text(value);
            }
        }
        self
    }

    fn id(self) -> Id {
        let digest = self.0.finalize();
        Id(digest
            .iter()
            .take(8)
            .fold(0, |id, byte| id << 8 | u64::from(*byte)))
    }
}

impl Id {
    /// The chain of a policy in a direction: by name alone, whatever its rules are.
    pub fn of_chain(direction: Direction, policy: &ObjectKey) -> Self {
        Key::new("chain")
            .direction(direction)
            .text(&policy.namespace)
            .text(&policy.name)
            .id()
    }

    /// A combination of chains, which must be sorted.
    pub fn of_signature(direction: Direction, chains: &[Self]) -> Self {
        chains
            .iter()
            .fold(
                Key::new("signature")
                    .direction(direction)
                    .count(chains.len()),
                |key, chain| key.number(chain.0),
            )
            .id()
    }
}

impl SetSpec {
    /// The set's name: equal meaning, equal name.
    pub fn id(&self) -> Id {
        let key = Key::new("set");
        match self {
            Self::Pods(PodSet { namespaces, pods }) => match namespaces {
                PodSetNamespaces::Named(name) => key.text("pods in").text(name),
                PodSetNamespaces::Labels(selector) => key.text("pods by").selector(selector),
            }
            .selector(pods),
            Self::Cidrs(networks) => {
                networks
                    .iter()
                    .fold(key.text("cidrs").count(networks.len()), |key, network| {
                        key.number(u64::from(network.max_prefix_len()))
                            .network(network)
                    })
            }
            Self::NamedPort {
                name,
                protocol,
                local_only,
            } => key
                .text("port")
                .text(name)
                .protocol(*protocol)
                .number(u64::from(*local_only)),
            Self::LocalPods => key.text("local"),
            Self::IsolatedPods => key.text("isolated"),
            Self::IngressIsolatedPods => key.text("ingress isolated"),
            Self::SelfPairs => key.text("self"),
        }
        .id()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Name, Requirement};
    use std::collections::BTreeMap;

    fn key(namespace: &str, name: &str) -> ObjectKey {
        ObjectKey::new(namespace, name)
    }

    #[test]
    fn a_chain_is_named_by_namespace_and_name_apart() {
        let id = |namespace, name| Id::of_chain(Direction::Ingress, &key(namespace, name));
        assert_ne!(id("dev", "1x"), id("dev1", "x"));
        assert_ne!(
            id("dev", "x"),
            Id::of_chain(Direction::Egress, &key("dev", "x"))
        );
        assert_eq!(id("dev", "x").to_string(), "a0f537ed3f382ddb");
    }

    #[test]
    fn sets_of_different_meaning_have_different_names() {
        let named = |name: &str, pods| {
            SetSpec::Pods(PodSet {
                namespaces: PodSetNamespaces::Named(name.into()),
                pods,
            })
        };
        let by = |namespaces, pods| {
            SetSpec::Pods(PodSet {
                namespaces: PodSetNamespaces::Labels(namespaces),
                pods,
            })
        };
        let one = |key: &str, operator| {
            Selector::new([Requirement {
                key: key.into(),
                operator,
            }])
        };
        let values = |all: &[&str]| all.iter().map(|v| Name::from(*v)).collect::<Vec<_>>();
        let a = || Selector::labels([("a", "b")]);
        let specs = [
            named("x", Selector::everything()),
            named("x", a()),
            by(Selector::everything(), a()),
            by(a(), Selector::everything()),
            by(a(), a()),
            by(Selector::everything(), Selector::everything()),
            named("x", Selector::labels([("ab", "")])),
            named("x", one("a", Operator::In(values(&["b", "c"])))),
            named("x", one("a", Operator::NotIn(values(&["b", "c"])))),
            named("x", one("a", Operator::In(values(&["bc"])))),
            named("x", one("a", Operator::Exists)),
            named("x", one("a", Operator::DoesNotExist)),
            SetSpec::Cidrs(vec!["10.0.0.0/8".parse().unwrap()]),
            SetSpec::Cidrs(vec!["10.0.0.0/9".parse().unwrap()]),
            SetSpec::Cidrs(vec!["a00::/8".parse().unwrap()]),
            SetSpec::NamedPort {
                name: "http".into(),
                protocol: Protocol::Tcp,
                local_only: true,
            },
            SetSpec::NamedPort {
                name: "http".into(),
                protocol: Protocol::Tcp,
                local_only: false,
            },
            SetSpec::NamedPort {
                name: "http".into(),
                protocol: Protocol::Udp,
                local_only: true,
            },
            SetSpec::LocalPods,
            SetSpec::IsolatedPods,
            SetSpec::IngressIsolatedPods,
            SetSpec::SelfPairs,
        ];
        let ids: BTreeMap<Id, &SetSpec> = specs.iter().map(|spec| (spec.id(), spec)).collect();
        assert_eq!(ids.len(), specs.len());
    }
}
