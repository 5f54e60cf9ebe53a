//! Whom the policies of a workload reach, before a change and after it.

use super::bits::Bits;
use super::ground::is_named;
use super::{Edit, Ground, NotComputed, Port};
use crate::Index;
use crate::index::Workload;
use ringfence_policy::model::{
    Direction, NamespaceMatch, Peer, Pod, Policy, PortMatch, PortSpec, Protocol,
};
use std::collections::HashMap;
use std::ptr;
use std::rc::Rc;

/// Which of the two states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum When {
    Before,
    After,
}

/// Whom a policy's rules of one direction name, by the ports that they say.
type Peers<'a> = HashMap<&'a [PortMatch], Bits>;

/// Policies that isolate the same workloads in one direction.
#[derive(Debug)]
struct Set<'a> {
    policies: Rc<[&'a Policy]>,
    /// Some rule names a port: what it allows depends on the receiver.
    names_ports: bool,
}

/// The policies of both states, and what they name; every look costs steps.
pub(super) struct Reach<'a> {
    pub(super) index: &'a Index,
    pub(super) ground: &'a Ground,
    edit: &'a Edit,
    allowed: usize,
    steps: usize,
    /// By the policy's address: one that is not changed is the same before and after, but
    /// for namespaces that get other labels.
    peers: HashMap<(*const Policy, Direction, When), Rc<Peers<'a>>>,
    sets: Vec<Set<'a>>,
    /// Sets by their direction and policies.
    known: HashMap<(Direction, Vec<*const Policy>), usize>,
    /// The set of each workload.
    set_of: HashMap<(usize, Direction, When), usize>,
}

impl<'a> Reach<'a> {
    pub(super) fn new(index: &'a Index, edit: &'a Edit, steps: usize) -> Self {
        Self {
            index,
            ground: index.ground(),
            edit,
            allowed: steps,
            steps,
            peers: HashMap::new(),
            sets: Vec::new(),
            known: HashMap::new(),
            set_of: HashMap::new(),
        }
    }

    /// Takes steps away.
    pub(super) fn spend(&mut self, steps: usize) -> Result<(), NotComputed> {
        let left = self.steps.checked_sub(steps);
        self.steps = left.ok_or(NotComputed {
            steps: self.allowed,
        })?;
        Ok(())
    }

