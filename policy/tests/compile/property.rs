//! However a state came about, the program is the one that compiling it from
//! nothing gives, and every update says exactly what it did.

use crate::NODE;
use crate::generate::{apply, object, step};
use crate::oracle;
use crate::slow::{addresses, claimants, expected_members};
use proptest::collection::vec;
use proptest::prelude::*;
use ringfence_policy::compile::{Element, Id, Program, Update};
use ringfence_policy::model::Name;
use ringfence_policy::snapshot::Change;
use ringfence_policy::{Compiler, Settings, Snapshot, compile};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What must hold in every program.
fn well_formed(snapshot: &Snapshot, program: &Program) -> Result<(), TestCaseError> {
    let structure = &program.structure;
    let ids = |map: &BTreeMap<Id, BTreeSet<Element>>| -> Vec<Id> { map.keys().copied().collect() };
    prop_assert_eq!(
        ids(&program.members),
        structure.sets.keys().copied().collect::<Vec<_>>()
    );
    for (id, spec) in &structure.sets {
        prop_assert_eq!(*id, spec.id());
        let expected = expected_members(snapshot, program, spec);
        prop_assert_eq!(&program.members[id], &expected, "{}", spec);
    }
    for set in structure.chains.values().flat_map(|chain| chain.sets()) {
        prop_assert!(structure.sets.contains_key(&set));
    }
    let signatures: BTreeSet<&Id> = structure
        .endpoints
        .values()
        .flat_map(|e| e.ingress.iter().chain(&e.egress))
        .collect();
    prop_assert_eq!(signatures, structure.signatures.keys().collect());
    let chains: BTreeSet<&Id> = structure
        .signatures
        .values()
        .flat_map(|s| &s.chains)
        .collect();
    prop_assert_eq!(chains, structure.chains.keys().collect());
    Ok(())
}

/// The update turns `old` into `new`, and says nothing besides.
fn exact(old: &Program, new: &Program, update: &Update) -> Result<(), TestCaseError> {
    prop_assert_eq!(&update.structure, &new.structure);
    prop_assert_eq!(update.previous.is_some(), old.structure != new.structure);
    if let Some(previous) = &update.previous {
        prop_assert_eq!(previous, &old.structure);
    }
    for (id, now) in &new.members {
        let Some(before) = old.members.get(id) else {
            prop_assert!(!update.members.contains_key(id), "a new set is no change");
            continue;
        };
        let removed: BTreeSet<Element> = before.difference(now).copied().collect();
        let added: BTreeSet<Element> = now.difference(before).copied().collect();
        match update.members.get(id) {
            Some(change) => {
                prop_assert_eq!(change, &(removed, added));
                prop_assert!(!(change.0.is_empty() && change.1.is_empty()));
            }
            None => prop_assert!(removed.is_empty() && added.is_empty()),
        }
    }
    prop_assert!(update.members.keys().all(|id| new.members.contains_key(id)));
    Ok(())
}

/// The addresses whose claimants, as a policy sees them, are others than before.
fn moved(old: &Snapshot, new: &Snapshot) -> BTreeSet<IpAddr> {
    let seen = |snapshot: &Snapshot, ip| {
        let pods = claimants(snapshot, ip).into_iter();
        pods.map(|p| {
            (
                p.key.clone(),
                p.labels.clone(),
                p.node.clone(),
                p.ports.clone(),
            )
        })
        .collect::<Vec<_>>()
    };
    let ips = addresses(old).into_iter().chain(addresses(new));
    ips.filter(|ip| seen(old, *ip) != seen(new, *ip)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn updates_lead_where_compiling_leads(
        first in vec(object(), 0..40),
        batches in vec((vec(step(), 0..5), prop::bool::weighted(0.1)), 1..12),
        drop_unknown_pods in any::<bool>(),
        enforce_node_traffic in any::<bool>(),
    ) {
        let node = Name::from(NODE);
        let settings = Settings { enforce_node_traffic, drop_unknown_pods };
        let mut snapshot = Snapshot::default();
        for object in first {
            snapshot.apply(object);
        }
        let mut compiler = Compiler::new(node.clone(), settings);
        prop_assert_eq!(compiler.program(), &Program::default());
        let update = compiler.update(&snapshot, &[]);
        prop_assert_eq!(compiler.program(), &compile(&snapshot, &node, settings));
        exact(&Program::default(), compiler.program(), &update)?;
        well_formed(&snapshot, compiler.program())?;

        for (steps, rebuild) in batches {
            let old_snapshot = snapshot.clone();
            let old = compiler.program().clone();
            let changes: Vec<Change> =
                steps.into_iter().filter_map(|step| apply(&mut snapshot, step)).collect();
            let update = if rebuild {
                compiler.rebuild(&snapshot)
            } else {
                compiler.update(&snapshot, &changes)
            };
            let new = compiler.program();
            prop_assert_eq!(new, &compile(&snapshot, &node, settings));
            exact(&old, new, &update)?;
            well_formed(&snapshot, new)?;
            let moved = moved(&old_snapshot, &snapshot);
            prop_assert!(moved.is_subset(&update.moved), "{:?} {:?}", moved, update.moved);
            oracle::agrees(&snapshot, settings, new)?;
            if !update.narrows() {
                oracle::only_wider([&old_snapshot, &snapshot], &old, new)?;
            }
        }
    }
}
