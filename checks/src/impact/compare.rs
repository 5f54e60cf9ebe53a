//! Before and after, for every workload that a change is about.

use super::bits::Bits;
use super::edit::Changed;
use super::ground::{end, is_named};
use super::{Edit, Flows, Ground, Impact, Limits, NotComputed, Port, Row};
use crate::Index;
use crate::index::Workload;
use ringfence_policy::model::{Direction, NamespaceMatch, Peer, Pod, Policy, PortMatch, PortSpec};
use std::collections::{BTreeSet, HashMap};
use std::ptr;
use std::rc::Rc;

/// What `edit` cuts and opens between the pods of `index`.
///
/// # Errors
/// It takes more steps than `limits` has.
pub fn compare(index: &Index, edit: &Edit, limits: &Limits) -> Result<Impact, NotComputed> {
    let changed = edit.changed(index);
    if changed.is_empty() {
        return Ok(Impact::default());
    }
    let mut comparison = Comparison::new(index, edit, limits);
    let ingress = comparison.affected(&changed, Direction::Ingress)?;
    let egress = comparison.affected(&changed, Direction::Egress)?;
    comparison.receivers(&ingress, &egress)?;
    comparison.senders(&egress, &ingress)?;
    Ok(Impact {
        cut: comparison.cut,
        opened: comparison.opened,
    })
}

/// Which of the two states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum When {
    Before,
    After,
}

/// Both, to ask about each.
const BOTH: [When; 2] = [When::Before, When::After];

/// Whom a policy's rules of one direction name, by the ports that they say.
type Peers<'a> = HashMap<&'a [PortMatch], Bits>;

/// The workloads whose policies change, and their pods.
struct Affected {
    groups: BTreeSet<usize>,
    pods: Bits,
}

struct Comparison<'a> {
    index: &'a Index,
    ground: &'a Ground,
    edit: &'a Edit,
    limits: &'a Limits<'a>,
    steps: usize,
    /// By the policy's address: one that is not changed is the same before and after, but
    /// for namespaces that get other labels.
    peers: HashMap<(*const Policy, Direction, When), Rc<Peers<'a>>>,
    policies: HashMap<(usize, Direction, When), Rc<[&'a Policy]>>,
    cut: Flows,
    opened: Flows,
}

impl<'a> Comparison<'a> {
    fn new(index: &'a Index, edit: &'a Edit, limits: &'a Limits) -> Self {
        Self {
            index,
            ground: index.ground(),
            edit,
            limits,
            steps: limits.steps,
            peers: HashMap::new(),
            policies: HashMap::new(),
            cut: Flows::default(),
            opened: Flows::default(),
        }
    }

    fn spend(&mut self, steps: usize) -> Result<(), NotComputed> {
        let left = self.steps.checked_sub(steps);
        self.steps = left.ok_or(NotComputed {
            steps: self.limits.steps,
        })?;
        Ok(())
    }

    fn affected(
        &mut self,
        changed: &[Changed],
        direction: Direction,
    ) -> Result<Affected, NotComputed> {
        let mut affected = Affected {
            groups: BTreeSet::new(),
            pods: Bits::none(self.ground.len()),
        };
        for policy in changed.iter().flat_map(|c| c.versions(direction)) {
            let namespace = &policy.key.namespace;
            self.spend(8 * self.index.workloads(namespace).len())?;
            for workload in self.index.selected(namespace, &policy.pod_selector) {
                let range = self.ground.group(workload.place).range.clone();
                if !range.is_empty() {
                    affected.groups.insert(workload.place);
                    affected.pods.insert(range);
                }
            }
        }
        Ok(affected)
    }

    /// Flows to the pods whose ingress changes, also from those whose egress does.
    fn receivers(&mut self, to: &Affected, from: &Affected) -> Result<(), NotComputed> {
        let open = self.both_open(Direction::Egress, from);
        for receiver in to.groups.iter().copied() {
            for port in &self.ground.group(receiver).ports {
                let reach = self.reach(receiver, Direction::Ingress, *port)?;
                let mut asked = reach[0].clone();
                asked.or(&reach[1]);
                asked.and(&from.pods);
                let mut differs = reach[0].clone();
                differs.differ(&reach[1]);
                asked.or(&differs);
                self.settle(receiver, Direction::Ingress, *port, &reach, asked, &open)?;
            }
        }
        Ok(())
    }

