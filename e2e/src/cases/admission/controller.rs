//! From nothing to fail-closed, as it goes on a cluster: the controller makes certificates,
//! writes caBundle, and closes the door once a probe came through; what somebody breaks is
//! mended while policies are written.

use super::{case, stored};
use crate::admission::{Admission, NAMESPACE};
use crate::case::{Case, Stage, policy};
use crate::patience::eventually;
use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case("admission-the-controller-closes-the-door")
            .act("manifests as shipped: no caBundle, Ignore", as_shipped)
            .act(
                "the controller starts: Secret, caBundle, probe, Fail",
                closed,
            )
            .act("what is risky is refused", refused)
            .act("a wiped caBundle comes back", wiped)
            .act("a lost Secret comes back", lost_secret),
    ]
}

const HOOKS: [&str; 2] = [
    "validatingwebhookconfiguration",
    "mutatingwebhookconfiguration",
];

fn as_shipped(stage: &mut Stage) -> Result<()> {
    stage.with_admission(|admission, server, _| {
        for hook in HOOKS {
            let kind = if hook.starts_with("validating") {
                "ValidatingWebhookConfiguration"
            } else {
                "MutatingWebhookConfiguration"
            };
            server.uninstall(&serde_json::json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": kind, "metadata": {"name": "ringfence"},
            }))?;
        }
        admission.install_as_shipped(server)
    })
}

/// Every entry's `caBundle`, and the policy of the entry about policies.
fn configuration(stage: &mut Stage, hook: &str) -> Result<(Vec<String>, String)> {
    let said = stage.kubectl(&["get", hook, "ringfence", "-o", "json"], "")?;
    let found: Value = serde_json::from_str(&said.accepted()?.out)?;
    let entries = found["webhooks"].as_array().context("no webhooks")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let policy = entries
        .iter()
        .find(|e| text(&e["name"]).starts_with("policies."));
    Ok((
        entries
            .iter()
            .map(|e| text(&e["clientConfig"]["caBundle"]))
            .collect(),
        text(&policy.context("no entry about policies")?["failurePolicy"]),
    ))
}

fn closed(stage: &mut Stage) -> Result<()> {
    for hook in HOOKS {
        let (bundles, policy) = configuration(stage, hook)?;
        ensure!(
            bundles.iter().all(String::is_empty) && policy == "Ignore",
            "{hook} is not as shipped: {policy}"
        );
    }
    stage.with_admission(Admission::start_controller)?;
    mount(stage)?;
    is_closed(stage)
}

/// Plays the kubelet that mounts the Secret.
fn mount(stage: &mut Stage) -> Result<()> {
    eventually("the webhook has the Secret's certificate", || {
        stage.with_admission(Admission::mount_secret)
    })
}

fn is_closed(stage: &mut Stage) -> Result<()> {
    eventually("caBundle is written and policies fail closed", || {
        let (validating, policy) = configuration(stage, HOOKS[0])?;
        let (mutating, _) = configuration(stage, HOOKS[1])?;
        let written = validating.iter().chain(&mutating).all(|b| !b.is_empty());
        Ok(written && policy == "Fail")
    })
}

fn refused(stage: &mut Stage) -> Result<()> {
    let mixed = "podSelector: {}\npolicyTypes: [Ingress]\negress: [{to: [{podSelector: {}}]}]";
    let said = stage.kubectl_apply(&policy("shop/mixed", mixed), "shop")?;
    said.refused(&["types-mismatch"])?;
    // Nothing of the probes is stored.
    let said = stage.kubectl(&["get", "networkpolicies", "-A", "-o", "name"], "")?;
    ensure!(
        !said.accepted()?.out.contains("probe"),
        "a probe was stored: {}",
        said.out
    );
    Ok(())
}

/// `kubectl replace` with the manifest as shipped, which people do.
fn wiped(stage: &mut Stage) -> Result<()> {
    let shipped = crate::admission::shipped()?;
    let yaml: Vec<String> = shipped.iter().map(Value::to_string).collect();
    stage
        .kubectl(&["replace", "-f", "-"], &yaml.join("\n---\n"))?
        .accepted()?;
    is_closed(stage)?;
    refused(stage)
}

fn lost_secret(stage: &mut Stage) -> Result<()> {
    let key = format!("{NAMESPACE}/ringfence-webhook-tls");
    let before = stored(stage, "secret", &key)?;
    stage
        .kubectl(
            &["-n", NAMESPACE, "delete", "secret", "ringfence-webhook-tls"],
            "",
        )?
        .accepted()?;
    eventually("there is another Secret", || {
        let found = stored(stage, "secret", &key);
        Ok(found.is_ok_and(|found| found["data"]["tls.crt"] != before["data"]["tls.crt"]))
    })?;
    mount(stage)?;
    refused(stage)?;
    stage.with_admission(Admission::stop_controller)
}
