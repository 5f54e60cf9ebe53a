//! Whom the policies of a workload reach, before a change and after it.

use super::bits::Bits;
use super::ground::is_named;
use super::rules::{Piece, Set, Split};
use super::{Edit, Ground, NotComputed, Port};
use crate::Index;
use crate::index::Workload;
use foldhash::quality::RandomState;
use ringfence_policy::model::{
    Direction, Name, NamespaceMatch, Peer, Pod, Policy, PortMatch, PortSpec, Protocol,
};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

/// Which of the two states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum When {
    Before,
    After,
}

/// The policies of both states, and what they name; every look costs steps.
pub(super) struct Reach<'a> {
    pub(super) index: &'a Index,
    pub(super) ground: &'a Ground,
    edit: &'a Edit,
    /// The namespaces whose policies are edited.
    touched: BTreeSet<&'a Name>,
    allowed: usize,
    steps: usize,
    /// Sets that there will be; their numbers follow those of the ground's.
    sets: Vec<Set<&'a Policy>>,
    /// Their numbers, by [`Set::identity`].
    known: HashMap<(Direction, Vec<*const Policy>), usize, RandomState>,
    /// The set that a workload will have, where its namespace is touched.
    set_of: HashMap<(usize, Direction), usize, RandomState>,
    /// By the sets before and after.
    splits: HashMap<[usize; 2], Rc<Split<'a>>, RandomState>,
}

impl<'a> Reach<'a> {
    pub(super) fn new(index: &'a Index, edit: &'a Edit, steps: usize) -> Self {
        Self {
            index,
            ground: index.ground(),
            edit,
            touched: edit.touched(),
            allowed: steps,
            steps,
            sets: Vec::new(),
            known: HashMap::default(),
            set_of: HashMap::default(),
            splits: HashMap::default(),
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
        let before = self.ground.set_of(group, direction);
        let pod = self.pod(group);
        let namespace = &pod.key.namespace;
        if when == When::Before || !self.touched.contains(namespace) {
            return Ok(before);
        }
        if let Some(set) = self.set_of.get(&(group, direction)) {
            return Ok(*set);
        }
        let mut looks = 0;
        let known = &self.ground.sets()[before];
        let set = if known.policies.is_empty() {
            // Those that only allow do not stand in it, and may count beside what comes.
            let policies = self.edit.policies(self.index, namespace);
            Set::of(pod, direction, policies.inspect(|_| looks += 1))
        } else {
            let known = known.policies.iter().map(AsRef::as_ref);
            let policies = self.edit.applied(known, namespace);
            Set::of(pod, direction, policies.inspect(|_| looks += 1))
        };
        self.spend(16 * (looks + 1))?;
        let identity = set.identity();
        let number = if identity == known.identity() {
            before
        } else {
            let next = self.ground.sets().len() + self.sets.len();
            let number = *self.known.entry(identity).or_insert(next);
            if number == next {
                self.sets.push(set);
            }
            number
        };
        self.set_of.insert((group, direction), number);
        Ok(number)
    }

    /// The policies of a set.
    fn policies(&self, set: usize) -> Vec<&'a Policy> {
        match self.ground.sets().get(set) {
            Some(set) => set.policies.iter().map(AsRef::as_ref).collect(),
            None => self.sets[set - self.ground.sets().len()].policies.clone(),
        }
    }

    /// Whether what a set allows depends on who receives.
    pub(super) fn names_ports(&self, set: usize) -> bool {
        match self.ground.sets().get(set) {
            Some(set) => set.names_ports,
            None => self.sets[set - self.ground.sets().len()].names_ports,
        }
    }

    /// Whether a set allows the same before and after.
    pub(super) fn is_steady(&self) -> bool {
        !self.edit.relabels()
    }