    /// Flows from the pods whose egress changes to those whose ingress does not.
    fn senders(&mut self, from: &Affected, to: &Affected) -> Result<(), NotComputed> {
        let open = self.both_open(Direction::Ingress, to);
        for sender in from.groups.iter().copied() {
            for (port, reached) in &self.ground.ports {
                let reach = self.reach(sender, Direction::Egress, *port)?;
                let mut asked = reach[0].clone();
                asked.differ(&reach[1]);
                asked.and(reached);
                asked.minus(&to.pods);
                self.settle(sender, Direction::Egress, *port, &reach, asked, &open)?;
            }
        }
        Ok(())
    }

    /// The pods that no policy isolates in a direction, neither now nor then.
    fn both_open(&self, direction: Direction, affected: &Affected) -> Bits {
        let mut open = self.ground.open(direction).clone();
        open.minus(&affected.pods);
        open
    }

    /// Counts what changes between the pods of `near`, whose policies of `direction` reach
    /// `reach`, and the pods that are `asked`. Those of them that are `open` do not say no.
    fn settle(
        &mut self,
        near: usize,
        direction: Direction,
        port: Port,
        reach: &[Bits; 2],
        mut asked: Bits,
        open: &Bits,
    ) -> Result<(), NotComputed> {
        self.spend(4 * asked.words())?;
        let mut free = asked.clone();
        free.and(open);
        asked.minus(open);
        for (which, only, but) in [(Which::Cut, 0, 1), (Which::Opened, 1, 0)] {
            let mut pods = free.clone();
            pods.and(&reach[only]);
            pods.minus(&reach[but]);
            self.tally(which, near, direction, port, &pods)?;
        }
        let mut at = 0;
        while let Some(pod) = asked.next(at) {
            let far = self.ground.group_of(pod);
            at = self.ground.group(far).range.end;
            self.pair(near, far, direction, port, reach)?;
        }
        Ok(())
    }

    /// Every pod of `near` and each of `pods`.
    fn tally(
        &mut self,
        which: Which,
        near: usize,
        direction: Direction,
        port: Port,
        pods: &Bits,
    ) -> Result<(), NotComputed> {
        if pods.is_empty() {
            return Ok(());
        }
        let range = self.ground.group(near).range.clone();
        // A pod always reaches itself.
        let pairs = pods.count() * range.len() - pods.count_in(range);
        self.flows(which).count += pairs as u64;
        let mut at = 0;
        while let Some(pod) = pods.next(at) {
            if self.is_full(which) {
                self.flows(which).more = true;
                return Ok(());
            }
            let far = self.ground.group_of(pod);
            let (own, other) = (self.ground.group(near), self.ground.group(far));
            at = other.range.end;
            let mut pairs = pods.count_in(other.range.clone()) * own.range.len();
            if far == near {
                pairs -= pods.count_in(own.range.clone());
            }
            self.spend(64)?;
            self.row(which, near, far, direction, port, pairs as u64);
        }
        Ok(())
    }

    /// Two workloads whose other end has a say.
    fn pair(
        &mut self,
        near: usize,
        far: usize,
        direction: Direction,
        port: Port,
        reach: &[Bits; 2],
    ) -> Result<(), NotComputed> {
        let theirs = match direction {
            Direction::Ingress => Direction::Egress,
            Direction::Egress => Direction::Ingress,
        };
        let (own, other) = (self.ground.group(near), self.ground.group(far));
        let fars = [0, 1].map(|when: usize| reach[when].part(other.range.clone()));
        let nears = [
            self.side(far, near, theirs, port, When::Before)?,
            self.side(far, near, theirs, port, When::After)?,
        ];
        let classes = |bits: &[Bits; 2], length: usize| {
            let mut classes = [0_u64; 4];
            for at in 0..length {
                classes[class(bits, at)] += 1;
            }
            classes
        };
        self.spend(2 * (own.range.len() + other.range.len()))?;
        let (n, m) = (
            classes(&nears, own.range.len()),
            classes(&fars, other.range.len()),
        );
        for which in [Which::Cut, Which::Opened] {
            let mut pairs = 0;
            for (a, of_a) in n.iter().enumerate() {
                for (b, of_b) in m.iter().enumerate() {
                    pairs += u64::from(which.is(a & b)) * of_a * of_b;
                }
            }
            if near == far {
                let selves = (0..own.range.len())
                    .filter(|at| which.is(class(&nears, *at) & class(&fars, *at)));
                pairs -= selves.count() as u64;
            }
            if pairs > 0 {
                self.flows(which).count += pairs;
                self.row(which, near, far, direction, port, pairs);
            }
        }
        Ok(())
    }

