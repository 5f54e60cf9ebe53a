//! NetworkPolicies from JSON: what is read, and the path, finding and remedy of faults.

#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "a test may panic, and its table passes JSON by value"
)]

use ringfence_policy::model::{
    IpBlock, NamespaceMatch, Operator, Peer, PortMatch, PortSpec, Protocol, Requirement, Selector,
};
use ringfence_policy::parse::{self, Parsed};
use serde_json::{Value, json};
use test_case::test_case;

fn object(spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": "shop", "name": "db-allow"}, "spec": spec,
    })
}

fn parse(spec: &Value) -> Parsed {
    parse::policy(&object(spec)).unwrap()
}

/// Path, finding and the remedy's beginning of the only error.
#[track_caller]
fn only_error(parsed: &Parsed, path: &str, found: &str, remedy: &str) {
    let [error] = &parsed.errors[..] else {
        panic!("not one error: {:#?}", parsed.errors);
    };
    assert_eq!((error.path.as_str(), error.found.as_str()), (path, found));
    assert!(error.remedy.starts_with(remedy), "{}", error.remedy);
}

#[test]
fn everything_at_once() {
    let parsed = parse(&json!({
        "podSelector": {"matchLabels": {"app": "db"}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{
            "from": [
                {"podSelector": {"matchExpressions": [
                    {"key": "tier", "operator": "NotIn", "values": ["b", "a"]},
                    {"key": "x", "operator": "Exists"},
                    {"key": "y", "operator": "DoesNotExist", "values": []},
                ]}},
                {"namespaceSelector": {}, "podSelector": {}},
                {"ipBlock": {"cidr": "172.17.3.4/16", "except": ["172.17.1.0/24"]}},
            ],
            "ports": [{"protocol": "UDP", "port": 53}, {"port": "http"}, {"port": 1, "endPort": 9}],
        }],
        "egress": [],
    }));
    assert_eq!(parsed.errors, []);
    let policy = parsed.policy;
    assert_eq!(policy.pod_selector, Selector::labels([("app", "db")]));
    assert_eq!((policy.egress, policy.fault), (Some(vec![]), None));
    let rules = policy.ingress.unwrap();
    let requirement = |key: &str, operator| Requirement {
        key: key.into(),
        operator,
    };
    let own = Selector::new([
        requirement("tier", Operator::NotIn(vec!["a".into(), "b".into()])),
        requirement("x", Operator::Exists),
        requirement("y", Operator::DoesNotExist),
    ]);
    let everything = Selector::everything;
    assert_eq!(
        rules[0].peers,
        [
            Peer::Pods {
                namespaces: NamespaceMatch::Own,
                pods: own
            },
            Peer::Pods {
                namespaces: NamespaceMatch::Labels(everything()),
                pods: everything()
            },
            Peer::Block(IpBlock {
                cidr: "172.17.0.0/16".parse().unwrap(),
                except: vec!["172.17.1.0/24".parse().unwrap()],
            }),
        ]
    );
    let port = |protocol, port| PortMatch { protocol, port };
    assert_eq!(
        rules[0].ports,
        [
            port(Protocol::Udp, PortSpec::Range(53, 53)),
            port(Protocol::Tcp, PortSpec::Named("http".into())),
            port(Protocol::Tcp, PortSpec::Range(1, 9)),
        ]
    );
}

