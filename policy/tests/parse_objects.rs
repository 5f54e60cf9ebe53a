//! Pods, namespaces, nodes and Services: from JSON, from views, from API types.

#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "a test may panic, and its table passes JSON by value"
)]

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use ringfence_policy::model::{
    Labels, Namespace, Node, Phase, Pod, PodPort, Protocol, Service, ServicePort, ServiceType,
    TargetPort, TrafficPolicy,
};
use ringfence_policy::parse::view::PodView;
use ringfence_policy::parse::{self, ParseError};
use ringfence_policy::snapshot::Object;
use serde_json::{Value, json};
use test_case::test_case;

fn object(kind: &str, rest: Value) -> (Object, Vec<ParseError>) {
    let mut object = rest;
    object["apiVersion"] = json!("v1");
    object["kind"] = json!(kind);
    if object.get("metadata").is_none() {
        object["metadata"] = json!({"namespace": "shop", "name": "it"});
    }
    parse::object(&object).unwrap()
}

fn pod(rest: Value) -> (Pod, Vec<ParseError>) {
    match object("Pod", rest) {
        (Object::Pod(pod), errors) => (pod, errors),
        other => panic!("{other:?}"),
    }
}

fn node(rest: Value) -> (Node, Vec<ParseError>) {
    match object("Node", rest) {
        (Object::Node(node), errors) => (node, errors),
        other => panic!("{other:?}"),
    }
}

fn service(rest: Value) -> (Service, Vec<ParseError>) {
    match object("Service", rest) {
        (Object::Service(service), errors) => (service, errors),
        other => panic!("{other:?}"),
    }
}

fn paths(errors: &[ParseError]) -> Vec<&str> {
    errors.iter().map(|e| e.path.as_str()).collect()
}

#[test]
fn a_pod() {
    let (pod, errors) = pod(json!({
        "metadata": {"namespace": "shop", "name": "db-0", "labels": {"app": "db"},
                     "deletionTimestamp": "2024-01-01T00:00:00Z", "managedFields": [{}]},
        "spec": {"nodeName": "n1", "hostNetwork": true,
                 "containers": [
                    {"image": "x", "ports": [{"containerPort": 80}, {"name": "web", "containerPort": 8080}]},
                    {"ports": [{"name": "web", "containerPort": 9090}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}]},
                 ],
                 "initContainers": [
                    {"restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 15001}]},
                    {"ports": [{"name": "gone", "containerPort": 1}]},
                 ]},
        "status": {"phase": "Failed", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]},
    }));
    assert_eq!(errors, []);
    let port = |name: &str, protocol, port| PodPort {
        name: name.into(),
        protocol,
        port,
    };
    assert_eq!(pod.key.to_string(), "shop/db-0");
    assert_eq!(pod.labels, Labels::new([("app", "db")]));
    assert_eq!(
        (&*pod.node, pod.host_network, pod.terminating),
        ("n1", true, true)
    );
    assert_eq!(pod.phase, Phase::Failed);
    assert_eq!(
        pod.ips.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.0.0.1", "fd00::1"]
    );
    assert_eq!(
        *pod.ports,
        [
            port("web", Protocol::Tcp, 8080),
            port("dns", Protocol::Udp, 53),
            port("side", Protocol::Tcp, 15001),
        ]
    );
}

#[test_case(json!({"serviceAccountName": "operator"}), true; "an account of its own")]
#[test_case(json!({"serviceAccountName": "operator", "automountServiceAccountToken": true}), true; "said twice")]
#[test_case(json!({"serviceAccountName": "operator", "automountServiceAccountToken": false}), false; "without its token")]
#[test_case(json!({"serviceAccountName": "default"}), false; "the one that all have")]
#[test_case(json!({}), false; "nothing said")]
fn a_client_of_the_api_server(spec: Value, expected: bool) {
    let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}, "spec": spec});
    let (Object::Pod(pod), _) = parse::object(&object).unwrap() else {
        panic!("no pod");
    };
    assert_eq!(pod.api_client, expected);
}

