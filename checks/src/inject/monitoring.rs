//! Ingress from the namespaces that scrape metrics.

use super::dns::{NAMESPACE_NAME, namespace_labels};
use crate::{Config, Index};
use ringfence_policy::model::{Labels, Name, NamespaceMatch, Peer, Rule, Selector};

/// The configured namespaces.
#[derive(Debug)]
pub struct Scrapers<'a>(Vec<(&'a Name, Labels)>);

impl<'a> Scrapers<'a> {
    /// The namespaces of the configuration, whether they exist yet or not.
    pub fn of(index: &Index, config: &'a Config) -> Self {
        let names = config.monitoring.iter();
        Self(
            names
                .map(|name| (name, namespace_labels(index, name)))
                .collect(),
        )
    }

    /// The namespaces that the rules of a policy in `own` do not let in on every port.
    /// Which port a scraper will ask nobody knows.
    pub fn shut_out(&self, own: &str, rules: &[&Rule]) -> Vec<&'a Name> {
        let lets_in = |name: &Name, labels: &Labels| {
            let admits = |peer: &Peer| match peer {
                Peer::Block(_) => false,
                Peer::Pods { namespaces, pods } => {
                    pods.is_everything()
                        && match namespaces {
                            NamespaceMatch::Own => **name == *own,
                            NamespaceMatch::Labels(selector) => selector.matches(labels),
                        }
                }
            };
            rules.iter().any(|rule| {
                rule.ports.is_empty() && (rule.peers.is_empty() || rule.peers.iter().any(admits))
            })
        };
        let all = self.0.iter();
        all.filter(|(name, labels)| !lets_in(name, labels))
            .map(|(name, _)| *name)
            .collect()
    }

    /// The rule that lets all of them in; none when none is configured.
    pub fn rule(&self) -> Option<Rule> {
        let peer = |name: &Name| Peer::Pods {
            namespaces: NamespaceMatch::Labels(Selector::labels([(NAMESPACE_NAME, name.clone())])),
            pods: Selector::everything(),
        };
        let rule = Rule {
            peers: self.0.iter().map(|(name, _)| peer(name)).collect(),
            ports: Vec::new(),
        };
        (!rule.peers.is_empty()).then_some(rule)
    }
}
