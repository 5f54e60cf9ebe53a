//! Before and after, for every workload that a change is about.

use super::bits::Bits;
use super::edit::Changed;
use super::ground::end;
use super::reach::{Reach, When};
use super::{Edit, Flows, Impact, Limits, NotComputed, Port, Row};
use crate::Index;
use ringfence_policy::model::Direction;
use std::collections::{BTreeMap, BTreeSet};
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
    let mut comparison = Comparison {
        reach: Reach::new(index, edit, limits.steps),
        limits,
        cut: Flows::default(),
        opened: Flows::default(),
    };
    let ingress = comparison.affected(&changed, Direction::Ingress)?;
    let egress = comparison.affected(&changed, Direction::Egress)?;
    comparison.receivers(&ingress, &egress)?;
    comparison.senders(&egress, &ingress)?;
    Ok(Impact {
        cut: comparison.cut,
        opened: comparison.opened,
    })
}

/// The workloads whose policies change, and their pods.
struct Affected {
    groups: BTreeSet<usize>,
    pods: Bits,
}

struct Comparison<'a> {
    reach: Reach<'a>,
    limits: &'a Limits<'a>,
    cut: Flows,
    opened: Flows,
}

/// What the policies of the far end say about the pods of the near one: before and after.
struct Say {
    pods: [Bits; 2],
    /// How many pods by [`class`].
    classes: [u64; 4],
}

/// Workloads with the same policies say the same: what they say, by the sets before and
/// after, and by workload where ports' names matter.
type Said = BTreeMap<(usize, usize, Option<usize>), Rc<Say>>;

