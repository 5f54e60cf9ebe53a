//! Which updates can deny what was allowed, and which surely do not.

use crate::NODE;
use ringfence_policy::compile::Update;
use ringfence_policy::model::{
    IpBlock, Labels, NamespaceMatch, Node, ObjectKey, Peer, Phase, Pod, Policy, PortMatch,
    PortSpec, Protocol, Rule, Selector,
};
use ringfence_policy::snapshot::{Kind, Object};
use ringfence_policy::{Compiler, Settings, Snapshot};
use test_case::test_case;

fn pod(name: &str, node: &str, ip: &str, app: &str) -> Pod {
    Pod {
        key: ObjectKey::new("shop", name),
        labels: Labels::new([("app", app)]),
        node: node.into(),
        ips: vec![ip.parse().unwrap()],
        host_network: false,
        phase: Phase::Running,
        terminating: false,
        api_client: false,
        ports: [].into(),
    }
}

fn app(name: &str) -> Peer {
    Peer::Pods {
        namespaces: NamespaceMatch::Own,
        pods: Selector::labels([("app", name)]),
    }
}

fn block(cidr: &str, except: &[&str]) -> Peer {
    Peer::Block(IpBlock {
        cidr: cidr.parse().unwrap(),
        except: except.iter().map(|e| e.parse().unwrap()).collect(),
    })
}

fn tcp(first: u16, last: u16) -> PortMatch {
    PortMatch {
        protocol: Protocol::Tcp,
        port: PortSpec::Range(first, last),
    }
}

fn rule(peers: &[Peer], ports: &[PortMatch]) -> Rule {
    Rule {
        peers: peers.to_vec(),
        ports: ports.to_vec(),
    }
}

/// Ingress of the pods with `app=web`.
fn policy(name: &str, rules: Vec<Rule>) -> Policy {
    Policy {
        key: ObjectKey::new("shop", name),
        pod_selector: Selector::labels([("app", "web")]),
        ingress: Some(rules),
        egress: None,
        fault: None,
        allow_only: false,
    }
}

/// The rule that the policy `p` has at first.
fn first_rule() -> Rule {
    rule(
        &[app("client"), block("10.0.0.0/8", &["10.0.0.0/16"])],
        &[tcp(80, 90)],
    )
}

/// A local isolated pod, a local open one, a remote peer and a remote stranger.
fn shop(settings: Settings) -> (Snapshot, Compiler) {
    let mut snapshot = Snapshot::default();
    for object in [
        Object::Pod(pod("web", NODE, "10.1.0.1", "web")),
        Object::Pod(pod("open", NODE, "10.1.0.2", "other")),
        Object::Pod(pod("client", "n2", "10.2.0.1", "client")),
        Object::Pod(pod("stranger", "n2", "10.2.0.2", "stranger")),
        Object::Policy(policy("p", vec![first_rule()])),
        Object::Node(Node {
            name: NODE.into(),
            addresses: vec![],
            pod_cidrs: vec!["10.1.0.0/24".parse().unwrap()],
        }),
    ] {
        snapshot.apply(object);
    }
    let mut compiler = Compiler::new(NODE.into(), settings);
    assert!(compiler.rebuild(&snapshot).narrows(), "isolation began");
    (snapshot, compiler)
}

fn after_put(objects: Vec<Object>) -> Update {
    let (mut snapshot, mut compiler) = shop(Settings::default());
    let mut changes = Vec::new();
    for object in objects {
        changes.extend(snapshot.apply(object));
    }
    compiler.update(&snapshot, &changes)
}

fn after_policy(rules: Vec<Rule>) -> Update {
    after_put(vec![Object::Policy(policy("p", rules))])
}

fn after_removal(kind: Kind, name: &str, settings: Settings) -> Update {
    let (mut snapshot, mut compiler) = shop(settings);
    let change = snapshot
        .remove(kind, &ObjectKey::new("shop", name))
        .unwrap();
    compiler.update(&snapshot, &[change])
}

#[test_case(vec![first_rule(), rule(&[app("stranger")], &[])], false; "a rule more")]
#[test_case(vec![rule(&[app("stranger")], &[]), first_rule()], false; "a rule more, in front")]
#[test_case(vec![rule(&[], &[])], false; "everything is open")]
#[test_case(vec![rule(&[app("client"), block("10.0.0.0/8", &[])], &[tcp(80, 90)])], false; "an exception less")]
#[test_case(vec![rule(&[app("client"), block("0.0.0.0/0", &[])], &[tcp(80, 90)])], false; "a wider block")]
#[test_case(vec![rule(&[app("client"), block("10.0.0.0/8", &["10.0.0.0/16"]), block("192.0.2.0/24", &[])], &[tcp(80, 90)])], false; "a block more")]
#[test_case(vec![rule(&[app("client"), block("10.0.0.0/8", &["10.0.0.0/16"])], &[tcp(80, 99), tcp(443, 443)])], false; "ports more")]
#[test_case(vec![rule(&[app("client"), block("10.0.0.0/8", &["10.0.0.0/16"])], &[])], false; "every protocol")]
#[test_case(vec![rule(&[app("client")], &[tcp(80, 90)]), rule(&[block("10.0.0.0/8", &["10.0.0.0/16"])], &[tcp(80, 90)])], false; "one rule made two")]
#[test_case(vec![], true; "no rule left")]
#[test_case(vec![rule(&[app("client")], &[tcp(80, 90)])], true; "a peer less")]
#[test_case(vec![rule(&[app("client"), block("10.0.0.0/8", &["10.0.0.0/15"])], &[tcp(80, 90)])], true; "a wider exception")]
#[test_case(vec![rule(&[app("client"), block("10.0.0.0/8", &["10.0.0.0/16"])], &[tcp(80, 89)])], true; "a port less")]
#[test_case(vec![rule(&[app("client")], &[]), rule(&[block("10.0.0.0/8", &["10.0.0.0/16"])], &[tcp(80, 80)])], true; "half of it narrower")]
#[test_case(vec![rule(&[app("client"), block("10.0.0.0/8", &["10.0.0.0/16"])], &[PortMatch { protocol: Protocol::Udp, ..tcp(80, 90) }])], true; "another protocol")]
#[test_case(vec![rule(&[app("client"), block("10.0.0.0/8", &["10.0.0.0/16"])], &[PortMatch { protocol: Protocol::Tcp, port: PortSpec::Any }])], false; "every port")]
#[test_case(vec![rule(&[app("client"), block("10.0.0.0/8", &["10.0.0.0/16"])], &[PortMatch { protocol: Protocol::Udp, port: PortSpec::Any }])], true; "every port of another protocol")]
#[test_case(vec![rule(&[app("stranger"), block("10.0.0.0/8", &["10.0.0.0/16"])], &[tcp(80, 90)])], true; "another peer")]
fn rules(rules: Vec<Rule>, narrows: bool) {
    let update = after_policy(rules);
    assert!(update.previous.is_some());
    assert_eq!(update.narrows(), narrows);
}