#[test_case(json!("x"), "spec.ingress[0].from", "\"x\"", "write a list"; "from is no list")]
#[test_case(json!({"podSelector": {}}), "spec.ingress[0].from", "{\"podSelector\":{}}", "write a list, with a dash"; "from without dash")]
#[test_case(json!([{}]), "spec.ingress[0].from[0]", "{}", "add a podSelector"; "empty peer")]
#[test_case(json!([null]), "spec.ingress[0].from[0]", "null", "write an object"; "null peer")]
#[test_case(json!([{"podSelector": null}]), "spec.ingress[0].from[0]", "{\"podSelector\":null}", "add a podSelector"; "peer of null fields")]
#[test_case(json!([{"podSelector": {}, "namespaceSelectr": {}}]), "spec.ingress[0].from[0].namespaceSelectr", "{}", "no such field here; there are: podSelector, namespaceSelector, ipBlock"; "misspelt field")]
#[test_case(json!([{"podSelector": {}}, {"ipBlock": {"cidr": "10.0.0.0/33"}}]), "spec.ingress[0].from[1].ipBlock.cidr", "\"10.0.0.0/33\"", "write a prefix length of at most 32"; "prefix too long")]
#[test_case(json!([{"ipBlock": {"cidr": "10.1.0.1"}}]), "spec.ingress[0].from[0].ipBlock.cidr", "\"10.1.0.1\"", "add the prefix length"; "no prefix")]
#[test_case(json!([{"ipBlock": {"cidr": "010.0.0.0/8"}}]), "spec.ingress[0].from[0].ipBlock.cidr", "\"010.0.0.0/8\"", "write the address without leading zeros"; "leading zero")]
#[test_case(json!([{"ipBlock": {"cidr": "::ffff:1.2.3.4/128"}}]), "spec.ingress[0].from[0].ipBlock.cidr", "\"::ffff:1.2.3.4/128\"", "write an IPv4-mapped"; "mapped")]
#[test_case(json!([{"ipBlock": {"cidr": 10}}]), "spec.ingress[0].from[0].ipBlock.cidr", "10", "write a string"; "a number for cidr")]
#[test_case(json!([{"ipBlock": {}}]), "spec.ingress[0].from[0].ipBlock", "{}", "add cidr"; "no cidr")]
#[test_case(json!([{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]), "spec.ingress[0].from[0].ipBlock", "{\"cidr\":\"10.0.0.0/8\"}", "move ipBlock into an item of its own"; "ipBlock beside a selector")]
#[test_case(json!([{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/24"]}}]), "spec.ingress[0].from[0].ipBlock.except[0]", "\"11.0.0.0/24\"", "write a network inside of cidr"; "except outside")]
#[test_case(json!([{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/7"]}}]), "spec.ingress[0].from[0].ipBlock.except[0]", "\"10.0.0.0/7\"", "write a network inside of cidr"; "except larger than its cidr")]
#[test_case(json!([{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["fd00::/8"]}}]), "spec.ingress[0].from[0].ipBlock.except[0]", "\"fd00::/8\"", "write a network inside of cidr"; "except of another family")]
#[test_case(json!([{"ipBlock": {"cidr": "10.0.0.0/8", "except": "10.1.0.0/16"}}]), "spec.ingress[0].from[0].ipBlock.except", "\"10.1.0.0/16\"", "write a list"; "except is no list")]
#[test_case(json!([{"podSelector": {"app": "x"}}]), "spec.ingress[0].from[0].podSelector.app", "\"x\"", "no such field here; there are: matchLabels"; "labels without matchLabels")]
#[test_case(json!([{"podSelector": {"matchLabels": {"a": 1}}}]), "spec.ingress[0].from[0].podSelector.matchLabels.a", "1", "write a string, in quotes"; "a number for a label")]
#[test_case(json!([{"podSelector": {"matchLabels": {"a/b.c": "x y"}}}]), "spec.ingress[0].from[0].podSelector.matchLabels[\"a/b.c\"]", "\"x y\"", "write a label value"; "a label value with a space")]
#[test_case(json!([{"podSelector": {"matchLabels": {"-": "x"}}}]), "spec.ingress[0].from[0].podSelector.matchLabels.-", "\"x\"", "write a label key"; "a label key of a dash")]
#[test_case(json!([{"podSelector": {"matchLabels": ["a"]}}]), "spec.ingress[0].from[0].podSelector.matchLabels", "[\"a\"]", "write a map"; "labels in a list")]
#[test_case(json!([{"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}]), "spec.ingress[0].from[0].podSelector.matchExpressions[0]", "{\"key\":\"a\",\"operator\":\"In\"}", "add values"; "In without values")]
#[test_case(json!([{"podSelector": {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": []}]}}]), "spec.ingress[0].from[0].podSelector.matchExpressions[0]", "{\"key\":\"a\",\"operator\":\"NotIn\",\"values\":[]}", "add values"; "NotIn of nothing")]
#[test_case(json!([{"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}}]), "spec.ingress[0].from[0].podSelector.matchExpressions[0].values", "[\"b\"]", "leave values out"; "Exists with values")]
#[test_case(json!([{"podSelector": {"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}}]), "spec.ingress[0].from[0].podSelector.matchExpressions[0].operator", "\"Gt\"", "write In, NotIn"; "operator of another selector")]
#[test_case(json!([{"podSelector": {"matchExpressions": [{"operator": "Exists"}]}}]), "spec.ingress[0].from[0].podSelector.matchExpressions[0]", "{\"operator\":\"Exists\"}", "add key"; "no key")]
#[test_case(json!([{"podSelector": {"matchExpressions": [{"key": "a"}]}}]), "spec.ingress[0].from[0].podSelector.matchExpressions[0]", "{\"key\":\"a\"}", "add operator"; "no operator")]
#[test_case(json!([{"podSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": [true]}]}}]), "spec.ingress[0].from[0].podSelector.matchExpressions[0].values[0]", "true", "write a string"; "a boolean value")]
fn faulty_from(from: Value, path: &str, found: &str, remedy: &str) {
    // Beside a rule that allows everyone: a fault closes the whole policy.
    let parsed = parse(&json!({"ingress": [{"from": from}, {}]}));
    only_error(&parsed, path, found, remedy);
    assert_eq!(
        (parsed.policy.ingress, parsed.policy.egress),
        (Some(vec![]), None)
    );
    assert!(parsed.policy.fault.unwrap().contains(path));
}

