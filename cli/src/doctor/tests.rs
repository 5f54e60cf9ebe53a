//! Tables over what a cluster could say.

use super::facts::{Agent, Facts};
use super::isolation::{
    CLOSED_BY_CLIENT, CLOSED_BY_SERVER, Fate, Isolation, OPEN, Packet, image_beside,
};
use super::judge;
use super::line::{Line, Verdict, is_healthy};
use ringfence_e2e::probe::Outcome;
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
        isolation: Some(Ok(isolated())),
        now: NOW,
    }
}

/// Everything went as the policies want it.
fn isolated() -> Isolation {
    let packets = Packet::plan(&["n1".into(), "n2".into()], |_, _| vec![true]);
    let fate = |packet: &Packet| Fate {
        before: (Outcome::Allowed, String::new()),
        after: if packet.is_allowed() {
            (Outcome::Allowed, String::new())
        } else {
            (Outcome::Rejected, "connection refused".into())
        },
    };
    Isolation {
        packets: packets.into_iter().map(|p| (p.clone(), fate(&p))).collect(),
        ..Isolation::default()
    }
}

/// What became of the packet from n1 to n2.
fn fate(facts: &mut Facts, port: u16) -> &mut Fate {
    let isolation = facts.isolation.as_mut().unwrap().as_mut().unwrap();
    let mut all = isolation.packets.iter_mut();
    let found = all.find(|(p, _)| p.from == "n1" && p.to == "n2" && p.port == port);
    &mut found.unwrap().1
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
        "isolation",
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
#[test_case(|f| f.deployments = Ok(vec![of(json!({"metadata": {"name": "ringfence-webhook"}, "spec": {"replicas": 0, "selector": {}, "template": {}}, "status": {}}))]), "webhook", Verdict::Wrong, "scaled to 0"; "scaled to nothing")]
#[test_case(|f| f.deployments = Ok(vec![of(deployment(1))]), "webhook", Verdict::Note, "1 of 2"; "one replica")]
#[test_case(|f| f.answered = Some(Ok(vec!["mutate"])), "webhook", Verdict::Wrong, "did not answer"; "one hook does not answer")]
#[test_case(|f| f.answered = Some(Err("500: x509".into())), "webhook", Verdict::Wrong, "x509"; "a certificate that is not trusted")]
#[test_case(|f| f.mutating = Ok(Some(of(hooks("Fail", b"")))), "certificate", Verdict::Wrong, "no caBundle"; "no caBundle")]
#[test_case(|f| f.mutating = Ok(Some(of(hooks("Fail", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")))), "certificate", Verdict::Wrong, "no certificate"; "a caBundle that is none")]
#[test_case(|f| f.mutating = Ok(Some(of(hooks("Fail", &ca(-7200))))), "certificate", Verdict::Wrong, "expired 2 hours ago"; "an expired CA")]
#[test_case(|f| f.mutating = Ok(Some(of(hooks("Fail", &ca(7200))))), "certificate", Verdict::Note, "expires in 2 hours"; "a CA at its end")]
#[test_case(|f| f.validating = Ok(Some(of(hooks("Ignore", &ca(365 * 86_400))))), "webhook", Verdict::Note, "pass unseen"; "fail open")]
#[test_case(|f| f.isolation = None, "isolation", Verdict::Note, "--no-probe"; "no packets")]
#[test_case(|f| f.isolation = Some(Err("403: pods".into())), "isolation", Verdict::Unknown, "403"; "no right to start pods")]
#[test_case(|f| missing(f, "n2", "its pod client-1 does not run: ImagePullBackOff"), "isolation", Verdict::Unknown, "ImagePullBackOff"; "no image of the probe")]
#[test_case(|f| fate(f, OPEN).before.0 = Outcome::Dropped, "isolation", Verdict::Wrong, "without any policy"; "a broken pod network")]
#[test_case(|f| fate(f, CLOSED_BY_SERVER).after.0 = Outcome::Allowed, "isolation", Verdict::Wrong, "denies it, and it arrived: TCP 8081 from n1 to n2"; "a leak at the server")]
#[test_case(|f| fate(f, CLOSED_BY_CLIENT).after.0 = Outcome::Allowed, "isolation", Verdict::Wrong, "denies it, and it arrived: TCP 8082 from n1 to n2"; "a leak at the client")]
#[test_case(|f| fate(f, OPEN).after.0 = Outcome::Rejected, "isolation", Verdict::Wrong, "allow it, and it did not arrive"; "cut")]
#[test_case(|f| fate(f, OPEN).before.0 = Outcome::Error, "isolation", Verdict::Unknown, "could not be sent"; "a probe that died before")]
#[test_case(|f| fate(f, CLOSED_BY_SERVER).after.0 = Outcome::Error, "isolation", Verdict::Unknown, "could not be sent"; "an error is no deny")]
#[test_case(|f| fate(f, CLOSED_BY_SERVER).after.0 = Outcome::Refused, "isolation", Verdict::Wrong, "arrived"; "a server that is gone is no deny")]
#[test_case(|f| f.isolation.as_mut().unwrap().as_mut().unwrap().left = Some("ringfence-doctor-x".into()), "isolation", Verdict::Note, "not gone"; "a namespace that stays")]
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

fn missing(facts: &mut Facts, node: &str, why: &str) {
    let isolation = facts.isolation.as_mut().unwrap().as_mut().unwrap();
    isolation.missing.insert(node.into(), why.into());
}

/// Whose node is at fault: the server's refuses what its policy denies, the client's what
/// its own does.
#[test_case(CLOSED_BY_SERVER, "n2"; "ingress")]
#[test_case(CLOSED_BY_CLIENT, "n1"; "egress")]
fn a_leak_is_laid_at_the_node_that_had_to_refuse(port: u16, node: &str) {
    let mut facts = healthy();
    fate(&mut facts, port).after.0 = Outcome::Allowed;
    let lines = judge(&facts);
    let wrong: Vec<&Line> = lines
        .iter()
        .filter(|l| l.verdict == Verdict::Wrong)
        .collect();
    assert_eq!(wrong.len(), 1, "{wrong:#?}");
    assert_eq!(wrong[0].subject, node);
    let remedy = wrong[0].remedy.as_deref().unwrap();
    assert!(
        remedy.contains(&format!("logs enforcer-{node}")),
        "{remedy}"
    );
}

#[test_case(1, 1, 3; "a single node")]
#[test_case(2, 1, 12; "two nodes")]
#[test_case(3, 1, 18; "three nodes")]
#[test_case(3, 2, 36; "both families")]
#[test_case(0, 1, 0; "no node")]
fn every_client_calls_beside_it_and_the_next_node(nodes: usize, families: usize, packets: usize) {
    let names: Vec<String> = (0..nodes).map(|n| format!("n{n}")).collect();
    let plan = Packet::plan(&names, |_, _| [true, false][..families].to_vec());
    assert_eq!(plan.len(), packets);
    for name in &names {
        assert!(plan.iter().any(|p| p.from == *name && p.to == *name));
    }
}

#[test_case("ringfence/enforcer:0.1.0", Some("ringfence/probe:0.1.0"); "as published")]
#[test_case("registry.local:5000/a/ringfence/enforcer:dev", Some("registry.local:5000/a/ringfence/probe:dev"); "a registry of one's own")]
#[test_case("registry.local/enforcer@sha256:00", None; "a digest")]
#[test_case("registry.local/enforcer:1@sha256:00", None; "tag and digest")]
#[test_case("registry.local/policy-agent:1", None; "another name")]
fn the_probes_image_stands_beside_the_enforcers(image: &str, expected: Option<&str>) {
    let mut ours = set("ringfence-system", "ringfence-enforcer", &[]);
    ours["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
    let found = image_beside("ringfence-system", &[of(set("x", "other", &[])), of(ours)]);
    assert_eq!(found.as_deref().ok(), expected, "{found:?}");
    if let Err(why) = found {
        assert!(why.contains("--probe-image"), "{why}");
    }
}

#[test]
fn without_an_enforcer_the_image_must_be_named() {
    let why = image_beside("ringfence-system", &[]).unwrap_err();
    assert!(why.contains("--probe-image"), "{why}");
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
