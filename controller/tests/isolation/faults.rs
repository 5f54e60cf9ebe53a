//! Killed, doubled, absent; namespaces that go away.

use crate::lab::Lab;
use crate::life::{from_namespace, to_address};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

async fn gone(lab: &Lab<'_>, namespace: &str) -> Result<()> {
    lab.until(&format!("namespace {namespace} is gone"), async |lab| {
        Ok(lab
            .api("Namespace", None)
            .get_opt(namespace)
            .await?
            .is_none())
    })
    .await
}

pub async fn namespaces_are_deleted(lab: &Lab<'_>) -> Result<()> {
    for (namespace, spec) in [
        ("going-1", json!({})),
        ("going-2", json!({"onDisable": "Retain"})),
        ("going-3", json!({"mode": "Preview"})),
    ] {
        lab.namespace(namespace, json!({})).await?;
        lab.isolate(namespace, spec).await?;
        lab.rule(namespace, "a", from_namespace("friend")).await?;
        lab.until("a status", async |lab| {
            let ready = lab
                .condition("IsolationRule", namespace, "a", "Ready")
                .await?;
            Ok(!ready.is_empty())
        })
        .await?;
        lab.delete("Namespace", None, namespace).await?;
        gone(lab, namespace).await?;
    }
    println!("ok: isolated namespaces are deleted, in every mode");
    Ok(())
}

/// The policy only ever is what one of `allowed` says.
async fn never_anything_else(
    lab: &Lab<'_>,
    namespace: &str,
    allowed: &[&str],
    end: &str,
) -> Result<()> {
    lab.until(&format!("{namespace} becomes {end}"), async |lab| {
        let now = lab.sources(namespace).await?;
        ensure!(allowed.contains(&&*now), "between {allowed:?}: {now}");
        Ok(now == end)
    })
    .await
}

/// Each step is one write, so a controller that dies leaves the state before or after.
pub async fn killed_at_every_step(lab: &mut Lab<'_>) -> Result<()> {
    let ns = "killed";
    lab.namespace(ns, json!({})).await?;
    let states = [
        "-",
        "inside,allowedIngressNamespaces",
        "inside,allowedIngressNamespaces,rule/a",
        "inside,allowedIngressNamespaces,rule/a | inside,dns,rule/b",
        "-",
    ];
    for step in 0..states.len() - 1 {
        // Killed right after the order is given, wherever it is then.
        match step {
            0 => lab.isolate(ns, json!({})).await?,
            1 => lab.rule(ns, "a", from_namespace("friend")).await?,
            2 => lab.rule(ns, "b", to_address()).await?,
            _ => {
                lab.delete("NamespaceIsolation", Some(ns), "default")
                    .await?;
            }
        }
        lab.kill("a").await?;
        let now = lab.sources(ns).await?;
        ensure!(
            states[step..=step + 1].contains(&&*now),
            "after step {step}: {now}"
        );
        lab.controller("a")?;
        never_anything_else(lab, ns, &states[step..=step + 1], states[step + 1]).await?;
    }
    println!("ok: killed at every step, it is the state before or after");
    Ok(())
}

pub async fn two_controllers(lab: &mut Lab<'_>) -> Result<()> {
    let ns = "doubled";
    lab.namespace(ns, json!({})).await?;
    lab.isolate(ns, json!({})).await?;
    lab.until_condition(ns, None, "Ready", "True Rendered")
        .await?;
    // The Lease is taken away under the leader, which notices later: two at work.
    lab.controller("b")?;
    lab.free_the_lease().await?;
    for i in 0..5 {
        lab.rule(ns, &format!("r{i}"), from_namespace("friend"))
            .await?;
    }
    lab.until_sources(
        ns,
        "inside,allowedIngressNamespaces,rule/r0,rule/r1,rule/r2,rule/r3,rule/r4",
    )
    .await?;
    lab.stop("a")?;
    lab.rule(ns, "r0", to_address()).await?;
    lab.until_sources(
        ns,
        "inside,allowedIngressNamespaces,rule/r1,rule/r2,rule/r3,rule/r4 | inside,dns,rule/r0",
    )
    .await?;
    let version = |policy: &Value| policy["metadata"]["resourceVersion"].clone();
    let before = version(&lab.policy(ns).await?.context("no policy")?);
    lab.until_condition(ns, Some("r0"), "Ready", "True Rendered")
        .await?;
    let after = version(&lab.policy(ns).await?.context("no policy")?);
    ensure!(before == after, "nobody writes what is as it should be");
    println!("ok: two controllers, a lease change");
    Ok(())
}

pub async fn without_a_controller(lab: &mut Lab<'_>) -> Result<()> {
    let (ns, leaving) = ("alone", "alone-leaving");
    for namespace in [ns, leaving] {
        lab.namespace(namespace, json!({})).await?;
        lab.isolate(namespace, json!({})).await?;
        lab.until_condition(namespace, None, "Ready", "True Rendered")
            .await?;
    }
    lab.stop("b")?;
    lab.delete("NamespaceIsolation", Some(ns), "default")
        .await?;
    lab.until_sources(ns, "-").await?;
    lab.delete("Namespace", None, leaving).await?;
    gone(lab, leaving).await?;
    lab.controller("c")?;
    println!("ok: without a controller garbage collection ends an isolation, and namespaces go");
    Ok(())
}
