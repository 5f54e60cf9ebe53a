//! A protocol that not every node carries.

use crate::catalogue::{Check, Mend, Scope};
use crate::config::Sctp;
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use ringfence_policy::model::Protocol;
use ringfence_policy::snapshot::Kind;

/// A rule for SCTP.
pub static SCTP_UNSUPPORTED: Check = Check {
    id: "sctp-unsupported",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "a rule needs SCTP, which not every node and network carries",
    text: "\
SCTP is a protocol beside TCP and UDP, used by telephone networks. Nodes need a kernel module for
it, and many CNI plugins do not carry it, or do not filter it: then a rule for SCTP allows nothing,
or what the policy denies passes.

Test it between two pods on two nodes, and write `sctp: supported` into the configuration; with
`sctp: unsupported` every such rule is reported as dead. Where the application only copied the
protocol, delete the rule.",
    bad: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: amf, namespace: core}
spec:
  podSelector: {matchLabels: {app: amf}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: gnb}}}]
    ports: [{protocol: SCTP, port: 38412}]
",
    good: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: amf, namespace: core}
spec:
  podSelector: {matchLabels: {app: amf}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: gnb}}}]
    ports: [{protocol: TCP, port: 38412}]
",
    run: sctp_unsupported,
};

fn sctp_unsupported(ask: &Ask, answers: &mut Answers) {
    let sentence = match ask.world.config.sctp {
        Sctp::Supported => return,
        Sctp::Unsupported => "this cluster does not carry SCTP: the rule allows nothing; delete it",
        Sctp::Unknown => {
            "may allow nothing: not every node and network carries SCTP; test it, then configure \
             `sctp: supported`"
        }
    };
    for place in ask.subject.rules() {
        for (index, port) in place.rule.ports.iter().enumerate() {
            if port.protocol == Protocol::Sctp {
                answers.found(place.port(index), sentence, place.direction.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, policy};
    use test_case::test_case;

    const SCTP: &str = "{protocol: TCP, port: 80}, {protocol: SCTP, port: 80}";

    #[test_case("{}", SCTP, Some("may allow nothing"); "nobody has said")]
    #[test_case("sctp: unsupported", SCTP, Some("does not carry"); "it is not there")]
    #[test_case("sctp: supported", SCTP, None; "near miss: it is there")]
    #[test_case("sctp: unsupported", "{protocol: UDP, port: 80}", None; "another protocol")]
    fn rules(config: &str, ports: &str, expected: Option<&str>) {
        let object = policy(&format!(
            "{{podSelector: {{}}, ingress: [{{ports: [{ports}]}}]}}"
        ));
        let found = Case::default()
            .config(config)
            .found(SCTP_UNSUPPORTED.id, &object);
        assert_eq!(found.len(), usize::from(expected.is_some()));
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                found.starts_with("warn spec.ingress[0].ports[1]"),
                "{found}"
            );
            assert!(found.contains(expected), "{found}");
        }
    }
}
