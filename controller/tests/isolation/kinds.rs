//! CRDs that go away while there are objects of them.

use crate::lab::Lab;
use crate::life::{from_namespace, to_address};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

async fn gone(lab: &Lab<'_>, crd: &str) -> Result<()> {
    let what = format!("CRD {crd} is gone");
    lab.until(&what, async |lab| {
        let crds = lab.api("CustomResourceDefinition", None);
        Ok(crds.get_opt(crd).await?.is_none())
    })
    .await
}

/// Without its rules egress that is `Auto` would be open.
pub async fn rules_go_with_their_kind(lab: &mut Lab<'_>) -> Result<()> {
    let (ns, crd) = ("kind", "isolationrules.ringfence.dev");
    lab.namespace(ns, json!({})).await?;
    lab.isolate(ns, json!({})).await?;
    lab.rule(ns, "a", from_namespace("friend")).await?;
    lab.rule(ns, "b", to_address()).await?;
    let rendered = "inside,allowedIngressNamespaces,rule/a | inside,dns,rule/b";
    lab.until_sources(ns, rendered).await?;
    let version = |policy: &Value| policy["metadata"]["resourceVersion"].clone();
    let before = version(&lab.policy(ns).await?.context("no policy")?);
    lab.delete("CustomResourceDefinition", None, crd).await?;
    gone(lab, crd).await?;
    lab.until_condition(ns, None, "Ready", "True KindMissing")
        .await?;
    let after = version(&lab.policy(ns).await?.context("no policy")?);
    ensure!(before == after, "somebody has written the policy");
    // Something that concerns every namespace.
    lab.namespace("friend", json!({"labels": {"news": "yes"}}))
        .await?;
    let rules = lab.crds.iter().find(|o| o["metadata"]["name"] == crd);
    lab.apply(rules.context("no such CRD")?.clone()).await?;
    lab.established().await?;
    let now = lab.sources(ns).await?;
    ensure!(
        [rendered, "inside,allowedIngressNamespaces"].contains(&&*now),
        "neither as before nor without rules: {now}"
    );
    // There is the kind, and there are no rules: nobody wants them any more.
    lab.until_sources(ns, "inside,allowedIngressNamespaces")
        .await?;
    lab.until_condition(ns, None, "Ready", "True Rendered")
        .await?;
    println!("ok: rules that go with their kind count until it is back");
    Ok(())
}

pub async fn all_come_and_go(lab: &mut Lab<'_>) -> Result<()> {
    let ns = "kinds";
    lab.namespace(ns, json!({})).await?;
    lab.isolate(ns, json!({})).await?;
    lab.rule(ns, "a", from_namespace("friend")).await?;
    lab.until_condition(ns, Some("a"), "Ready", "True Rendered")
        .await?;
    for crd in lab.crds.clone() {
        let name = crd["metadata"]["name"].as_str().context("no name")?;
        lab.delete("CustomResourceDefinition", None, name).await?;
    }
    lab.until_sources(ns, "-").await?;
    for crd in &lab.crds {
        gone(lab, crd["metadata"]["name"].as_str().context("no name")?).await?;
    }
    for crd in lab.crds.clone() {
        lab.apply(crd).await?;
    }
    lab.established().await?;
    lab.isolate(ns, json!({})).await?;
    lab.until_sources(ns, "inside").await?;
    lab.until_condition(ns, None, "Ready", "True Rendered")
        .await?;
    lab.stop("c")?;
    println!("ok: the kinds go away and come back");
    Ok(())
}
