//! A cluster of 10,000 pods, 1,000 policies and 500 Services, and requests about it.

use serde_json::{Value, json};
use std::collections::BTreeMap;

const NAMESPACES: usize = 100;
const PODS: usize = 10_000;
const POLICIES: usize = 1_000;
const SERVICES: usize = 500;
/// Workloads of one namespace.
const APPS: usize = 5;

/// By the plural name of their kind.
pub fn objects() -> BTreeMap<&'static str, Vec<Value>> {
    let namespaces = (0..NAMESPACES).map(|n| {
        let name = format!("team-{n}");
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name,
            "labels": {"kubernetes.io/metadata.name": name, "tier": format!("t{}", n % 4)}}})
    });
    let kube_system = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system",
        "labels": {"kubernetes.io/metadata.name": "kube-system"}}});
    let nodes = (0..50).map(|n| {
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("node-{n}")},
            "spec": {"podCIDRs": [format!("10.{n}.0.0/16")]},
            "status": {"addresses": [{"type": "InternalIP", "address": format!("192.168.1.{n}")}]}})
    });
    let pods = (0..PODS).map(|n| {
        let (namespace, app) = (n % NAMESPACES, n / NAMESPACES % APPS);
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {
                "name": format!("app-{app}-{n}"), "namespace": format!("team-{namespace}"),
                "labels": {"app": format!("app-{app}"), "team": format!("team-{namespace}"), "version": "v1"}},
            "spec": {"nodeName": format!("node-{}", n % 50),
                "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
            "status": {"phase": "Running", "podIPs": [{"ip": format!("10.{}.{}.{}", n % 50, n / 50 / 250, 2 + n / 50 % 250)}]}})
    });
    let services = (0..SERVICES).map(|n| {
        let (namespace, app) = (n % NAMESPACES, n / NAMESPACES % APPS);
        json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": format!("app-{app}"), "namespace": format!("team-{namespace}")},
            "spec": {"clusterIP": format!("10.96.{}.{}", n / 250, 2 + n % 250), "selector": {"app": format!("app-{app}")},
                "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}]}})
    });
    let dns = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "kube-dns", "namespace": "kube-system"},
        "spec": {"clusterIP": "10.96.0.10", "selector": {"k8s-app": "kube-dns"}, "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53}]}});
    let policies = (0..POLICIES).map(|n| {
        let (namespace, number) = (n % NAMESPACES, n / NAMESPACES);
        let update = Update::in_place_of(namespace, number);
        update.map_or_else(|| policy(namespace, number, 4, 0), |u| u.old(u.rules()))
    });
    BTreeMap::from([
        ("namespaces", namespaces.chain([kube_system]).collect()),
        ("nodes", nodes.collect()),
        ("pods", pods.collect()),
        ("services", services.chain([dns]).collect()),
        ("networkpolicies", policies.collect()),
    ])
}

/// Both ends of what a policy allows allow it: who is `offset` namespaces and workloads
/// further may come in, and who is as much before may be gone to.
fn policy(namespace: usize, number: usize, rules: usize, shift: usize) -> Value {
    // Two policies select the same pods, and say something else about them.
    let port = if number < APPS { 8080 } else { 9000 + number };
    let rule = |at: usize, far: &str| {
        let offset = at % 2 + shift;
        let (app, team) = match far {
            "from" => (number + offset, namespace + offset),
            _ => (number + APPS - offset, namespace + NAMESPACES - offset),
        };
        let (app, team) = (
            format!("app-{}", app % APPS),
            format!("team-{}", team % NAMESPACES),
        );
        json!({far: [
                {"podSelector": {"matchLabels": {"app": app}}},
                {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": team}},
                    "podSelector": {"matchLabels": {"app": app}}},
                {"ipBlock": {"cidr": format!("172.{}.{}.0/24", 16 + at / 256 % 16, at % 256)}}],
            "ports": [{"port": port, "protocol": "TCP"}, {"port": 1024 + at % 60_000, "protocol": "TCP"}]})
    };
    let dns = json!({"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
        "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]});
    let egress = (0..rules / 2).map(|at| rule(at, "to")).chain([dns]);
    let ingress = (0..rules.div_ceil(2)).map(|at| rule(at, "from"));
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": format!("policy-{number}"), "namespace": format!("team-{namespace}"),
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "resourceVersion": "123456", "generation": 2,
            "creationTimestamp": "2026-06-01T12:00:00Z"},
        "spec": {"podSelector": {"matchLabels": {"app": format!("app-{}", number % APPS)}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress.collect::<Vec<_>>(), "egress": egress.collect::<Vec<_>>()}})
}

/// An update of a policy of its namespace: one port of its first rule changes.
pub struct Update {
    namespace: usize,
    /// Of the body, about.
    bytes: usize,
    /// As many namespaces and workloads the peers are away from those that allow it, too.
    shift: usize,
}

/// Most of what people write. It cuts what came by that port, and is told so.
pub const SMALL: Update = Update::new(7, 4 << 10, 0);
/// A long list, in which other rules allow the same: it draws no warning.
pub const MIDDLE: Update = Update::new(8, 34 << 10, 0);
/// As long as [`SMALL`]; the other end denies all of it.
pub const WRONG: Update = Update::new(9, 4 << 10, 2);
/// As long as can be stored. The cluster has another policy in its place.
pub const HUGE: Update = Update::new(10, 9 << 20, 0);

impl Update {
    /// The number of its policy.
    const POLICY: usize = 3;

    const fn new(namespace: usize, bytes: usize, shift: usize) -> Self {
        Self {
            namespace,
            bytes,
            shift,
        }
    }

    /// What the cluster has in place of a policy.
    fn in_place_of(namespace: usize, number: usize) -> Option<Self> {
        let kept = [SMALL, MIDDLE, WRONG].into_iter();
        let mut here = kept.filter(|u| (u.namespace, Self::POLICY) == (namespace, number));
        here.next()
    }

    fn old(&self, rules: usize) -> Value {
        policy(self.namespace, Self::POLICY, rules, self.shift)
    }

    fn with(&self, rules: usize) -> String {
        let old = self.old(rules);
        let mut new = old.clone();
        new["spec"]["ingress"][0]["ports"][0]["port"] = 8081.into();
        let request = json!({
            "kind": {"group": "networking.k8s.io", "version": "v1", "kind": "NetworkPolicy"},
            "resource": {"group": "networking.k8s.io", "version": "v1", "resource": "networkpolicies"},
            "name": format!("policy-{}", Self::POLICY), "namespace": format!("team-{}", self.namespace),
            "operation": "UPDATE", "userInfo": {"username": "anna", "groups": ["devs", "system:authenticated"]},
            "object": new, "oldObject": old, "dryRun": false,
            "options": {"kind": "UpdateOptions", "apiVersion": "meta.k8s.io/v1"}})
        .to_string();
        format!(
            r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"705ab4f5-6393-11e8-b7cc-42010a800002",{}}}"#,
            &request[1..]
        )
    }

    /// Every rule is as large as the other, nearly.
    fn rules(&self) -> usize {
        let (few, more) = (self.with(2).len(), self.with(102).len());
        2 + self.bytes.saturating_sub(few) / ((more - few) / 100)
    }

    /// The request's body.
    pub fn body(&self) -> Vec<u8> {
        self.with(self.rules()).into_bytes()
    }
}
