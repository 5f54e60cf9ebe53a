//! The address at which clouds hand out credentials.

use super::blocks_of;
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use crate::space::Space;
use ringfence_policy::model::{Direction, PortSpec, Protocol, Rule};
use ringfence_policy::snapshot::Kind;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The metadata service is reachable.
pub static ADDRESS: Check = Check {
    id: "metadata-address",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Patch,
    scope: Scope::Object,
    kinds: &[Kind::NetworkPolicy],
    title: "a wide egress block opens the cloud's metadata address",
    text: "\
At `169.254.169.254` (and `fd00:ec2::254`) clouds tell a machine who it is and hand out its
credentials. A pod that reaches it over HTTP can act as the node. A wide egress block such
as `0.0.0.0/0` includes this address; most attacks that turn a web application's mistake
into a stolen cloud account take this way.

Take the address out with `except`. A block that names it, or a part of its link-local
network, is taken to mean it.",
    bad: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: fetcher, namespace: shop}
spec:
  podSelector: {matchLabels: {app: fetcher}}
  policyTypes: [Egress]
  egress:
  - to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}]
",
    good: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: fetcher, namespace: shop}
spec:
  podSelector: {matchLabels: {app: fetcher}}
  policyTypes: [Egress]
  egress:
  - to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8, 169.254.169.254/32]}}]
",
    run: address,
};

/// The addresses, and the longest prefix of a block that somebody writes without them in
/// mind: the link-local /16, and the /32 of the cloud's private range.
const SERVICES: [(IpAddr, u8); 2] = [
    (IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 15),
    (
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
        31,
    ),
];

fn address(ask: &Ask, answers: &mut Answers) {
    for block in blocks_of(ask.subject, Direction::Egress) {
        if !is_http(block.rule.rule) {
            continue;
        }
        let cidr = block.range.cidr;
        for (address, longest) in SERVICES {
            let wide = cidr.contains(&address) && cidr.prefix_len() <= longest;
            if !wide || !Space::of_blocks([block.range]).contains(address) {
                continue;
            }
            let sentence = format!(
                "{cidr} includes {address}: the pods can take the node's cloud credentials"
            );
            let network = ipnet::IpNet::from(address).to_string();
            let pointer = format!("{}/to/{}/ipBlock/except", block.rule.pointer(), block.index);
            let patch = if block.range.except.is_empty() {
                json!([{"op": "add", "path": pointer, "value": [network]}])
            } else {
                json!([{"op": "add", "path": format!("{pointer}/-"), "value": network}])
            };
            answers
                .found(block.path(), sentence, block.evidence())
                .mend(patch);
        }
    }
}

/// The metadata service speaks HTTP on port 80.
fn is_http(rule: &Rule) -> bool {
    let mut ports = rule.ports.iter().filter(|p| p.protocol == Protocol::Tcp);
    rule.ports.is_empty()
        || ports.any(|p| match p.port {
            PortSpec::Any => true,
            PortSpec::Range(first, last) => (first..=last).contains(&80),
            PortSpec::Named(_) => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, document};
    use test_case::test_case;

    fn policy(egress: &str) -> String {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
             metadata: {{name: p, namespace: default}}\n\
             spec: {{podSelector: {{}}, policyTypes: [Egress], egress: [{egress}]}}"
        )
    }

    #[test_case("{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}", 1; "the world")]
    #[test_case("{to: [{ipBlock: {cidr: 169.0.0.0/8}}], ports: [{port: 1, endPort: 99}]}", 1; "a wide block")]
    #[test_case("{to: [{ipBlock: {cidr: '::/0', except: ['fd00:1::/32']}}]}", 1; "IPv6")]
    #[test_case("{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [169.254.0.0/16]}}]}", 0; "near miss: taken out")]
    #[test_case("{to: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: 443}]}", 0; "near miss: another port")]
    #[test_case("{to: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: 80, protocol: UDP}]}", 0; "near miss: another protocol")]
    #[test_case("{to: [{ipBlock: {cidr: 169.254.169.254/32}}]}", 0; "named on purpose")]
    #[test_case("{to: [{podSelector: {}}]}", 0; "no block")]
    fn reachable(egress: &str, expected: usize) {
        let object = document(&policy(egress));
        let report = Case::default().judge(&object);
        let found: Vec<_> = report
            .findings
            .iter()
            .filter(|f| f.check == ADDRESS.id)
            .collect();
        assert_eq!(found.len(), expected, "{found:?}");
        for finding in found {
            let mut mended = object.clone();
            json_patch::patch(&mut mended, finding.patch.as_ref().unwrap()).unwrap();
            let report = Case::default().judge(&mended);
            assert!(
                report.findings.iter().all(|f| f.check != ADDRESS.id),
                "{mended}"
            );
        }
    }
}
