//! The same text on this machine's kernel, in a network namespace of its own, by the
//! legacy and by the nft flavour of iptables: it is taken, and what the tools print
//! afterwards is what was written (else every check would find drift).

use super::world::{self, Edit, NODES};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use ringfence_enforcer::dataplane::{
    Backstop, DenyAction, Family, Options, Readback, parse_readback, render_full,
};
use ringfence_enforcer::plan::{Planner, Step, Transaction, cleanup};
use ringfence_policy::model::{
    Labels, Namespace, NamespaceMatch, ObjectKey, Peer, Phase, Pod, Policy, Rule, Selector,
};
use ringfence_policy::snapshot::{Object, Settings, Snapshot};
use ringfence_policy::{Compiler, Program};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use test_case::test_case;

/// As many as Kubernetes supports.
const MOST_PODS: u32 = 150_000;

/// Everything that happens in one namespace, as a script.
struct Script<'a> {
    folder: &'a Path,
    flavour: &'a str,
    text: String,
    inputs: usize,
}

fn tool(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

impl<'a> Script<'a> {
    fn new(folder: &'a Path, flavour: &'a str) -> Self {
        Self {
            folder,
            flavour,
            text: "set -e\n".into(),
            inputs: 0,
        }
    }

    fn feed(&mut self, command: &str, input: &str) {
        self.inputs += 1;
        let file = self.folder.join(format!("{}.in", self.inputs));
        fs::write(&file, input).unwrap();
        self.text += &format!(
            "{command} < {0} || {{ echo {0}; exit 1; }}\n",
            file.display()
        );
    }

    fn run(&mut self, transaction: &Transaction) {
        for step in &transaction.steps {
            match step {
                Step::Sets { input, .. } => self.feed("ipset restore", input),
                Step::Rules { family, input } => self.rules(*family, input),
                Step::Entries { .. } => panic!("every table can be read here"),
            }
        }
    }

    fn rules(&mut self, family: Family, input: &str) {
        let command = format!("{}-{}-restore --noflush --wait", tool(family), self.flavour);
        self.feed(&command, input);
    }

    /// Runs it all and reads back what is there at the end.
    fn finish(mut self) -> Readback {
        let folder = self.folder.display();
        self.text += &format!("ipset save > {folder}/sets\n");
        for family in Family::ALL {
            let (tool, flavour) = (tool(family), self.flavour);
            self.text += &format!("{tool}-{flavour}-save > {folder}/{tool} 2>/dev/null\n");
        }
        let script = self.folder.join("script");
        fs::write(&script, &self.text).unwrap();
        let output = Command::new("unshare")
            .args(["-n", "sh"])
            .arg(&script)
            .output()
            .unwrap();
        assert!(output.status.success(), "{} {output:?}", self.flavour);
        let read = |name: &str| fs::read_to_string(self.folder.join(name)).unwrap();
        let rules = Family::ALL.map(|family| (family, read(tool(family))));
        let rules: Vec<_> = rules
            .iter()
            .map(|(family, text)| (*family, text.as_str()))
            .collect();
        parse_readback(&read("sets"), &rules).unwrap()
    }
}

/// Without root there is no network namespace; CI has root and must not pass over it.
fn privileged() -> bool {
    let root = Command::new("unshare")
        .args(["-n", "true"])
        .status()
        .is_ok_and(|s| s.success());
    assert!(
        root || std::env::var_os("CI").is_none(),
        "CI needs root for this test"
    );
    if !root {
        eprintln!("skipped: needs root (network namespaces)");
    }
    root
}

fn assert_no_drift(readback: Readback, program: &Program, options: &Options) {
    let mut planner = Planner::new(options.clone());
    planner.adopt(readback);
    let transaction = planner.plan(program, None, &BTreeSet::new()).unwrap();
    assert!(transaction.is_empty(), "{:#?}", transaction.steps);
}

fn compiled(snapshot: &Snapshot) -> Program {
    let settings = Settings {
        enforce_node_traffic: true,
        drop_unknown_pods: true,
    };
    ringfence_policy::compile(snapshot, &NODES[0].into(), settings)
}

fn worlds(count: usize) -> Vec<(Snapshot, Vec<Vec<Edit>>)> {
    let mut runner = TestRunner::deterministic();
    let worlds = prop::collection::vec((world::snapshot(), world::batches()), count);
    worlds.new_tree(&mut runner).unwrap().current()
}

#[test_case("legacy"; "legacy")]
#[test_case("nft"; "nft")]
fn changes_are_taken_and_read_back(flavour: &str) {
    if !privileged() {
        return;
    }
    for (mut snapshot, batches) in worlds(6) {
        let folder = tempfile::tempdir().unwrap();
        let mut script = Script::new(folder.path(), flavour);
        let settings = Settings {
            enforce_node_traffic: true,
            drop_unknown_pods: true,
        };
        let mut compiler = Compiler::new(NODES[0].into(), settings);
        let mut planner = Planner::new(Options::default());
        planner.adopt(Readback::default());
        let mut update = compiler.rebuild(&snapshot);
        for batch in batches.into_iter().chain([Vec::new()]) {
            let transaction = planner
                .plan(compiler.program(), Some(&update), &BTreeSet::new())
                .unwrap();
            script.run(&transaction);
            planner.committed(transaction);
            let mut changes = Vec::new();
            for edit in batch {
                changes.extend(match edit {
                    Edit::Put(object) => snapshot.apply(object),
                    Edit::Remove(kind, key) => snapshot.remove(kind, &key),
                });
            }
            update = compiler.update(&snapshot, &changes);
        }
        assert_no_drift(script.finish(), compiler.program(), &Options::default());
    }
}

#[test_case("legacy"; "legacy")]
#[test_case("nft"; "nft")]
fn the_full_text_is_taken_and_read_back_and_cleaned_up(flavour: &str) {
    if !privileged() {
        return;
    }
    let (mut snapshot, _) = worlds(1).remove(0);
    let long = Policy {
        key: ObjectKey::new("x", "p".repeat(253)),
        pod_selector: Selector::everything(),
        ingress: Some(vec![Rule::default()]),
        egress: None,
        fault: None,
        allow_only: false,
    };
    snapshot.apply(Object::Policy(long));
    let program = compiled(&snapshot);
    let bindings = (2..140).map(|n| (format!("10.1.1.{n}").parse().unwrap(), format!("veth{n}")));
    let with_bindings = Options {
        bindings: bindings.collect(),
        ..Options::default()
    };
    let other = Options {
        deny: DenyAction::Drop,
        backstop: Backstop::ManglePostrouting,
        keep_established: true,
        mark: 0x0200_0000,
        ..Options::default()
    };
    for options in [Options::default(), with_bindings, other] {
        let load = |script: &mut Script<'_>| {
            let rendered = render_full(&program, &options);
            script.feed("ipset restore", &rendered.ipset);
            for (family, text) in &rendered.iptables {
                script.rules(*family, text);
            }
        };
        let folder = tempfile::tempdir().unwrap();
        let mut script = Script::new(folder.path(), flavour);
        load(&mut script);
        let readback = script.finish();
        let transaction = cleanup(&readback);
        assert_no_drift(readback, &program, &options);
        let folder = tempfile::tempdir().unwrap();
        let mut script = Script::new(folder.path(), flavour);
        load(&mut script);
        script.run(&transaction);
        assert!(cleanup(&script.finish()).is_empty());
    }
}

