//! Who may, and what others do.

use crate::lab::Lab;
use crate::life::{from_namespace, to_address};
use anyhow::{Context, Result, ensure};
use ringfence_e2e::controlplane::Identity;
use serde_json::{Value, json};

pub async fn somebody_elses_policy_is_not_adopted(lab: &Lab<'_>) -> Result<()> {
    let ns = "occupied";
    lab.namespace(ns, json!({})).await?;
    lab.apply(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "ringfence-isolation", "namespace": ns},
        "spec": {"podSelector": {"matchLabels": {"mine": "yes"}}},
    }))
    .await?;
    let before = lab.policy(ns).await?.context("no policy")?;
    lab.isolate(ns, json!({})).await?;
    lab.until_condition(ns, None, "Ready", "False ForeignPolicy")
        .await?;
    lab.until_event(ns, "ForeignPolicy").await?;
    ensure!(lab.policy(ns).await? == Some(before), "it is as it was");
    lab.delete("NetworkPolicy", Some(ns), "ringfence-isolation")
        .await?;
    lab.until_condition(ns, None, "Ready", "True Rendered")
        .await?;
    println!("ok: a foreign policy of our name is left alone, and told");
    Ok(())
}

pub async fn a_rule_where_nothing_is_isolated(lab: &Lab<'_>) -> Result<()> {
    let ns = "later";
    lab.namespace(ns, json!({})).await?;
    lab.rule(ns, "first", from_namespace("friend")).await?;
    lab.until_condition(ns, Some("first"), "Ready", "False NotIsolated")
        .await?;
    ensure!(lab.policy(ns).await?.is_none(), "no policy");
    lab.isolate(ns, json!({})).await?;
    lab.until_condition(ns, Some("first"), "Ready", "True Rendered")
        .await?;
    println!("ok: a rule waits for its namespace to be isolated");
    Ok(())
}

pub async fn kubespheres_annotation(lab: &Lab<'_>) -> Result<()> {
    let ns = "from-kubesphere";
    let annotated = |value: &str| json!({"annotations": {"kubesphere.io/network-isolate": value}});
    lab.namespace(ns, annotated("enabled")).await?;
    lab.until_condition(ns, None, "Ready", "True Rendered")
        .await?;
    lab.namespace(ns, annotated("disabled")).await?;
    lab.until_sources(ns, "-").await?;
    ensure!(
        lab.get("NamespaceIsolation", ns, "default")
            .await?
            .is_none(),
        "it goes"
    );
    // Somebody's own stays, with the annotation and without.
    lab.isolate(ns, json!({"egress": "Restricted"})).await?;
    lab.namespace(ns, annotated("enabled")).await?;
    lab.until_condition(ns, None, "Ready", "True Rendered")
        .await?;
    lab.namespace(ns, json!({})).await?;
    lab.rule(ns, "any", from_namespace("friend")).await?;
    lab.until_condition(ns, Some("any"), "Ready", "True Rendered")
        .await?;
    ensure!(
        lab.get("NamespaceIsolation", ns, "default")
            .await?
            .is_some(),
        "it stays"
    );
    println!("ok: KubeSphere's annotation isolates, and ends only what it began");
    Ok(())
}

pub async fn an_admin_without_cluster_rights(lab: &Lab<'_>) -> Result<()> {
    let ns = "tenants-own";
    lab.namespace(ns, json!({})).await?;
    let bind = |role: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "people", "namespace": ns},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": Identity::Stranger.user()}],
        })
    };
    let isolation = json!({
        "apiVersion": "ringfence.dev/v1alpha1", "kind": "NamespaceIsolation",
        "metadata": {"name": "default", "namespace": ns}, "spec": {},
    });
    let rule = |spec: Value| {
        json!({
            "apiVersion": "ringfence.dev/v1alpha1", "kind": "IsolationRule",
            "metadata": {"name": "friend", "namespace": ns}, "spec": spec,
        })
    };
    let people = lab.objects_as(Identity::Stranger)?;
    ensure!(
        people.apply(isolation.clone(), ns).await.is_err(),
        "a stranger may not"
    );
    // Who may edit writes rules; whether the namespace is isolated is the admin's.
    lab.apply(bind("edit")).await?;
    lab.until("an editor writes rules", async |_| {
        Ok(people
            .apply(rule(from_namespace("friend")), ns)
            .await
            .is_ok())
    })
    .await?;
    ensure!(
        people.apply(isolation.clone(), ns).await.is_err(),
        "an editor does not isolate"
    );
    lab.delete_binding(ns).await?;
    lab.apply(bind("admin")).await?;
    lab.until("an admin isolates", async |_| {
        Ok(people.apply(isolation.clone(), ns).await.is_ok())
    })
    .await?;
    lab.until_sources(ns, "inside,allowedIngressNamespaces,rule/friend")
        .await?;
    people.apply(rule(to_address()), ns).await?;
    lab.until_sources(
        ns,
        "inside,allowedIngressNamespaces | inside,dns,rule/friend",
    )
    .await?;
    let seen = people
        .read(&isolation, ns)
        .await?
        .context("an admin reads status")?;
    ensure!(
        seen.data["status"]["conditions"].is_array(),
        "{}",
        seen.data
    );
    people.delete(&rule(to_address()), ns).await?;
    lab.until_sources(ns, "inside,allowedIngressNamespaces")
        .await?;
    people.delete(&isolation, ns).await?;
    lab.until_sources(ns, "-").await?;
    println!("ok: a namespace's admin does every step without cluster rights");
    Ok(())
}
