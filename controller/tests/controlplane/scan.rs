//! The background scan: metrics where reports cannot be written, reports once they can, and
//! what changes in the cluster changes them.

use crate::lab::Lab;
use crate::overlays::kustomize;
use anyhow::Result;
use ringfence_e2e::controlplane::Programs;
use serde_json::{Value, json};

const NAMESPACE: &str = "scanned";

fn policy(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec})
}

fn pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web-0", "namespace": NAMESPACE, "labels": {"app": "web"}},
        "spec": {"automountServiceAccountToken": false,
            "containers": [{"name": "c", "image": "none"}]}})
}

/// The checks that the report names; `None`: there is no report.
async fn reported(lab: &Lab<'_>, version: &str, kind: &str) -> Result<Option<Vec<String>>> {
    let api = lab.api(version, kind, Some(NAMESPACE));
    let report = match api.get_opt("ringfence").await {
        Ok(report) => report,
        // No such kind (yet).
        Err(kube::Error::Api(status)) if status.code == 404 => None,
        Err(error) => return Err(error.into()),
    };
    Ok(report.map(|report| {
        let results = report.data["results"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let checks = results
            .iter()
            .map(|r| r["policy"].as_str().unwrap_or_default());
        checks.map(str::to_owned).collect()
    }))
}

async fn names(lab: &Lab<'_>, check: &str) -> Result<bool> {
    let found = reported(lab, "openreports.io/v1alpha1", "Report").await?;
    Ok(found.is_some_and(|checks| checks.iter().any(|c| c == check)))
}

pub async fn findings_become_reports(programs: &Programs, lab: &mut Lab<'_>) -> Result<()> {
    lab.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}))
        .await?;
    let open = json!({"podSelector": {}, "ingress": [{}]});
    lab.apply(policy("open", &open)).await?;
    let web = json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"]});
    lab.apply(policy("web", &web)).await?;
    lab.until("findings are metrics", async |lab| {
        let told = lab.get("/metrics").unwrap_or_default();
        Ok(told.contains("scan_findings{check=\"allow-all-ingress\"")
            && told.contains("scan_findings{check=\"selects-none\"")
            && told.contains("scan_reports_available 0"))
    })
    .await?;
    println!("ok: without the reports' CRDs the scan has metrics");

    for object in kustomize(programs, "overlays/reports")? {
        let text = object.to_string();
        if object["kind"] == "CustomResourceDefinition" && !text.contains("ringfence.dev")
            || text.contains("ringfence-controller-reports")
        {
            lab.apply(object).await?;
        }
    }
    lab.until("findings are reports", async |lab| {
        Ok(names(lab, "allow-all-ingress").await? && names(lab, "selects-none").await?)
    })
    .await?;
    lab.apply(pod()).await?;
    lab.until("a pod that comes mends a finding", async |lab| {
        Ok(!names(lab, "selects-none").await? && names(lab, "allow-all-ingress").await?)
    })
    .await?;
    lab.delete(&pod()).await?;
    lab.until("and one that goes brings it back", async |lab| {
        names(lab, "selects-none").await
    })
    .await?;
    let own = json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [{"from": [{"podSelector": {}}]}]});
    lab.apply(policy("open", &own)).await?;
    lab.until("a policy that is mended is reported no more", async |lab| {
        Ok(!names(lab, "allow-all-ingress").await? && names(lab, "selects-none").await?)
    })
    .await?;
    println!("ok: findings become reports, and go with what they are about");
    Ok(())
}

/// With the other kind of report.
pub async fn policy_reports(lab: &mut Lab<'_>) -> Result<()> {
    lab.until("findings are PolicyReports", async |lab| {
        let found = reported(lab, "wgpolicyk8s.io/v1alpha2", "PolicyReport").await?;
        Ok(found.is_some_and(|checks| checks.iter().any(|c| c == "selects-none")))
    })
    .await?;
    println!("ok: findings as PolicyReports");
    Ok(())
}