impl Comparison<'_> {
    fn affected(
        &mut self,
        changed: &[Changed],
        direction: Direction,
    ) -> Result<Affected, NotComputed> {
        let mut affected = Affected {
            groups: BTreeSet::new(),
            pods: Bits::none(self.reach.ground.len()),
        };
        for policy in changed.iter().flat_map(|c| c.versions(direction)) {
            let namespace = &policy.key.namespace;
            self.reach
                .spend(8 * self.reach.index.workloads(namespace).len())?;
            for workload in self.reach.index.selected(namespace, &policy.pod_selector) {
                let range = self.reach.ground.group(workload.place).range.clone();
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
        let wanted = !from.groups.is_empty();
        for receiver in to.groups.iter().copied() {
            for port in &self.reach.ground.group(receiver).ports {
                let direction = Direction::Ingress;
                let reach = self.reach.reach(receiver, direction, *port, wanted)?;
                let Some(reach) = reach else { continue };
                let mut asked = reach[0].clone();
                asked.or(&reach[1]);
                asked.and(&from.pods);
                let mut differs = reach[0].clone();
                differs.differ(&reach[1]);
                asked.or(&differs);
                self.settle(receiver, direction, *port, &reach, asked, &open)?;
            }
        }
        Ok(())
    }

    /// Flows from the pods whose egress changes to those whose ingress does not.
    fn senders(&mut self, from: &Affected, to: &Affected) -> Result<(), NotComputed> {
        let open = self.both_open(Direction::Ingress, to);
        for sender in from.groups.iter().copied() {
            for (port, reached) in &self.reach.ground.ports {
                let direction = Direction::Egress;
                let reach = self.reach.reach(sender, direction, *port, false)?;
                let Some(reach) = reach else { continue };
                let mut asked = reach[0].clone();
                asked.differ(&reach[1]);
                asked.and(reached);
                asked.minus(&to.pods);
                self.settle(sender, direction, *port, &reach, asked, &open)?;
            }
        }
        Ok(())
    }

    /// The pods that no policy isolates in a direction, neither now nor then.
    fn both_open(&self, direction: Direction, affected: &Affected) -> Bits {
        let mut open = self.reach.ground.open(direction).clone();
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
        self.reach.spend(4 * asked.words())?;
        let mut free = asked.clone();
        free.and(open);
        if !free.is_empty() {
            asked.minus(open);
            for (which, only, but) in [(Which::Cut, 0, 1), (Which::Opened, 1, 0)] {
                let mut pods = free.clone();
                pods.and(&reach[only]);
                pods.minus(&reach[but]);
                self.tally(which, near, direction, port, &pods)?;
            }
        }
        let (mut at, mut said) = (0, Said::new());
        while let Some(pod) = asked.next(at) {
            let far = self.reach.ground.group_of(pod);
            at = self.reach.ground.group(far).range.end;
            let say = self.say(near, far, direction, port, &mut said)?;
            self.pair(near, far, direction, port, reach, &say)?;
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
        let range = self.reach.ground.group(near).range.clone();
        // A pod always reaches itself.
        let pairs = pods.count() * range.len() - pods.count_in(range);
        self.flows(which).count += pairs as u64;
        let mut at = 0;
        while let Some(pod) = pods.next(at) {
            if self.is_full(which) {
                self.flows(which).more = true;
                return Ok(());
            }
            let far = self.reach.ground.group_of(pod);
            let (own, other) = (self.reach.ground.group(near), self.reach.ground.group(far));
            at = other.range.end;
            let mut pairs = pods.count_in(other.range.clone()) * own.range.len();
            if far == near {
                pairs -= pods.count_in(own.range.clone());
            }
            self.reach.spend(64)?;
            self.row(which, near, far, direction, port, pairs as u64);
        }
        Ok(())
    }

    /// What the policies of `far` say about `near`.
    fn say(
        &mut self,
        near: usize,
        far: usize,
        direction: Direction,
        port: Port,
        said: &mut Said,
    ) -> Result<Rc<Say>, NotComputed> {
        let (theirs, receiver) = match direction {
            Direction::Ingress => (Direction::Egress, near),
            Direction::Egress => (Direction::Ingress, far),
        };
        let before = self.reach.set_of(far, theirs, When::Before)?;
        let after = self.reach.set_of(far, theirs, When::After)?;
        let names = self.reach.names_ports(before) || self.reach.names_ports(after);
        // A set is one of one namespace, but for the one without any policy.
        let key = (
            before,
            after,
            Some(far).filter(|_| names && receiver == far),
        );
        self.reach.spend(32)?;
        if let Some(say) = said.get(&key) {
            return Ok(Rc::clone(say));
        }
        let pod = self.reach.pod(receiver);
        let now = self
            .reach
            .side(before, theirs, near, pod, port, When::Before)?;
        let then = if before == after && self.reach.is_steady() {
            now.clone()
        } else {
            self.reach
                .side(after, theirs, near, pod, port, When::After)?
        };
        let length = self.reach.ground.group(near).range.len();
        let pods = [now, then];
        let say = Rc::new(Say {
            classes: classes(&pods, length),
            pods,
        });
        said.insert(key, Rc::clone(&say));
        Ok(say)
    }

    /// Two workloads whose other end has a say.
    fn pair(
        &mut self,
        near: usize,
        far: usize,
        direction: Direction,
        port: Port,
        reach: &[Bits; 2],
        say: &Say,
    ) -> Result<(), NotComputed> {
        let range = self.reach.ground.group(far).range.clone();
        self.reach.spend(4 * range.len())?;
        let fars = [0, 1].map(|when: usize| reach[when].part(range.clone()));
        let m = classes(&fars, range.len());
        for which in [Which::Cut, Which::Opened] {
            let mut pairs = 0;
            for (a, of_a) in say.classes.iter().enumerate() {
                for (b, of_b) in m.iter().enumerate() {
                    pairs += u64::from(which.is(a & b)) * of_a * of_b;
                }
            }
            if near == far {
                let same = |at: &usize| which.is(class(&say.pods, *at) & class(&fars, *at));
                pairs -= (0..range.len()).filter(same).count() as u64;
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
            from: end(self.reach.pod(from)),
            to: end(self.reach.pod(to)),
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

/// How many pods of each class.
fn classes(bits: &[Bits; 2], length: usize) -> [u64; 4] {
    let [before, after] = bits;
    let both = before.count_both(after);
    let [before, after] = [before.count() - both, after.count() - both];
    [length - before - after - both, before, after, both].map(|count| count as u64)
}