    fn flows(&mut self, which: Which) -> &mut Flows {
        match which {
            Which::Cut => &mut self.cut,
            Which::Opened => &mut self.opened,
        }
    }

    fn is_full(&mut self, which: Which) -> bool {
        self.flows(which).rows.len() >= self.limits.rows
    }

    fn row(
        &mut self,
        which: Which,
        near: usize,
        far: usize,
        direction: Direction,
        port: Port,
        pairs: u64,
    ) {
        if pairs == 0 {
            return;
        }
        let (from, to) = match direction {
            Direction::Ingress => (far, near),
            Direction::Egress => (near, far),
        };
        let row = Row {
            from: end(self.pod(from)),
            to: end(self.pod(to)),
            port,
        };
        let ends = [&row.from, &row.to];
        let may = |names: &BTreeSet<_>| ends.iter().all(|end| names.contains(&end.namespace));
        if !self.limits.namespaces.is_none_or(may) {
            return;
        }
        let full = self.is_full(which);
        let flows = self.flows(which);
        match flows.rows.get_mut(&row) {
            Some(count) => *count += pairs,
            None if full => flows.more = true,
            None => drop(flows.rows.insert(row, pairs)),
        }
    }

    fn pod(&self, group: usize) -> &'a Pod {
        &self.index.workload(group).pod
    }

    /// The policies that isolate a workload.
    fn policies(
        &mut self,
        group: usize,
        direction: Direction,
        when: When,
    ) -> Result<Rc<[&'a Policy]>, NotComputed> {
        let key = (group, direction, when);
        if let Some(policies) = self.policies.get(&key) {
            return Ok(Rc::clone(policies));
        }
        let pod = self.pod(group);
        let namespace: &'a str = &pod.key.namespace;
        let mut looks = 0;
        let isolates = |policy: &&'a Policy| {
            looks += 1;
            policy.rules(direction).is_some() && policy.pod_selector.matches(&pod.labels)
        };
        let policies: Rc<[&'a Policy]> = match when {
            When::Before => {
                let all = self.index.policies(namespace).map(AsRef::as_ref);
                all.filter(isolates).collect()
            }
            When::After => {
                let all = self.edit.policies(self.index, namespace);
                all.filter(isolates).collect()
            }
        };
        self.spend(16 * (looks + 1))?;
        self.policies.insert(key, Rc::clone(&policies));
        Ok(policies)
    }

    /// The pods that the policies of a workload reach (or let in) on a port.
    fn reach(
        &mut self,
        group: usize,
        direction: Direction,
        port: Port,
    ) -> Result<[Bits; 2], NotComputed> {
        let [before, after] = BOTH.map(|when| self.reach_then(group, direction, port, when));
        Ok([before?, after?])
    }

    fn reach_then(
        &mut self,
        group: usize,
        direction: Direction,
        port: Port,
        when: When,
    ) -> Result<Bits, NotComputed> {
        let length = self.ground.len();
        let policies = self.policies(group, direction, when)?;
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

    /// The pods of `far` that the policies of `own` allow, for flows to the port of
    /// whichever of the two receives.
    fn side(
        &mut self,
        own: usize,
        far: usize,
        direction: Direction,
        port: Port,
        when: When,
    ) -> Result<Bits, NotComputed> {
        let range = self.ground.group(far).range.clone();
        let policies = self.policies(own, direction, when)?;
        if policies.is_empty() {
            return Ok(Bits::all(range.len()));
        }
        let receiver = match direction {
            Direction::Ingress => self.pod(own),
            Direction::Egress => self.pod(far),
        };
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

/// Which flows.
#[derive(Clone, Copy, Debug)]
enum Which {
    Cut,
    Opened,
}

impl Which {
    /// Whether a flow that passes before (1) and after (2) is one.
    fn is(self, passes: usize) -> bool {
        match self {
            Self::Cut => passes == 1,
            Self::Opened => passes == 2,
        }
    }
}

/// Whether a pod is in the first set (1) and in the second (2).
fn class(bits: &[Bits; 2], at: usize) -> usize {
    usize::from(bits[0].contains(at)) | usize::from(bits[1].contains(at)) << 1
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
fn names(
    ports: &[PortMatch],
    port: Port,
) -> impl Iterator<Item = (ringfence_policy::model::Protocol, u16, &str)> {
    ports.iter().filter_map(move |p| {
        let (protocol, number) = port?;
        match &p.port {
            PortSpec::Named(name) if p.protocol == protocol => Some((protocol, number, &**name)),
            _ => None,
        }
    })
}
