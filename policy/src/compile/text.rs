//! A program in words, for people.

use super::program::{
    Chain, ChainRule, Element, Id, PeerMatch, PodSet, PodSetNamespaces, PortTest, Program, SetSpec,
    Signature, Structure,
};
use crate::model::{Direction, ObjectKey, Operator, Requirement, Selector};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

impl Program {
    /// What is programmed, pod by pod, policy by policy and set by set. Several
    /// lines; not meant to be read by programs.
    pub fn summary(&self) -> String {
        self.to_string()
    }
}

impl Display for Program {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.pods(f)?;
        self.policies(f)?;
        self.sets(f)
    }
}

impl Program {
    fn pods(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let structure = &self.structure;
        // Addresses of one pod stand together, unless they are judged differently.
        let mut pods: BTreeMap<_, Vec<IpAddr>> = BTreeMap::new();
        for (ip, endpoint) in &structure.endpoints {
            let judged = (&endpoint.pods, &endpoint.ingress, &endpoint.egress);
            pods.entry(judged).or_default().push(*ip);
        }
        writeln!(f, "Pods on this node: {}", pods.len())?;
        for ((keys, ingress, egress), ips) in pods {
            writeln!(f, "  {}  {}", join(keys, " and "), join(&ips, ", "))?;
            writeln!(f, "    ingress: {}", Isolation(structure, ingress))?;
            writeln!(f, "    egress:  {}", Isolation(structure, egress))?;
        }
        if !structure.unknown_ranges.is_empty() {
            let ranges = join(&structure.unknown_ranges, ", ");
            writeln!(f, "  any other address of {ranges}: shut")?;
        }
        Ok(())
    }

    fn policies(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let structure = &self.structure;
        let mut chains: Vec<(&Id, &Chain)> = structure
            .chains
            .iter()
            .map(|(id, chain)| (id, &**chain))
            .collect();
        chains.sort_by_key(|(_, chain)| (&chain.policy, chain.direction));
        writeln!(f, "\nPolicies in use: {}", chains.len())?;
        for (id, chain) in chains {
            writeln!(f, "  {} {}  [{id}]", chain.policy, chain.direction)?;
            if chain.rules.is_empty() {
                writeln!(f, "    allows nothing")?;
            }
            for rule in &chain.rules {
                let words = RuleWords {
                    structure,
                    direction: chain.direction,
                    rule,
                };
                writeln!(f, "    rule {}: {words}", rule.index)?;
            }
        }
        Ok(())
    }

    fn sets(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nSets: {}", self.structure.sets.len())?;
        for (id, spec) in &self.structure.sets {
            let members = self.members.get(id);
            let v4 = members.map_or(0, |m| m.iter().filter(|e| Element::is_ipv4(e)).count());
            let v6 = members.map_or(0, BTreeSet::len) - v4;
            writeln!(f, "  [{id}] {spec}: {v4} IPv4, {v6} IPv6")?;
        }
        Ok(())
    }
}

/// The policies that isolate an endpoint in a direction.
struct Isolation<'a>(&'a Structure, &'a [Id]);

impl Display for Isolation<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(structure, signatures) = self;
        if signatures.is_empty() {
            return f.write_str("open, no policy");
        }
        let mut separator = "";
        for id in *signatures {
            let signature = structure.signatures.get(id);
            let chains = signature
                .into_iter()
                .flat_map(|Signature { chains, .. }| chains);
            let policies: BTreeSet<&ObjectKey> = chains
                .filter_map(|chain| structure.chains.get(chain))
                .map(|chain| &chain.policy)
                .collect();
            // Several signatures: the address has several claimants, all must allow.
            write!(f, "{separator}{}", join(policies, ", "))?;
            separator = "; and also ";
        }
        Ok(())
    }
}

struct RuleWords<'a> {
    structure: &'a Structure,
    direction: Direction,
    rule: &'a ChainRule,
}

impl Display for RuleWords<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self.direction {
            Direction::Ingress => "from ",
            Direction::Egress => "to ",
        })?;
        let mut separator = "";
        for peer in &self.rule.peers {
            f.write_str(separator)?;
            match peer {
                PeerMatch::Anyone => f.write_str("anyone")?,
                PeerMatch::AnyV4 => f.write_str("any IPv4 address")?,
                PeerMatch::AnyV6 => f.write_str("any IPv6 address")?,
                PeerMatch::Set(id) => set(f, self.structure, *id)?,
            }
            separator = " or ";
        }
        separator = " on ";
        for port in &self.rule.ports {
            f.write_str(separator)?;
            match port {
                PortTest::AnyProtocol => f.write_str("every protocol")?,
                PortTest::Protocol(protocol) => write!(f, "{protocol}")?,
                PortTest::Ranges(protocol, ranges) => {
                    let ranges = ranges.iter().map(|(first, last)| {
                        if first == last {
                            first.to_string()
                        } else {
                            format!("{first}-{last}")
                        }
                    });
                    write!(f, "{protocol} {}", join(ranges, ", "))?;
                }
                PortTest::Named(id, _) => set(f, self.structure, *id)?,
            }
            separator = ", ";
        }
        Ok(())
    }
}

fn set(f: &mut Formatter<'_>, structure: &Structure, id: Id) -> fmt::Result {
    match structure.sets.get(&id) {
        Some(spec) => write!(f, "{spec}"),
        None => write!(f, "[{id}]"),
    }
}

impl Display for SetSpec {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pods(PodSet { namespaces, pods }) => {
                if pods.is_everything() {
                    f.write_str("all pods")?;
                } else {
                    write!(f, "pods with {}", Labelled(pods))?;
                }
                match namespaces {
                    PodSetNamespaces::Named(name) => write!(f, " in namespace {name}"),
                    PodSetNamespaces::Labels(selector) if selector.is_everything() => {
                        f.write_str(" in every namespace")
                    }
                    PodSetNamespaces::Labels(selector) => {
                        write!(f, " in namespaces with {}", Labelled(selector))
                    }
                }
            }
            Self::Cidrs(networks) => match networks.as_slice() {
                [first, .., last] if networks.len() > 8 => {
                    write!(f, "{} networks {first} ... {last}", networks.len())
                }
                networks => f.write_str(&join(networks, ", ")),
            },
            Self::NamedPort { name, protocol, .. } => write!(f, "{protocol} \"{name}\""),
            Self::LocalPods => f.write_str("pods of this node"),
            Self::IsolatedPods => f.write_str("isolated pods of this node"),
            Self::IngressIsolatedPods => f.write_str("ingress-isolated pods of this node"),
            Self::SelfPairs => f.write_str("isolated pods with themselves"),
        }
    }
}

/// A selector as `kubectl --selector` would take it.
struct Labelled<'a>(&'a Selector);

impl Display for Labelled<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for Requirement { key, operator } in self.0.requirements() {
            f.write_str(separator)?;
            match operator {
                Operator::In(values) => match values.as_slice() {
                    [value] => write!(f, "{key}={value}")?,
                    values => write!(f, "{key} in ({})", join(values, ","))?,
                },
                Operator::NotIn(values) => write!(f, "{key} notin ({})", join(values, ","))?,
                Operator::Exists => write!(f, "{key}")?,
                Operator::DoesNotExist => write!(f, "!{key}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

fn join<T: Display>(items: impl IntoIterator<Item = T>, separator: &str) -> String {
    let words: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    words.join(separator)
}