#[test]
fn a_pod_without_anything_and_of_nulls() {
    let (bare, errors) = pod(json!({}));
    assert_eq!(
        (errors, bare.ips.len(), bare.phase),
        (vec![], 0, Phase::Running)
    );
    let nulls = json!({
        "spec": {"nodeName": null, "hostNetwork": null, "containers": null},
        "status": {"podIPs": null, "phase": null, "podIP": null},
    });
    assert_eq!(pod(nulls), (bare, vec![]));
    assert_eq!(pod(json!({"status": {"podIP": "10.0.0.7"}})).0.ips.len(), 1);
}

#[test]
fn a_pod_keeps_what_can_be_read() {
    let (pod, errors) = pod(json!({
        "spec": {"containers": [{"ports": [
            {"name": "a", "containerPort": 70000}, {"name": "b", "containerPort": 1, "protocol": "icmp"},
            {"name": "c", "containerPort": 2},
        ]}]},
        "status": {"phase": "Sleeping", "podIPs": [{"ip": "10.0.0.300"}, {"ip": "10.0.0.2"}]},
    }));
    assert_eq!(
        paths(&errors),
        [
            "status.podIPs[0].ip",
            "spec.containers[0].ports[0].containerPort",
            "spec.containers[0].ports[1].protocol",
            "status.phase",
        ]
    );
    assert_eq!(
        errors[0].to_string(),
        "Pod shop/it: status.podIPs[0].ip: found \"10.0.0.300\"; write an IPv4 or IPv6 address"
    );
    assert_eq!(
        (pod.ips.len(), pod.ports.len(), pod.phase),
        (1, 1, Phase::Unknown)
    );
}

#[test]
fn a_namespace_always_has_its_name_as_a_label() {
    let read = |labels: Value| match object(
        "Namespace",
        json!({"metadata": {"name": "shop", "labels": labels}}),
    ) {
        (Object::Namespace(Namespace { labels, .. }), _) => labels,
        other => panic!("{other:?}"),
    };
    let name = ("kubernetes.io/metadata.name", "shop");
    assert_eq!(read(json!(null)), Labels::new([name]));
    assert_eq!(read(json!({"a": "b"})), Labels::new([("a", "b"), name]));
}

#[test]
fn a_node() {
    let (node, errors) = node(json!({
        "metadata": {"name": "n1", "annotations": {
            "projectcalico.org/IPv4IPIPTunnelAddr": "10.0.1.0",
            "projectcalico.org/IPv4VXLANTunnelAddr": "10.0.1.1",
            "projectcalico.org/IPv6VXLANTunnelAddr": "fd00::1",
            "flannel.alpha.coreos.com/public-ip": "192.0.2.9",
        }},
        "spec": {"podCIDR": "10.0.1.0/24", "podCIDRs": ["10.0.1.0/24", "fd00::/64"]},
        "status": {"addresses": [
            {"type": "InternalIP", "address": "192.168.0.1"}, {"type": "ExternalIP", "address": "192.168.0.1"},
            {"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "n1"},
        ]},
    }));
    assert_eq!(paths(&errors), ["status.addresses[3].address"]);
    let addresses: Vec<String> = node.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(
        addresses,
        ["192.168.0.1", "10.0.1.0", "10.0.1.1", "fd00::1"]
    );
    assert_eq!(node.pod_cidrs.len(), 2);
}

#[test]
fn a_nodes_single_and_faulty_range() {
    let (single, errors) = node(json!({"spec": {"podCIDR": "10.0.1.0/24"}}));
    assert_eq!((single.pod_cidrs.len(), errors), (1, vec![]));
    let (none, errors) = node(json!({"spec": {"podCIDRs": ["10.0.1.0"]}}));
    assert_eq!(
        (none.pod_cidrs.len(), paths(&errors)),
        (0, vec!["spec.podCIDRs[0]"])
    );
}

#[test]
fn a_service() {
    let (service, errors) = service(json!({
        "spec": {"type": "NodePort", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd01::1"],
                 "externalIPs": ["198.51.100.1"], "selector": {"app": "web"},
                 "externalTrafficPolicy": "Local",
                 "ports": [{"name": "http", "port": 80, "targetPort": "web", "nodePort": 30080},
                           {"port": 53, "protocol": "UDP"}, {"port": 81, "targetPort": 8081}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}, {"hostname": "lb"}]}},
    }));
    assert_eq!(errors, []);
    assert_eq!(service.service_type, ServiceType::NodePort);
    assert_eq!(
        (service.cluster_ips.len(), service.external_ips.len()),
        (2, 2)
    );
    assert_eq!(service.selector, Some(Labels::new([("app", "web")])));
    assert_eq!(service.external_traffic_policy, TrafficPolicy::Local);
    assert_eq!(service.internal_traffic_policy, TrafficPolicy::Cluster);
    assert_eq!(
        service.ports[0],
        ServicePort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: 80,
            target: TargetPort::Named("web".into()),
            node_port: Some(30080),
        }
    );
    let targets: Vec<_> = service.ports[1..]
        .iter()
        .map(|p| p.target.clone())
        .collect();
    assert_eq!(targets, [TargetPort::Number(53), TargetPort::Number(8081)]);
}

