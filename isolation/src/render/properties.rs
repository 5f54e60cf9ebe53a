//! What holds for any rules, judged by the oracle.

use crate::testing::Cluster;
use proptest::prelude::*;
use ringfence_policy::Settings;
use ringfence_policy::evaluate::Evaluator;
use ringfence_policy::model::{Flow, Protocol};
use ringfence_policy::parse;
use serde_json::{Value, json};

const NAMESPACES: [&str; 4] = ["demo-project", "a", "b", "c"];
const PORTS: [u16; 4] = [80, 8080, 81, 53];
const WORLD: [&str; 2] = ["192.0.2.1", "203.0.113.7"];

/// Two pods in each namespace, and a Service `web` (80 to 8080) before the first.
fn cluster() -> Cluster {
    let mut documents = Vec::new();
    for (i, namespace) in NAMESPACES.iter().enumerate() {
        documents.push(json!({"kind": "Namespace", "metadata": {"name": namespace}}));
        documents.push(json!({
            "kind": "Service", "metadata": {"name": "web", "namespace": namespace},
            "spec": {"clusterIP": format!("10.96.0.{i}"), "selector": {"app": "web"},
                "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
        }));
        for (j, app) in ["web", "client"].iter().enumerate() {
            documents.push(json!({
                "kind": "Pod",
                "metadata": {"name": app, "namespace": namespace, "labels": {"app": app}},
                "spec": {"nodeName": "n"},
                "status": {"phase": "Running", "podIPs": [{"ip": format!("10.16.{i}.{j}")}]},
            }));
        }
    }
    let texts: Vec<String> = documents.iter().map(Value::to_string).collect();
    Cluster::new(&texts.join("\n---\n"))
}

fn addresses() -> Vec<String> {
    let pods = (0..NAMESPACES.len()).flat_map(|i| [0, 1].map(|j| format!("10.16.{i}.{j}")));
    pods.chain(WORLD.map(str::to_owned)).collect()
}

fn any_rule() -> impl Strategy<Value = Value> {
    let namespace =
        prop::sample::select(&["demo-project", "a", "b", "c", "gone", "Not A Name"][..]);
    let service = prop::sample::select(&["web", "gone"][..]);
    let cidr = prop::sample::select(&["192.0.2.0/24", "0.0.0.0/0", "10.16.0.0/16", "nonsense"][..]);
    let peer = prop_oneof![
        namespace.clone().prop_map(|n| json!({"namespace": n})),
        (namespace, service).prop_map(|(n, s)| json!({"service": {"namespace": n, "name": s}})),
        cidr.prop_map(|c| json!({"cidr": {"cidr": c}})),
        Just(json!({})),
    ];
    let port = prop_oneof![
        prop::sample::select(&PORTS[..]).prop_map(|p| json!({"port": p})),
        Just(json!({"servicePort": "web/80"})),
        Just(json!({"servicePort": "gone/80"})),
        Just(json!({"port": 0})),
        Just(json!({"protocol": "UDP"})),
    ];
    let end = prop::option::of(prop::sample::select(
        &["2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"][..],
    ));
    (
        prop::bool::ANY,
        peer,
        prop::collection::vec(port, 0..3),
        end,
    )
        .prop_map(|(ingress, peer, ports, end)| {
            let direction = if ingress { "Ingress" } else { "Egress" };
            let mut rule = json!({"direction": direction, "peer": peer, "ports": ports});
            if let Some(end) = end {
                rule["expiresAt"] = end.into();
            }
            rule
        })
}

fn with(rules: &[Value]) -> Cluster {
    let named = rules.iter().enumerate();
    named.fold(cluster(), |all, (i, rule)| {
        all.rule(&format!("r{i}"), &rule.to_string())
    })
}

/// Which connections pass, by their place in the matrix.
fn matrix(cluster: &Cluster, at: &str) -> Vec<bool> {
    let mut snapshot = cluster.snapshot.clone();
    let rendered = cluster.render_at("demo-project", at.parse().unwrap());
    let (object, errors) = parse::object(&rendered.object(None)).unwrap();
    assert_eq!(errors, []);
    snapshot.apply(object);
    let evaluator = Evaluator::new(&snapshot, Settings::default());
    let all = addresses();
    let pairs = all.iter().flat_map(|a| all.iter().map(move |b| (a, b)));
    let flows = pairs.flat_map(|(a, b)| {
        let flow =
            move |port| Flow::new(Protocol::Tcp, a.parse().unwrap(), b.parse().unwrap(), port);
        PORTS.map(flow)
    });
    flows.map(|flow| evaluator.judge(&flow).allowed()).collect()
}

/// Place in the matrix: source, destination, port.
fn place(from: usize, to: usize, port: usize) -> usize {
    (from * addresses().len() + to) * PORTS.len() + port
}

const NOW: &str = crate::testing::NOW;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The inside always talks, and without an ingress rule nobody else comes in.
    #[test]
    fn inside_passes_and_others_are_refused(rules in prop::collection::vec(any_rule(), 0..5)) {
        let rules: Vec<Value> = rules.into_iter().filter(|r| r["direction"] == "Egress").collect();
        let passed = matrix(&with(&rules), NOW);
        for port in 0..PORTS.len() {
            prop_assert!(passed[place(0, 1, port)] && passed[place(1, 0, port)]);
            for other in 2..addresses().len() {
                prop_assert!(!passed[place(other, 0, port)] && !passed[place(other, 1, port)]);
            }
        }
    }

    /// A rule changes nothing beyond connections between the namespace and its peer, and
    /// an ingress rule never closes anything.
    #[test]
    fn a_rule_opens_no_more_than_its_peer(rules in prop::collection::vec(any_rule(), 0..4), rule in any_rule()) {
        let before = matrix(&with(&rules), NOW);
        let mut more = rules;
        more.push(rule.clone());
        let after = matrix(&with(&more), NOW);
        let all = addresses();
        let is_peer = |address: &str| {
            let peer = &rule["peer"];
            let namespace = peer["namespace"].as_str().or_else(|| peer["service"]["namespace"].as_str());
            if let Some(namespace) = namespace {
                let place = NAMESPACES.iter().position(|n| *n == namespace);
                let web = peer["service"].is_null() || address.ends_with(".0");
                return web && place.is_some_and(|i| address.starts_with(&format!("10.16.{i}.")));
            }
            let range = peer["cidr"]["cidr"].as_str().and_then(|c| c.parse::<ipnet::IpNet>().ok());
            range.is_some_and(|range| range.contains(&address.parse::<std::net::IpAddr>().unwrap()))
        };
        let may_open = |port: u16| {
            let ports = rule["ports"].as_array().unwrap();
            let resolved = |p: &Value| {
                p["port"] == port || (p["servicePort"] == "web/80" && port == 8080)
                    // Egress to a Service: `port` is the Service's.
                    || (p["port"] == 80 && port == 8080 && rule["direction"] == "Egress")
            };
            ports.is_empty() || ports.iter().any(resolved)
        };
        for (from, source) in all.iter().enumerate() {
            for (to, target) in all.iter().enumerate() {
                for (at, port) in PORTS.iter().enumerate() {
                    let (was, is) = (before[place(from, to, at)], after[place(from, to, at)]);
                    if is && !was {
                        let other = if rule["direction"] == "Ingress" { source } else { target };
                        prop_assert!(is_peer(other) && may_open(*port), "{source} -> {target}:{port} by {rule}");
                    }
                    if was && !is {
                        prop_assert!(rule["direction"] == "Egress", "{source} -> {target}:{port} cut by {rule}");
                    }
                }
            }
        }
    }

    /// Time only closes.
    #[test]
    fn an_expiry_never_opens(rules in prop::collection::vec(any_rule(), 0..5)) {
        let cluster = with(&rules);
        let moments = ["2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"];
        let all = moments.map(|at| matrix(&cluster, at));
        for pair in all.windows(2) {
            prop_assert!(pair[0].iter().zip(&pair[1]).all(|(before, after)| *before || !*after));
        }
    }

    /// The same objects give the same policy, which the API's parser reads as it was meant.
    #[test]
    fn rendering_is_deterministic(rules in prop::collection::vec(any_rule(), 0..5)) {
        let rendered = with(&rules).render();
        prop_assert_eq!(&rendered, &with(&rules).render());
        let parsed = parse::policy(&rendered.object(None)).unwrap();
        prop_assert_eq!(parsed.policy, rendered.policy);
    }
}