    /// One of a workload's pods.
    pub(super) fn pod(&self, group: usize) -> &'a Pod {
        &self.index.workload(group).pod
    }

    /// The policies that isolate a workload: equal numbers, equal policies.
    pub(super) fn set_of(
        &mut self,
        group: usize,
        direction: Direction,
        when: When,
    ) -> Result<usize, NotComputed> {
        let key = (group, direction, when);
        if let Some(set) = self.set_of.get(&key) {
            return Ok(*set);
        }
        let pod = self.pod(group);
        let namespace: &'a str = &pod.key.namespace;
        let mut looks = 0;
        let isolates = |policy: &&'a Policy| {
            looks += 1;
            policy.rules(direction).is_some() && policy.pod_selector.matches(&pod.labels)
        };
        let mut policies: Vec<&'a Policy> = if when == When::Before {
            let all = self.index.policies(namespace).map(AsRef::as_ref);
            all.filter(isolates).collect()
        } else {
            let all = self.edit.policies(self.index, namespace);
            all.filter(isolates).collect()
        };
        self.spend(16 * (looks + 1))?;
        // Those that only allow count where another one isolates.
        if policies.iter().all(|policy| policy.allow_only) {
            policies.clear();
        }
        let addresses = policies.iter().map(|p| ptr::from_ref(*p)).collect();
        let next = self.sets.len();
        let set = *self.known.entry((direction, addresses)).or_insert(next);
        if set == next {
            let mut rules = policies.iter().filter_map(|p| p.rules(direction));
            let named = |p: &PortMatch| matches!(p.port, PortSpec::Named(_));
            self.sets.push(Set {
                names_ports: rules.any(|r| r.iter().any(|rule| rule.ports.iter().any(named))),
                policies: policies.into(),
            });
        }
        self.set_of.insert(key, set);
        Ok(set)
    }

    /// Whether what a set allows depends on who receives.
    pub(super) fn names_ports(&self, set: usize) -> bool {
        self.sets[set].names_ports
    }

    /// Whether a set allows the same before and after.
    pub(super) fn is_steady(&self) -> bool {
        !self.edit.relabels()
    }

    /// The pods that the policies of a workload reach (or let in) on a port.
    pub(super) fn reach(
        &mut self,
        group: usize,
        direction: Direction,
        port: Port,
    ) -> Result<[Bits; 2], NotComputed> {
        Ok([
            self.reach_then(group, direction, port, When::Before)?,
            self.reach_then(group, direction, port, When::After)?,
        ])
    }

    fn reach_then(
        &mut self,
        group: usize,
        direction: Direction,
        port: Port,
        when: When,
    ) -> Result<Bits, NotComputed> {
        let length = self.ground.len();
        let set = self.set_of(group, direction, when)?;
        let policies = Rc::clone(&self.sets[set].policies);
        if policies.is_empty() {
            self.spend(length / 64)?;
            return Ok(Bits::all(length));
        }
        let mut reached = Bits::none(length);
        for policy in policies.iter().copied() {
            let peers = self.peers(policy, direction, when)?;
            for (ports, bits) in peers.iter() {
                self.spend(8 + 4 * ports.len())?;
                if takes_number(ports, port) {
                    self.spend(bits.words())?;
                    reached.or(bits);
                    continue;
                }
                for (protocol, number, name) in names(ports, port) {
                    match direction {
                        Direction::Ingress => {
                            if is_named(self.pod(group), name, protocol, number) {
                                self.spend(bits.words())?;
                                reached.or(bits);
                            }
                        }
                        // Each peer has its own idea of the name.
                        Direction::Egress => {
                            self.spend(bits.words() + bits.count())?;
                            let mut at = 0;
                            while let Some(pod) = bits.next(at) {
                                let far = self.ground.group_of(pod);
                                let range = self.ground.group(far).range.clone();
                                at = range.end;
                                if is_named(self.pod(far), name, protocol, number) {
                                    let mut some = bits.clone();
                                    some.remove(0..range.start);
                                    some.remove(range.end..length);
                                    self.spend(2 * some.words())?;
                                    reached.or(&some);
                                }
                            }
                        }
                    }
                }
            }
        }
        Ok(reached)
    }

    /// Whom the rules of a policy name.
    fn peers(
        &mut self,
        policy: &'a Policy,
        direction: Direction,
        when: When,
    ) -> Result<Rc<Peers<'a>>, NotComputed> {
        let key = (ptr::from_ref(policy), direction, when);
        if let Some(peers) = self.peers.get(&key) {
            return Ok(Rc::clone(peers));
        }
        let length = self.ground.len();
        let mut all = Peers::new();
        for rule in policy.rules(direction).unwrap_or_default() {
            // Sets are what takes memory.
            self.spend(length / 8 + 64)?;
            let none = || Bits::none(length);
            let bits = all.entry(rule.ports.as_slice()).or_insert_with(none);
            if rule.peers.is_empty() {
                bits.insert(0..length);
            }
            for peer in &rule.peers {
                match peer {
                    Peer::Block(block) => {
                        self.spend(self.ground.cost_of(block))?;
                        bits.or(&self.ground.within(block));
                    }
                    Peer::Pods { namespaces, pods } => {
                        let own = &policy.key.namespace;
                        let mut found = 0;
                        for workload in self.index.matching(own, namespaces, pods) {
                            found += 1;
                            if !self.has_moved(when, namespaces, workload) {
                                bits.insert(self.ground.group(workload.place).range.clone());
                            }
                        }
                        if let (When::After, NamespaceMatch::Labels(selector)) = (when, namespaces)
                        {
                            for name in self.edit.labelled_so(selector) {
                                for workload in self.index.selected(name, pods) {
                                    found += 1;
                                    bits.insert(self.ground.group(workload.place).range.clone());
                                }
                            }
                        }
                        self.spend(self.index.cost_of(own, namespaces, pods) + 4 * found)?;
                    }
                }
            }
        }
        let all = Rc::new(all);
        self.peers.insert(key, Rc::clone(&all));
        Ok(all)
    }

    /// Whether the index does not know the labels that the workload's namespace has then.
    fn has_moved(&self, when: When, peer: &NamespaceMatch, workload: &Workload) -> bool {
        when == When::After
            && *peer != NamespaceMatch::Own
            && self.edit.labels(&workload.pod.key.namespace).is_some()
    }

    /// The pods of `far` that a set allows, for flows to the port of `receiver`.
    pub(super) fn side(
        &mut self,
        set: usize,
        direction: Direction,
        far: usize,
        receiver: &Pod,
        port: Port,
        when: When,
    ) -> Result<Bits, NotComputed> {
        let range = self.ground.group(far).range.clone();
        let policies = Rc::clone(&self.sets[set].policies);
        if policies.is_empty() {
            return Ok(Bits::all(range.len()));
        }
        let mut allowed = Bits::none(range.len());
        for policy in policies.iter().copied() {
            for rule in policy.rules(direction).unwrap_or_default() {
                self.spend(8 + 4 * rule.ports.len())?;
                let named = |(protocol, number, name): (_, _, &str)| {
                    is_named(receiver, name, protocol, number)
                };
                if !takes_number(&rule.ports, port) && !names(&rule.ports, port).any(named) {
                    continue;
                }
                if rule.peers.is_empty() {
                    return Ok(Bits::all(range.len()));
                }
                for peer in &rule.peers {
                    self.spend(16)?;
                    match peer {
                        Peer::Block(block) => {
                            self.spend(self.ground.cost_of(block))?;
                            allowed.or(&self.ground.within(block).part(range.clone()));
                        }
                        Peer::Pods { namespaces, pods } => {
                            if pods.matches(&self.pod(far).labels)
                                && self.is_peer(policy, namespaces, self.pod(far), when)
                            {
                                return Ok(Bits::all(range.len()));
                            }
                        }
                    }
                }
            }
        }
        Ok(allowed)
    }

    fn is_peer(&self, policy: &Policy, peer: &NamespaceMatch, pod: &Pod, when: When) -> bool {
        let namespace = &pod.key.namespace;
        match (when, peer, self.edit.labels(namespace)) {
            (When::After, NamespaceMatch::Labels(selector), Some(labels)) => {
                selector.matches(labels)
            }
            _ => self.index.is_peer(&policy.key.namespace, peer, namespace),
        }
    }
}

/// Whether a rule with these ports takes one, as far as numbers tell.
fn takes_number(ports: &[PortMatch], port: Port) -> bool {
    let Some((protocol, number)) = port else {
        return true;
    };
    ports.is_empty()
        || ports.iter().any(|p| {
            p.protocol == protocol
                && match &p.port {
                    PortSpec::Any => true,
                    PortSpec::Range(first, last) => (*first..=*last).contains(&number),
                    PortSpec::Named(_) => false,
                }
        })
}

/// The names that a rule has for the port's protocol, with the port itself.
fn names(ports: &[PortMatch], port: Port) -> impl Iterator<Item = (Protocol, u16, &str)> {
    ports.iter().filter_map(move |p| {
        let (protocol, number) = port?;
        match &p.port {
            PortSpec::Named(name) if p.protocol == protocol => Some((protocol, number, &**name)),
            _ => None,
        }
    })
}