#[test]
fn a_headless_and_a_faulty_service() {
    let (headless, errors) =
        service(json!({"spec": {"clusterIP": "None", "clusterIPs": ["None"], "selector": {}}}));
    assert_eq!(
        (headless.cluster_ips.len(), headless.selector, errors),
        (0, None, vec![])
    );
    // `local`, as one of the documents has it.
    let (_, errors) = service(
        json!({"spec": {"externalTrafficPolicy": "local", "type": "Nodeport", "ports": [{"port": 0}]}}),
    );
    assert_eq!(
        paths(&errors),
        [
            "spec.type",
            "spec.ports[0].port",
            "spec.externalTrafficPolicy"
        ]
    );
}

#[test_case(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "shop"}}), "object shop/d: kind: found \"Deployment\""; "another kind")]
#[test_case(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}), "Pod p: metadata.namespace: found nothing"; "a pod without namespace")]
#[test_case(json!({"apiVersion": "v1", "kind": "Node"}), "Node : metadata.name: found nothing"; "a node without name")]
#[test_case(json!({"apiVersion": "v2", "kind": "Node", "metadata": {"name": "n"}}), "Node n: apiVersion: found \"v2\""; "another version")]
#[test_case(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "shop", "name": "p"}, "spec": {"containers": [{"ports": [{"containerPort": "80"}]}]}}), "Pod shop/p: spec.containers[0].ports[0].containerPort: found"; "another type")]
fn what_cannot_be_read_at_all(object: Value, message: &str) {
    let error = parse::object(&object).unwrap_err().to_string();
    assert!(error.starts_with(message), "{error}");
}

#[test]
fn from_api_types() {
    let value = json!({"metadata": {"namespace": "shop", "name": "p"}, "spec": {"containers": []}});
    let api: core::Pod = serde_json::from_value(value.clone()).unwrap();
    let (Object::Pod(from_api), _) = parse::api(&api).unwrap() else {
        panic!("a pod");
    };
    let view: PodView = serde_json::from_value(value).unwrap();
    assert_eq!(parse::pod(view).unwrap(), (from_api, vec![]));

    let spec = json!({"ingress": [{"from": [{"podSelector": {}}], "ports": [{"port": "http"}]}], "podSelector": {}});
    let value = json!({"metadata": {"namespace": "shop", "name": "p"}, "spec": spec});
    let api: NetworkPolicy = serde_json::from_value(value.clone()).unwrap();
    let (Object::Policy(from_api), _) = parse::api(&api).unwrap() else {
        panic!("a policy");
    };
    assert_eq!(from_api, parse::policy(&value).unwrap().policy);
}

