//! From a snapshot to what one node programs.
//!
//! ```text
//!  pods ------> claims: address -> pods      structure: local pods x their policies
//!                  |                                    |
//!                  +------> set_index <------ sets that the chains refer to
//!                               |
//!                            members
//! ```

mod chain;
mod cidrs;
mod claims;
mod id;
mod members;
mod narrow;
mod program;
mod set_index;
mod structure;
mod text;

pub use program::{
    Chain, ChainRule, Element, Endpoint, Id, PeerMatch, PodSet, PodSetNamespaces, PortTest,
    Program, SetSpec, Signature, Structure, Update,
};

use crate::model::{Name, Namespace};
use crate::snapshot::{Change, Settings, Snapshot};
use claims::{Claims, same_identity};
use ipnet::IpNet;
use set_index::SetIndex;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use structure::{EntrySets, Policies, in_namespace};

/// The whole program of `node`, from nothing. Deterministic.
pub fn compile(snapshot: &Snapshot, node: &Name, settings: Settings) -> Program {
    let mut compiler = Compiler::new(Name::clone(node), settings);
    compiler.fill(snapshot);
    compiler.program
}

/// Compiles incrementally: after any sequence of [`Compiler::update`] the program
/// equals what [`compile`] gives for the same snapshot (a property test holds that).
#[derive(Debug)]
pub struct Compiler {
    node: Name,
    settings: Settings,
    program: Program,
    filled: bool,
    claims: Claims,
    namespaces: BTreeMap<Name, Arc<Namespace>>,
    policies: Policies,
    index: SetIndex,
    entry_sets: EntrySets,
}

/// What a batch of changes can affect.
#[derive(Debug, Default)]
struct Scope {
    /// Addresses whose claimants, sets or endpoint can be others now.
    addresses: BTreeSet<IpAddr>,
    /// Namespaces whose labels changed.
    relabelled: BTreeSet<Name>,
}

impl Compiler {
    /// A compiler for one node; the program is empty until the first update.
    pub fn new(node: Name, settings: Settings) -> Self {
        Self {
            node,
            settings,
            program: Program::default(),
            filled: false,
            claims: Claims::default(),
            namespaces: BTreeMap::new(),
            policies: Policies::default(),
            index: SetIndex::default(),
            entry_sets: EntrySets::default(),
        }
    }

    /// The program as of the last update.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Starts anew from `snapshot`; the update is relative to the program so far.
    pub fn rebuild(&mut self, snapshot: &Snapshot) -> Update {
        let mut next = Self::new(Name::clone(&self.node), self.settings);
        next.fill(snapshot);
        let old = std::mem::replace(self, next);
        let previous = if old.program.structure == self.program.structure {
            self.program.structure = Arc::clone(&old.program.structure);
            None
        } else {
            Some(Arc::clone(&old.program.structure))
        };

        let mut update = Update {
            previous,
            structure: Arc::clone(&self.program.structure),
            ..Update::default()
        };
        for (id, now) in &self.program.members {
            let Some(before) = old.program.members.get(id) else {
                continue;
            };
            let removed: BTreeSet<Element> = before.difference(now).copied().collect();
            let added: BTreeSet<Element> = now.difference(before).copied().collect();
            // A namespace that was relabelled shows in what its pods are members of.
            if matches!(
                update.structure.sets.get(id).map(|spec| &**spec),
                Some(SetSpec::Pods(_))
            ) {
                update
                    .moved
                    .extend(removed.iter().chain(&added).filter_map(Element::address));
            }
            if !(removed.is_empty() && added.is_empty()) {
                update.members.insert(*id, (removed, added));
            }
        }
        update.moved.extend(
            old.claims
                .addresses()
                .chain(self.claims.addresses())
                .filter(|ip| !same_identity(old.claims.of(*ip), self.claims.of(*ip))),
        );
        update
    }

    /// Applies `changes`, which `snapshot` already contains. The costs are those of
    /// the addresses that the changes touch; the rules are looked at only when a
    /// local pod, its policies or this node changed.
    pub fn update(&mut self, snapshot: &Snapshot, changes: &[Change]) -> Update {
        if !self.filled {
            return self.rebuild(snapshot);
        }
        let scope = self.scope(snapshot, changes);
        let before = self.before(&scope);
        let forced = self.take_in(changes);
        let old = Arc::clone(&self.program.structure);
        let previous = self
            .restructure(snapshot, &scope.addresses, forced)
            .then(|| Arc::clone(&old));
        let mut update = Update {
            previous,
            structure: Arc::clone(&self.program.structure),
            ..Update::default()
        };
        self.move_members(&old, &before, &scope.relabelled, &mut update);
        update
    }

    // === What a batch can affect ===

