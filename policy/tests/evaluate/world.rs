//! A small cluster: namespaces x, y, z with pods a, b (node n1) and c (node n2).
//!
//! Addresses: `10.0.<node>.<namespace><pod>`, so x/a has 10.0.1.11 and z/c 10.0.2.33;
//! IPv6 likewise in `fd00:10::/32`. Nodes have `192.168.0.<node>` and `fd00:1::<node>`.

use ringfence_policy::evaluate::{Evaluator, Side, Verdict};
use ringfence_policy::model::{Flow, L4, ObjectKey, Protocol};
use ringfence_policy::snapshot::Object;
use ringfence_policy::{Settings, Snapshot, parse};
use serde_json::{Value, json};
use std::net::IpAddr;

#[derive(Default)]
pub struct World {
    pub snapshot: Snapshot,
    pub settings: Settings,
}

impl World {
    pub fn new() -> Self {
        let mut world = Self::default();
        for node in 1..=2 {
            world = world.with(json!({
                "apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("n{node}")},
                "spec": {"podCIDRs": [format!("10.0.{node}.0/24"), format!("fd00:10:{node}::/64")]},
                "status": {"addresses": [
                    {"type": "InternalIP", "address": format!("192.168.0.{node}")},
                    {"type": "InternalIP", "address": format!("fd00:1::{node}")},
                    {"type": "Hostname", "address": format!("n{node}")},
                ]},
            }));
        }
        for (i, namespace) in (1..).zip(["x", "y", "z"]) {
            world = world.with(json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": namespace, "labels": {"ns": namespace}},
            }));
            for (j, pod) in (1..).zip(["a", "b", "c"]) {
                let node = if pod == "c" { 2 } else { 1 };
                let name = format!("{namespace}/{pod}");
                let ips = [
                    format!("10.0.{node}.{i}{j}"),
                    format!("fd00:10:{node}::{i}{j}"),
                ];
                let mut object = pod_object(&name, &format!("n{node}"), &[&ips[0], &ips[1]]);
                object["spec"]["containers"] = match pod {
                    "a" => json!([{"ports": [
                        {"name": "web", "containerPort": 80},
                        {"name": "dns", "containerPort": 53, "protocol": "UDP"},
                        {"name": "dns", "containerPort": 5353, "protocol": "TCP"},
                    ]}]),
                    "b" => json!([{"ports": [{"name": "web", "containerPort": 8080}]}]),
                    _ => json!([{"ports": [{"containerPort": 80}]}]),
                };
                world = world.with(object);
            }
        }
        world
    }

    /// Adds an object, which must be free of faults.
    pub fn with(mut self, object: Value) -> Self {
        let (object, errors) = parse::object(&object).unwrap();
        assert_eq!(errors, [], "the test's own object is faulty");
        self.snapshot.apply(object);
        self
    }

    /// Adds a policy that may be faulty.
    pub fn policy(mut self, key: &str, spec: Value) -> Self {
        let (namespace, name) = key.split_once('/').unwrap();
        let parsed = parse::policy(&json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"namespace": namespace, "name": name}, "spec": spec,
        }));
        self.snapshot.apply(Object::Policy(parsed.unwrap().policy));
        self
    }

    pub fn evaluator(&self) -> Evaluator<'_> {
        Evaluator::new(&self.snapshot, self.settings)
    }

    /// An address as it stands, or the first of a pod.
    pub fn address(&self, end: &str) -> IpAddr {
        end.parse().unwrap_or_else(|_| self.addresses(end)[0])
    }

    pub fn addresses(&self, pod: &str) -> Vec<IpAddr> {
        self.snapshot.pods[&key(pod)].ips.clone()
    }

    pub fn flow(&self, from: &str, to: &str, port: &str) -> Flow {
        let (src, dst) = (self.address(from), self.address(to));
        let protocol = |name: &str| Protocol::ALL.into_iter().find(|p| p.netfilter() == name);
        match port.split_once('/') {
            Some((number, name)) => {
                let protocol = protocol(name).unwrap();
                Flow::new(protocol, src, dst, number.parse().unwrap())
            }
            None if port == "ping" => Flow::ping(src, dst),
            None => {
                let l4 = match port.strip_prefix("icmp ") {
                    Some(kind) => L4::Icmp {
                        kind: kind.parse().unwrap(),
                    },
                    None => L4::Other(port.parse().unwrap()),
                };
                Flow { src, dst, l4 }
            }
        }
    }

    pub fn judge(&self, from: &str, to: &str, port: &str) -> Verdict {
        self.evaluator().judge(&self.flow(from, to, port))
    }

    pub fn allows(&self, from: &str, to: &str, port: &str) -> bool {
        self.judge(from, to, port).allowed()
    }

    /// Everyone of `ends` who reaches `to`.
    pub fn who_reaches(&self, to: &str, port: &str, ends: &[&str]) -> String {
        let reaching = ends.iter().filter(|from| self.allows(from, to, port));
        reaching.copied().collect::<Vec<_>>().join(" ")
    }
}

pub fn key(text: &str) -> ObjectKey {
    let (namespace, name) = text.split_once('/').unwrap();
    ObjectKey::new(namespace, name)
}

pub fn pod_object(name: &str, node: &str, ips: &[&str]) -> Value {
    let key = key(name);
    let ips: Vec<Value> = ips.iter().map(|ip| json!({ "ip": ip })).collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": &*key.namespace, "name": &*key.name, "labels": {"pod": &*key.name}},
        "spec": {"nodeName": node},
        "status": {"phase": "Running", "podIPs": ips},
    })
}

pub fn denied(side: &Side) -> Vec<String> {
    match side {
        Side::Denied { policies, .. } => policies.iter().map(ToString::to_string).collect(),
        other => panic!("not denied: {other:?}"),
    }
}