/// A field, a value of every wrong type for it, and what to write instead.
#[test_case("Pod", "metadata", "write a map"; "metadata")]
#[test_case("Pod", "metadata.labels", "write a map"; "labels")]
#[test_case("Pod", "metadata.labels.app", "write a string"; "label")]
#[test_case("Pod", "metadata.annotations", "write a map"; "annotations")]
#[test_case("Pod", "spec", "write a map"; "pod spec")]
#[test_case("Pod", "spec.nodeName", "write a string"; "node name")]
#[test_case("Pod", "spec.hostNetwork", "write true or false"; "host network")]
#[test_case("Pod", "spec.containers", "write a list"; "containers")]
#[test_case("Pod", "spec.containers[0]", "write a map"; "container")]
#[test_case("Pod", "spec.initContainers[0].restartPolicy", "write a string"; "restart policy")]
#[test_case("Pod", "spec.containers[0].ports", "write a list"; "container ports")]
#[test_case("Pod", "spec.containers[0].ports[0]", "write a map"; "container port")]
#[test_case("Pod", "spec.containers[0].ports[0].name", "write a string"; "container port name")]
#[test_case("Pod", "spec.containers[0].ports[0].containerPort", "write a whole number"; "container port number")]
#[test_case("Pod", "status", "write a map"; "pod status")]
#[test_case("Pod", "status.phase", "write a string"; "phase")]
#[test_case("Pod", "status.podIP", "write a string"; "pod address")]
#[test_case("Pod", "status.podIPs", "write a list"; "pod addresses")]
#[test_case("Pod", "status.podIPs[0]", "write a map"; "item of pod addresses")]
#[test_case("Pod", "status.podIPs[0].ip", "write a string"; "one of the pod addresses")]
#[test_case("Namespace", "metadata.labels", "write a map"; "labels of a namespace")]
#[test_case("Node", "spec", "write a map"; "node spec")]
#[test_case("Node", "spec.podCIDRs", "write a list"; "pod ranges")]
#[test_case("Node", "spec.podCIDRs[0]", "write a string"; "pod range")]
#[test_case("Node", "status", "write a map"; "node status")]
#[test_case("Node", "status.addresses", "write a list"; "node addresses")]
#[test_case("Node", "status.addresses[0]", "write a map"; "node address")]
#[test_case("Node", "status.addresses[0].address", "write a string"; "text of a node address")]
#[test_case("Service", "spec", "write a map"; "service spec")]
#[test_case("Service", "spec.selector", "write a map"; "selector")]
#[test_case("Service", "spec.ports", "write a list"; "service ports")]
#[test_case("Service", "spec.ports[0]", "write a map"; "service port")]
#[test_case("Service", "spec.ports[0].port", "write a whole number"; "service port number")]
#[test_case("Service", "spec.ports[0].targetPort", "write a number or a name"; "target port")]
#[test_case("Service", "spec.clusterIPs", "write a list"; "cluster addresses")]
#[test_case("Service", "status", "write a map"; "service status")]
#[test_case("Service", "status.loadBalancer", "write a map"; "load balancer")]
#[test_case("Service", "status.loadBalancer.ingress", "write a list"; "load balancer ingress")]
#[test_case("Service", "status.loadBalancer.ingress[0]", "write a map"; "item of load balancer ingress")]
fn a_value_of_a_wrong_type_is_named_and_never_empty(kind: &str, path: &str, remedy: &str) {
    let fits = |value: &Value| match remedy {
        "write a map" => value.is_object(),
        "write a list" => value.is_array(),
        "write a string" => value.is_string(),
        "write true or false" => value.is_boolean(),
        "write a whole number" => value.is_i64(),
        "write a number or a name" => value.is_i64() || value.is_string(),
        other => panic!("{other}"),
    };
    let values = [
        json!([]),
        json!([[]]),
        json!({}),
        json!("x"),
        json!(7),
        json!(0.5),
        json!(false),
    ];
    for wrong in values.into_iter().filter(|value| !fits(value)) {
        if wrong == json!([[]]) && remedy == "write a list" {
            continue;
        }
        let mut object = json!({
            "apiVersion": "v1", "kind": kind,
            "metadata": {"namespace": "shop", "name": "it"},
        });
        put(&mut object, path, wrong.clone());
        let error = parse::object(&object).unwrap_err();
        assert_eq!((&*error.path, &*error.found), (path, &*wrong.to_string()));
        assert!(error.remedy.starts_with(remedy), "{error}");
        if path != "metadata" {
            assert!(error.to_string().starts_with(&format!("{kind} shop/it: ")));
        }
    }
}

/// Puts a value at a path, and makes what leads there.
fn put(object: &mut Value, path: &str, value: Value) {
    let pointer = path.replace(['.', '['], "/").replace(']', "");
    let mut place = object;
    for step in pointer.split('/') {
        if step == "0" {
            if place.is_null() {
                *place = json!([null]);
            }
            place = &mut place[0];
        } else {
            place = &mut place[step];
        }
    }
    *place = value;
}

#[test]
fn items_of_a_list_of_objects_are_no_lists() {
    let containers = json!([["web", [["http", 80, "TCP"]]]]);
    let object = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "shop", "name": "it"}, "spec": {"containers": containers},
    });
    let error = parse::object(&object).unwrap_err();
    assert_eq!(error.path, "spec.containers[0]");
}
