//! Tables over what a cluster could say.

use super::facts::{Agent, Facts};
use super::judge;
use super::line::{Line, Verdict, is_healthy};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};
use test_case::test_case;

fn of<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn pod(node: &str, state: &Value) -> Value {
    json!({
        "metadata": {"name": format!("enforcer-{node}"), "namespace": "ringfence-system"},
        "spec": {"nodeName": node, "containers": [{"name": "enforcer"}]},
        "status": {"phase": "Running", "containerStatuses": [
            {"name": "enforcer", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": state}]},
    })
}

fn agent(node: &str) -> Agent {
    Agent {
        pod: of(pod(node, &json!({"running": {}}))),
        ready: Ok(None),
        generation: Ok(json!({"synced": true, "observed": 7, "applied": 7})),
        metrics: Ok("ringfence_enforcer_node_info{flavour=\"nft\"} 1\n\
                     ringfence_enforcer_foreign_enforcers{name=\"kube-router\"} 0\n"
            .into()),
    }
}

fn node(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

/// A certificate authority that ends this many seconds after the facts' clock.
fn ca(seconds: i64) -> Vec<u8> {
    let mut params = rcgen::CertificateParams::new(vec!["x".into()]).unwrap();
    params.not_before = time(0).into();
    params.not_after = time(NOW + seconds).into();
    let key = rcgen::KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().pem().into_bytes()
}

fn time(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs())
}

const NOW: i64 = 1_800_000_000;

fn hooks(policy: &str, bundle: &[u8]) -> Value {
    let bundle = k8s_openapi::ByteString(bundle.to_vec());
    json!({"metadata": {"name": "ringfence"}, "webhooks": [{
        "name": "policies.ringfence.dev", "failurePolicy": policy, "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"caBundle": bundle, "service": {"name": "w", "namespace": "n"}}}]})
}

fn deployment(ready: i32) -> Value {
    json!({"metadata": {"name": "ringfence-webhook"},
        "spec": {"replicas": 2, "selector": {}, "template": {}}, "status": {"readyReplicas": ready}})
}

fn proxy(all: bool) -> Value {
    let text = format!(
        "kind: KubeProxyConfiguration\nmode: \"nftables\"\niptables:\n  masqueradeAll: {all}\n"
    );
    json!({"metadata": {"name": "kube-proxy", "namespace": "kube-system"}, "data": {"config.conf": text}})
}

/// Two nodes, all as it must be.
fn healthy() -> Facts {
    let year = ca(365 * 86_400);
    Facts {
        namespace: "ringfence-system".into(),
        nodes: Ok(vec![of(node("n1")), of(node("n2"))]),
        agents: Ok(vec![agent("n1"), agent("n2")]),
        daemon_sets: Ok(vec![]),
        kube_proxy: Ok(Some(of(proxy(false)))),
        validating: Ok(Some(of(hooks("Fail", &year)))),
        mutating: Ok(Some(of(hooks("Fail", &year)))),
        deployments: Ok(vec![of(deployment(2))]),
        answered: Some(Ok(vec!["validate", "mutate"])),
        now: NOW,
    }
}

fn set(namespace: &str, name: &str, args: &[&str]) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name}, "spec": {"selector": {}, "template":
        {"spec": {"containers": [{"name": name, "args": args}]}}}})
}

#[test]
fn a_healthy_cluster_is_fine_in_every_line() {
    let lines = judge(&healthy());
    assert!(
        lines.iter().all(|l| l.verdict == Verdict::Fine),
        "{lines:#?}"
    );
    let checks: Vec<&str> = lines.iter().map(|l| l.check).collect();
    for check in [
        "enforcer",
        "bridge",
        "caches",
        "two-enforcers",
        "iptables",
        "kube-proxy",
        "webhook",
        "certificate",
    ] {
        assert!(checks.contains(&check), "{check}");
    }
}

/// What is changed, the check that must speak up, how, and a part of what it says.
#[test_case(|f| f.agents = Ok(vec![agent("n1")]), "enforcer", Verdict::Wrong, "no pod of it on this node"; "a node without it")]
#[test_case(|f| f.agents = Ok(vec![]), "enforcer", Verdict::Wrong, "no pod of it in the namespace"; "not installed")]
#[test_case(|f| agents(f)[1].pod = of(pod("n2", &json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}))), "enforcer", Verdict::Wrong, "ImagePullBackOff: no such image"; "an image that cannot be pulled")]
#[test_case(|f| agents(f)[1].ready = Ok(Some("iptables does not see bridged packets: x".into())), "bridge", Verdict::Wrong, "bridged packets"; "an invisible bridge")]
#[test_case(|f| agents(f)[1].ready = Ok(Some("the first program is not in the kernel yet".into())), "enforcer", Verdict::Wrong, "not in the kernel"; "nothing programmed")]
#[test_case(|f| agents(f)[0].ready = Err("403 forbidden".into()), "enforcer", Verdict::Unknown, "403"; "an agent that cannot be asked")]
#[test_case(|f| agents(f)[0].generation = Ok(json!({"synced": false})), "caches", Verdict::Wrong, "not seen all"; "caches that are not full")]
#[test_case(|f| agents(f)[0].generation = Ok(json!({"synced": true, "observed": 9, "applied": 7})), "caches", Verdict::Note, "2 events behind"; "an agent that lags")]
#[test_case(|f| agents(f)[0].metrics = Ok("ringfence_enforcer_foreign_enforcers{name=\"kube-router\"} 12\n".into()), "two-enforcers", Verdict::Wrong, "12 chains of kube-router"; "what kube-router left behind")]
#[test_case(|f| f.daemon_sets = Ok(vec![of(set("kube-system", "kube-router", &["--run-router"]))]), "two-enforcers", Verdict::Wrong, "kube-system/kube-router"; "kube-router beside it")]
#[test_case(|f| f.daemon_sets = Err("403: no".into()), "two-enforcers", Verdict::Unknown, "403"; "others that cannot be seen")]
#[test_case(|f| f.kube_proxy = Ok(Some(of(proxy(true)))), "kube-proxy", Verdict::Wrong, "masqueradeAll"; "masqueradeAll")]
#[test_case(|f| f.kube_proxy = Ok(None), "kube-proxy", Verdict::Note, "not known"; "no kube-proxy of kubeadm")]
#[test_case(|f| f.validating = Err("403: no".into()), "webhook", Verdict::Unknown, "403"; "registrations that cannot be seen")]
#[test_case(|f| { f.validating = Ok(None); f.mutating = Ok(None); }, "webhook", Verdict::Note, "not installed"; "enforcer only")]
#[test_case(|f| f.deployments = Ok(vec![of(deployment(0))]), "webhook", Verdict::Wrong, "0 of 2"; "no replica")]
#[test_case(|f| f.deployments = Ok(vec![of(deployment(1))]), "webhook", Verdict::Note, "1 of 2"; "one replica")]
#[test_case(|f| f.answered = Some(Ok(vec!["mutate"])), "webhook", Verdict::Wrong, "did not answer"; "one hook does not answer")]
#[test_case(|f| f.answered = Some(Err("500: x509".into())), "webhook", Verdict::Wrong, "x509"; "a certificate that is not trusted")]
#[test_case(|f| f.mutating = Ok(Some(of(hooks("Fail", b"")))), "certificate", Verdict::Wrong, "no caBundle"; "no caBundle")]
#[test_case(|f| f.mutating = Ok(Some(of(hooks("Fail", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")))), "certificate", Verdict::Wrong, "no certificate"; "a caBundle that is none")]
#[test_case(|f| f.mutating = Ok(Some(of(hooks("Fail", &ca(-7200))))), "certificate", Verdict::Wrong, "expired 2 hours ago"; "an expired CA")]
#[test_case(|f| f.mutating = Ok(Some(of(hooks("Fail", &ca(7200))))), "certificate", Verdict::Note, "expires in 2 hours"; "a CA at its end")]
#[test_case(|f| f.validating = Ok(Some(of(hooks("Ignore", &ca(365 * 86_400))))), "webhook", Verdict::Note, "pass unseen"; "fail open")]
fn says(change: fn(&mut Facts), check: &str, verdict: Verdict, part: &str) {
    let mut facts = healthy();
    change(&mut facts);
    let lines = judge(&facts);
    let said: Vec<&Line> = lines
        .iter()
        .filter(|l| l.verdict != Verdict::Fine)
        .collect();
    let found = said
        .iter()
        .find(|l| l.check == check && l.verdict == verdict && l.found.contains(part));
    assert!(found.is_some(), "{said:#?}");
    assert!(
        found.unwrap().remedy.is_some() || verdict <= Verdict::Unknown,
        "no remedy: {said:#?}"
    );
    assert_eq!(is_healthy(&lines), verdict < Verdict::Unknown);
}

fn agents(facts: &mut Facts) -> &mut Vec<Agent> {
    facts.agents.as_mut().unwrap()
}

#[test]
fn a_kube_router_without_its_firewall_is_no_other_enforcer() {
    let mut facts = healthy();
    facts.daemon_sets = Ok(vec![of(set(
        "kube-system",
        "kube-router",
        &["--run-firewall=false"],
    ))]);
    assert!(is_healthy(&judge(&facts)));
}

#[test]
fn while_a_pod_is_replaced_the_ready_one_counts() {
    let mut facts = healthy();
    let mut leaving = agent("n2");
    leaving.ready = Ok(Some("stopping".into()));
    agents(&mut facts).insert(0, leaving);
    assert!(is_healthy(&judge(&facts)));
}
