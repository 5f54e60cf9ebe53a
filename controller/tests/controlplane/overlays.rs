//! What kustomize makes of the manifests.

use anyhow::{Context, Result, ensure};
use ringfence_e2e::controlplane::Programs;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// With cert-manager, nobody of ours may touch a Secret.
pub fn cert_manager(programs: &Programs) -> Result<()> {
    let overlay = kustomize(programs, "overlays/cert-manager")?;
    let mut injected = 0;
    for object in &overlay {
        let rules = object["rules"].to_string();
        ensure!(
            !rules.contains("secrets"),
            "{}: {rules}",
            object["metadata"]["name"]
        );
        let annotation = &object["metadata"]["annotations"]["cert-manager.io/inject-ca-from"];
        injected += usize::from(annotation == "ringfence-system/ringfence-webhook");
        let pod = &object["spec"]["template"]["spec"]["containers"][0];
        if object["metadata"]["name"] == "ringfence-controller" && pod.is_object() {
            let arguments = pod["args"].to_string();
            ensure!(arguments.contains("--certs=external"), "{arguments}");
        }
    }
    ensure!(
        injected == 2,
        "{injected} configurations with cert-manager's annotation"
    );
    println!("ok: with cert-manager, nothing of ours has a right to Secrets");
    Ok(())
}

/// The objects of a kustomization, as `kubectl apply -k` makes them.
pub fn kustomize(programs: &Programs, folder: &str) -> Result<Vec<Value>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../manifests")
        .join(folder);
    let output = Command::new(programs.path("kubectl"))
        .arg("kustomize")
        .arg(&path)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", path.display());
    let text = String::from_utf8(output.stdout)?;
    serde_saphyr::from_multiple(&text).context("kustomize's YAML")
}
