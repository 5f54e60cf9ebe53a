//! Every selector of a policy, where it stands and what it is held against.

use crate::engine::Ask;
use crate::subject::Place;
use crate::{Index, Occasion, Subject};
use ringfence_policy::model::{Labels, NamespaceMatch, Peer, Selector};

/// A selector in a policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used<'a> {
    /// Its place among the policy's selectors.
    at: usize,
    /// The namespace of the policy.
    own: &'a str,
    /// The peer that it belongs to; `None`: the policy's own `podSelector`.
    pub peer: Option<(Place<'a>, usize)>,
    /// What it is held against.
    pub over: Over<'a>,
    /// The selector.
    pub selector: &'a Selector,
}

/// What a selector is held against.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Over<'a> {
    /// Namespaces.
    Namespaces,
    /// The pods of these namespaces.
    Pods(&'a NamespaceMatch),
}

/// More selectors than this are not looked at: nobody wrote them by hand, and no request may
/// take long.
const MOST: usize = 64;

/// The selectors of a policy; those of a peer's namespaces stand before those of its pods.
pub(super) fn selectors<'a>(ask: &Ask<'a>) -> &'a [Used<'a>] {
    ask.memo.selectors.get_or_init(|| listed(ask.subject))
}

fn listed<'a>(subject: &'a Subject<'a>) -> Vec<Used<'a>> {
    let Some(policy) = subject.policy() else {
        return Vec::new();
    };
    let own = &*policy.key.namespace;
    let mut all = vec![Used {
        at: 0,
        own,
        peer: None,
        over: Over::Pods(&NamespaceMatch::Own),
        selector: &policy.pod_selector,
    }];
    for place in subject.rules() {
        for (index, peer) in place.rule.peers.iter().enumerate() {
            let Peer::Pods { namespaces, pods } = peer else {
                continue;
            };
            let peer = Some((place, index));
            if let NamespaceMatch::Labels(selector) = namespaces {
                let over = Over::Namespaces;
                all.push(Used {
                    at: all.len(),
                    own,
                    peer,
                    over,
                    selector,
                });
            }
            if all.len() >= MOST {
                return all;
            }
            let over = Over::Pods(namespaces);
            let selector = pods;
            all.push(Used {
                at: all.len(),
                own,
                peer,
                over,
                selector,
            });
        }
    }
    all
}

impl<'a> Used<'a> {
    /// `namespaceSelector` or `podSelector`
    fn field(&self) -> &'static str {
        match self.over {
            Over::Namespaces => "namespaceSelector",
            Over::Pods(_) => "podSelector",
        }
    }

    /// `spec.ingress[0].from[1].podSelector`
    pub(super) fn path(&self) -> String {
        match self.peer {
            None => "spec.podSelector".to_owned(),
            Some((place, index)) => format!("{}.{}", place.peer(index), self.field()),
        }
    }

    /// The same as a JSON pointer.
    pub(super) fn pointer(&self) -> String {
        match self.peer {
            None => "/spec/podSelector".to_owned(),
            Some((place, index)) => {
                let rule = place.pointer();
                format!("{rule}/{}/{index}/{}", place.far_end(), self.field())
            }
        }
    }

    /// The labels that it is held against, with the number of pods that have them (1 for
    /// a namespace). No selector matches hostNetwork pods of a peer in the end, but they
    /// are there.
    pub(super) fn candidates(
        &self,
        index: &'a Index,
    ) -> Box<dyn Iterator<Item = (&'a Labels, usize)> + 'a> {
        match self.over {
            Over::Namespaces => {
                let all = index.all_namespaces();
                Box::new(all.map(|(_, labels)| (labels, 1)))
            }
            Over::Pods(namespaces) => {
                let names = index.namespaces(self.own, namespaces);
                let workloads = names.flat_map(|name| index.workloads(name));
                Box::new(workloads.map(|w| (&w.pod.labels, w.count)))
            }
        }
    }

    /// Whether it matches nothing.
    pub(super) fn is_empty(&self, ask: &Ask, index: &Index) -> bool {
        let all = ask.memo.matches_nothing.get_or_init(|| {
            let all = selectors(ask);
            let matches = |used: &Used| used.would_match(index, used.selector);
            all.iter().map(|used| !matches(used)).collect()
        });
        all[self.at]
    }

    /// Whether another selector in its place would match anything.
    pub(super) fn would_match(&self, index: &Index, selector: &Selector) -> bool {
        match self.over {
            Over::Namespaces => index.labelled_so(selector).next().is_some(),
            Over::Pods(of) => index.matching(self.own, of, selector).next().is_some(),
        }
    }

    /// Whether any namespace is there for its pods.
    pub(super) fn has_namespace(&self, index: &'a Index) -> bool {
        match self.over {
            Over::Namespaces | Over::Pods(NamespaceMatch::Own) => true,
            Over::Pods(namespaces) => index.namespaces(self.own, namespaces).next().is_some(),
        }
    }

    /// Whether it is too early, or the files tell too little, to say that it matches
    /// nothing: charts install policies before pods, and a folder of manifests seldom holds
    /// the whole cluster.
    pub(super) fn is_unclear(&self, ask: &Ask, index: &'a Index) -> bool {
        if ask.is_early(index, self.own) {
            return true;
        }
        let files = ask.world.occasion == Occasion::Lint;
        match self.over {
            Over::Namespaces => files && index.snapshot().namespaces.is_empty(),
            Over::Pods(namespaces) => {
                let mut names = index.namespaces(self.own, namespaces).peekable();
                if files {
                    return names.all(|name| index.workloads(name).is_empty());
                }
                names.peek().is_some() && names.all(|name| ask.is_early(index, name))
            }
        }
    }
}
