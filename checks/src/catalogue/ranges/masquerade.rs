//! kube-proxy that replaces every client's address.

use super::behind::services;
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use ringfence_policy::model::{Direction, Peer};
use ringfence_policy::snapshot::Kind;

/// `masqueradeAll`.
pub static ALL: Check = Check {
    id: "masquerade-all",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Author,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "kube-proxy masqueradeAll hides which pod a connection through a Service is from",
    text: "\
With `masqueradeAll: true` in kube-proxy's configuration, a connection through a Service
gets the address of the client's node as its source when it leaves the node. A rule that
names the client pods by selector does not match it, and the client is refused although the
policy allows it; the same client reaches the pod directly.

Set `masqueradeAll: false` in the ConfigMap `kube-system/kube-proxy` (the default) and
restart kube-proxy.",
    bad: "\
apiVersion: v1
kind: ConfigMap
metadata: {name: kube-proxy, namespace: kube-system}
data:
  config.conf: |
    kind: KubeProxyConfiguration
    iptables: {masqueradeAll: true}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {selector: {app: db}, ports: [{port: 5432}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: api}}}]
",
    good: "\
apiVersion: v1
kind: ConfigMap
metadata: {name: kube-proxy, namespace: kube-system}
data:
  config.conf: |
    kind: KubeProxyConfiguration
    iptables: {masqueradeAll: false}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {selector: {app: db}, ports: [{port: 5432}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: api}}}]
",
    run: masquerade,
};

fn masquerade(ask: &Ask, answers: &mut Answers) {
    let Some(policy) = ask.subject.policy() else {
        return;
    };
    let mut selectors = ask
        .subject
        .rules()
        .filter(|r| r.direction == Direction::Ingress);
    let by_selector = |peer: &Peer| matches!(peer, Peer::Pods { .. });
    let rule = selectors.find_map(|r| Some((r, r.rule.peers.iter().position(by_selector)?)));
    let Some((rule, peer)) = rule else {
        return;
    };
    match ask.world.facts.masquerade_all {
        None => return answers.unknown("kube-proxy's configuration is not known"),
        Some(false) => return,
        Some(true) => {}
    }
    let Some(index) = ask.index(answers) else {
        return;
    };
    if let Some(service) = services(index, policy, |_| true).next() {
        let name = &service.key.name;
        let sentence = format!(
            "kube-proxy masqueradeAll: clients through Service {name} arrive as nodes, not as pods"
        );
        answers.found(rule.peer(peer), sentence, "masqueradeAll");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Case;
    use test_case::test_case;

    const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {selector: {app: db}, ports: [{port: 5432}]}
";

    #[test_case(Some(true), "db", "podSelector: {}", 1; "on")]
    #[test_case(Some(false), "db", "podSelector: {}", 0; "off")]
    #[test_case(Some(true), "other", "podSelector: {}", 0; "near miss: no Service leads there")]
    #[test_case(Some(true), "db", "ipBlock: {cidr: 10.2.3.4/32}", 0; "near miss: no selector")]
    fn masqueraded(on: Option<bool>, app: &str, peer: &str, expected: usize) {
        let mut case = Case::within(SERVICE);
        case.facts.masquerade_all = on;
        let object = object(app, peer);
        assert_eq!(case.found(ALL.id, &object).len(), expected);
        case.facts.masquerade_all = None;
        assert_eq!(case.is_unknown(ALL.id, &object), peer.contains("Selector"));
    }

    fn object(app: &str, peer: &str) -> String {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
             metadata: {{name: p, namespace: default}}\n\
             spec: {{podSelector: {{matchLabels: {{app: {app}}}}}, ingress: [{{from: [{{{peer}}}]}}]}}"
        )
    }
}
