//! From local pods and policies to endpoints, signatures, chains and sets.

use super::chain::Compiled;
use super::program::{Element, Endpoint, Id, SetSpec, Signature, Structure};
use super::set_index::Membership;
use crate::model::{Direction, Name, ObjectKey, Pod, Policy};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

/// The policies in use on this node, compiled; outlives changes that do not touch them.
#[derive(Debug, Default)]
pub(super) struct Policies {
    compiled: BTreeMap<Id, Compiled>,
    signatures: BTreeMap<Id, Signature>,
}

impl Policies {
    /// Drops what was compiled from a policy. True when it was in use.
    pub(super) fn forget(&mut self, policy: &ObjectKey) -> bool {
        [Direction::Ingress, Direction::Egress]
            .map(|direction| {
                self.compiled
                    .remove(&Id::of_chain(direction, policy))
                    .is_some()
            })
            .contains(&true)
    }

    /// The endpoint of an address that these local pods (sorted by key) claim, with
    /// the policies that select them compiled. `None` without a pod.
    pub(super) fn endpoint<'a>(
        &mut self,
        policies: &BTreeMap<ObjectKey, Arc<Policy>>,
        pods: impl Iterator<Item = &'a Arc<Pod>>,
    ) -> Option<Endpoint> {
        let mut endpoint = Endpoint::default();
        for pod in pods {
            endpoint.pods.push(pod.key.clone());
            endpoint
                .ingress
                .extend(self.signature(policies, pod, Direction::Ingress));
            endpoint
                .egress
                .extend(self.signature(policies, pod, Direction::Egress));
        }
        for signatures in [&mut endpoint.ingress, &mut endpoint.egress] {
            signatures.sort_unstable();
            signatures.dedup();
        }
        (!endpoint.pods.is_empty()).then_some(endpoint)
    }

    /// The policies that isolate a pod in a direction; `None` when none does.
    fn signature(
        &mut self,
        policies: &BTreeMap<ObjectKey, Arc<Policy>>,
        pod: &Pod,
        direction: Direction,
    ) -> Option<Id> {
        let mut chains: Vec<Id> = Vec::new();
        let mut isolated = false;
        for policy in in_namespace(policies, &pod.key.namespace) {
            if policy.rules(direction).is_some() && policy.pod_selector.matches(&pod.labels) {
                isolated |= !policy.allow_only;
                let id = Id::of_chain(direction, &policy.key);
                self.compiled
                    .entry(id)
                    .or_insert_with(|| Compiled::new(policy, direction));
                chains.push(id);
            }
        }
        if !isolated {
            return None;
        }
        chains.sort_unstable();
        let id = Id::of_signature(direction, &chains);
        self.signatures
            .entry(id)
            .or_insert(Signature { direction, chains });
        Some(id)
    }

    /// The structure around these endpoints, sharing what it can with the `old` one.
    /// Forgets policies that are no longer in use.
    pub(super) fn assemble(
        &mut self,
        old: &Structure,
        endpoints: BTreeMap<IpAddr, Endpoint>,
    ) -> Structure {
        let signatures: BTreeSet<Id> = endpoints
            .values()
            .flat_map(|endpoint| endpoint.ingress.iter().chain(&endpoint.egress))
            .copied()
            .collect();
        self.signatures.retain(|id, _| signatures.contains(id));
        let chains: BTreeSet<Id> = self
            .signatures
            .values()
            .flat_map(|signature| &signature.chains)
            .copied()
            .collect();
        self.compiled.retain(|id, _| chains.contains(id));

        let entry_sets = entry_sets().map(|spec| (spec.id(), Arc::new(spec)));
        let peer_sets = self.compiled.values().flat_map(|compiled| &compiled.sets);
        let mut sets = BTreeMap::new();
        for (id, spec) in peer_sets.chain(entry_sets.iter().map(|(id, spec)| (id, spec))) {
            sets.entry(*id)
                .or_insert_with(|| Arc::clone(old.sets.get(id).unwrap_or(spec)));
        }
        let chains = self
            .compiled
            .iter()
            .map(|(id, compiled)| {
                let same = old.chains.get(id).filter(|chain| **chain == compiled.chain);
                (*id, Arc::clone(same.unwrap_or(&compiled.chain)))
            })
            .collect();
        Structure {
            endpoints,
            signatures: self.signatures.clone(),
            chains,
            sets,
            unknown_ranges: Vec::new(),
            enforce_node_traffic: false,
        }
    }
}

/// The sets that the entry rules refer to, whatever the policies are.
pub(super) fn entry_sets() -> [SetSpec; 4] {
    [
        SetSpec::LocalPods,
        SetSpec::IsolatedPods,
        SetSpec::IngressIsolatedPods,
        SetSpec::SelfPairs,
    ]
}

/// Membership in the entry sets.
#[derive(Debug)]
pub(super) struct EntrySets {
    local: Id,
    isolated: Id,
    ingress_isolated: Id,
    self_pairs: Id,
}

impl Default for EntrySets {
    fn default() -> Self {
        let [local, isolated, ingress_isolated, self_pairs] = entry_sets().map(|spec| spec.id());
        Self {
            local,
            isolated,
            ingress_isolated,
            self_pairs,
        }
    }
}

impl EntrySets {
    /// What an address is a member of by its endpoint.
    pub(super) fn memberships(
        &self,
        ip: IpAddr,
        endpoint: Option<&Endpoint>,
    ) -> impl Iterator<Item = Membership> + use<> {
        let known = endpoint.is_some();
        let ingress = endpoint.is_some_and(|e| !e.ingress.is_empty());
        let isolated = ingress || endpoint.is_some_and(|e| !e.egress.is_empty());
        [
            known.then_some((self.local, Element::Address(ip))),
            isolated.then_some((self.isolated, Element::Address(ip))),
            ingress.then_some((self.ingress_isolated, Element::Address(ip))),
            isolated.then_some((self.self_pairs, Element::Pair(ip))),
        ]
        .into_iter()
        .flatten()
    }
}

/// The objects of one namespace.
pub(super) fn in_namespace<'a, V>(
    objects: &'a BTreeMap<ObjectKey, V>,
    namespace: &'a Name,
) -> impl Iterator<Item = &'a V> {
    objects
        .range(ObjectKey::new(Name::clone(namespace), "")..)
        .take_while(move |(key, _)| key.namespace == *namespace)
        .map(|(_, object)| object)
}

/// The namespaces that have objects, without a walk over all objects.
pub(super) fn namespaces_of<V>(objects: &BTreeMap<ObjectKey, V>) -> impl Iterator<Item = &Name> {
    let first = objects.keys().next();
    std::iter::successors(first, |key| {
        // The least name after this one, so that the range begins behind its objects.
        let next = ObjectKey::new(format!("{}\0", key.namespace), "");
        objects
            .range((Bound::Included(next), Bound::Unbounded))
            .next()
            .map(|(key, _)| key)
    })
    .map(|key| &key.namespace)
}
