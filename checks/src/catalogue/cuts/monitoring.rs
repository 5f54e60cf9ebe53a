//! Monitoring that can no longer scrape.

use crate::catalogue::dns::{rules, wanting};
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use crate::inject::monitoring::Scrapers;
use crate::inject::{Part, appended};
use ringfence_policy::model::Direction;
use ringfence_policy::snapshot::Kind;

/// A configured monitoring namespace is shut out.
pub static MONITORING: Check = Check {
    id: "cuts-monitoring",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Webhook,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "the monitoring namespaces can no longer scrape the pods",
    text: "\
Prometheus connects to the pods that it watches. Once a policy limits the pods' ingress,
those connections are refused like any other, dashboards go empty, and alerts about the
application fall silent at the moment when it has just been changed.

Let the monitoring namespaces in. The configuration names them (`monitoring.namespaces`;
in these examples `monitoring`), and the webhook adds the rule by itself. On every port,
because only the scraper's configuration knows which it asks.",
    bad: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: api, namespace: shop}
spec:
  podSelector: {matchLabels: {app: api}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
",
    good: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: api, namespace: shop}
spec:
  podSelector: {matchLabels: {app: api}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
  - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]
",
    run: monitoring,
};

fn monitoring(ask: &Ask, answers: &mut Answers) {
    if ask.world.config.monitoring.is_empty() {
        return;
    }
    let Some(policy) = wanting(ask, Part::Monitoring) else {
        return;
    };
    let Some(index) = ask.index(answers) else {
        return;
    };
    let rules = rules(ask, policy, Direction::Ingress);
    let scrapers = Scrapers::of(index, ask.world.config);
    let shut_out = scrapers.shut_out(ask.subject.namespace(), &rules);
    if shut_out.is_empty() {
        return;
    }
    let names: Vec<&str> = shut_out.into_iter().map(|name| &**name).collect();
    let names = names.join(", ");
    let sentence = format!("monitoring cannot scrape the pods: no rule lets in namespace {names}");
    let lacking: Vec<_> = scrapers.rule().into_iter().collect();
    let patch = appended(ask.subject.raw, Direction::Ingress, &lacking);
    answers
        .found("spec.ingress", sentence, names)
        .mend(patch.into());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Case;
    use test_case::test_case;

    const CONFIG: &str = "monitoring: {namespaces: [monitoring]}";
    const NAMESPACE: &str =
        "{apiVersion: v1, kind: Namespace, metadata: {name: monitoring, labels: {team: sre}}}";

    #[test_case("[]", true; "deny all")]
    #[test_case("[{}]", false; "allow all")]
    #[test_case("[{from: [{namespaceSelector: {}}]}]", false; "every namespace")]
    #[test_case("[{from: [{namespaceSelector: {matchLabels: {team: sre}}}]}]", false; "by a label")]
    #[test_case("[{from: [{namespaceSelector: {matchLabels: {team: dev}}}]}]", true; "by another label")]
    #[test_case("[{from: [{namespaceSelector: {}}], ports: [{port: 80}]}]", true; "near miss: one port")]
    #[test_case("[{from: [{namespaceSelector: {}, podSelector: {matchLabels: {a: b}}}]}]", true; "near miss: some pods")]
    #[test_case("[{from: [{podSelector: {}}]}]", true; "own namespace")]
    #[test_case("[{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}]", true; "addresses")]
    fn lets_in(ingress: &str, found: bool) {
        let object = format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
             metadata: {{name: p, namespace: default}}\n\
             spec: {{podSelector: {{}}, policyTypes: [Ingress], ingress: {ingress}}}"
        );
        let case = Case::within(NAMESPACE);
        assert_eq!(
            case.paths(MONITORING.id, &object),
            [""; 0],
            "none configured"
        );
        let case = case.config(CONFIG);
        assert_eq!(!case.paths(MONITORING.id, &object).is_empty(), found);
        let egress = object.replace("[Ingress]", "[Egress]");
        assert_eq!(case.paths(MONITORING.id, &egress), [""; 0]);
    }
}
