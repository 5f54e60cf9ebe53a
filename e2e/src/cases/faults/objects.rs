//! Objects and files that make no sense.

use super::fault;
use crate::case::{Case, Expect, Stage, cells, matrix, policy};
use crate::cases::hands::{self, metric, see};
use crate::probe::{Outcome, tcp, udp};
use anyhow::{Result, ensure};
use serde_json::json;

const FROM_Y: &str =
    "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}";

/// The cases.
pub fn cases() -> Vec<Case> {
    [policies(), files(), addresses()].concat()
}

fn own(mut expect: Expect) -> Expect {
    for pod in crate::case::NINE {
        expect = expect.allowed(pod, pod);
    }
    expect
}

fn policies() -> Vec<Case> {
    let good =
        "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: x}}}]}]}";
    let closes = |name, spec: &str| {
        fault(name)
            .policy("x/bad", spec)
            .policy("y/good", good)
            .expect(own(matrix(&[tcp(80), udp(80)])
                .denied("*", "x/a")
                .denied("*", "y/*")
                .allowed("x/*", "y/*")))
            .act("it is counted", |stage| {
                let faulty = metric(stage, "node1", "faulty_policies")?;
                ensure!(faulty == 1, "{faulty} faulty policies are counted");
                Ok(())
            })
            .delete("NetworkPolicy x/bad")
            .expect(own(matrix(&[tcp(80)])
                .denied("*", "y/*")
                .allowed("x/*", "y/*")))
    };
    let selected = "podSelector: {matchLabels: {pod: a}}, policyTypes: [Ingress]";
    vec![
        closes(
            "a-bad-cidr-closes-its-pods",
            &format!(
                "{{{selected}, ingress: [{{from: [{{ipBlock: {{cidr: 10.0.0.300/8}}}}]}}, {{}}]}}"
            ),
        ),
        closes(
            "a-bad-operator-closes-its-pods",
            &format!(
                "{{{selected}, ingress: [{{}}, {{from: [{{podSelector: {{matchExpressions: [{{key: pod, operator: Like, values: [b]}}]}}}}]}}]}}"
            ),
        ),
        closes(
            "a-bad-port-closes-its-pods",
            &format!("{{{selected}, ingress: [{{ports: [{{port: 80, endPort: 79}}]}}]}}"),
        ),
        closes(
            "a-rule-that-is-no-rule-closes-its-pods",
            &format!("{{{selected}, ingress: everyone}}"),
        ),
    ]
}

fn files() -> Vec<Case> {
    let beside = |name, file, text| {
        fault(name)
            .policy("x/from-y", FROM_Y)
            .step(crate::case::Step::File(file, Some(text)))
            .policy("z/deny", "{podSelector: {}, policyTypes: [Ingress]}")
            .expect(own(matrix(&[tcp(80)])
                .denied("*", "x/*")
                .allowed("y/*", "x/*")
                .denied("*", "z/*")))
            .step(crate::case::Step::File(file, None))
    };
    vec![
        beside("a-file-that-is-no-yaml", "noise.yaml", "a: b: c:\n  - }{\n"),
        beside("a-file-that-is-half-written", "half.yaml", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: half\n  namespace: x\nspec:\n  podSelector: {matchLabels: {pod"),
        beside("a-file-of-an-unknown-kind", "unknown.yaml", "apiVersion: example.com/v1\nkind: Gadget\nmetadata: {name: g, namespace: x}\nspec: {size: 3}\n"),
        beside("an-empty-file", "empty.yaml", ""),
        fault("a-policy-whose-file-is-cut-off-stays-closed")
            .policy("x/from-y", FROM_Y)
            .act("write half of it", |stage| {
                let file = "networkpolicy.x.from-y.json";
                stage.file(file, Some("{\"apiVersion\": \"networking.k8s.io/v1\", \"kind\": \"NetworkPolicy\", \"metadata\": {\"name\": \"from-y\", \"names"))?;
                see(stage, "z/a", "x/a", tcp(80), Outcome::Rejected)?;
                stage.apply(&policy("y/deny", "{podSelector: {}, policyTypes: [Ingress]}"), "y")?;
                see(stage, "z/a", "x/a", tcp(80), Outcome::Rejected)?;
                see(stage, "z/a", "y/a", tcp(80), Outcome::Rejected)?;
                let whole = stage.object("NetworkPolicy x/from-y")?;
                stage.file(file, Some(&whole.to_string()))
            })
            .expect(cells(&[tcp(80)], &[("z/a", "x/a"), ("y/a", "x/a"), ("x/a", "y/a")])),
    ]
}

fn addresses() -> Vec<Case> {
    vec![
        fault("two-pods-with-one-address")
            .policy("x/from-y", FROM_Y)
            .act("y/twin has the address of z/c", |stage| {
                twin(stage, "y/twin", "z/c")
            })
            .expect(matrix(&[tcp(80), udp(80)]))
            .delete("Pod y/twin")
            .expect(own(matrix(&[tcp(80)])
                .denied("*", "x/*")
                .allowed("y/*", "x/*"))),
        fault("an-address-outside-of-the-range")
            .policy("x/from-y", FROM_Y)
            .act("y/far has the address of net10", |stage| {
                let address = hands::v4(stage, "net10")?.to_string();
                let mut far = stage.object("Pod y/a")?;
                far["metadata"]["name"] = "far".into();
                far["status"]["podIP"] = address.as_str().into();
                far["status"]["podIPs"] = json!([{ "ip": address }]);
                stage.replace(&far)
            })
            .expect(
                cells(
                    &[tcp(80)],
                    &[
                        ("net10", "x/a"),
                        ("lan", "x/a"),
                        ("y/a", "x/a"),
                        ("z/a", "x/a"),
                    ],
                )
                .denied("lan", "x/a")
                .denied("z/a", "x/a"),
            ),
        fault("a-pod-without-an-address")
            .policy("x/from-y", FROM_Y)
            .act("y/new has none yet", |stage| {
                let mut new = stage.object("Pod y/a")?;
                new["metadata"]["name"] = "new".into();
                new["status"] = json!({ "phase": "Pending" });
                stage.replace(&new)
            })
            .expect(own(matrix(&[tcp(80)])
                .denied("*", "x/*")
                .allowed("y/*", "x/*"))),
        fault("a-namespace-deleted-before-its-pods")
            .policy("x/from-y", FROM_Y)
            .policy("y/deny", "{podSelector: {}, policyTypes: [Ingress]}")
            .act("delete namespace y", |stage| {
                see(stage, "y/a", "x/a", tcp(80), Outcome::Allowed)?;
                stage.delete("Namespace y")
            })
            .expect(matrix(&[tcp(80)])),
    ]
}

/// Another pod of the same node with the addresses of `pod`.
fn twin(stage: &mut Stage, name: &str, pod: &str) -> Result<()> {
    let mut object = stage.object(&format!("Pod {pod}"))?;
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    object["metadata"]["namespace"] = namespace.into();
    object["metadata"]["name"] = name.into();
    stage.replace(&object)
}