/// The most that a cluster has: one selector that matches all of 150,000 pods.
#[test]
fn one_selector_matches_150_000_pods() {
    if !privileged() {
        return;
    }
    let pod = |n: u32| Pod {
        key: ObjectKey::new("y", format!("client-{n}")),
        labels: Labels::new([("app", "client")]),
        node: "elsewhere".into(),
        ips: vec![std::net::Ipv4Addr::from(0x0b00_0000 + n).into()],
        host_network: false,
        phase: Phase::Running,
        terminating: false,
        api_client: false,
        ports: [].into(),
    };
    let server = Pod {
        key: ObjectKey::new("x", "server"),
        labels: Labels::default(),
        node: NODES[0].into(),
        ips: vec!["10.1.1.5".parse().unwrap()],
        ..pod(0)
    };
    let from_all_pods = Rule {
        peers: vec![Peer::Pods {
            namespaces: NamespaceMatch::Labels(Selector::everything()),
            pods: Selector::labels([("app", "client")]),
        }],
        ports: Vec::new(),
    };
    let policy = Policy {
        key: ObjectKey::new("x", "clients"),
        pod_selector: Selector::everything(),
        ingress: Some(vec![from_all_pods]),
        egress: None,
        fault: None,
        allow_only: false,
    };
    let mut snapshot = Snapshot::default();
    for namespace in ["x", "y"] {
        snapshot.apply(Object::Namespace(Namespace {
            name: namespace.into(),
            labels: Labels::default(),
        }));
    }
    snapshot.apply(Object::Pod(server));
    snapshot.apply(Object::Policy(policy));
    (0..MOST_PODS).for_each(|n| drop(snapshot.apply(Object::Pod(pod(n)))));

    let folder = tempfile::tempdir().unwrap();
    let mut script = Script::new(folder.path(), "nft");
    let mut compiler = Compiler::new(NODES[0].into(), Settings::default());
    let mut planner = Planner::new(Options::default());
    planner.adopt(Readback::default());
    let mut update = compiler.rebuild(&snapshot);
    // And one more, as an event brings it.
    for last in [false, true] {
        let transaction = planner
            .plan(compiler.program(), Some(&update), &BTreeSet::new())
            .unwrap();
        script.run(&transaction);
        if last {
            assert_eq!(transaction.steps.len(), 1, "{:#?}", transaction.steps);
        }
        planner.committed(transaction);
        let changes = Vec::from_iter(snapshot.apply(Object::Pod(pod(MOST_PODS))));
        update = compiler.update(&snapshot, &changes);
    }
    let readback = script.finish();
    let sets = fs::read_to_string(folder.path().join("sets")).unwrap();
    let members = sets.lines().filter(|line| line.contains(" 11.")).count();
    assert_eq!(members, MOST_PODS as usize + 1);
    assert_no_drift(readback, compiler.program(), &Options::default());
}
