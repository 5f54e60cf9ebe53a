//! Named cases of new objects: the documents' examples, and what the specification says.

use crate::{Hooks, KUBEADM, document};
use ringfence_checks::inject::{Injected, forged};
use ringfence_checks::{Before, Subject};
use serde_json::{Value, json};
use test_case::test_case;

pub const DNS: &str = "injected.ringfence.dev/dns";
pub const MONITORING: &str = "injected.ringfence.dev/monitoring";

pub fn peer() -> Value {
    json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    })
}

pub fn rule(ports: &[(&str, Value)]) -> Value {
    let port = |(protocol, port): &(&str, Value)| json!({"port": port, "protocol": protocol});
    let ports: Vec<Value> = ports.iter().map(port).collect();
    json!({"to": [peer()], "ports": ports})
}

pub fn both() -> Value {
    rule(&[("UDP", json!(53)), ("TCP", json!(53))])
}

pub fn policy(rest: &str) -> Value {
    document(&format!(
        "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, \
         metadata: {{name: p, namespace: shop}}, spec: {{podSelector: {{}}, {rest}}}}}"
    ))
}

pub fn web() -> Value {
    policy("policyTypes: [Egress], egress: [{to: [{podSelector: {}}]}]")
}

pub fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap();
    parent[key.replace("~1", "/")] = value;
    object
}

pub fn annotated(object: Value, key: &str, value: &str) -> Value {
    with(object, "/metadata/annotations", json!({key: value}))
}

pub fn egress(object: &Value) -> &[Value] {
    object["spec"]["egress"]
        .as_array()
        .map_or(&[], Vec::as_slice)
}

pub fn unchanged(injected: &Injected) -> bool {
    injected.patch.0.is_empty()
}

