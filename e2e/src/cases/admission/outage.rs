//! The webhook is down: open or shut as configured, and nothing else stands still.

use super::case;
use crate::case::{Case, Stage, policy};
use crate::patience::eventually;
use anyhow::{Result, ensure};

const PLAIN: &str = "podSelector: {}\ningress: [{from: [{podSelector: {}}]}]";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case("admission-webhook-down")
            .act(
                "with Ignore a policy is written, and nothing is added",
                open,
            )
            .act("with Fail it is not", shut)
            .act(
                "with Fail policies and namespaces can be deleted",
                deletions,
            )
            .act(
                "with Fail Services, Namespaces and the controllers go on",
                the_rest,
            )
            .act("back again", back),
    ]
}

fn open(stage: &mut Stage) -> Result<()> {
    stage.with_admission(|admission, _, _| admission.kill_replica("node1"))?;
    stage
        .kubectl_apply(&policy("shop/plain", PLAIN), "shop")?
        .accepted()?
        .silent()?;
    Ok(())
}

fn shut(stage: &mut Stage) -> Result<()> {
    stage.with_admission(|admission, server, _| admission.register(server, Some("Fail")))?;
    eventually("a policy is refused", || {
        let said = stage.kubectl(
            &["apply", "--dry-run=server", "-f", "-"],
            &policy("shop/more", PLAIN),
        )?;
        Ok(said.code != 0 && said.err.contains("failed calling webhook"))
    })
}

fn deletions(stage: &mut Stage) -> Result<()> {
    stage
        .kubectl(
            &[
                "-n",
                "shop",
                "delete",
                "networkpolicy",
                "plain",
                "--timeout=10s",
            ],
            "",
        )?
        .accepted()?;
    let plain = policy("shop/plain", PLAIN);
    for object in crate::objects::documents(&plain, "shop")? {
        stage.adopt(&object)?;
    }
    // A namespace with a policy in it, written while the webhook was shut out of it.
    stage.with_admission(|admission, server, _| admission.register(server, Some("Ignore")))?;
    stage
        .kubectl(&["create", "namespace", "short-lived"], "")?
        .accepted()?;
    eventually("the policy is written", || {
        let yaml = policy("short-lived/plain", PLAIN);
        Ok(stage.kubectl(&["apply", "-f", "-"], &yaml)?.code == 0)
    })?;
    stage.with_admission(|admission, server, _| admission.register(server, Some("Fail")))?;
    stage
        .kubectl(&["delete", "namespace", "short-lived", "--timeout=20s"], "")?
        .accepted()?;
    Ok(())
}

fn the_rest(stage: &mut Stage) -> Result<()> {
    let yaml = "\
apiVersion: v1
kind: Namespace
metadata: {name: fresh}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: db}
spec: {selector: {pod: db}, ports: [{port: 80}]}
";
    stage.kubectl(&["apply", "-f", "-"], yaml)?.accepted()?;
    stage
        .kubectl(&["label", "namespace", "fresh", "team=a"], "")?
        .accepted()?;
    // kube-controller-manager is not exempted from anything.
    eventually("the Service has endpoints", || {
        let selector = "-l=kubernetes.io/service-name=db";
        let slices = [
            "-n",
            "shop",
            "get",
            "endpointslices",
            selector,
            "-o=jsonpath={..addresses}",
        ];
        Ok(stage
            .kubectl(&slices, "")?
            .accepted()?
            .out
            .contains("10.16."))
    })?;
    stage
        .kubectl(&["-n", "shop", "delete", "service", "db"], "")?
        .accepted()?;
    stage
        .kubectl(&["delete", "namespace", "fresh", "--timeout=20s"], "")?
        .accepted()?;
    Ok(())
}

fn back(stage: &mut Stage) -> Result<()> {
    stage.with_admission(|admission, server, world| {
        admission.start_replica(server, world, "node1")
    })?;
    eventually("a policy is judged again", || {
        let yaml = policy("shop/open", "podSelector: {}\ningress: [{}]");
        let said = stage.kubectl(&["apply", "--dry-run=server", "-f", "-"], &yaml)?;
        Ok(said.code == 0 && said.warnings().next().is_some())
    })?;
    let said = stage.kubectl(&["get", "networkpolicies", "-A"], "")?;
    ensure!(said.code == 0, "{}", said.err);
    stage.with_admission(|admission, server, _| admission.register(server, None))
}