#[test_case(json!({"port": {}}), "port", "{}", "write a number from 1 to 65535, or"; "port is an object")]
#[test_case(json!({"port": 0}), "port", "0", "write a number"; "port 0")]
#[test_case(json!({"port": 65536}), "port", "65536", "write a number"; "port beyond 16 bits")]
#[test_case(json!({"port": -1}), "port", "-1", "write a number"; "negative port")]
#[test_case(json!({"port": 80.5}), "port", "80.5", "write a number"; "half a port")]
#[test_case(json!({"port": "80"}), "port", "\"80\"", "write the number without quotes"; "quoted port")]
#[test_case(json!({"port": "a-name-of-16-let"}), "port", "\"a-name-of-16-let\"", "write a container port's name"; "name too long")]
#[test_case(json!({"port": ""}), "port", "\"\"", "write a container port's name"; "empty name")]
#[test_case(json!({"protocol": "tcp", "port": 80}), "protocol", "\"tcp\"", "write TCP, UDP or SCTP"; "lower case protocol")]
#[test_case(json!({"protocol": "ICMP"}), "protocol", "\"ICMP\"", "write TCP, UDP or SCTP"; "ICMP")]
#[test_case(json!({"protocol": 6}), "protocol", "6", "write TCP, UDP or SCTP"; "protocol number")]
#[test_case(json!({"port": 80, "endPort": 79}), "endPort", "79", "write a number that is not below port 80"; "range backwards")]
#[test_case(json!({"endPort": 80}), "endPort", "80", "add port"; "endPort alone")]
#[test_case(json!({"port": "http", "endPort": 80}), "endPort", "80", "leave endPort out"; "endPort with a name")]
#[test_case(json!({"port": 80, "endPort": "90"}), "endPort", "\"90\"", "write a number from 1"; "quoted endPort")]
#[test_case(json!({"port": 80, "endport": 90}), "endport", "90", "no such field here; there are: protocol, port, endPort"; "misspelt endPort")]
fn faulty_port(port: Value, field: &str, found: &str, remedy: &str) {
    let parsed =
        parse(&json!({"policyTypes": ["Egress"], "egress": [{"ports": [{"port": 1}, port]}, {}]}));
    only_error(
        &parsed,
        &format!("spec.egress[0].ports[1].{field}"),
        found,
        remedy,
    );
    assert_eq!(
        (parsed.policy.ingress, parsed.policy.egress),
        (None, Some(vec![]))
    );
}

#[test_case(json!("x"), "spec", true, true; "spec is no object")]
#[test_case(json!({"podSelecter": {}}), "spec.podSelecter", true, true; "unknown field may be about directions")]
#[test_case(json!({"egres": [{}]}), "spec.egres", true, true; "misspelt egress")]
#[test_case(json!({"policyTypes": ["ingress"]}), "spec.policyTypes[0]", true, true; "lower case type")]
#[test_case(json!({"policyTypes": "Ingress"}), "spec.policyTypes", true, true; "policyTypes is no list")]
#[test_case(json!({"policyTypes": ["Egress", null]}), "spec.policyTypes[1]", true, true; "null among policyTypes")]
#[test_case(json!({"policyTypes": ["Egress", "Egress", "Egress"]}), "spec.policyTypes", true, true; "three types")]
#[test_case(json!({"ingress": "x"}), "spec.ingress", true, false; "ingress is no list")]
#[test_case(json!({"ingress": [null]}), "spec.ingress[0]", true, false; "null rule")]
#[test_case(json!({"ingress": [{"form": []}]}), "spec.ingress[0].form", true, false; "misspelt from")]
#[test_case(json!({"ingress": [{"to": []}]}), "spec.ingress[0].to", true, false; "to under ingress")]
#[test_case(json!({"egress": {}}), "spec.egress", true, true; "egress is no list")]
#[test_case(json!({"policyTypes": ["Ingress"], "egress": {}}), "spec.egress", true, false; "faulty section of a direction that is not isolated")]
#[test_case(json!({"policyTypes": ["Egress"], "ingress": 1}), "spec.ingress", false, true; "the same the other way")]
fn what_a_faulty_policy_isolates(spec: Value, path: &str, ingress: bool, egress: bool) {
    let parsed = parse(&spec);
    assert_eq!(parsed.errors.len(), 1, "{:#?}", parsed.errors);
    assert_eq!(parsed.errors[0].path, path);
    let closed = |isolated: bool| isolated.then(Vec::new);
    let policy = parsed.policy;
    assert_eq!(
        (policy.ingress, policy.egress),
        (closed(ingress), closed(egress))
    );
    assert!(policy.fault.is_some());
}

