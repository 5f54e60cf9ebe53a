//! From on to off, and all that may happen between.

use crate::lab::Lab;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

pub fn from_namespace(name: &str) -> Value {
    json!({"direction": "Ingress", "peer": {"namespace": name}})
}

pub fn to_address() -> Value {
    json!({
        "direction": "Egress", "peer": {"cidr": {"cidr": "10.1.0.1/32"}},
        "ports": [{"protocol": "TCP", "port": 80}],
    })
}

fn theirs(namespace: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    })
}

pub async fn on_and_off(lab: &Lab<'_>) -> Result<()> {
    lab.namespace("demo-project", json!({})).await?;
    let mine = theirs(
        "demo-project",
        "mine",
        &json!({"podSelector": {"matchLabels": {"a": "b"}}}),
    );
    lab.apply(mine).await?;
    lab.isolate("demo-project", json!({})).await?;
    lab.until_sources("demo-project", "inside").await?;
    lab.until_condition("demo-project", None, "Ready", "True Rendered")
        .await?;
    lab.until_condition("demo-project", None, "Enforced", "False Enforcers")
        .await?;
    lab.until_condition("demo-project", None, "EgressRestricted", "False Open")
        .await?;
    lab.until_condition("demo-project", None, "WidenedByForeignPolicy", "False None")
        .await?;
    lab.until_event("demo-project", "Enabled").await?;
    let policy = lab.policy("demo-project").await?.context("no policy")?;
    let owner = &policy["metadata"]["ownerReferences"][0];
    ensure!(owner["kind"] == "NamespaceIsolation", "{owner}");
    ensure!(
        policy["metadata"].get("finalizers").is_none(),
        "no finalizers"
    );
    ensure!(
        policy["spec"]["policyTypes"] == json!(["Ingress"]),
        "{}",
        policy["spec"]
    );
    lab.delete("NamespaceIsolation", Some("demo-project"), "default")
        .await?;
    lab.until_sources("demo-project", "-").await?;
    ensure!(
        lab.get("NetworkPolicy", "demo-project", "mine")
            .await?
            .is_some(),
        "what others made stays"
    );
    println!("ok: on, and off again leaves what others made");
    Ok(())
}

pub async fn rules(lab: &Lab<'_>) -> Result<()> {
    let ns = "demo-project";
    lab.namespace("friend", json!({})).await?;
    lab.apply(json!({
        "apiVersion": "ringfence.dev/v1alpha1", "kind": "IsolationConfig",
        "metadata": {"name": "default"},
        "spec": {"allowedIngressNamespaces": ["kube-system"], "tenantLabel": "ringfence.dev/tenant"},
    }))
    .await?;
    lab.isolate(ns, json!({})).await?;
    lab.rule(ns, "friend", from_namespace("friend")).await?;
    lab.rule(ns, "world", to_address()).await?;
    lab.until_sources(
        ns,
        "inside,allowedIngressNamespaces,rule/friend | inside,rule/world",
    )
    .await?;
    lab.until_condition(ns, Some("friend"), "Ready", "True Rendered")
        .await?;
    lab.until_condition(ns, Some("friend"), "PeerAllows", "True PeerAllows")
        .await?;
    lab.until_event(ns, "RuleRendered").await?;
    // There is no DNS in this cluster yet.
    lab.until_condition(ns, None, "EgressRestricted", "True WithoutDNS")
        .await?;
    lab.apply(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system"},
        "spec": {"selector": {"k8s-app": "kube-dns"}, "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53},
        ]},
    }))
    .await?;
    lab.until_sources(
        ns,
        "inside,allowedIngressNamespaces,rule/friend | inside,dns,rule/world",
    )
    .await?;
    lab.until_condition(ns, None, "EgressRestricted", "True Restricted")
        .await?;
    let wide = json!({"podSelector": {}, "ingress": [{}]});
    lab.apply(theirs(ns, "wide", &wide)).await?;
    lab.until_condition(ns, None, "WidenedByForeignPolicy", "True ForeignPolicy")
        .await?;
    lab.delete("NetworkPolicy", Some(ns), "wide").await?;
    lab.until_condition(ns, None, "WidenedByForeignPolicy", "False None")
        .await?;
    lab.apply(theirs(
        "friend",
        "shut",
        &json!({"podSelector": {}, "policyTypes": ["Egress"]}),
    ))
    .await?;
    lab.until_condition(ns, Some("friend"), "PeerAllows", "False PeerDenies")
        .await?;
    lab.delete("NetworkPolicy", Some("friend"), "shut").await?;
    lab.delete("IsolationRule", Some(ns), "world").await?;
    lab.until_sources(ns, "inside,allowedIngressNamespaces,rule/friend")
        .await?;
    println!("ok: rules come and go, DNS follows, the other end is looked at");
    Ok(())
}

