//! Cases that a random world does not come to.

mod packets;
mod sizes;
mod transactions;

use super::{Kernel, Outcome, Packet, contents, loaded, readback};
use ringfence_enforcer::dataplane::Options;
use ringfence_enforcer::plan::{Planner, Step, Transaction};
use ringfence_policy::Program;
use ringfence_policy::compile::{
    Chain, ChainRule, Element, Endpoint, Id, PeerMatch, PortTest, SetSpec, Signature, Structure,
    Update,
};
use ringfence_policy::model::{Direction, Flow, ObjectKey, Protocol};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

const CLIENTS: Id = Id(0x11);
const ISOLATED: Id = Id(0x12);
const LOCAL: Id = Id(0x13);
const CHAIN: Id = Id(0x21);
const SIGNATURE: Id = Id(0x31);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("shop", name)
}

/// A database pod that clients may reach on TCP 5432, beside a pod without policy.
fn shop() -> Program {
    let mut structure = Structure::default();
    structure.sets.insert(CLIENTS, Arc::new(pods("client")));
    structure
        .sets
        .insert(ISOLATED, Arc::new(SetSpec::IsolatedPods));
    structure.sets.insert(LOCAL, Arc::new(SetSpec::LocalPods));
    let rule = ChainRule {
        index: 0,
        peers: vec![PeerMatch::Set(CLIENTS)],
        ports: vec![PortTest::Ranges(Protocol::Tcp, vec![(5432, 5432)])],
    };
    let chain = Chain {
        policy: key("db"),
        direction: Direction::Ingress,
        rules: vec![rule],
    };
    structure.chains.insert(CHAIN, Arc::new(chain));
    let signature = Signature {
        direction: Direction::Ingress,
        chains: vec![CHAIN],
    };
    structure.signatures.insert(SIGNATURE, signature);
    let mut program = Program::default();
    for (pod, addresses, isolated) in [
        ("db-0", ["10.1.1.5", "fd00:1::5"], true),
        ("web-0", ["10.1.1.6", "fd00:1::6"], false),
    ] {
        for address in addresses.map(ip) {
            let ingress = if isolated {
                vec![SIGNATURE]
            } else {
                Vec::new()
            };
            let endpoint = Endpoint {
                pods: vec![key(pod)],
                ingress,
                egress: Vec::new(),
            };
            structure.endpoints.insert(address, endpoint);
            let member = |id| (id, Element::Address(address));
            let sets = [Some(member(LOCAL)), isolated.then_some(member(ISOLATED))];
            for (id, element) in sets.into_iter().flatten() {
                program.members.entry(id).or_default().insert(element);
            }
        }
    }
    let clients = ["10.1.2.7", "fd00:2::7"].map(|a| Element::Address(ip(a)));
    program.members.insert(CLIENTS, clients.into());
    program.structure = Arc::new(structure);
    program
}

fn pods(app: &str) -> SetSpec {
    use ringfence_policy::compile::{PodSet, PodSetNamespaces};
    use ringfence_policy::model::Selector;
    SetSpec::Pods(PodSet {
        namespaces: PodSetNamespaces::Named("shop".into()),
        pods: Selector::labels([("app", app)]),
    })
}

fn edit(program: &Program, change: impl FnOnce(&mut Structure)) -> Program {
    let mut structure = (*program.structure).clone();
    change(&mut structure);
    Program {
        structure: Arc::new(structure),
        members: program.members.clone(),
    }
}

fn tcp(from: &str, to: &str, port: u16) -> Packet {
    Packet::first_of(&Flow::new(Protocol::Tcp, ip(from), ip(to), port))
}

fn reset() -> Outcome {
    Outcome::Rejected("tcp-reset".into())
}

fn none() -> BTreeSet<Id> {
    BTreeSet::new()
}

/// A planner and a kernel that hold `program`.
fn programmed(program: &Program) -> (Planner, Kernel) {
    let mut planner = Planner::new(Options::default());
    let mut kernel = Kernel::new();
    planner.adopt(readback(&kernel));
    let transaction = planner.plan(program, None, &none()).unwrap();
    kernel.run(&transaction, |_, _| {}).unwrap();
    planner.committed(transaction);
    assert_eq!(
        contents(&kernel),
        contents(&loaded(program, &Options::default()))
    );
    (planner, kernel)
}

fn lines(transaction: &Transaction) -> Vec<&str> {
    let inputs = transaction.steps.iter().map(|step| match step {
        Step::Sets { input, .. } | Step::Rules { input, .. } => input.as_str(),
        Step::Entries { .. } => "",
    });
    inputs.flat_map(str::lines).collect()
}

fn update_of(before: &Program, after: &Program) -> Update {
    let mut update = Update {
        previous: (before.structure != after.structure).then(|| Arc::clone(&before.structure)),
        structure: Arc::clone(&after.structure),
        ..Update::default()
    };
    for (id, now) in &after.members {
        let Some(was) = before.members.get(id) else {
            continue;
        };
        let removed: BTreeSet<_> = was.difference(now).copied().collect();
        let added: BTreeSet<_> = now.difference(was).copied().collect();
        if !(removed.is_empty() && added.is_empty()) {
            update.members.insert(*id, (removed, added));
        }
    }
    update
}