    fn scope(&self, snapshot: &Snapshot, changes: &[Change]) -> Scope {
        let mut scope = Scope::default();
        let mut policies_of = BTreeSet::new();
        for change in changes {
            match change {
                Change::Pod(old, new) => {
                    for pod in old.iter().chain(new).filter(|pod| pod.is_target()) {
                        scope.addresses.extend(&pod.ips);
                    }
                }
                Change::Namespace(old, new) => {
                    scope.relabelled.extend(
                        old.iter()
                            .chain(new)
                            .map(|namespace| Name::clone(&namespace.name)),
                    );
                }
                Change::Policy(old, new) => {
                    policies_of.extend(old.iter().chain(new).map(|policy| &policy.key.namespace));
                }
                Change::Node(..) | Change::Service(..) => {}
            }
        }
        // Pods that came or left in this batch are in it by their own change.
        for namespace in &scope.relabelled {
            for pod in in_namespace(&snapshot.pods, namespace).filter(|pod| pod.is_target()) {
                scope.addresses.extend(&pod.ips);
            }
        }
        if !policies_of.is_empty() {
            let endpoints = self.program.structure.endpoints.iter();
            scope.addresses.extend(
                endpoints
                    .filter(|(_, e)| {
                        e.pods
                            .iter()
                            .any(|pod| policies_of.contains(&pod.namespace))
                    })
                    .map(|(ip, _)| *ip),
            );
        }
        scope
    }

    // === Taking changes in ===

    /// Takes the changes over into the compiler's own state. True when the structure
    /// has to be put together again even if no endpoint changes.
    fn take_in(&mut self, changes: &[Change]) -> bool {
        let mut forced = false;
        for change in changes {
            match change {
                Change::Pod(old, new) => {
                    if let Some(old) = old {
                        self.claims.remove(old);
                    }
                    if let Some(new) = new {
                        self.claims.insert(new);
                    }
                }
                Change::Namespace(old, new) => {
                    if let Some(old) = old {
                        self.namespaces.remove(&old.name);
                    }
                    if let Some(new) = new {
                        self.namespaces
                            .insert(Name::clone(&new.name), Arc::clone(new));
                    }
                }
                Change::Policy(old, new) => {
                    for policy in old.iter().chain(new) {
                        forced |= self.policies.forget(&policy.key);
                    }
                }
                Change::Node(old, new) => {
                    forced |= old.iter().chain(new).any(|node| node.name == self.node);
                }
                Change::Service(..) => {}
            }
        }
        forced
    }

    fn fill(&mut self, snapshot: &Snapshot) {
        self.filled = true;
        self.namespaces = snapshot.namespaces.clone();
        let mut local = BTreeSet::new();
        for pod in snapshot.pods.values() {
            self.claims.insert(pod);
            if pod.node == self.node {
                local.extend(&pod.ips);
            }
        }
        self.restructure(snapshot, &local, true);
    }

    // === Structure ===

    /// Judges the endpoints of these addresses anew and, if that changed anything,
    /// replaces the structure, drops sets that are no longer in it and fills new
    /// ones. True when the structure changed.
    fn restructure(
        &mut self,
        snapshot: &Snapshot,
        addresses: &BTreeSet<IpAddr>,
        forced: bool,
    ) -> bool {
        let old = Arc::clone(&self.program.structure);
        let mut changed = BTreeMap::new();
        for ip in addresses {
            let pods = self.claims.local(*ip, &self.node);
            let endpoint = self.policies.endpoint(&snapshot.policies, pods);
            if old.endpoints.get(ip) != endpoint.as_ref() {
                changed.insert(*ip, endpoint);
            }
        }
        if changed.is_empty() && !forced {
            return false;
        }
        let mut endpoints = old.endpoints.clone();
        for (ip, endpoint) in changed {
            match endpoint {
                Some(endpoint) => endpoints.insert(ip, endpoint),
                None => endpoints.remove(&ip),
            };
        }
        let new = Structure {
            unknown_ranges: self.unknown_ranges(snapshot),
            enforce_node_traffic: self.settings.enforce_node_traffic,
            ..self.policies.assemble(&old, endpoints)
        };
        if new == *old {
            return false;
        }
        self.program.structure = Arc::new(new);
        self.replace_sets(snapshot, &old);
        true
    }

    fn unknown_ranges(&self, snapshot: &Snapshot) -> Vec<IpNet> {
        let node = snapshot.nodes.get(&self.node);
        let mut ranges = node
            .filter(|_| self.settings.drop_unknown_pods)
            .map(|node| node.pod_cidrs.clone())
            .unwrap_or_default();
        ranges.sort_unstable();
        ranges.dedup();
        ranges
    }

    fn replace_sets(&mut self, snapshot: &Snapshot, old: &Structure) {
        let new = Arc::clone(&self.program.structure);
        for (id, spec) in &old.sets {
            if !new.sets.contains_key(id) {
                self.index.remove(*id, spec);
                self.program.members.remove(id);
            }
        }
        let fresh: BTreeMap<Id, &SetSpec> = new
            .sets
            .iter()
            .filter(|(id, _)| !old.sets.contains_key(id))
            .map(|(id, spec)| (*id, &**spec))
            .collect();
        for (id, spec) in &fresh {
            self.index.insert(*id, spec);
        }
        let members = self.first_members(snapshot, &fresh);
        self.program.members.extend(members);
    }
}
