//! Which changes make a call: matchConditions on a real API server.

use crate::lab::Lab;
use crate::switch::policy;
use anyhow::{Context, Result, ensure};
use kube::api::{DeleteParams, GetParams, Patch, PatchParams};
use serde_json::{Value, json};
use std::collections::HashSet;

pub async fn calls(lab: &Lab<'_>) -> Result<()> {
    lab.hook.take_calls();
    policies(lab).await?;
    services(lab).await?;
    namespaces(lab).await?;
    // The own namespace is left out.
    let mut own = policy("own");
    own["metadata"]["namespace"] = "ringfence-system".into();
    lab.apply(own.clone()).await?;
    expect(lab, "a policy of our own namespace", &[])?;
    lab.delete(&own).await?;
    println!("ok: calls are made for what matters, and for nothing else");
    Ok(())
}

async fn policies(lab: &Lab<'_>) -> Result<()> {
    const BOTH: [&str; 2] = [
        "mutate UPDATE NetworkPolicy p",
        "validate UPDATE NetworkPolicy p",
    ];
    lab.apply(policy("p")).await?;
    let created = [
        "mutate CREATE NetworkPolicy p",
        "validate CREATE NetworkPolicy p",
    ];
    expect(lab, "a new policy", &created)?;
    lab.apply(policy("p")).await?;
    expect(lab, "the same again", &[])?;
    // One that exists: the garbage collector is real.
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "o", "namespace": "default"},
    });
    lab.apply(map).await?;
    let uid = lab
        .api("v1", "ConfigMap", Some("default"))
        .get("o")
        .await?
        .metadata
        .uid;
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": uid}]);
    let steps: [(&str, Value, &[&str]); 8] = [
        (
            "a finalizer",
            json!({"metadata": {"finalizers": ["example.test/f"]}}),
            &[],
        ),
        (
            "an ownerReference",
            json!({"metadata": {"ownerReferences": owner}}),
            &[],
        ),
        (
            "a label",
            json!({"metadata": {"labels": {"a": "b"}}}),
            &BOTH,
        ),
        (
            "another label",
            json!({"metadata": {"labels": {"a": "c"}}}),
            &BOTH,
        ),
        (
            "a finalizer beside labels",
            json!({"metadata": {"finalizers": null}}),
            &[],
        ),
        (
            "an annotation",
            json!({"metadata": {"annotations": {"a": "b"}}}),
            &BOTH,
        ),
        (
            "no annotation",
            json!({"metadata": {"annotations": null}}),
            &BOTH,
        ),
        ("the spec", json!({"spec": {"ingress": [{}]}}), &BOTH),
    ];
    for (what, patch, wanted) in steps {
        merge(
            lab,
            "networking.k8s.io/v1",
            "NetworkPolicy",
            Some("default"),
            "p",
            patch,
        )
        .await?;
        expect(lab, what, wanted)?;
    }
    let held = json!({"metadata": {"finalizers": ["example.test/f"], "ownerReferences": null}});
    merge(
        lab,
        "networking.k8s.io/v1",
        "NetworkPolicy",
        Some("default"),
        "p",
        held,
    )
    .await?;
    let api = lab.api("networking.k8s.io/v1", "NetworkPolicy", Some("default"));
    api.delete("p", &DeleteParams::default()).await?;
    let last = json!({"metadata": {"labels": {"a": "d"}, "finalizers": null}});
    merge(
        lab,
        "networking.k8s.io/v1",
        "NetworkPolicy",
        Some("default"),
        "p",
        last,
    )
    .await?;
    expect(lab, "deletion, and edits while it lasts", &[])?;
    ensure!(
        api.get_opt("p").await?.is_none(),
        "the policy is still there"
    );
    Ok(())
}

async fn services(lab: &Lab<'_>) -> Result<()> {
    const BOTH: [&str; 2] = ["mutate UPDATE Service web", "validate UPDATE Service web"];
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80}]},
    });
    lab.apply(service.clone()).await?;
    expect(
        lab,
        "a new Service",
        &["mutate CREATE Service web", "validate CREATE Service web"],
    )?;
    let steps: [(&str, Value, &[&str]); 6] = [
        ("a label", json!({"metadata": {"labels": {"a": "b"}}}), &[]),
        (
            "a finalizer",
            json!({"metadata": {"finalizers": ["example.test/f"]}}),
            &[],
        ),
        (
            "no finalizer",
            json!({"metadata": {"finalizers": null}}),
            &[],
        ),
        (
            "the affinity",
            json!({"spec": {"sessionAffinity": "ClientIP"}}),
            &[],
        ),
        (
            "the traffic policy",
            json!({"spec": {"externalTrafficPolicy": "Local"}}),
            &BOTH,
        ),
        (
            "the ports",
            json!({"spec": {"ports": [{"port": 81}]}}),
            &["validate UPDATE Service web"],
        ),
    ];
    for (what, patch, wanted) in steps {
        merge(lab, "v1", "Service", Some("default"), "web", patch).await?;
        let calls = lab.hook.take_calls();
        let all = wanted.iter().all(|w| calls.iter().any(|c| c == w));
        ensure!(
            all && (wanted.is_empty() == calls.is_empty()),
            "{what}: {calls:?}"
        );
    }
    lab.delete(&service).await?;
    expect(lab, "deletion of a Service", &[])
}

async fn namespaces(lab: &Lab<'_>) -> Result<()> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}});
    lab.apply(namespace.clone()).await?;
    lab.hook.take_calls();
    let steps: [(&str, Value, &[&str]); 3] = [
        (
            "an annotation",
            json!({"metadata": {"annotations": {"a": "b"}}}),
            &[],
        ),
        (
            "a finalizer",
            json!({"metadata": {"finalizers": ["example.test/f"]}}),
            &[],
        ),
        (
            "a label",
            json!({"metadata": {"labels": {"a": "b"}, "finalizers": null}}),
            &["validate UPDATE Namespace team"],
        ),
    ];
    for (what, patch, wanted) in steps {
        merge(lab, "v1", "Namespace", None, "team", patch).await?;
        expect(lab, what, wanted)?;
    }
    lab.delete(&namespace).await?;
    expect(lab, "deletion of a Namespace", &[])
}

async fn merge(
    lab: &Lab<'_>,
    version: &str,
    kind: &str,
    namespace: Option<&str>,
    name: &str,
    patch: Value,
) -> Result<()> {
    let api = lab.api(version, kind, namespace);
    // It tries a change on what it has cached first, asks the webhooks about that, and
    // begins anew when there is a newer object.
    lab.until("the API server's cache has the last write", async |_| {
        let stored = api.get(name).await?.metadata.resource_version;
        let cached = api.get_with(name, &GetParams::any()).await?;
        Ok(cached.metadata.resource_version == stored)
    })
    .await?;
    let patched = api
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await;
    patched.with_context(|| format!("{kind} {name}"))?;
    Ok(())
}

/// An API server whose cache is a write behind tries the same change again, and asks again.
fn expect(lab: &Lab<'_>, what: &str, wanted: &[&str]) -> Result<()> {
    let mut seen = HashSet::new();
    let mut calls = lab.hook.take_calls();
    calls.retain(|call| seen.insert(call.clone()));
    ensure!(
        calls == wanted,
        "{what}: called {calls:?}, wanted {wanted:?}"
    );
    Ok(())
}
