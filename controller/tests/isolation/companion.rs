//! Companion policies, beside a tool that insists on its manifests.

use crate::lab::Lab;
use anyhow::{Context, Result, ensure};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

const NS: &str = "gitops";
/// How often the tool applies.
const LOOPS: usize = 50;

/// The manifests of a team, which forgets DNS and monitoring.
fn manifests() -> Vec<Value> {
    let policy = |name: &str, spec: Value| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": NS}, "spec": spec,
        })
    };
    let web = json!({
        "podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"],
        "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "db"}}}]}],
    });
    let db = json!({
        "podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}],
    });
    vec![policy("web", web), policy("db", db)]
}

/// One round of the tool: server-side apply, without force, so that a conflict is an error.
async fn sync(lab: &Lab<'_>) -> Result<()> {
    let api = lab.api("NetworkPolicy", Some(NS));
    for manifest in manifests() {
        let name = manifest["metadata"]["name"].as_str().context("no name")?;
        let parameters = PatchParams::apply("gitops");
        let applied = api.patch(name, &parameters, &Patch::Apply(&manifest)).await;
        applied.with_context(|| format!("the tool applies {name}"))?;
    }
    Ok(())
}

/// Every policy of the namespace, by name: its version, and whose companion it is.
async fn versions(lab: &Lab<'_>) -> Result<Vec<(String, String, Option<String>)>> {
    let all = lab.list("NetworkPolicy", Some(NS)).await?.into_iter();
    let one = |policy: kube::api::DynamicObject| {
        let owner = policy.metadata.owner_references.unwrap_or_default().pop();
        let name = policy.metadata.name.unwrap_or_default();
        let version = policy.metadata.resource_version.unwrap_or_default();
        (name, version, owner.map(|o| o.name))
    };
    Ok(all.map(one).collect())
}

async fn companions(lab: &Lab<'_>) -> Result<Vec<String>> {
    let mut all: Vec<String> = versions(lab)
        .await?
        .into_iter()
        .filter_map(|(.., of)| of)
        .collect();
    all.sort();
    Ok(all)
}

pub async fn beside_a_tool_that_insists(lab: &mut Lab<'_>) -> Result<()> {
    let config = lab.folder().join("checks.yaml");
    let with = |mode: &str| {
        format!(
            "monitoring: {{namespaces: [monitoring]}}\nnamespaces: [{{names: [{NS}], injection: {mode}}}]\n"
        )
    };
    std::fs::write(&config, with("companion"))?;
    lab.namespace(NS, json!({})).await?;
    lab.controller_with("d", &[format!("--config={}", config.display())])?;
    sync(lab).await?;
    lab.until("a companion each", async |lab| {
        Ok(companions(lab).await? == ["db", "web"])
    })
    .await?;
    let before = versions(lab).await?;
    for _ in 0..LOOPS {
        sync(lab).await?;
    }
    ensure!(
        versions(lab).await? == before,
        "somebody wrote: {before:?}, {:?}",
        versions(lab).await?
    );
    println!("ok: a tool that applies {LOOPS} times meets no conflict, and nobody writes again");

    // Changed by hand, and deleted: it is put back.
    let name = before.iter().find(|(.., of)| of.as_deref() == Some("web"));
    let name = &name.context("no companion of web")?.0;
    let edit = json!([{"op": "replace", "path": "/spec/egress", "value": [{}]}]);
    lab.edit("NetworkPolicy", NS, name, edit).await?;
    lab.until("it is put back", async |lab| {
        let policy = lab
            .get("NetworkPolicy", NS, name)
            .await?
            .unwrap_or_default();
        Ok(policy["spec"]["egress"][0]["ports"].is_array())
    })
    .await?;

    // The author's policy is deleted while there is no controller, and comes back.
    lab.stop("d")?;
    lab.delete("NetworkPolicy", Some(NS), "web").await?;
    lab.until("garbage collection takes it", async |lab| {
        Ok(companions(lab).await? == ["db"])
    })
    .await?;
    lab.controller_with("e", &[format!("--config={}", config.display())])?;
    sync(lab).await?;
    lab.until("a companion each", async |lab| {
        Ok(companions(lab).await? == ["db", "web"])
    })
    .await?;
    println!("ok: without a controller a companion goes with its author's policy");

    std::fs::write(&config, with("warn"))?;
    lab.until("no companions", async |lab| {
        Ok(companions(lab).await?.is_empty())
    })
    .await?;
    ensure!(versions(lab).await?.len() == 2, "the author's stay");
    lab.stop("e")?;
    println!("ok: in another mode companions go");
    Ok(())
}
