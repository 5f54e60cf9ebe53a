//! What has to go goes: whatever the mode, whether the controller is up or not. The
//! namespace controller and the garbage collector are real; no controller of ours runs.

use crate::lab::{Lab, foreign, isolation, owned};
use crate::tenants::gone;
use anyhow::{Context, Result};
use kube::api::{Api, DynamicObject};
use serde_json::{Value, json};

/// The policy with its owner, as the controller writes it.
async fn isolate(lab: &Lab, namespace: &str, spec: &Value) -> Result<(Value, Value)> {
    let (isolation, mut policy) = (isolation(namespace, spec), owned(namespace));
    let made: DynamicObject = lab.create(&lab.tenant, &isolation).await?;
    if spec["onDisable"] != "Retain" {
        policy["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "ringfence.dev/v1alpha1", "kind": "NamespaceIsolation", "name": "default",
            "uid": made.metadata.uid.context("no uid")?, "controller": true,
        }]);
    }
    if spec["mode"] != "Preview" {
        lab.create(&lab.controller, &policy).await?;
    }
    Ok((isolation, policy))
}

pub async fn of_the_isolation(lab: &Lab) -> Result<()> {
    lab.namespace("off", &json!({})).await?;
    let (isolation, policy) = isolate(lab, "off", &json!({})).await?;
    let other = foreign("off", "other");
    lab.create(&lab.tenant, &other).await?;
    lab.delete(&lab.owner, &isolation).await?;
    lab.until("the owned policy is collected", async |lab| {
        Ok(!lab.is_there(&policy).await?)
    })
    .await?;
    anyhow::ensure!(
        lab.is_there(&other).await?,
        "the policy of somebody else went too"
    );
    println!("ok: off again without a controller: the owned policy goes, others stay");
    Ok(())
}

pub async fn of_namespaces(lab: &Lab) -> Result<()> {
    let modes = [
        ("plain", json!({})),
        ("tenant", json!({"scope": "Tenant", "egress": "Restricted"})),
        ("retain", json!({"onDisable": "Retain"})),
        ("preview", json!({"mode": "Preview"})),
        ("off", json!({"egress": "Open"})),
    ];
    for (namespace, spec) in &modes {
        lab.namespace(namespace, &json!({"team": "a"})).await?;
        isolate(lab, namespace, spec).await?;
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(lab.tenant.clone());
        namespaces
            .delete(namespace, &kube::api::DeleteParams::default())
            .await?;
    }
    let names: Vec<&str> = modes.iter().map(|(namespace, _)| *namespace).collect();
    gone(lab, &names).await?;
    println!("ok: isolated namespaces are deleted in every mode, without a controller");
    Ok(())
}
