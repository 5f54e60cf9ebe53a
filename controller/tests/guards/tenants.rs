//! The label that says which tenant a namespace is inside of.

use crate::lab::{Lab, api, configuration, refused};
use anyhow::{Result, ensure};
use kube::api::{Patch, PatchParams};
use ringfence_e2e::controlplane::Identity;
use serde_json::{Value, json};

const LABEL: &str = "example.test/tenant";
const WORDS: &str = "needs the verb assign on";

fn namespace(name: &str, labels: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

fn labelled(value: impl Into<Value>) -> Value {
    json!({"metadata": {"labels": {LABEL: value.into()}}})
}

pub async fn joining_and_leaving(lab: &Lab) -> Result<()> {
    lab.apply(&configuration(&json!({"tenantLabel": LABEL})))
        .await?;
    lab.until("the configuration counts", async |lab| {
        let red = namespace("probe", &json!({LABEL: "red"}));
        let made = lab.create(&lab.tenant, &red).await.is_ok();
        if made {
            lab.delete(&lab.admin, &red).await?;
        }
        Ok(!made && !lab.is_there(&red).await?)
    })
    .await?;
    let red = json!({LABEL: "red"});
    refused(
        "a new one",
        lab.create(&lab.tenant, &namespace("new", &red)).await,
        WORDS,
    )?;
    let empty = json!({LABEL: ""});
    refused(
        "an empty value",
        lab.create(&lab.tenant, &namespace("new", &empty)).await,
        WORDS,
    )?;

    let mine = namespace("mine", &json!({"a": "b"}));
    lab.create(&lab.tenant, &mine).await?;
    lab.merge(
        &lab.tenant,
        &mine,
        json!({"metadata": {"labels": {"a": "c"}}}),
    )
    .await?;
    refused(
        "joining",
        lab.merge(&lab.tenant, &mine, labelled("red")).await,
        WORDS,
    )?;
    let status = Patch::Merge(labelled("red"));
    let joined = api(&lab.tenant, &mine)
        .patch_status("mine", &PatchParams::default(), &status)
        .await;
    refused("joining by the status", joined, WORDS)?;

    lab.merge(&lab.admin, &mine, labelled("red")).await?;
    let both = "both tenants red and blue";
    refused(
        "moving",
        lab.merge(&lab.tenant, &mine, labelled("blue")).await,
        both,
    )?;
    refused(
        "leaving",
        lab.merge(&lab.tenant, &mine, labelled(Value::Null)).await,
        WORDS,
    )?;
    lab.merge(
        &lab.tenant,
        &mine,
        json!({"metadata": {"labels": {"a": "d"}}}),
    )
    .await?;

    let rule = |names: Value| {
        json!([{
            "apiGroups": ["ringfence.dev"], "resources": ["tenants"], "verbs": ["assign"],
            "resourceNames": names,
        }])
    };
    lab.grant("assign", &rule(json!(["red"])), Identity::Tenant)
        .await?;
    lab.until("a right counts", async |lab| {
        Ok(lab
            .merge(&lab.tenant, &mine, labelled(Value::Null))
            .await
            .is_ok())
    })
    .await?;
    lab.merge(&lab.tenant, &mine, labelled("red")).await?;
    lab.create(&lab.tenant, &namespace("new", &red)).await?;
    refused(
        "another tenant",
        lab.merge(&lab.tenant, &mine, labelled("blue")).await,
        WORDS,
    )?;
    lab.grant("assign", &rule(json!(["red", "blue"])), Identity::Tenant)
        .await?;
    lab.until("a right to both counts", async |lab| {
        Ok(lab
            .merge(&lab.tenant, &mine, labelled("blue"))
            .await
            .is_ok())
    })
    .await?;
    lab.grant("assign", &json!([]), Identity::Tenant).await?;
    lab.until("no right", async |lab| {
        Ok(lab
            .merge(&lab.tenant, &mine, labelled("red"))
            .await
            .is_err())
    })
    .await?;
    // Deletion is not held up, nor is a finalizer's removal.
    let held = json!({"metadata": {"finalizers": ["example.test/f"]}});
    lab.merge(&lab.admin, &mine, held).await?;
    lab.delete(&lab.tenant, &mine).await?;
    lab.merge(
        &lab.tenant,
        &mine,
        json!({"metadata": {"finalizers": null, "labels": {LABEL: null}}}),
    )
    .await?;
    lab.delete(&lab.tenant, &namespace("new", &red)).await?;
    gone(lab, &["mine", "new"]).await?;
    println!("ok: a tenant's label needs a right, at creation too");
    Ok(())
}

pub async fn gone(lab: &Lab, names: &[&str]) -> Result<()> {
    for name in names {
        let namespace = namespace(name, &json!({}));
        lab.until(&format!("namespace {name} is gone"), async |lab| {
            Ok(!lab.is_there(&namespace).await?)
        })
        .await?;
    }
    Ok(())
}

pub async fn without_configuration(lab: &Lab) -> Result<()> {
    let configuration = configuration(&json!({}));
    lab.merge(
        &lab.admin,
        &configuration,
        json!({"spec": {"tenantLabel": null}}),
    )
    .await?;
    free(lab, "no label is configured").await?;
    lab.delete(&lab.admin, &configuration).await?;
    free(lab, "no configuration").await
}

/// The guard is off for everybody, and nothing else is refused.
async fn free(lab: &Lab, what: &str) -> Result<()> {
    let red = namespace("free", &json!({LABEL: "red"}));
    lab.until(what, async |lab| {
        Ok(lab.create(&lab.tenant, &red).await.is_ok())
    })
    .await?;
    lab.merge(&lab.tenant, &red, labelled("blue")).await?;
    lab.delete(&lab.tenant, &red).await?;
    gone(lab, &["free"]).await?;
    println!("ok: {what}: no tenants");
    Ok(())
}

/// The last step: under Fail nobody could create a namespace any more.
pub async fn without_the_custom_resources(lab: &Lab) -> Result<()> {
    lab.apply(&configuration(&json!({"tenantLabel": LABEL})))
        .await?;
    let crds = lab
        .guards
        .iter()
        .filter(|o| o["kind"] == "CustomResourceDefinition");
    let mut removed = 0;
    for crd in crds {
        lab.delete(&lab.admin, crd).await?;
        removed += 1;
    }
    ensure!(removed == 3, "{removed} CustomResourceDefinitions");
    free(lab, "the custom resources are removed").await
}