/// The spec of a Service in the friend's namespace, whose pods listen elsewhere.
async fn service(lab: &Lab<'_>, target: u16) -> Result<()> {
    lab.apply(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "nginx", "namespace": "friend"},
        "spec": {"selector": {"app": "nginx"}, "ports": [{"port": 80, "targetPort": target}]},
    }))
    .await
}

pub async fn the_cluster_changes(lab: &Lab<'_>) -> Result<()> {
    let ns = "demo-project";
    let peer = json!({"service": {"namespace": "friend", "name": "nginx"}});
    lab.rule(ns, "nginx", json!({"direction": "Egress", "peer": peer}))
        .await?;
    lab.until_condition(ns, Some("nginx"), "Ready", "False ServiceMissing")
        .await?;
    lab.until_event(ns, "RuleRejected").await?;
    for target in [8080, 9090] {
        service(lab, target).await?;
        lab.until(&format!("egress to {target}"), async |lab| {
            let policy = lab.policy(ns).await?.unwrap_or_default();
            let last = policy["spec"]["egress"]
                .as_array()
                .and_then(|e| e.last().cloned());
            Ok(last.unwrap_or_default()["ports"][0]["port"] == target)
        })
        .await?;
    }
    lab.until_condition(ns, Some("nginx"), "PeersResolved", "True Resolved")
        .await?;
    lab.delete("Service", Some("friend"), "nginx").await?;
    lab.until_condition(ns, Some("nginx"), "PeersResolved", "False ServiceMissing")
        .await?;
    lab.until_event(ns, "PeerLost").await?;
    lab.until_sources(
        ns,
        "inside,allowedIngressNamespaces,rule/friend | inside,dns",
    )
    .await?;
    lab.delete("IsolationRule", Some(ns), "nginx").await?;
    // A tenant: with the label, and without it again.
    lab.isolate(ns, json!({"scope": "Tenant"})).await?;
    let peers = async |lab: &Lab<'_>| {
        let policy = lab.policy(ns).await?.unwrap_or_default();
        anyhow::Ok(
            policy["spec"]["ingress"][0]["from"]
                .as_array()
                .map_or(0, Vec::len),
        )
    };
    lab.namespace(ns, json!({"labels": {"ringfence.dev/tenant": "acme"}}))
        .await?;
    lab.until("two peers", async |lab| Ok(peers(lab).await? == 2))
        .await?;
    lab.namespace(ns, json!({})).await?;
    lab.until("one peer", async |lab| Ok(peers(lab).await? == 1))
        .await?;
    lab.isolate(ns, json!({})).await?;
    println!("ok: targetPort, a lost Service, a tenant's label: rendered again");
    Ok(())
}

pub async fn a_rule_ends(lab: &Lab<'_>) -> Result<()> {
    let ns = "demo-project";
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3);
    let mut rule = to_address();
    rule["expiresAt"] = end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
    lab.rule(ns, "short", rule).await?;
    lab.until_condition(ns, Some("short"), "Expired", "False Waiting")
        .await?;
    lab.until_condition(ns, Some("short"), "Expired", "True Ended")
        .await?;
    lab.until_event(ns, "RuleExpired").await?;
    let sources = lab.sources(ns).await?;
    ensure!(
        sources == "inside,allowedIngressNamespaces,rule/friend | inside,dns",
        "the end of a rule does not open egress: {sources}"
    );
    lab.delete("IsolationRule", Some(ns), "short").await?;
    lab.until_sources(ns, "inside,allowedIngressNamespaces,rule/friend")
        .await?;
    println!("ok: a rule ends at its time, and egress stays restricted");
    Ok(())
}

