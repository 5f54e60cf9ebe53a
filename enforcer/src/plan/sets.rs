//! Sets: only members that differ are written.

use super::{SetState, Stats, Step};
use crate::dataplane::{
    Family, KernelSet, Options, binding_sets, element, maxelem, members, of_spec,
};
use ringfence_policy::Program;
use ringfence_policy::compile::{Element, Id, SetSpec, Update};
use std::collections::{BTreeMap, BTreeSet};

/// A set that takes another's place while it is filled.
const TEMPORARY: &str = "-T";

/// What is planned from.
pub(super) struct Scope<'a> {
    pub program: &'a Program,
    pub options: &'a Options,
    pub broken: &'a BTreeSet<Id>,
    pub state: &'a BTreeMap<String, SetState>,
    /// What changed since the state; `None`: compare with the members read back.
    pub changes: Option<&'a Update>,
    /// No set can have come or gone.
    pub structure_unchanged: bool,
    /// Rules that cannot be read may still refer to sets that are not wanted.
    pub keep_unused: bool,
}

/// Lines for `ipset restore`.
#[derive(Default)]
pub(super) struct Lines {
    input: String,
    ids: Vec<Option<Id>>,
}

impl Lines {
    fn put(&mut self, id: Option<Id>, line: &str) {
        self.input.push_str(line);
        self.input.push('\n');
        self.ids.push(id);
    }

    pub(super) fn append(&mut self, other: Self) {
        self.input.push_str(&other.input);
        self.ids.extend(other.ids);
    }

    pub(super) fn into_step(self) -> Option<Step> {
        let Self { input, ids } = self;
        (!ids.is_empty()).then_some(Step::Sets { input, lines: ids })
    }
}

/// Lines that go before the rules, and lines that go after them.
#[derive(Default)]
pub(super) struct Phases {
    pub early: Lines,
    pub late: Lines,
}

/// A difference of one set.
struct Delta {
    set: KernelSet,
    removed: Vec<String>,
    added: Vec<String>,
    /// The set narrows what passes: it grows first and shrinks last.
    narrowing: bool,
}

/// Plans all sets; `next` takes those whose state changes.
pub(super) fn plan(
    scope: &Scope<'_>,
    next: &mut BTreeMap<String, Option<SetState>>,
    stats: &mut Stats,
) -> Phases {
    let mut planner = SetPlanner {
        scope,
        next,
        stats,
        out: Phases::default(),
    };
    if scope.structure_unchanged {
        planner.members_only();
    } else {
        planner.everything();
    }
    planner.out
}

struct SetPlanner<'a> {
    scope: &'a Scope<'a>,
    next: &'a mut BTreeMap<String, Option<SetState>>,
    stats: &'a mut Stats,
    out: Phases,
}

