//! Properties, over random policies in a small cluster.

use crate::{Hooks, cluster, config};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use ringfence_checks::Subject;
use ringfence_checks::inject::{forged, rule};
use ringfence_policy::evaluate::Evaluator;
use ringfence_policy::model::{
    Direction, Flow, IpBlock, L4, NamespaceMatch, Operator, Peer, Pod, PortMatch, PortSpec,
    Protocol, Requirement, Rule, Selector, TargetPort,
};
use ringfence_policy::snapshot::Object;
use ringfence_policy::{Settings, Snapshot, parse};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

/// A cluster; `TARGET` stands for where the DNS pods listen.
const CLUSTER: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: kube-system, labels: {role: x}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: monitoring, labels: {role: z}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {role: x}}}
---
{apiVersion: v1, kind: Service, metadata: {name: kube-dns, namespace: kube-system}, spec: {clusterIPs: [10.96.0.10, 'fd01::a'], selector: {app: z}, ports: [{name: dns, port: 53, protocol: UDP, targetPort: TARGET}, {name: dns-tcp, port: 53, targetPort: TARGET}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: dns-1, namespace: kube-system, labels: {app: z}}, spec: {nodeName: node-1, containers: [{name: c, ports: [{name: dns, containerPort: 1053, protocol: UDP}, {name: dns, containerPort: 1053}]}]}, status: {podIPs: [{ip: 10.1.0.2}, {ip: 'fd00::2'}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: dns-2, namespace: kube-system, labels: {app: z, tier: x}}, spec: {nodeName: node-1, containers: [{name: c, ports: [{name: dns, containerPort: 1053, protocol: UDP}, {name: dns, containerPort: 1053}]}]}, status: {podIPs: [{ip: 10.1.0.3}, {ip: 'fd00::3'}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: other, namespace: kube-system, labels: {app: x}}, spec: {nodeName: node-1, containers: [{name: c, ports: [{name: dns, containerPort: 80, protocol: UDP}]}]}, status: {podIP: 10.1.0.4}}
---
{apiVersion: v1, kind: Pod, metadata: {name: prometheus, namespace: monitoring, labels: {app: x}}, spec: {nodeName: node-1}, status: {podIP: 10.1.0.5}}
---
{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: shop, labels: {app: x}}, spec: {nodeName: node-1}, status: {podIPs: [{ip: 10.1.0.6}, {ip: 'fd00::6'}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: b, namespace: shop, labels: {app: z}}, spec: {nodeName: node-1, containers: [{name: c, ports: [{name: http, containerPort: 80}]}]}, status: {podIP: 10.1.0.7}}
";

const OUTSIDE: [&str; 4] = ["8.8.8.8", "169.254.20.10", "10.1.9.9", "2001:db8::1"];
const TARGETS: [&str; 3] = ["53", "1053", "dns"];
const PORTS: [u16; 3] = [53, 80, 1053];

fn selector() -> impl Strategy<Value = Selector> {
    let operator = prop_oneof![
        4 => select(vec!["x", "z"]).prop_map(|v| Operator::In(vec![v.into()])),
        1 => Just(Operator::NotIn(vec!["x".into()])),
        1 => Just(Operator::Exists),
    ];
    let key = select(vec!["app", "role", "tier"]);
    let requirement = (key, operator).prop_map(|(key, operator)| Requirement {
        key: key.into(),
        operator,
    });
    vec(requirement, 0..2).prop_map(Selector::new)
}

fn block() -> impl Strategy<Value = IpBlock> {
    let nets = [
        ("0.0.0.0/0", ""),
        ("0.0.0.0/0", "10.1.0.0/16"),
        ("10.1.0.0/16", ""),
        ("10.1.0.2/31", "10.1.0.3/32"),
        ("::/0", ""),
        ("169.254.20.10/32", ""),
    ];
    select(nets.to_vec()).prop_map(|(cidr, except)| IpBlock {
        cidr: cidr.parse().unwrap(),
        except: except.parse().into_iter().collect(),
    })
}

fn a_rule() -> impl Strategy<Value = Rule> {
    let namespaces = prop_oneof![
        Just(NamespaceMatch::Own),
        selector().prop_map(NamespaceMatch::Labels),
    ];
    let peer = prop_oneof![
        3 => (namespaces, selector())
            .prop_map(|(namespaces, pods)| Peer::Pods { namespaces, pods }),
        1 => block().prop_map(Peer::Block),
    ];
    let port = prop_oneof![
        1 => Just(PortSpec::Any),
        3 => select(PORTS.to_vec()).prop_map(|p| PortSpec::Range(p, p)),
        1 => Just(PortSpec::Range(50, 60)),
        1 => select(vec!["dns", "http"]).prop_map(|n| PortSpec::Named(n.into())),
    ];
    let protocol = select(vec![Protocol::Tcp, Protocol::Udp]);
    let port = (protocol, port).prop_map(|(protocol, port)| PortMatch { protocol, port });
    (vec(peer, 0..3), vec(port, 0..3)).prop_map(|(peers, ports)| Rule { peers, ports })
}

/// A policy as the API server passes it on, and as it does not: without types, with nulls.
fn policy(name: &'static str) -> impl Strategy<Value = Value> {
    let types = select(vec![
        json!(["Egress"]),
        json!(["Ingress"]),
        json!(["Ingress", "Egress"]),
        Value::Null,
    ]);
    let section = |direction| {
        let rules = vec(a_rule(), 0..3);
        prop::option::of(rules).prop_map(move |rules| {
            rules.map_or(Value::Null, |rules| {
                rules.iter().map(|r| rule::to_json(direction, r)).collect()
            })
        })
    };
    let annotations = select(vec![
        Value::Null,
        json!({}),
        json!({"a": "b"}),
        json!({"injected.ringfence.dev/dns": "v1:0123456789abcdef"}),
        json!({"inject.ringfence.dev/monitoring": "off"}),
    ]);
    let namespace = select(vec!["shop", "shop", "kube-system", "monitoring"]);
    (
        namespace,
        selector(),
        types,
        section(Direction::Ingress),
        section(Direction::Egress),
        annotations,
    )
        .prop_map(
            move |(namespace, selector, types, ingress, egress, annotations)| {
                let peer = Rule {
                    peers: vec![Peer::Pods {
                        namespaces: NamespaceMatch::Own,
                        pods: selector,
                    }],
                    ports: Vec::new(),
                };
                let selector =
                    rule::to_json(Direction::Egress, &peer)["to"][0]["podSelector"].clone();
                let mut spec = json!({"podSelector": selector});
                for (key, value) in [
                    ("policyTypes", types),
                    ("ingress", ingress),
                    ("egress", egress),
                ] {
                    // Absent and null are the same; both are seen.
                    if !value.is_null() || key == "egress" {
                        spec[key] = value;
                    }
                }
                json!({
                    "apiVersion": "networking.k8s.io/v1",
                    "kind": "NetworkPolicy",
                    "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
                    "spec": spec,
                })
            },
        )
}

fn hooks() -> impl Strategy<Value = Hooks> {
    let target = select(TARGETS.to_vec());
    let node_local = select(vec!["", "169.254.20.10"]);
    let monitoring = select(vec!["", "monitoring", "monitoring, later"]);
    let pods = any::<bool>();
    (target, node_local, any::<bool>(), monitoring, pods).prop_map(
        |(target, node_local, deny_all, monitoring, pods)| {
            let mut snapshot = known(target);
            if !pods {
                snapshot.pods.retain(|key, _| !key.name.starts_with("dns-"));
            }
            let settings = format!(
                "dns: {{nodeLocal: [{node_local}], intoDenyAll: {deny_all}}}\n\
                 monitoring: {{namespaces: [{monitoring}]}}"
            );
            Hooks {
                cluster: Some(snapshot),
                config: config(&settings),
            }
        },
    )
}

/// The cluster with that target port, read once.
fn known(target: &'static str) -> Snapshot {
    static KNOWN: LazyLock<BTreeMap<&str, Snapshot>> = LazyLock::new(|| {
        let read = |target| (target, cluster(&CLUSTER.replace("TARGET", target)));
        TARGETS.map(read).into()
    });
    KNOWN[target].clone()
}

fn with_policy(snapshot: &Snapshot, object: &Value) -> Snapshot {
    let mut snapshot = snapshot.clone();
    let parsed = parse::policy(object).unwrap();
    assert_eq!(parsed.errors, []);
    snapshot.apply(Object::Policy(parsed.policy));
    snapshot
}

fn flows(snapshot: &Snapshot) -> Vec<Flow> {
    let pods = snapshot.pods.values().flat_map(|p| p.ips.iter().copied());
    let outside = OUTSIDE.iter().map(|a| a.parse().unwrap());
    let all: Vec<IpAddr> = pods.chain(outside).collect();
    let mut flows = Vec::new();
    for (src, dst) in all.iter().flat_map(|s| all.iter().map(move |d| (*s, *d))) {
        if src == dst || src.is_ipv4() != dst.is_ipv4() {
            continue;
        }
        flows.push(Flow::ping(src, dst));
        for port in PORTS {
            flows.push(Flow::new(Protocol::Udp, src, dst, port));
            flows.push(Flow::new(Protocol::Tcp, src, dst, port));
        }
    }
    flows
}

/// Whether a flow asks a DNS pod where it listens.
fn is_dns(snapshot: &Snapshot, flow: &Flow) -> bool {
    let L4::Ports { protocol, dst, .. } = flow.l4 else {
        return false;
    };
    let service = snapshot.services.values().next().unwrap();
    let listens = match &service.ports[0].target {
        TargetPort::Number(number) => *number,
        TargetPort::Named(_) => 1053,
    };
    let answers = |name: &str| name.starts_with("dns-");
    let known = [Protocol::Udp, Protocol::Tcp].contains(&protocol) && dst == listens;
    known && pod_at(snapshot, flow.dst).is_some_and(|p| answers(&p.key.name))
}

fn is_scraping(snapshot: &Snapshot, hooks: &Hooks, flow: &Flow) -> bool {
    let scraper = pod_at(snapshot, flow.src);
    scraper.is_some_and(|p| hooks.config.monitoring.contains(&p.key.namespace))
}

fn pod_at(snapshot: &Snapshot, address: IpAddr) -> Option<&Arc<Pod>> {
    snapshot.pods.values().find(|p| p.ips.contains(&address))
}

/// Whether a flow is one that injection is there for.
fn is_meant(snapshot: &Snapshot, hooks: &Hooks, flow: &Flow) -> bool {
    let at_53 = matches!(flow.l4, L4::Ports { dst: 53, .. });
    let cache = at_53 && hooks.config.dns.node_local.contains(&flow.dst);
    cache || is_dns(snapshot, flow) || is_scraping(snapshot, hooks, flow)
}

/// The validating hook has nothing to say about what the mutating hook left.
fn assert_silent(hooks: &Hooks, stored: &Value, old: Option<&Value>) {
    let subject = Subject::read(stored).unwrap();
    let before = old.map(|old| Subject::read(old).unwrap());
    assert_eq!(forged(&subject, before.as_ref().into()), []);
    let denies_all = subject.policy().unwrap().egress == Some(Vec::new());
    for finding in hooks.validate(stored, old).findings {
        let ours = ["egress-no-dns", "dns-udp-only", "cuts-monitoring"].contains(&finding.check);
        let allowed = finding.check == "egress-no-dns" && denies_all;
        assert!(!ours || allowed, "{finding:?}\n{stored:#}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn opens_what_is_meant_and_cuts_nothing(hooks in hooks(), object in policy("p")) {
        let stored = hooks.stored(&object, None);
        let snapshot = hooks.cluster.as_ref().unwrap();
        let (before, after) = (with_policy(snapshot, &object), with_policy(snapshot, &stored));
        let settings = Settings::default();
        let (before, after) = (Evaluator::new(&before, settings), Evaluator::new(&after, settings));
        for flow in flows(snapshot) {
            match (before.judge(&flow).allowed(), after.judge(&flow).allowed()) {
                (true, false) => prop_assert!(false, "cuts {flow}: {stored:#}"),
                (false, true) => {
                    prop_assert!(is_meant(snapshot, &hooks, &flow), "opens {flow}: {stored:#}");
                }
                _ => {}
            }
        }
    }

    #[test]
    fn names_resolve_and_scrapers_get_in(hooks in hooks(), object in policy("p")) {
        let stored = hooks.stored(&object, None);
        let snapshot = hooks.cluster.as_ref().unwrap();
        let after = with_policy(snapshot, &stored);
        let evaluator = Evaluator::new(&after, Settings::default());
        let policy = parse::policy(&stored).unwrap().policy;
        let denies_all = policy.egress.is_some_and(|rules| rules.is_empty());
        let opted_out = stored["metadata"]["annotations"].to_string().contains("off");
        for flow in flows(snapshot) {
            let verdict = evaluator.judge(&flow);
            let names = denies_all || !is_dns(snapshot, &flow) || verdict.egress.allowed();
            prop_assert!(names, "{flow} {verdict}: {stored:#}");
            let scrapes = opted_out || !is_scraping(snapshot, &hooks, &flow)
                || verdict.ingress.allowed();
            prop_assert!(scrapes, "{flow} {verdict}: {stored:#}");
        }
    }

    #[test]
    fn never_isolates_more(hooks in hooks(), object in policy("p")) {
        let stored = hooks.stored(&object, None);
        let isolated = |object: &Value| {
            let policy = parse::policy(object).unwrap().policy;
            (policy.ingress.is_some(), policy.egress.is_some())
        };
        prop_assert_eq!(isolated(&stored), isolated(&object));
    }

    #[test]
    fn twice_is_once(hooks in hooks(), object in policy("p")) {
        let stored = hooks.stored(&object, None);
        prop_assert_eq!(&hooks.stored(&stored, None), &stored, "reinvocation");
        prop_assert_eq!(&hooks.stored(&stored, Some(&stored)), &stored, "no change");
        prop_assert_eq!(&hooks.stored(&stored, Some(&object)), &stored, "as a change");
        assert_silent(&hooks, &stored, None);
    }

    #[test]
    fn a_change_in_a_cluster_that_changed(
        (first, second) in (hooks(), hooks()),
        (object, mut edited) in (policy("p"), policy("p")),
        keeps in any::<bool>(),
    ) {
        let old = first.stored(&object, None);
        if keeps {
            // As after `kubectl edit`: what was injected is still there.
            edited["metadata"]["annotations"] = old["metadata"]["annotations"].clone();
            edited["spec"] = old["spec"].clone();
            edited["spec"]["podSelector"] = json!({"matchLabels": {"app": "x", "role": "x"}});
        }
        edited["metadata"]["namespace"] = old["metadata"]["namespace"].clone();
        let stored = second.stored(&edited, Some(&old));
        prop_assert_eq!(&second.stored(&stored, Some(&old)), &stored);
        // Where the edit changed nothing that decides, the object stays as an older cluster
        // left it; created anew it would be judged by today's.
        let decides = |object: &Value| {
            let annotation = |part: &str| {
                object["metadata"]["annotations"][format!("inject.ringfence.dev/{part}")].clone()
            };
            (object["spec"].clone(), annotation("dns"), annotation("monitoring"))
        };
        if decides(&edited) != decides(&old) {
            prop_assert_eq!(&second.stored(&stored, None), &stored);
            assert_silent(&second, &stored, Some(&old));
        }
    }

    #[test]
    fn other_policies_do_not_matter(
        hooks in hooks(),
        object in policy("p"),
        others in vec(policy("other"), 0..3),
    ) {
        let alone = hooks.mutate(&object, None);
        let mut among = hooks.clone();
        let mut snapshot = among.cluster.take().unwrap();
        for other in &others {
            snapshot = with_policy(&snapshot, other);
        }
        among.cluster = Some(snapshot);
        prop_assert_eq!(among.mutate(&object, None), alone);
    }
}