pub async fn drift_is_repaired(lab: &Lab<'_>) -> Result<()> {
    let ns = "demo-project";
    let before = lab.policy(ns).await?.context("no policy")?;
    let edits = [
        json!([{"op": "replace", "path": "/spec/ingress", "value": [{}]}]),
        json!([{"op": "replace", "path": "/spec/policyTypes", "value": ["Egress"]}]),
        json!([{"op": "add", "path": "/spec/podSelector/matchLabels", "value": {"no": "pod"}}]),
        json!([{"op": "remove", "path": "/metadata/ownerReferences"}]),
        json!([{"op": "remove", "path": "/metadata/labels"}, {"op": "remove", "path": "/metadata/annotations"}]),
    ];
    let same = async |lab: &Lab<'_>| {
        let now = lab.policy(ns).await?.unwrap_or_default();
        let fields = ["labels", "annotations", "ownerReferences"];
        anyhow::Ok(
            now["spec"] == before["spec"]
                && fields
                    .iter()
                    .all(|f| now["metadata"][f] == before["metadata"][f]),
        )
    };
    for edit in edits {
        lab.edit("NetworkPolicy", ns, "ringfence-isolation", edit.clone())
            .await?;
        lab.until(&format!("as before {edit}"), async |lab| same(lab).await)
            .await?;
    }
    lab.until_event(ns, "DriftRepaired").await?;
    lab.delete("NetworkPolicy", Some(ns), "ringfence-isolation")
        .await?;
    lab.until("as before it was deleted", async |lab| same(lab).await)
        .await?;
    println!("ok: whatever is changed by hand is put back");
    Ok(())
}

pub async fn retained(lab: &Lab<'_>) -> Result<()> {
    let ns = "demo-project";
    let owned = async |lab: &Lab<'_>| {
        let policy = lab.policy(ns).await?.context("no policy")?;
        anyhow::Ok(policy["metadata"].get("ownerReferences").is_some())
    };
    lab.isolate(ns, json!({"onDisable": "Retain"})).await?;
    lab.until("no owner", async |lab| Ok(!owned(lab).await?))
        .await?;
    lab.isolate(ns, json!({"onDisable": "Delete"})).await?;
    lab.until("an owner", async |lab| owned(lab).await).await?;
    lab.isolate(ns, json!({"onDisable": "Retain"})).await?;
    lab.until("no owner", async |lab| Ok(!owned(lab).await?))
        .await?;
    let uid = lab.policy(ns).await?.context("no policy")?["metadata"]["uid"].clone();
    lab.delete("NamespaceIsolation", Some(ns), "default")
        .await?;
    lab.until_condition(ns, Some("friend"), "Ready", "False NotIsolated")
        .await?;
    ensure!(lab.policy(ns).await?.is_some(), "the policy is retained");
    lab.isolate(ns, json!({})).await?;
    lab.until("an owner", async |lab| owned(lab).await).await?;
    let policy = lab.policy(ns).await?.context("no policy")?;
    ensure!(
        policy["metadata"]["uid"] == uid,
        "the same object all the time"
    );
    println!("ok: retained, and taken over again");
    Ok(())
}

pub async fn preview(lab: &Lab<'_>) -> Result<()> {
    let ns = "demo-project";
    let pod = |namespace: &str, name: &str, ip: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
            "spec": {"nodeName": "node1", "containers": [{"name": "a", "image": "a"}]},
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]},
        })
    };
    lab.apply(pod(ns, "web", "10.244.0.5")).await?;
    lab.namespace("other", json!({})).await?;
    lab.apply(pod("other", "client", "10.244.0.6")).await?;
    lab.isolate(ns, json!({"mode": "Preview"})).await?;
    lab.until_sources(ns, "-").await?;
    lab.until_condition(ns, None, "Ready", "False Preview")
        .await?;
    // Ours is cut off from the client, and from whatever else there is.
    lab.until("the client is counted, and not named", async |lab| {
        let object = lab.get("NamespaceIsolation", ns, "default").await?;
        let preview = &object.context("gone")?["status"]["preview"];
        ensure!(
            !preview.to_string().contains("other"),
            "no names of others: {preview}"
        );
        Ok(preview["wouldCut"].as_u64() >= Some(1))
    })
    .await?;
    lab.isolate(ns, json!({})).await?;
    lab.until_condition(ns, None, "Ready", "True Rendered")
        .await?;
    let object = lab
        .get("NamespaceIsolation", ns, "default")
        .await?
        .context("gone")?;
    ensure!(
        object["status"].get("preview").is_none(),
        "{}",
        object["status"]
    );
    println!("ok: a preview counts what would be cut and enforces nothing");
    Ok(())
}