impl SetPlanner<'_> {
    fn members_only(&mut self) {
        let deltas = self.deltas_of_update();
        self.apply(&deltas);
    }

    fn everything(&mut self) {
        let scope = self.scope;
        let structure = &scope.program.structure;
        let mut wanted: BTreeSet<String> = BTreeSet::new();
        let mut deltas = Vec::new();
        let leftovers = scope.state.keys().filter(|name| name.ends_with(TEMPORARY));
        for name in leftovers {
            self.destroy(name, true);
        }
        let sets = structure
            .sets
            .iter()
            .filter(|(id, _)| !scope.broken.contains(*id));
        for (id, spec) in sets {
            for set in of_spec(*id, spec, structure, scope.options.families()) {
                wanted.insert(set.name.clone());
                let content = || members(scope.program, *id, set.family);
                let narrowing = **spec == SetSpec::IsolatedPods;
                deltas.extend(self.compare(set.clone(), narrowing, content));
            }
        }
        for (set, content) in binding_sets(scope.options) {
            wanted.insert(set.name.clone());
            // The sets of bound addresses and interfaces take something away.
            let narrowing = !set.name.ends_with("bind");
            deltas.extend(self.compare_fixed(set, narrowing, &content));
        }
        if scope.changes.is_some() {
            deltas.extend(self.deltas_of_update());
        }
        self.apply(&deltas);
        if scope.keep_unused {
            return;
        }
        let unused = scope.state.keys().filter(|name| !name.ends_with(TEMPORARY));
        for name in unused.filter(|name| !wanted.contains(*name)) {
            self.destroy(name, false);
        }
    }

    /// Makes a set that is not there; else, when its members were read back, what differs.
    fn compare(
        &mut self,
        set: KernelSet,
        narrowing: bool,
        content: impl Fn() -> BTreeSet<String>,
    ) -> Option<Delta> {
        match self.scope.state.get(&set.name) {
            None => {
                self.create(&set, &content());
                None
            }
            // Someone took the name for something else: adding to that would be no match.
            Some(SetState {
                kind: Some(kind), ..
            }) if *kind != set.kind => {
                self.destroy(&set.name, true);
                self.create(&set, &content());
                None
            }
            Some(SetState {
                members: Some(present),
                ..
            }) => {
                let wanted = content();
                let removed = present.difference(&wanted).cloned().collect();
                let added = wanted.difference(present).cloned().collect();
                Some(Delta {
                    set,
                    removed,
                    added,
                    narrowing,
                })
            }
            // Known since the last commit: the update says what changes.
            Some(_) => None,
        }
    }

    /// Sets that no update speaks of keep their members known.
    fn compare_fixed(
        &mut self,
        set: KernelSet,
        narrowing: bool,
        content: &BTreeSet<String>,
    ) -> Option<Delta> {
        let known = self
            .scope
            .state
            .get(&set.name)
            .is_some_and(|state| state.members.is_none());
        if known {
            // Rare and small: filled anew and put in place at once.
            self.replace(&set, content);
            return None;
        }
        self.compare(set, narrowing, || content.clone())
    }

    fn deltas_of_update(&self) -> Vec<Delta> {
        let scope = self.scope;
        let structure = &scope.program.structure;
        let mut deltas = Vec::new();
        for (id, (removed, added)) in scope.changes.into_iter().flat_map(|u| &u.members) {
            let Some(spec) = structure
                .sets
                .get(id)
                .filter(|_| !scope.broken.contains(id))
            else {
                continue;
            };
            for set in of_spec(*id, spec, structure, scope.options.families()) {
                if !scope.state.contains_key(&set.name) {
                    continue; // Made now, with all its members.
                }
                let texts = |elements: &BTreeSet<Element>| -> Vec<String> {
                    let v4 = set.family == Family::V4;
                    elements
                        .iter()
                        .filter(|e| e.is_ipv4() == v4)
                        .map(element)
                        .collect()
                };
                let (removed, added) = (texts(removed), texts(added));
                let narrowing = **spec == SetSpec::IsolatedPods;
                deltas.push(Delta {
                    set,
                    removed,
                    added,
                    narrowing,
                });
            }
        }
        deltas
    }

    /// Removals of all sets come before additions to any: an address that changes its
    /// identity leaves every set before it enters one.
    fn apply(&mut self, deltas: &[Delta]) {
        for delta in deltas {
            self.stats.elements += delta.removed.len() + delta.added.len();
            let (verb, lines) = if delta.narrowing {
                ("add", &delta.added)
            } else {
                ("del", &delta.removed)
            };
            if delta.narrowing && self.outgrown(delta) {
                continue;
            }
            for member in lines {
                let line = format!("{verb} {} {member}", delta.set.name);
                self.out.early.put(delta.set.id, &line);
            }
        }
        for delta in deltas {
            if self.outgrown(delta) {
                if let Some(id) = delta.set.id {
                    let content = members(self.scope.program, id, delta.set.family);
                    self.replace(&delta.set, &content);
                }
                continue;
            }
            let (verb, lines) = if delta.narrowing {
                ("del", &delta.removed)
            } else {
                ("add", &delta.added)
            };
            for member in lines {
                let line = format!("{verb} {} {member}", delta.set.name);
                self.out.late.put(delta.set.id, &line);
            }
            self.advance(delta);
        }
    }

    /// Whether the set has no room for its new members. A narrowing set holds old and
    /// new ones for a moment.
    fn outgrown(&self, delta: &Delta) -> bool {
        let Some(state) = self.scope.state.get(&delta.set.name) else {
            return false;
        };
        let leaving = if delta.narrowing {
            0
        } else {
            delta.removed.len()
        };
        delta.set.id.is_some()
            && (state.count + delta.added.len()).saturating_sub(leaving) > state.maxelem
    }

    fn advance(&mut self, delta: &Delta) {
        let Some(state) = self.scope.state.get(&delta.set.name) else {
            return;
        };
        let count = (state.count + delta.added.len()).saturating_sub(delta.removed.len());
        let state = SetState {
            kind: None,
            maxelem: state.maxelem,
            count,
            members: None,
        };
        self.next.insert(delta.set.name.clone(), Some(state));
    }

    fn create(&mut self, set: &KernelSet, content: &BTreeSet<String>) {
        self.stats.elements += content.len();
        fill(&mut self.out.early, set, &set.name, content);
        self.next.insert(set.name.clone(), Some(filled(content)));
    }

    /// Fills a new set and exchanges the two: for capacity, which cannot be changed.
    fn replace(&mut self, set: &KernelSet, content: &BTreeSet<String>) {
        let temporary = format!("{}{TEMPORARY}", set.name);
        fill(&mut self.out.late, set, &temporary, content);
        self.out
            .late
            .put(set.id, &format!("swap {temporary} {}", set.name));
        self.out.late.put(set.id, &format!("destroy {temporary}"));
        self.next.insert(set.name.clone(), Some(filled(content)));
    }

    fn destroy(&mut self, name: &str, early: bool) {
        let lines = if early {
            &mut self.out.early
        } else {
            &mut self.out.late
        };
        lines.put(None, &format!("destroy {name}"));
        self.next.insert(name.to_owned(), None);
    }
}

fn fill(lines: &mut Lines, set: &KernelSet, name: &str, content: &BTreeSet<String>) {
    lines.put(set.id, &set.create(name, content.len()));
    for member in content {
        lines.put(set.id, &format!("add {name} {member}"));
    }
}

fn filled(content: &BTreeSet<String>) -> SetState {
    SetState {
        kind: None,
        maxelem: maxelem(content.len()),
        count: content.len(),
        members: None,
    }
}
