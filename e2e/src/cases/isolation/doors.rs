//! Somebody who may write NetworkPolicies, at the door of a fence: policies add up, so he can
//! open it, unless the configuration forbids that.

use super::{ON, case, everybody, isolated};
use crate::admission::Said;
use crate::case::{Case, Stage};
use crate::controlplane::Identity;
use crate::patience::eventually;
use anyhow::Result;

/// The project's fence.
const FENCE: &str = "NamespaceIsolation demo-project/default";

/// Lets everybody in.
const OPEN: &str = "\
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: open, namespace: demo-project}, spec: {podSelector: {}, policyTypes: [Ingress], ingress: [{}]}}
";

const FORBIDDEN: &str = "
apiVersion: ringfence.dev/v1alpha1
kind: IsolationConfig
metadata: {name: default}
spec: {foreignPolicies: Deny}
";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case("isolation-a-tenant-tries-to-reopen-it")
            .webhook()
            .isolate(ON, &[("demo-project", "inside")])
            .expect(isolated())
            .act("a tenant may, and is told what he opens", warned)
            .condition(FENCE, "WidenedByForeignPolicy", "True ForeignPolicy")
            .expect(everybody().allowed("*", "*"))
            .delete("NetworkPolicy demo-project/open")
            .isolate(FORBIDDEN, &[("demo-project", "inside")])
            .act("where that is forbidden he is refused", refused)
            .condition(FENCE, "WidenedByForeignPolicy", "False None")
            .expect(isolated()),
    ]
}

fn tried(stage: &mut Stage, flags: &[&str]) -> Result<Said> {
    let args = [&["apply", "-f", "-"], flags].concat();
    stage.kubectl_as(Identity::Tenant, &args, OPEN)
}

fn warned(stage: &mut Stage) -> Result<()> {
    const TOLD: &str = "this opens the isolated namespace to everyone";
    eventually("the webhook knows the fence", || {
        Ok(tried(stage, &["--dry-run=server"])?.err.contains(TOLD))
    })?;
    tried(stage, &[])?.accepted()?.warned(&[TOLD])?;
    // Changes nothing; what is stored is what the oracle judges by.
    stage.kubectl_apply(OPEN, "default")?.accepted()?;
    Ok(())
}

fn refused(stage: &mut Stage) -> Result<()> {
    const TOLD: &str = "takes no NetworkPolicies of others";
    eventually("the webhook knows what is forbidden", || {
        Ok(tried(stage, &["--dry-run=server"])?.err.contains(TOLD))
    })?;
    tried(stage, &[])?.refused(&[TOLD])?;
    Ok(())
}
