//! Rules as JSON, and the names by which annotations remember them.

use ringfence_policy::model::{
    Direction, IpBlock, NamespaceMatch, Operator, Peer, PortMatch, PortSpec, Requirement, Rule,
    Selector,
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// The version of names: hashes of another version are not ours to read.
const VERSION: &str = "v1:";

/// How many hexadecimal digits name a rule. A clash would only make a rule count as
/// injected that is not.
const DIGITS: usize = 16;

/// A rule as the API knows it. Keys are put in alphabetical order, so that the text is the
/// same whether `serde_json` keeps the order or sorts.
pub fn to_json(direction: Direction, rule: &Rule) -> Value {
    let peers: Vec<Value> = rule.peers.iter().map(peer).collect();
    let ports: Vec<Value> = rule.ports.iter().map(port).collect();
    let mut sections = match direction {
        Direction::Ingress => vec![("from", peers), ("ports", ports)],
        Direction::Egress => vec![("ports", ports), ("to", peers)],
    };
    sections.retain(|(_, list)| !list.is_empty());
    sections
        .into_iter()
        .map(|(key, list)| (key.to_owned(), Value::from(list)))
        .collect::<Map<_, _>>()
        .into()
}

fn peer(peer: &Peer) -> Value {
    match peer {
        Peer::Block(IpBlock { cidr, except }) if except.is_empty() => {
            json!({"ipBlock": {"cidr": cidr}})
        }
        Peer::Block(IpBlock { cidr, except }) => {
            json!({"ipBlock": {"cidr": cidr, "except": except}})
        }
        Peer::Pods {
            namespaces: NamespaceMatch::Own,
            pods,
        } => json!({"podSelector": selector(pods)}),
        Peer::Pods {
            namespaces: NamespaceMatch::Labels(labels),
            pods,
        } if pods.is_everything() => json!({"namespaceSelector": selector(labels)}),
        Peer::Pods {
            namespaces: NamespaceMatch::Labels(labels),
            pods,
        } => json!({"namespaceSelector": selector(labels), "podSelector": selector(pods)}),
    }
}

fn selector(selector: &Selector) -> Value {
    let requirements = selector.requirements();
    if requirements.is_empty() {
        return json!({});
    }
    let single = |r: &Requirement| match &r.operator {
        Operator::In(values) if values.len() == 1 => {
            Some((r.key.to_string(), Value::from(&*values[0])))
        }
        _ => None,
    };
    let labels: Option<Map<String, Value>> = requirements.iter().map(single).collect();
    match labels {
        // Fewer labels than requirements: one key has two values, which matches nothing.
        Some(labels) if labels.len() == requirements.len() => json!({"matchLabels": labels}),
        _ => {
            let all: Vec<Value> = requirements.iter().map(expression).collect();
            json!({"matchExpressions": all})
        }
    }
}

fn expression(requirement: &Requirement) -> Value {
    let key = &*requirement.key;
    let listed = |operator: &str, values: &[ringfence_policy::model::Name]| {
        let values: Vec<&str> = values.iter().map(|v| &**v).collect();
        json!({"key": key, "operator": operator, "values": values})
    };
    match &requirement.operator {
        Operator::In(values) => listed("In", values),
        Operator::NotIn(values) => listed("NotIn", values),
        Operator::Exists => json!({"key": key, "operator": "Exists"}),
        Operator::DoesNotExist => json!({"key": key, "operator": "DoesNotExist"}),
    }
}

fn port(port: &PortMatch) -> Value {
    let protocol = port.protocol.to_string();
    match &port.port {
        PortSpec::Any => json!({"protocol": protocol}),
        PortSpec::Named(name) => json!({"port": &**name, "protocol": protocol}),
        PortSpec::Range(first, last) if first == last => {
            json!({"port": first, "protocol": protocol})
        }
        PortSpec::Range(first, last) => {
            json!({"endPort": last, "port": first, "protocol": protocol})
        }
    }
}

/// The rule in the one order that all rules of its meaning share.
pub fn canonical(rule: &Rule) -> Rule {
    let mut rule = rule.clone();
    for peer in &mut rule.peers {
        if let Peer::Block(block) = peer {
            block.except.sort();
            block.except.dedup();
        }
    }
    rule.peers.sort();
    rule.peers.dedup();
    rule.ports.sort();
    rule.ports.dedup();
    rule
}

/// The name of a rule: a hash over what it means, so that the order of keys and what the
/// API server fills in do not matter.
pub fn hash(direction: Direction, rule: &Rule) -> String {
    let text = format!("{direction} {}", to_json(direction, &canonical(rule)));
    let mut hex = String::new();
    for byte in Sha256::digest(text).iter().take(DIGITS / 2) {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// The value of an annotation that names rules.
pub fn record(hashes: &[String]) -> String {
    format!("{VERSION}{}", hashes.join(","))
}

/// The hashes in such a value; `None` when it is not one.
pub fn recorded(value: &str) -> Option<Vec<&str>> {
    let hashes: Vec<&str> = value.strip_prefix(VERSION)?.split(',').collect();
    let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    let valid = |hash: &&str| hash.len() == DIGITS && hash.bytes().all(hex);
    hashes.iter().all(valid).then_some(hashes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::document;
    use ringfence_policy::parse;
    use test_case::test_case;

    fn egress(rule: &str) -> Rule {
        let policy = document(&format!(
            "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, \
             metadata: {{name: p, namespace: default}}, \
             spec: {{podSelector: {{}}, policyTypes: [Egress], egress: [{rule}]}}}}"
        ));
        let parsed = parse::policy(&policy).unwrap();
        assert!(parsed.errors.is_empty(), "{:?}", parsed.errors);
        parsed.policy.egress.unwrap().remove(0)
    }

    #[test_case("{}"; "everything")]
    #[test_case("{to: [{podSelector: {}}]}"; "own namespace")]
    #[test_case("{to: [{namespaceSelector: {}}], ports: [{protocol: UDP}]}"; "every namespace")]
    #[test_case("{to: [{namespaceSelector: {}, podSelector: {matchLabels: {a: b, c: d}}}]}"; "labels")]
    #[test_case("{to: [{podSelector: {matchExpressions: [{key: a, operator: NotIn, values: [b]}, {key: c, operator: Exists}, {key: d, operator: DoesNotExist}]}}]}"; "expressions")]
    #[test_case("{to: [{podSelector: {matchLabels: {a: b}, matchExpressions: [{key: a, operator: In, values: [c]}]}}]}"; "a label with two values")]
    #[test_case("{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}], ports: [{port: 80, endPort: 90}, {port: http}]}"; "block and ports")]
    fn json_means_the_rule(rule: &str) {
        let rule = egress(rule);
        assert_eq!(egress(&to_json(Direction::Egress, &rule).to_string()), rule);
    }

    #[test]
    fn a_hash_is_over_the_meaning() {
        let a = egress(
            "{to: [{podSelector: {matchLabels: {a: b}}}, {ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: 53}, {port: 53, protocol: UDP}]}",
        );
        let b = egress(
            "{ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}], to: [{ipBlock: {cidr: 10.9.0.0/8}}, {podSelector: {matchExpressions: [{key: a, operator: In, values: [b]}]}}]}",
        );
        assert_eq!(hash(Direction::Egress, &a), hash(Direction::Egress, &b));
        assert_ne!(hash(Direction::Egress, &a), hash(Direction::Ingress, &a));
        let c = egress("{to: [{podSelector: {matchLabels: {a: b}}}], ports: [{port: 53}]}");
        assert_ne!(hash(Direction::Egress, &a), hash(Direction::Egress, &c));
    }

    #[test]
    fn a_hash_outlives_this_program() {
        // Stored objects carry it: another value here needs another VERSION.
        let rule = egress(
            "{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}], ports: [{port: 53, protocol: UDP}, {port: 53}]}",
        );
        assert_eq!(hash(Direction::Egress, &rule), "57d727be6b76e848");
    }

    #[test_case("v1:0123456789abcdef", true)]
    #[test_case("v1:0123456789abcdef,0123456789abcdef", true; "two")]
    #[test_case("v1:", false; "nothing")]
    #[test_case("v1:0123", false; "short")]
    #[test_case("v1:0123456789ABCDEF", false; "upper case")]
    #[test_case("v2:0123456789abcdef", false; "another version")]
    #[test_case("yes", false)]
    fn values_of_the_annotation(value: &str, valid: bool) {
        assert_eq!(recorded(value).is_some(), valid);
    }
}