/// What is added to an example of the documents: `both`, `TCP`, or `no` (rule).
#[test_case("003/04-p4" => "both"; "003 p4: an address and another port")]
#[test_case("004/05-balance-to-postgres" => "both")]
#[test_case("004/06-balance-dns-anywhere" => "TCP")]
#[test_case("004/07-balance-dns-cluster" => "TCP")]
#[test_case("004/08-balance-dns-kube-system" => "both"; "004 08 without the label on the namespace")]
#[test_case("004/09-balance-dns-pods" => "no")]
#[test_case("004/10-dns" => "TCP")]
#[test_case("004/11-deny-all" => "no")]
#[test_case("004/12-deny-all-egress" => "no")]
#[test_case("004/13-allow-all" => "no")]
#[test_case("004/15-allow-all-both" => "no")]
#[test_case("004/22-egress-dns" => "both"; "004 22: a server outside")]
#[test_case("004/23-egress-any" => "no")]
#[test_case("004/24-egress-outside" => "both"; "004 24: the world but the pods")]
#[test_case("004/01-postgres-from-balance" => "no"; "004 01: ingress only")]
fn examples(file: &str) -> &'static str {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../e2e/fixtures/seeds");
    let text = std::fs::read_to_string(format!("{root}/{file}.yaml")).unwrap();
    let mut object = document(&text);
    // The API server puts in what `kubectl -n` says.
    object["metadata"]["namespace"] = "default".into();
    let stored = Hooks::new(KUBEADM, "{}").stored(&object, None);
    let before = egress(&object).len();
    match &egress(&stored)[before..] {
        [] => {
            assert_eq!(stored, object);
            "no"
        }
        [added] if *added == both() => "both",
        [added] if *added == rule(&[("TCP", json!(53))]) => "TCP",
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_namespaces_own_label_counts() {
    let labelled = KUBEADM.replacen(
        "{name: kube-system}",
        "{name: kube-system, labels: {namespace: kube-system}}",
        1,
    );
    let object = policy(
        "policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {namespace: kube-system}}}], \
         ports: [{port: 53, protocol: UDP}]}]",
    );
    let stored = Hooks::new(&labelled, "{}").stored(&object, None);
    assert_eq!(egress(&stored)[1..], [rule(&[("TCP", json!(53))])]);
}

#[test_case("targetPort: 53", "targetPort: 53", &["UDP 53", "TCP 53"]; "53")]
#[test_case("targetPort: 1053", "targetPort: 1054", &["UDP 1053", "TCP 1054"]; "elsewhere")]
#[test_case("targetPort: dns", "targetPort: dns-tcp", &["UDP dns", "TCP dns-tcp"]; "named")]
fn the_port_is_the_pods(udp: &str, tcp: &str, expected: &[&str]) {
    let objects = KUBEADM
        .replace(
            "port: 53, protocol: UDP}, {name",
            &format!("port: 53, protocol: UDP, {udp}}}, {{name"),
        )
        .replace(
            "{name: dns-tcp, port: 53}",
            &format!("{{name: dns-tcp, port: 53, {tcp}}}"),
        );
    let without_pods = objects.replace("k8s-app: kube-dns}}\nspec:", "k8s-app: other}}\nspec:");
    assert_ne!(objects, without_pods);
    for objects in [objects, without_pods] {
        let stored = Hooks::new(&objects, "{}").stored(&web(), None);
        let ports = egress(&stored)[1]["ports"].as_array().unwrap().iter();
        let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        let ports: Vec<String> = ports
            .map(|p| format!("{} {}", text(&p["protocol"]), text(&p["port"])))
            .collect();
        assert_eq!(ports, expected);
    }
}

#[test]
fn node_local_caches_are_in_the_rule() {
    let hooks = Hooks::new(KUBEADM, "dns: {nodeLocal: [169.254.20.10, 'fd00::10']}");
    let stored = hooks.stored(&web(), None);
    let peers = json!([
        peer(),
        {"ipBlock": {"cidr": "169.254.20.10/32"}},
        {"ipBlock": {"cidr": "fd00::10/128"}},
    ]);
    assert_eq!(egress(&stored)[1]["to"], peers);
    assert_eq!(egress(&stored).len(), 2);
}

#[test]
fn node_local_caches_have_a_rule_where_ports_differ() {
    let objects = KUBEADM.replace(
        "port: 53, protocol: UDP}",
        "port: 53, protocol: UDP, targetPort: dns}",
    );
    let hooks = Hooks::new(&objects, "dns: {nodeLocal: [169.254.20.10]}");
    let stored = hooks.stored(&web(), None);
    let expected = json!([
        rule(&[("UDP", json!("dns")), ("TCP", json!(53))]),
        {
            "to": [{"ipBlock": {"cidr": "169.254.20.10/32"}}],
            "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
        },
    ]);
    assert_eq!(egress(&stored)[1..], *expected.as_array().unwrap());
    let record = stored["metadata"]["annotations"][DNS].as_str().unwrap();
    assert_eq!(record.split(',').count(), 2, "{record}");
    assert_eq!(hooks.stored(&stored, Some(&web())), stored);
}

#[test]
fn deny_all_is_told_and_on_request_mended() {
    let deny = policy("policyTypes: [Egress]");
    let told = Hooks::new(KUBEADM, "{}").mutate(&deny, None);
    assert!(unchanged(&told));
    assert_eq!(told.findings[0].check, "egress-no-dns");
    let stored = Hooks::new(KUBEADM, "dns: {intoDenyAll: true}").stored(&deny, None);
    assert_eq!(egress(&stored), [both()]);
}

#[test_case("selector: {k8s-app: kube-dns}", "", "has no selector"; "selectorless")]
#[test_case("clusterIP: 10.96.0.10", "clusterIP: None", "is headless"; "headless")]
#[test_case("name: kube-dns, namespace", "name: coredns, namespace", "does not exist"; "missing")]
#[test_case("port: 53, protocol: UDP}", "port: 5353, protocol: UDP}", "no UDP port 53"; "another port")]
#[test_case("nodeName: node-1", "nodeName: node-1\n  hostNetwork: true", "hostNetwork"; "pods on the host network")]
fn no_rule_can_be_made(found: &str, instead: &str, sentence: &str) {
    let objects = KUBEADM.replacen(found, instead, 1);
    assert_ne!(objects, KUBEADM);
    let hooks = Hooks::new(&objects, "{}");
    let injected = hooks.mutate(&web(), None);
    assert!(unchanged(&injected));
    let told = &injected.findings[0];
    assert!(told.sentence.contains(sentence), "{}", told.sentence);
    // The validating hook says it in the same words, so that kubectl shows them once.
    assert_eq!(
        hooks.validate(&web(), None).findings[0].sentence,
        told.sentence
    );
}

#[test]
fn what_is_being_deleted_is_left_alone() {
    let time = json!("2026-06-01T12:00:00Z");
    let object = with(web(), "/metadata/deletionTimestamp", time);
    let hooks = Hooks::new(KUBEADM, "{}");
    assert_eq!(hooks.mutate(&object, None), Injected::default());
    let forgery = with(
        object,
        "/metadata/annotations",
        json!({DNS: "v1:0123456789abcdef"}),
    );
    assert_eq!(
        forged(&Subject::read(&forgery).unwrap(), Before::Nothing),
        []
    );
}

#[test_case("policyTypes: [Egress], egress: [{to: [{}]}]"; "a peer without fields")]
#[test_case("policyTypes: [Egress], egress: [{ports: [{protocol: udp}]}]"; "a protocol in small letters")]
#[test_case("policyTypes: [Egress], egress: 5"; "a number for rules")]
#[test_case("policyTypes: 5, egress: [{}]"; "a number for types")]
#[test_case("policyTypes: [Egress], egress: [5, null]"; "numbers for rules")]
#[test_case("policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/99}}]}]"; "no network")]
fn invalid_objects_are_left_to_the_api_server(rest: &str) {
    let object = policy(rest);
    let hooks = Hooks::new(KUBEADM, "monitoring: {namespaces: [monitoring]}");
    assert_eq!(hooks.mutate(&object, None), Injected::default());
    let subject = Subject::read(&object).unwrap();
    assert_eq!(forged(&subject, Before::Nothing), []);
}

#[test]
fn an_odd_annotation_map_is_no_patch() {
    let object = with(web(), "/metadata/annotations", json!("text"));
    let injected = Hooks::new(KUBEADM, "{}").mutate(&object, None);
    assert!(unchanged(&injected));
    assert!(injected.rejected.is_some());
}

#[test]
fn not_synced_is_unknown() {
    let mut hooks = Hooks::new(KUBEADM, "monitoring: {namespaces: [monitoring]}");
    hooks.cluster = None;
    let object = policy("egress: [{to: [{podSelector: {}}]}]");
    let injected = hooks.mutate(&object, None);
    assert!(unchanged(&injected) && injected.findings.is_empty());
    let unknown: Vec<_> = injected.unknown.iter().map(|u| u.check).collect();
    assert_eq!(unknown, ["egress-no-dns", "cuts-monitoring"]);
}

#[test_case("inPlace", true, 0, false)]
#[test_case("warn", false, 1, false)]
#[test_case("off", false, 0, false)]
#[test_case("companion", false, 0, true)]
fn modes(mode: &str, patched: bool, told: usize, companion: bool) {
    let hooks = Hooks::new(
        KUBEADM,
        &format!("namespaces: [{{names: [shop], injection: '{mode}'}}]"),
    );
    let injected = hooks.mutate(&web(), None);
    assert_eq!(!unchanged(&injected), patched);
    assert_eq!(injected.findings.len(), told);
    assert_eq!(injected.companion.is_some(), companion);
    if let Some(companion) = injected.companion {
        assert_eq!(companion.egress, [both()]);
        assert_eq!(companion.ingress, [Value::Null; 0]);
    }
}

#[test_case("policyTypes: [Ingress]", true; "deny all")]
#[test_case("egress: [{}]", true; "types by default")]
#[test_case("ingress: [{}]", false; "allow all")]
#[test_case("ingress: [{from: [{namespaceSelector: {}}]}]", false; "every namespace")]
#[test_case("ingress: [{from: [{namespaceSelector: {}}], ports: [{port: 80}]}]", true; "on one port")]
#[test_case("policyTypes: [Egress], egress: [{}]", false; "egress only")]
fn monitoring(rest: &str, added: bool) {
    let hooks = Hooks::new(KUBEADM, "monitoring: {namespaces: [monitoring, logging]}");
    let object = policy(rest);
    let stored = hooks.stored(&object, None);
    assert_eq!(stored != object, added);
    if added {
        let ingress = stored["spec"]["ingress"].as_array().unwrap();
        let peer = |name| json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}});
        let expected = json!({"from": [peer("monitoring"), peer("logging")]});
        assert_eq!(*ingress.last().unwrap(), expected);
    }
    assert_eq!(stored["spec"]["egress"], object["spec"]["egress"]);
}

