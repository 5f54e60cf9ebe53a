//! The members of sets: filled once, then moved address by address.

use super::claims::same_identity;
use super::program::{Element, Id, SetSpec, Structure, Update};
use super::set_index::{Lookup, Membership, SetIndex};
use super::structure::{in_namespace, namespaces_of};
use super::{Compiler, Scope};
use crate::model::{Name, Pod};
use crate::snapshot::Snapshot;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// An address before a batch of changes.
pub(super) struct Before {
    ip: IpAddr,
    pods: Vec<Arc<Pod>>,
    memberships: Vec<Membership>,
}

impl Compiler {
    /// The addresses of a batch as they are before it.
    pub(super) fn before(&self, scope: &Scope) -> Vec<Before> {
        let endpoints = &self.program.structure.endpoints;
        let mut lookup = Lookup::new(&self.index, &self.claims, &self.namespaces);
        scope
            .addresses
            .iter()
            .map(|ip| Before {
                ip: *ip,
                pods: self.claims.of(*ip).cloned().collect(),
                memberships: lookup.memberships(*ip, endpoints.contains_key(ip)),
            })
            .collect()
    }

    /// The members of sets that are new.
    pub(super) fn first_members(
        &self,
        snapshot: &Snapshot,
        fresh: &BTreeMap<Id, &SetSpec>,
    ) -> BTreeMap<Id, BTreeSet<Element>> {
        let mut index = SetIndex::default();
        let mut members: HashMap<Id, Vec<Element>> = HashMap::new();
        for (id, spec) in fresh {
            index.insert(*id, spec);
            members.insert(*id, Vec::new());
        }
        let mut enter = |(id, element): Membership| {
            if let Some(elements) = members.get_mut(&id) {
                elements.push(element);
            }
        };
        for (id, spec) in fresh {
            if let SetSpec::Cidrs(networks) = spec {
                for network in networks {
                    enter((*id, Element::Net(*network)));
                }
            }
        }
        let mut lookup = Lookup::new(&index, &self.claims, &self.namespaces);
        let endpoints = &self.program.structure.endpoints;
        for (ip, endpoint) in endpoints {
            let entries = self.entry_sets.memberships(*ip, Some(endpoint));
            entries.for_each(&mut enter);
            let memberships = lookup.memberships(*ip, true);
            memberships.into_iter().for_each(&mut enter);
        }
        // Most new sets draw from one namespace: the pods of the others are not looked at.
        for namespace in namespaces_of(&snapshot.pods) {
            if !lookup.concerns(namespace) {
                continue;
            }
            for pod in in_namespace(&snapshot.pods, namespace).filter(|pod| pod.is_target()) {
                for ip in &pod.ips {
                    let memberships = lookup.memberships(*ip, endpoints.contains_key(ip));
                    memberships.into_iter().for_each(&mut enter);
                }
            }
        }
        members
            .into_iter()
            .map(|(id, elements)| (id, elements.into_iter().collect()))
            .collect()
    }

    /// Moves addresses between the sets that were there before, and notes it.
    pub(super) fn move_members(
        &mut self,
        old: &Structure,
        before: &[Before],
        relabelled: &BTreeSet<Name>,
        update: &mut Update,
    ) {
        let new = Arc::clone(&self.program.structure);
        let members = &mut self.program.members;
        let mut lookup = Lookup::new(&self.index, &self.claims, &self.namespaces);
        for Before {
            ip,
            pods,
            memberships,
        } in before
        {
            let after = lookup.memberships(*ip, new.endpoints.contains_key(ip));
            let other_labels = || {
                let mut claimants = self.claims.of(*ip);
                claimants.any(|pod| relabelled.contains(&pod.key.namespace))
            };
            if !same_identity(pods, self.claims.of(*ip))
                || (*memberships != after && other_labels())
            {
                update.moved.insert(*ip);
            }
            let left = self.entry_sets.memberships(*ip, old.endpoints.get(ip));
            let left: BTreeSet<Membership> = memberships.iter().copied().chain(left).collect();
            let entered = self.entry_sets.memberships(*ip, new.endpoints.get(ip));
            let entered: BTreeSet<Membership> = after.into_iter().chain(entered).collect();
            let stays = |id: &Id| old.sets.contains_key(id) && new.sets.contains_key(id);
            for (id, element) in left.difference(&entered).filter(|(id, _)| stays(id)) {
                members.entry(*id).or_default().remove(element);
                update.members.entry(*id).or_default().0.insert(*element);
            }
            for (id, element) in entered.difference(&left).filter(|(id, _)| stays(id)) {
                members.entry(*id).or_default().insert(*element);
                update.members.entry(*id).or_default().1.insert(*element);
            }
        }
    }
}
