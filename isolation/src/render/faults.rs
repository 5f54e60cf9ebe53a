//! `KubeSphere`'s eight faults, one case each, judged by what the rendered policy does to
//! packets. Numbers as in docs/isolation.md.

use super::{Condition, Status};
use crate::testing::Cluster;
use ringfence_policy::evaluate::evaluate;
use ringfence_policy::model::{Flow, Protocol};
use ringfence_policy::parse;
use ringfence_policy::{Settings, Snapshot};

/// `own` is isolated; its pod, another of its own, a pod of `peer` behind a Service whose
/// port is not its targetPort, one of `other`, the gateway, DNS.
const CLUSTER: &str = "
kind: Namespace
metadata: {name: own, labels: {tenant: acme}}
---
kind: Namespace
metadata: {name: own-2, labels: {tenant: acme}}
---
kind: Namespace
metadata: {name: peer}
---
kind: Namespace
metadata: {name: other}
---
kind: Namespace
metadata: {name: gateway}
---
kind: Pod
metadata: {name: a, namespace: own, labels: {app: a}}
spec: {nodeName: node-1, containers: []}
status: {phase: Running, podIPs: [{ip: 10.16.0.1}]}
---
kind: Pod
metadata: {name: b, namespace: own, labels: {app: b}}
spec: {nodeName: node-1, containers: []}
status: {phase: Running, podIPs: [{ip: 10.16.0.2}]}
---
kind: Pod
metadata: {name: c, namespace: own-2}
spec: {nodeName: node-1, containers: []}
status: {phase: Running, podIPs: [{ip: 10.16.0.3}]}
---
kind: Pod
metadata: {name: web, namespace: peer, labels: {app: web}}
spec: {nodeName: node-1, containers: []}
status: {phase: Running, podIPs: [{ip: 10.16.1.1}]}
---
kind: Pod
metadata: {name: client, namespace: other}
spec: {nodeName: node-1, containers: []}
status: {phase: Running, podIPs: [{ip: 10.16.2.1}]}
---
kind: Pod
metadata: {name: proxy, namespace: gateway}
spec: {nodeName: node-1, containers: []}
status: {phase: Running, podIPs: [{ip: 10.16.3.1}]}
---
kind: Service
metadata: {name: web, namespace: peer}
spec: {clusterIP: 10.96.0.20, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}, {name: admin, port: 81, targetPort: 9090}]}
---
kind: Service
metadata: {name: empty, namespace: peer}
spec: {clusterIP: 10.96.0.21, ports: [{port: 80}]}
";

const A: &str = "10.16.0.1";
const B: &str = "10.16.0.2";
const SAME_TENANT: &str = "10.16.0.3";
const WEB: &str = "10.16.1.1";
const CLIENT: &str = "10.16.2.1";
const GATEWAY: &str = "10.16.3.1";
const WORLD: &str = "203.0.113.7";

fn cluster() -> Cluster {
    Cluster::new(CLUSTER)
}

/// The cluster with the rendered policy in it, as an API server would hand it out.
fn enforced(cluster: &Cluster) -> Snapshot {
    let mut snapshot = cluster.snapshot.clone();
    let object = cluster.render_in("own").object(None);
    let (object, errors) = parse::object(&object).unwrap();
    assert_eq!(errors, []);
    snapshot.apply(object);
    snapshot
}

/// Whether TCP from one address to a port of another passes.
fn passes(cluster: &Cluster, from: &str, to: &str, port: u16) -> bool {
    let flow = Flow::new(
        Protocol::Tcp,
        from.parse().unwrap(),
        to.parse().unwrap(),
        port,
    );
    evaluate(&enforced(cluster), Settings::default(), &flow).allowed()
}

#[test]
fn the_cluster_is_as_described() {
    let on = cluster();
    assert!(passes(&on, B, A, 80), "inside talks");
    assert!(!passes(&on, CLIENT, A, 80), "others are refused");
    assert!(!passes(&on, WORLD, A, 80), "the world, too");
    assert!(
        passes(&on, A, WEB, 8080) && passes(&on, A, WORLD, 443),
        "egress is open"
    );
}