#[test_case(json!({"matchLabels": {"app": "db"}}), "spec.ingress", false; "a selector that can be read stays")]
#[test_case(json!({"matchLabel": {"app": "db"}}), "spec.podSelector.matchLabel", true; "one that cannot selects all pods")]
#[test_case(json!([]), "spec.podSelector", true; "a list")]
fn whom_a_faulty_policy_selects(selector: Value, path: &str, everything: bool) {
    let parsed = parse(&json!({"podSelector": selector, "ingress": 1}));
    assert!(
        parsed.errors.iter().any(|e| e.path == path),
        "{:#?}",
        parsed.errors
    );
    assert_eq!(parsed.policy.pod_selector.is_everything(), everything);
}

#[test]
fn all_errors_are_collected() {
    let parsed = parse(&json!({
        "ingress": [{"from": [{"ipBlock": {"cidr": "x"}}], "ports": [{"port": {}, "protocol": "icmp"}]}],
        "egress": [{"to": [{}]}],
    }));
    let paths: Vec<&str> = parsed.errors.iter().map(|e| e.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "spec.ingress[0].from[0].ipBlock.cidr",
            "spec.ingress[0].ports[0].protocol",
            "spec.ingress[0].ports[0].port",
            "spec.egress[0].to[0]",
        ]
    );
    let fault = parsed.policy.fault.unwrap();
    assert!(paths.iter().all(|path| fault.contains(path)), "{fault}");
    assert_eq!(
        parsed.errors[1].to_string(),
        "NetworkPolicy shop/db-allow: spec.ingress[0].ports[0].protocol: found \"icmp\"; \
         write TCP, UDP or SCTP, in capitals"
    );
}

#[test]
fn a_fault_stays_readable() {
    let bad: Vec<Value> = (0..10_000)
        .map(|_| json!({"ipBlock": {"cidr": "x".repeat(500)}}))
        .collect();
    let parsed = parse(&json!({"ingress": [{"from": bad}]}));
    assert_eq!(parsed.errors.len(), 10_000);
    let fault = parsed.policy.fault.unwrap();
    assert!(
        fault.len() < 8_000 && fault.ends_with("and 9980 more"),
        "{}",
        fault.len()
    );
}

#[test_case("apiVersion", json!("extensions/v1beta1"), "write networking.k8s.io/v1: Kubernetes 1.16 removed"; "the old version")]
#[test_case("apiVersion", json!("v1"), "write networking.k8s.io/v1"; "another version")]
#[test_case("kind", json!("Networkpolicy"), "write NetworkPolicy"; "another kind")]
#[test_case("sepc", json!({}), "no such field here"; "misspelt spec")]
fn a_faulty_head(field: &str, value: Value, remedy: &str) {
    let mut object = object(&json!({"ingress": [{}]}));
    object[field] = value.clone();
    let parsed = parse::policy(&object).unwrap();
    only_error(&parsed, field, &value.to_string(), remedy);
    assert_eq!(parsed.policy.ingress, Some(vec![]));
}

#[test_case("name", json!("Db_Allow"), true; "a name that Kubernetes does not take")]
#[test_case("namespace", json!("a.b"), true; "a namespace that Kubernetes does not take")]
#[test_case("name", json!("n".repeat(253)), false; "the longest name")]
#[test_case("labels", json!(3), false; "other metadata is not looked at")]
fn metadata(field: &str, value: Value, faulty: bool) {
    let mut object = object(&json!({"ingress": [{}]}));
    object["metadata"][field] = value;
    assert_eq!(
        parse::policy(&object).unwrap().policy.fault.is_some(),
        faulty
    );
}

#[test_case(json!({"metadata": {"name": "a"}}), "metadata.namespace", "nothing"; "no namespace")]
#[test_case(json!({"metadata": {"namespace": "a", "name": ""}}), "metadata.name", "\"\""; "empty name")]
#[test_case(json!({"metadata": {"namespace": ["a"], "name": "b"}}), "metadata.namespace", "[\"a\"]"; "namespace is a list")]
#[test_case(json!(null), "metadata.namespace", "nothing"; "no object at all")]
fn no_policy_without_a_name(object: Value, path: &str, found: &str) {
    let error = parse::policy(&object).unwrap_err();
    assert_eq!((error.path.as_str(), error.found.as_str()), (path, found));
}

#[test]
fn items_of_a_list_have_no_kind() {
    let parsed = parse::policy(&json!({"metadata": {"namespace": "a", "name": "b"}})).unwrap();
    assert_eq!(parsed.errors, []);
    assert_eq!(
        (parsed.policy.ingress, parsed.policy.egress),
        (Some(vec![]), None)
    );
}
