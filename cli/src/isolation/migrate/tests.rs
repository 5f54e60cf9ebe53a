use super::read::Found;
use super::*;
use serde_json::{Value, json};
use test_case::test_case;

fn documents(yaml: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(yaml).unwrap()
}

fn namespaces() -> Vec<Value> {
    documents(
        "metadata: {name: shop, annotations: {kubesphere.io/network-isolate: enabled}, labels: {kubesphere.io/workspace: red}}
---
metadata: {name: lonely, annotations: {kubesphere.io/network-isolate: enabled}}
---
metadata: {name: a, labels: {kubesphere.io/workspace: blue}}
---
metadata: {name: open, labels: {kubesphere.io/workspace: red}}",
    )
}

fn of(namespace: &str, spec: &str) -> Moved {
    let rule = format!("{{metadata: {{name: r, namespace: {namespace}}}, spec: {spec}}}");
    kubesphere::moved(&Found {
        rules: documents(&rule),
        namespaces: namespaces(),
        ..Found::default()
    })
    .unwrap()
}

fn rules(moved: &Moved) -> Vec<Value> {
    let rules = moved
        .objects
        .iter()
        .filter(|o| o.value["kind"] == "IsolationRule");
    rules
        .map(|o| {
            let mut spec = o.value["spec"].clone();
            assert!(
                spec["reason"]
                    .as_str()
                    .unwrap()
                    .contains("NamespaceNetworkPolicy")
            );
            spec.as_object_mut().unwrap().remove("reason");
            spec
        })
        .collect()
}

#[test]
fn who_is_isolated() {
    let found = Found {
        namespaces: namespaces(),
        workspaces: documents("{metadata: {name: blue}, spec: {networkIsolation: true}}"),
        installer: Some(json!({"spec": {"networkpolicy": {"nsnpOptions":
            {"allowedIngressNamespaces": ["kubesphere-system", "kubesphere-monitoring-system"]}}}})),
        nodes: documents(
            "{metadata: {name: n1, annotations: {kubesphere.io/snat-node-ips: 10.0.0.1}}}",
        ),
        ..Found::default()
    };
    let moved = kubesphere::moved(&found).unwrap();
    let configuration = &moved.objects[0].value;
    assert_eq!(
        configuration["spec"]["allowedIngressNamespaces"],
        json!(["kubesphere-system", "kubesphere-monitoring-system"])
    );
    assert_eq!(
        configuration["spec"]["tenantLabel"],
        "kubesphere.io/workspace"
    );
    let scopes: Vec<String> = moved.objects[1..]
        .iter()
        .map(|o| {
            format!(
                "{} {}",
                o.value["metadata"]["namespace"], o.value["spec"]["scope"]
            )
        })
        .map(|text| text.replace('"', ""))
        .collect();
    assert_eq!(scopes, ["a Tenant", "lonely Namespace", "shop Namespace"]);
    let said = moved.differs.join("\n");
    for words in [
        "lonely is annotated",
        "verb assign",
        "addresses of n1",
        "gatewayNamespaces",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(moved.left_out.is_empty());
}

#[test_case("{ingress: [{from: [{namespace: {name: friend}}]}]}",
    &[json!({"direction": "Ingress", "peer": {"namespace": "friend"}})]; "a namespace comes in")]
#[test_case("{egress: [{to: [{service: {name: nginx, namespace: b}}], ports: [{port: 81}]}]}",
    &[json!({"direction": "Egress", "peer": {"service": {"namespace": "b", "name": "nginx"}}})]; "a Service, without the ports that were ignored")]
#[test_case("{ingress: [{from: [{ipBlock: {cidr: 172.0.0.1/16}}], ports: [{protocol: TCP, port: 80}, {port: web, protocol: UDP}]}]}",
    &[json!({"direction": "Ingress", "peer": {"cidr": {"cidr": "172.0.0.0/16"}}, "ports": [{"protocol": "TCP", "port": 80}, {"protocol": "UDP", "port": "web"}]})]; "addresses, masked")]
#[test_case("{egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}, {namespace: {name: b}}]}]}",
    &[json!({"direction": "Egress", "peer": {"cidr": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}}),
      json!({"direction": "Egress", "peer": {"namespace": "b"}})]; "two peers")]
fn rules_move(spec: &str, expected: &[Value]) {
    let moved = of("shop", spec);
    assert_eq!(rules(&moved), expected);
    assert_eq!(moved.left_out, [""; 0]);
}

#[test_case("{ingress: [{}]}", "names nobody and lets everyone in"; "everyone")]
#[test_case("{ingress: [{from: [{ipBlock: {cidr: 10.0.0.300/32}}]}]}", "which is no CIDR"; "no CIDR")]
#[test_case("{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/24, except: [10.1.0.0/24]}}]}]}", "is not inside of"; "an exception outside")]
#[test_case("{ingress: [{from: [{}]}]}", "neither service, namespace nor ipBlock"; "an empty peer")]
#[test_case("{ingress: [{from: [{namespace: {name: b}}], ports: [{port: 70000}]}]}", "which is no port"; "no port")]
fn what_has_no_equal_is_left_out_and_said(spec: &str, expected: &str) {
    let moved = of("shop", spec);
    assert_eq!(rules(&moved), [Value::Null; 0]);
    assert!(moved.left_out[0].contains(expected), "{:?}", moved.left_out);
}

/// The seventh fault: there it becomes a deny.
#[test]
fn egress_to_nobody_stays_shut() {
    let moved = of("shop", "{egress: [{to: []}]}");
    let mut isolations = moved.objects.iter();
    let shop = isolations
        .find(|o| o.value["metadata"]["namespace"] == "shop")
        .unwrap();
    assert_eq!(shop.value["spec"]["egress"], "Restricted");
}

#[test]
fn a_rule_in_a_namespace_that_is_not_isolated_is_kept() {
    let moved = of("open", "{ingress: [{from: [{namespace: {name: friend}}]}]}");
    assert_eq!(rules(&moved).len(), 1);
    let kept = |line: &String| line.contains("open is not isolated");
    assert!(moved.differs.iter().any(kept), "{:?}", moved.differs);
}