    /// The pods that the policies of a workload reach (or let in) on a port, before and
    /// after. `None`: the same ones, and nobody wants to know which.
    pub(super) fn reach(
        &mut self,
        group: usize,
        direction: Direction,
        port: Port,
        wanted: bool,
    ) -> Result<Option<[Bits; 2]>, NotComputed> {
        let length = self.ground.len();
        self.spend(length / 16 + 8)?;
        let sets = [
            self.set_of(group, direction, When::Before)?,
            self.set_of(group, direction, When::After)?,
        ];
        let policies = sets.map(|set| self.policies(set));
        let open = [policies[0].is_empty(), policies[1].is_empty()];
        let split = self.split(sets, &policies, direction)?;
        let ends = (group, direction, port);
        let mut reached = [
            self.named(&split.only[0], ends, When::Before)?,
            self.named(&split.only[1], ends, When::After)?,
        ];
        if open[0] == open[1] && reached[0] == reached[1] && !wanted {
            return Ok(None);
        }
        // Where there are labels to come, nothing is common.
        let common = self.named(&split.common, ends, When::Before)?;
        for (reached, open) in reached.iter_mut().zip(open) {
            if open {
                *reached = Bits::all(length);
            } else {
                reached.or(&common);
            }
        }
        Ok(Some(reached))
    }

    /// The rules of two sets, apart.
    fn split(
        &mut self,
        sets: [usize; 2],
        policies: &[Vec<&'a Policy>; 2],
        direction: Direction,
    ) -> Result<Rc<Split<'a>>, NotComputed> {
        if let Some(split) = self.splits.get(&sets) {
            return Ok(Rc::clone(split));
        }
        for policy in policies.iter().flatten() {
            let rules = policy.rules(direction).unwrap_or_default().len();
            self.spend(64 + 32 * rules)?;
        }
        let [before, after] = policies;
        let split = Rc::new(Split::new([before, after], direction, self.is_steady()));
        self.splits.insert(sets, Rc::clone(&split));
        Ok(split)
    }

    /// Whom rules of a workload's policies name for a port.
    fn named(
        &mut self,
        pieces: &[Piece<'a>],
        (group, direction, port): (usize, Direction, Port),
        when: When,
    ) -> Result<Bits, NotComputed> {
        let length = self.ground.len();
        let mut reached = Bits::none(length);
        for piece in pieces {
            let ports = piece.ports;
            self.spend(8 + 4 * ports.len())?;
            if takes_number(ports, port) {
                let bits = self.peers(piece, when)?;
                self.spend(bits.words())?;
                reached.or(bits);
                continue;
            }
            for (protocol, number, name) in names(ports, port) {
                match direction {
                    Direction::Ingress => {
                        if is_named(self.pod(group), name, protocol, number) {
                            let bits = self.peers(piece, when)?;
                            self.spend(bits.words())?;
                            reached.or(bits);
                        }
                    }
                    // Each peer has its own idea of the name.
                    Direction::Egress => {
                        let bits = self.peers(piece, when)?;
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
        Ok(reached)
    }

    /// Whom rules with the same ports name.
    fn peers<'p>(&mut self, piece: &'p Piece<'a>, when: When) -> Result<&'p Bits, NotComputed> {
        if let Some(bits) = piece.named.get() {
            return Ok(bits);
        }
        let (index, edit, ground) = (self.index, self.edit, self.ground);
        let all = 0..ground.len();
        // Sets are what takes memory.
        self.spend(all.len() / 8)?;
        let mut bits = Bits::none(all.len());
        for (policy, rule) in piece.rules.iter().copied() {
            self.spend(64)?;
            if rule.peers.is_empty() {
                bits.insert(all.clone());
            }
            for peer in &rule.peers {
                match peer {
                    Peer::Block(block) => {
                        self.spend(ground.cost_of(block))?;
                        ground.within(block, &all, &mut bits);
                    }
                    Peer::Pods { namespaces, pods } => {
                        let own = &policy.key.namespace;
                        let candidates = index.candidates(own, namespaces, pods);
                        self.spend(index.cost_of(&candidates, own, namespaces))?;
                        for workload in index.among(candidates, own, namespaces, pods) {
                            self.spend(4)?;
                            if !self.has_moved(when, namespaces, workload) {
                                bits.insert(ground.group(workload.place).range.clone());
                            }
                        }
                        if let (When::After, NamespaceMatch::Labels(selector)) = (when, namespaces)
                        {
                            for name in edit.labelled_so(selector) {
                                for workload in index.selected(name, pods) {
                                    self.spend(4)?;
                                    bits.insert(ground.group(workload.place).range.clone());
                                }
                            }
                        }
                    }
                }
            }
        }
        Ok(piece.named.get_or_init(|| bits))
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
        let policies = self.policies(set);
        if policies.is_empty() {
            return Ok(Bits::all(range.len()));
        }
        let mut allowed = Bits::none(range.len());
        for policy in policies {
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
                            self.ground.within(block, &range, &mut allowed);
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