#[test_case(vec![Object::Pod(pod("client2", "n2", "10.2.0.3", "client"))], false; "a peer comes")]
#[test_case(vec![Object::Pod(pod("stranger", "n2", "10.2.0.2", "client"))], false; "a stranger becomes a peer")]
#[test_case(vec![Object::Pod(pod("client", "n2", "10.2.0.1", "stranger"))], true; "a peer becomes a stranger")]
#[test_case(vec![Object::Pod(pod("client", "n2", "10.2.0.9", "client"))], true; "a peer's address changes")]
#[test_case(vec![Object::Pod(pod("open", NODE, "10.1.0.2", "web"))], true; "a local pod is isolated")]
#[test_case(vec![Object::Pod(pod("web", NODE, "10.1.0.1", "other"))], false; "isolation ends")]
#[test_case(vec![Object::Pod(pod("new", NODE, "10.1.0.3", "web"))], true; "a new isolated pod")]
#[test_case(vec![Object::Pod(pod("new", NODE, "10.1.0.3", "other"))], false; "a new open pod")]
#[test_case(vec![Object::Policy(policy("q", vec![]))], false; "a second policy on an isolated pod")]
#[test_case(vec![Object::Policy(Policy { pod_selector: Selector::everything(), ..policy("q", vec![]) })], true; "a second policy isolates another pod")]
#[test_case(vec![Object::Policy(Policy { egress: Some(vec![]), ..policy("p", vec![first_rule()]) })], true; "egress as well")]
#[test_case(vec![Object::Pod(pod("twin", NODE, "10.1.0.1", "other"))], false; "an open pod with the address of an isolated one")]
#[test_case(vec![Object::Pod(pod("twin", "n2", "10.2.0.1", "other"))], true; "a stranger with the address of a peer")]
fn objects(objects: Vec<Object>, narrows: bool) {
    let update = after_put(objects);
    assert!(!update.is_empty());
    assert_eq!(update.narrows(), narrows);
}

#[test]
fn a_pod_that_nobody_knows_changes_nothing() {
    let update = after_put(vec![Object::Pod(pod("x", "n2", "10.2.0.3", "nobody"))]);
    assert!(update.is_empty());
    assert!(!update.narrows());
    assert_eq!(update.moved.len(), 1);
}

#[test]
fn what_goes() {
    let off = Settings::default();
    let shut = Settings {
        drop_unknown_pods: true,
        ..off
    };
    assert!(!after_removal(Kind::NetworkPolicy, "p", off).narrows());
    assert!(after_removal(Kind::Pod, "client", off).narrows());
    assert!(!after_removal(Kind::Pod, "web", off).narrows());
    assert!(!after_removal(Kind::Pod, "open", off).narrows());
    assert!(after_removal(Kind::Pod, "open", shut).narrows());
}

#[test]
fn a_policy_less_on_a_pod_that_stays_isolated() {
    let (mut snapshot, mut compiler) = shop(Settings::default());
    let more = policy("q", vec![rule(&[app("stranger")], &[])]);
    let key = more.key.clone();
    let change = snapshot.apply(Object::Policy(more)).unwrap();
    assert!(!compiler.update(&snapshot, &[change]).narrows());
    let change = snapshot.remove(Kind::NetworkPolicy, &key).unwrap();
    assert!(compiler.update(&snapshot, &[change]).narrows());
}

#[test]
fn a_pod_range() {
    let (mut snapshot, mut compiler) = shop(Settings {
        drop_unknown_pods: true,
        ..Settings::default()
    });
    let mut with = |ranges: &[&str]| {
        let node = Node {
            name: NODE.into(),
            addresses: vec![],
            pod_cidrs: ranges.iter().map(|r| r.parse().unwrap()).collect(),
        };
        let change = snapshot.apply(Object::Node(node)).unwrap();
        compiler.update(&snapshot, &[change]).narrows()
    };
    assert!(with(&["10.1.0.0/24", "10.9.0.0/24"]));
    assert!(!with(&["10.9.0.0/25"]));
}
