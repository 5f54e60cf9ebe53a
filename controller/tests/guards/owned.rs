//! The policy of an isolated namespace, and its name.

use crate::lab::{Lab, OWNED, api, foreign, owned, refused};
use anyhow::{Result, ensure};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use ringfence_e2e::controlplane::Identity;
use serde_json::{Value, json};

const WORDS: &str = "belongs to Ringfence: write an IsolationRule";

pub async fn what_others_may_not(lab: &Lab) -> Result<()> {
    lab.namespace("shop", &json!({})).await?;
    let (policy, other) = (owned("shop"), foreign("shop", "other"));
    refused(
        "its name",
        lab.create(&lab.tenant, &foreign("shop", OWNED)).await,
        WORDS,
    )?;
    lab.create(&lab.controller, &policy).await?;
    let label = "app.kubernetes.io/managed-by";
    let changes: [(&str, Value); 6] = [
        ("the spec", json!({"spec": {"ingress": [{}]}})),
        (
            "the label that makes it ours",
            json!({"metadata": {"labels": {label: null}}}),
        ),
        ("a label", json!({"metadata": {"labels": {"a": "b"}}})),
        (
            "an annotation",
            json!({"metadata": {"annotations": {"a": "b"}}}),
        ),
        (
            "a finalizer",
            json!({"metadata": {"finalizers": ["example.test/f"]}}),
        ),
        (
            "both",
            json!({"spec": {"ingress": [{}]}, "metadata": {"labels": {label: "x"}}}),
        ),
    ];
    for (what, change) in changes {
        refused(what, lab.merge(&lab.tenant, &policy, change).await, WORDS)?;
    }
    refused("deletion", lab.delete(&lab.tenant, &policy).await, WORDS)?;
    // A rewrite of what is there.
    lab.merge(&lab.tenant, &policy, json!({})).await?;
    let forced = PatchParams::apply("kubectl").force();
    api(&lab.tenant, &policy)
        .patch(OWNED, &forced, &Patch::Apply(&policy))
        .await?;

    lab.create(&lab.tenant, &other).await?;
    lab.merge(&lab.tenant, &other, json!({"spec": {"ingress": [{}]}}))
        .await?;
    let all = api(&lab.tenant, &policy);
    let everything = all
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await;
    refused("deletion of all", everything, WORDS)?;
    ensure!(lab.is_there(&policy).await?, "the owned policy is gone");

    lab.merge(&lab.controller, &policy, json!({"spec": {"egress": [{}]}}))
        .await?;
    // A finalizer that somebody has put on it may be taken away, once it is being deleted.
    let held = json!({"metadata": {"finalizers": ["example.test/f"]}});
    lab.merge(&lab.controller, &policy, held).await?;
    lab.delete(&lab.controller, &policy).await?;
    lab.merge(
        &lab.tenant,
        &policy,
        json!({"metadata": {"finalizers": null}}),
    )
    .await?;
    ensure!(
        !lab.is_there(&policy).await?,
        "still there without finalizers"
    );
    println!("ok: nobody else touches the owned policy");
    Ok(())
}

/// `onDisable: Retain` leaves a policy without an owner behind.
pub async fn what_was_retained(lab: &Lab) -> Result<()> {
    let policy = owned("shop");
    lab.create(&lab.controller, &policy).await?;
    let change = json!({"spec": {"ingress": [{}]}});
    refused(
        "an edit",
        lab.merge(&lab.owner, &policy, change).await,
        WORDS,
    )?;
    refused("deletion", lab.delete(&lab.tenant, &policy).await, WORDS)?;
    lab.delete(&lab.owner, &policy).await?;
    println!("ok: whoever may end the isolation may delete what it has left");
    Ok(())
}

pub async fn whoever_may_override(lab: &Lab) -> Result<()> {
    let policy = owned("shop");
    lab.create(&lab.admin, &policy).await?;
    lab.merge(&lab.admin, &policy, json!({"spec": {"ingress": [{}]}}))
        .await?;
    let rule = json!([{
        "apiGroups": ["ringfence.dev"], "resources": ["namespaceisolations"],
        "verbs": ["override"],
    }]);
    lab.grant("override", &rule, Identity::Tenant).await?;
    lab.until("a right counts", async |lab| {
        Ok(lab.delete(&lab.tenant, &policy).await.is_ok())
    })
    .await?;
    lab.grant("override", &json!([]), Identity::Tenant).await?;
    lab.create(&lab.controller, &policy).await?;
    lab.until("a right counts no more", async |lab| {
        let change = json!({"metadata": {"labels": {"a": "b"}}});
        Ok(lab.merge(&lab.tenant, &policy, change).await.is_err())
    })
    .await?;
    lab.delete(&lab.controller, &policy).await?;
    println!("ok: cluster-admin may, and whoever has the verb `override`");
    Ok(())
}

/// A policy of that name which was there before Ringfence.
pub async fn the_name_of_somebody_else(lab: &Lab) -> Result<()> {
    let policy = foreign("shop", OWNED);
    lab.create(&lab.admin, &policy).await?;
    lab.merge(&lab.tenant, &policy, json!({"spec": {"ingress": [{}]}}))
        .await?;
    let mark = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "ringfence"}}});
    refused(
        "forging the mark",
        lab.merge(&lab.tenant, &policy, mark).await,
        WORDS,
    )?;
    lab.delete(&lab.tenant, &policy).await?;
    println!("ok: a foreign policy of that name stays its author's");
    Ok(())
}
