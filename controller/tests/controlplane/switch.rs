//! caBundle and failure policy: set, put back, and what they do.

use crate::lab::{Lab, POLICIES};
use anyhow::{Context, Result, ensure};
use k8s_openapi::ByteString;
use ringfence_controller::rotation::Contents;
use serde_json::{Value, json};
use std::time::Instant;

pub const KINDS: [&str; 2] = [
    "ValidatingWebhookConfiguration",
    "MutatingWebhookConfiguration",
];

pub fn policy(name: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
    })
}

/// Whether both configurations trust what the Secret says, and exactly the policies' entry
/// is Fail.
pub async fn settled(lab: &Lab<'_>) -> Result<bool> {
    let Some(secret) = lab.secret().await? else {
        return Ok(false);
    };
    let ca = Contents::read(&secret)?.ca.pem().into_bytes();
    let wanted = serde_json::to_value(ByteString(ca))?;
    for kind in KINDS {
        let configuration = lab.configuration(kind).await?;
        for entry in configuration["webhooks"].as_array().context("no entries")? {
            let closed = if entry["name"] == POLICIES {
                "Fail"
            } else {
                "Ignore"
            };
            if entry["clientConfig"]["caBundle"] != wanted || entry["failurePolicy"] != closed {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

pub async fn from_nothing_to_fail(lab: &Lab<'_>) -> Result<()> {
    lab.until("issued, trusted, proved, closed", settled)
        .await?;
    let secret = lab.secret().await?.context("no Secret")?;
    ensure!(
        secret.type_.as_deref() == Some("kubernetes.io/tls"),
        "{:?}",
        secret.type_
    );
    println!("ok: from nothing to Fail, by a probe through the API server");
    Ok(())
}

pub async fn what_others_change_is_repaired(lab: &Lab<'_>) -> Result<()> {
    for kind in KINDS {
        lab.edit(
            kind,
            json!([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]),
        )
        .await?;
        let begin = Instant::now();
        lab.until("the caBundle is back", settled).await?;
        println!(
            "ok: a removed caBundle was seen back after {:?}",
            begin.elapsed()
        );
    }
    // As `kubectl replace` or `kubectl apply` of the manifests would.
    for manifest in lab
        .manifests
        .iter()
        .filter(|m| KINDS.iter().any(|k| m["kind"] == *k))
    {
        let kind = manifest["kind"].as_str().context("no kind")?;
        lab.edit(
            kind,
            json!([{"op": "replace", "path": "/webhooks", "value": manifest["webhooks"]}]),
        )
        .await?;
    }
    lab.until("caBundle and Fail are back", settled).await?;
    println!("ok: what others change is put back");
    Ok(())
}

pub async fn down_is_closed_and_harms_nothing_else(lab: &Lab<'_>) -> Result<()> {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "default"},
        "spec": {"ports": [{"port": 80}]},
    });
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gone"}});
    let mut inside = policy("inside");
    inside["metadata"]["namespace"] = "gone".into();
    for object in [&namespace, &inside, &policy("before")] {
        lab.apply(object.clone()).await?;
    }
    lab.hook.set_down(true);
    let refused = lab.apply(policy("after")).await;
    let said = format!(
        "{:#}",
        refused
            .err()
            .context("a policy was created past a closed hook")?
    );
    ensure!(said.contains(POLICIES), "{said}");
    lab.apply(service.clone()).await?;
    for object in [&policy("before"), &service, &namespace] {
        lab.delete(object).await?;
    }
    lab.hook.set_down(false);
    lab.apply(policy("after")).await?;
    lab.delete(&policy("after")).await?;
    ensure!(settled(lab).await?, "an outage of the webhook opened it");
    println!("ok: down, no policy is created; policies and namespaces are deleted, Services work");
    Ok(())
}

/// Nobody but cert-manager writes caBundle; the switch still works.
pub async fn external_certificates(lab: &Lab<'_>) -> Result<()> {
    let [validating, _] = KINDS;
    let bundle =
        lab.configuration(validating).await?["webhooks"][0]["clientConfig"]["caBundle"].clone();
    lab.until("c leads", async |lab| {
        Ok(lab.holder().await?.as_deref() == Some("c"))
    })
    .await?;
    let first = |value: &Value| {
        (
            value["failurePolicy"].clone(),
            value["clientConfig"]["caBundle"].clone(),
        )
    };
    let now = async |lab: &Lab<'_>| -> Result<(Value, Value)> {
        Ok(first(&lab.configuration(validating).await?["webhooks"][0]))
    };
    lab.edit(
        validating,
        json!([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]),
    )
    .await?;
    lab.until("open without a caBundle", async |lab| {
        Ok(now(lab).await?.0 == "Ignore")
    })
    .await?;
    ensure!(now(lab).await?.1.is_null(), "somebody wrote a caBundle");
    let add = json!([{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle}]);
    lab.edit(validating, add).await?;
    lab.until("closed again", async |lab| {
        Ok(now(lab).await? == ("Fail".into(), bundle.clone()))
    })
    .await?;
    println!("ok: with external certificates, only the failure policy is ours");
    Ok(())
}
