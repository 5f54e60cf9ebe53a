//! DNS to everyone.

use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use crate::inject::dns;
use crate::inject::rule;
use ringfence_policy::model::{Direction, Peer, PortMatch, PortSpec, Protocol};
use ringfence_policy::snapshot::Kind;
use serde_json::json;

/// Port 53 is open to the world.
pub static WORLD: Check = Check {
    id: "dns-world-open",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Patch,
    scope: Scope::Object,
    kinds: &[Kind::NetworkPolicy],
    title: "port 53 is allowed to everyone, outside the cluster too",
    text: "\
A rule without `to` is a rule to everyone: every pod, every node, and every address outside
the cluster. Allowing port 53 that way lets names resolve, and it also lets whoever takes
over the pod send data to a server of their own on port 53. DNS is the usual way out of a
network that is closed otherwise.

Name the DNS pods. They ask the servers outside on the pod's behalf.",
    bad: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: api, namespace: shop}
spec:
  podSelector: {matchLabels: {app: api}}
  policyTypes: [Egress]
  egress:
  - ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
",
    good: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: api, namespace: shop}
spec:
  podSelector: {matchLabels: {app: api}}
  policyTypes: [Egress]
  egress:
  - to:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
      podSelector: {matchLabels: {k8s-app: kube-dns}}
    ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
",
    run: world,
};

fn world(ask: &Ask, answers: &mut Answers) {
    let target = ask.world.index.map(|index| ask.dns(index));
    let target = target.and_then(|found| found.as_ref().ok());
    for place in ask.subject.rules() {
        if place.direction != Direction::Egress || !place.rule.ports.iter().any(is_dns) {
            continue;
        }
        let peers = &place.rule.peers;
        let at = peers.iter().position(is_world);
        if at.is_none() && !peers.is_empty() {
            continue;
        }
        let path = at.map_or_else(|| place.path(), |at| place.peer(at));
        let sentence = "port 53 is open to everyone, outside the cluster too: a way out for data";
        let draft = answers.found(path, sentence, format!("{:?}", place.rule.ports));
        // Only a rule that is about nothing but DNS can be narrowed to the DNS pods.
        if let Some(target) = &target
            && peers.len() == usize::from(at.is_some())
            && place.rule.ports.iter().all(is_dns)
        {
            let narrow = target.rules(&dns::PROTOCOLS);
            let values = narrow.iter().map(|r| rule::to_json(Direction::Egress, r));
            let pointer = place.pointer();
            let mut operations = vec![json!({"op": "remove", "path": pointer})];
            operations
                .extend(values.map(|value| json!({"op": "add", "path": pointer, "value": value})));
            draft.mend(operations.into());
        }
    }
}

/// Whether an item of `ports` is there for DNS, not a range that happens to include it.
fn is_dns(port: &PortMatch) -> bool {
    port.protocol != Protocol::Sctp && port.port == PortSpec::Range(dns::PORT, dns::PORT)
}

fn is_world(peer: &Peer) -> bool {
    matches!(peer, Peer::Block(block) if block.cidr.prefix_len() == 0 && block.except.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Case;
    use test_case::test_case;

    #[test_case("{ports: [{protocol: UDP, port: 53}]}", &["spec.egress[0]"]; "seed 004 06: no to")]
    #[test_case("{to: [], ports: [{protocol: UDP, port: 53}]}", &["spec.egress[0]"]; "an empty to")]
    #[test_case("{to: [{podSelector: {}}, {ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: 53}]}", &["spec.egress[0].to[1]"]; "the world as a block")]
    #[test_case("{to: [{namespaceSelector: {}}], ports: [{protocol: UDP, port: 53}]}", &[]; "near miss: every namespace")]
    #[test_case("{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}], ports: [{port: 53}]}", &[]; "near miss: outside only")]
    #[test_case("{ports: [{port: 1, endPort: 65535}]}", &[]; "all ports")]
    #[test_case("{}", &[]; "everything")]
    #[test_case("{ports: [{protocol: SCTP, port: 53}]}", &[]; "another protocol")]
    fn open(egress: &str, expected: &[&str]) {
        let object = format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
             metadata: {{name: p, namespace: default}}\n\
             spec: {{podSelector: {{}}, policyTypes: [Egress], egress: [{egress}]}}"
        );
        assert_eq!(Case::default().paths(WORLD.id, &object), expected);
    }
}
