//! The program in words.

use crate::NODE;
use ringfence_policy::model::{
    IpBlock, Labels, Name, NamespaceMatch, Node, ObjectKey, Operator, Peer, Phase, Pod, PodPort,
    Policy, PortMatch, PortSpec, Protocol, Requirement, Rule, Selector,
};
use ringfence_policy::snapshot::Object;
use ringfence_policy::{Settings, Snapshot, compile};

#[test]
fn a_person_can_read_it() {
    let pod = |name: &str, ips: &[&str]| Pod {
        key: ObjectKey::new("shop", name),
        labels: Labels::new([("app", name)]),
        node: NODE.into(),
        ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
        host_network: false,
        phase: Phase::Running,
        terminating: false,
        api_client: false,
        ports: [PodPort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: 8080,
        }]
        .into(),
    };
    let port = |protocol, port| PortMatch { protocol, port };
    let policy = Policy {
        key: ObjectKey::new("shop", "web"),
        pod_selector: Selector::labels([("app", "web")]),
        ingress: Some(vec![Rule {
            peers: vec![
                Peer::Pods {
                    namespaces: NamespaceMatch::Labels(Selector::new([Requirement {
                        key: "team".into(),
                        operator: Operator::NotIn(vec!["b".into(), "a".into()]),
                    }])),
                    pods: Selector::everything(),
                },
                Peer::Block(IpBlock {
                    cidr: "10.0.0.0/8".parse().unwrap(),
                    except: vec!["10.0.0.0/9".parse().unwrap()],
                }),
            ],
            ports: vec![
                port(Protocol::Tcp, PortSpec::Named("http".into())),
                port(Protocol::Tcp, PortSpec::Range(80, 80)),
                port(Protocol::Udp, PortSpec::Range(1, 9)),
            ],
        }]),
        egress: Some(vec![]),
        fault: None,
        allow_only: false,
    };
    let mut snapshot = Snapshot::default();
    for object in [
        Object::Pod(pod("web", &["10.1.0.1", "fd00::1"])),
        Object::Pod(pod("open", &["10.1.0.2"])),
        Object::Policy(policy),
        Object::Node(Node {
            name: NODE.into(),
            addresses: vec![],
            pod_cidrs: vec!["10.1.0.0/24".parse().unwrap()],
        }),
    ] {
        snapshot.apply(object);
    }
    let settings = Settings {
        drop_unknown_pods: true,
        ..Settings::default()
    };
    let summary = compile(&snapshot, &Name::from(NODE), settings).summary();
    for line in [
        "Pods on this node: 2",
        "  shop/open  10.1.0.2",
        "    ingress: open, no policy",
        "  shop/web  10.1.0.1, fd00::1",
        "    ingress: shop/web",
        "    egress:  shop/web",
        "  any other address of 10.1.0.0/24: shut",
        "Policies in use: 2",
        "    allows nothing",
    ] {
        assert!(
            summary.lines().any(|l| l == line),
            "{line:?} not in\n{summary}"
        );
    }
    // The order of peers is that of their names, which are hashes.
    for words in [
        "10.128.0.0/9",
        "all pods in namespaces with team notin (a,b)",
        "on TCP 80, TCP \"http\", UDP 1-9",
        "TCP \"http\": 2 IPv4, 1 IPv6",
        "pods of this node: 2 IPv4, 1 IPv6",
    ] {
        assert!(summary.contains(words), "{words:?} not in\n{summary}");
    }
}
