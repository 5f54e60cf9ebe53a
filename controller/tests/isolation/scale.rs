//! How long 1,000 namespaces with 10 rules each take, and how much memory.

use crate::lab::Lab;
use crate::life::from_namespace;
use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use std::time::Instant;

const NAMESPACES: usize = 1000;
const RULES: usize = 10;

pub async fn a_thousand_namespaces(lab: &mut Lab<'_>) -> Result<()> {
    let begin = Instant::now();
    let one = async |i: usize| {
        let ns = format!("scale-{i}");
        lab.namespace(&ns, json!({})).await?;
        lab.isolate(&ns, json!({})).await?;
        for j in 0..RULES {
            let peer = format!("scale-{}", (i + j + 1) % NAMESPACES);
            lab.rule(&ns, &format!("r{j}"), from_namespace(&peer))
                .await?;
        }
        anyhow::Ok(())
    };
    stream::iter(0..NAMESPACES)
        .map(one)
        .buffer_unordered(8)
        .try_collect::<()>()
        .await?;
    println!(
        "{NAMESPACES} namespaces with {RULES} rules each after {:?}",
        begin.elapsed()
    );
    let begin = Instant::now();
    lab.controller("a")?;
    let written = async |lab: &Lab<'_>| {
        let all = lab.list("NetworkPolicy", None).await?;
        anyhow::Ok(
            all.iter()
                .filter(|p| p.metadata.name.as_deref() == Some("ringfence-isolation"))
                .count(),
        )
    };
    lab.until("every policy", async |lab| {
        Ok(written(lab).await? == NAMESPACES)
    })
    .await?;
    println!("every policy is written after {:?}", begin.elapsed());
    lab.until("every status", async |lab| {
        let all = lab.list("IsolationRule", None).await?;
        let ready = |rule: &kube::api::DynamicObject| {
            let conditions = rule.data["status"]["conditions"].as_array();
            conditions
                .into_iter()
                .flatten()
                .any(|c| c["type"] == "Ready" && c["status"] == "True")
        };
        Ok(all.iter().filter(|r| ready(r)).count() == NAMESPACES * RULES)
    })
    .await?;
    println!("every status is written after {:?}", begin.elapsed());
    let replica = lab.replicas().next().context("no replica")?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", replica.pid()))?;
    let peak = status
        .lines()
        .find(|l| l.starts_with("VmHWM"))
        .context("no VmHWM")?;
    println!("{peak}");
    let kib: u64 = peak
        .split_whitespace()
        .nth(1)
        .context("no number")?
        .parse()?;
    ensure!(kib <= 150 * 1024, "more than 150 MiB: {peak}");
    Ok(())
}