#[test]
fn fault_1_a_service_is_reached_at_its_target_port() {
    let rule =
        "{direction: Egress, peer: {service: {namespace: peer, name: web}}, ports: [{port: 80}]}";
    let cluster = cluster().rule("r", rule);
    assert!(passes(&cluster, A, WEB, 8080), "where the pods listen");
    assert!(
        !passes(&cluster, A, WEB, 80),
        "the Service's port is nobody's"
    );
}

#[test]
fn fault_2_the_first_egress_rule_leaves_the_inside_alone() {
    let rule = "{direction: Egress, peer: {cidr: {cidr: 192.0.2.1/32}}}";
    let cluster = cluster().rule("r", rule);
    assert!(passes(&cluster, A, B, 80));
    assert!(passes(&cluster, A, "192.0.2.1", 80));
    assert!(!passes(&cluster, A, WORLD, 80) && !passes(&cluster, A, WEB, 8080));
}

#[test]
fn fault_3_namespaces_are_known_by_the_label_that_the_api_server_sets() {
    let cluster = cluster().rule("r", "{direction: Ingress, peer: {namespace: peer}}");
    // No label of anybody's is on namespace peer.
    assert!(passes(&cluster, WEB, A, 80));
    assert!(!passes(&cluster, CLIENT, A, 80));
}

#[test]
fn fault_4_gateways_stay_in() {
    assert!(!passes(&cluster(), GATEWAY, A, 80), "the fault");
    let cluster = cluster().config("gatewayNamespaces: [gateway]");
    assert!(passes(&cluster, GATEWAY, A, 80));
    assert!(!passes(&cluster, CLIENT, A, 80));
}

/// Fault 5, a rule in a namespace that is not isolated, is the controller's: see its tests.
#[test]
fn fault_6_a_rule_that_cannot_be_converted_is_told_and_harms_no_other() {
    let cluster = cluster()
        .rule(
            "bad",
            "{direction: Ingress, peer: {cidr: {cidr: 'http://10.1.0.1:80'}}}",
        )
        .rule("good", "{direction: Ingress, peer: {namespace: peer}}");
    assert!(passes(&cluster, WEB, A, 80), "the good one is in effect");
    let rendered = cluster.render_in("own");
    let [ready, resolved, _] = &rendered.rules["bad"].statements;
    assert_eq!((ready.status, ready.reason), (Status::False, "Invalid"));
    assert!(
        resolved.message.contains("write a range such as"),
        "{}",
        resolved.message
    );
    let mut all = rendered.statements.iter();
    let said = all
        .find(|s| s.condition == Condition::PeersResolved)
        .unwrap();
    assert!(said.message.contains("1 of 2 rules"), "{}", said.message);
}

#[test]
fn fault_7_ports_of_a_service_peer_count_and_nothing_becomes_everyone() {
    let rule =
        "{direction: Egress, peer: {service: {namespace: peer, name: web}}, ports: [{port: 81}]}";
    let picked = cluster().rule("r", rule);
    assert!(passes(&picked, A, WEB, 9090) && !passes(&picked, A, WEB, 8080));
    let rule = "{direction: Egress, peer: {service: {namespace: peer, name: empty}}}";
    let empty = cluster().rule("r", rule);
    assert!(!passes(&empty, A, WEB, 80), "no selector is not every pod");
    assert!(passes(&empty, A, B, 80), "and not a deny of everything");
}

#[test]
fn fault_8_without_the_tenants_label_nothing_of_it_stays() {
    let cluster = cluster()
        .config("tenantLabel: tenant")
        .isolation("scope: Tenant");
    assert!(passes(&cluster, SAME_TENANT, A, 80));
    let bare = cluster.with("kind: Namespace\nmetadata: {name: own}");
    assert!(!passes(&bare, SAME_TENANT, A, 80));
    assert!(passes(&bare, B, A, 80));
}