#[test]
fn both_parts_in_one_patch() {
    let hooks = Hooks::new(KUBEADM, "monitoring: {namespaces: [monitoring]}");
    let object = policy("egress: [{to: [{podSelector: {}}]}]");
    let injected = hooks.mutate(&object, None);
    // Two rules, and one operation for the annotations that were not there.
    assert_eq!(injected.patch.0.len(), 3);
    assert_eq!((injected.findings, injected.unknown), (vec![], vec![]));
    let stored = hooks.stored(&object, None);
    let annotations = stored["metadata"]["annotations"].as_object().unwrap();
    assert_eq!(annotations.keys().collect::<Vec<_>>(), [DNS, MONITORING]);
    // The API server may ask again after another webhook has changed the object.
    assert!(unchanged(&hooks.mutate(&stored, None)));
}

#[test]
fn the_policy_of_an_isolated_namespace_is_whole() {
    let hooks = Hooks::new(KUBEADM, "monitoring: {namespaces: [monitoring]}");
    let mut object =
        policy("ingress: [{from: [{podSelector: {}}]}], egress: [{to: [{podSelector: {}}]}]");
    assert!(!unchanged(&hooks.mutate(&object, None)));
    object["metadata"]["name"] = json!("ringfence-isolation");
    assert!(unchanged(&hooks.mutate(&object, None)));
}
