//! Tenants, time, and what others write.

use super::{ON, case, everybody, isolated, rule};
use crate::case::{Case, Stage, cells};
use crate::probe::tcp;
use anyhow::Result;

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case("isolation-two-projects-of-one-tenant")
            .label("Namespace demo-project", &[("tenant", "acme")])
            .label("Namespace demo-project-2", &[("tenant", "acme")])
            .label("Namespace stranger", &[("tenant", "other")])
            .act("on, for the tenant", |stage| {
                let both = "
apiVersion: ringfence.dev/v1alpha1
kind: IsolationConfig
metadata: {name: default}
spec: {tenantLabel: tenant}
---
apiVersion: ringfence.dev/v1alpha1
kind: NamespaceIsolation
metadata: {namespace: demo-project, name: default}
spec: {scope: Tenant}
";
                stage.isolate(both, &[("demo-project", "inside")])?;
                peers(stage, 2)
            })
            .expect(isolated().allowed("demo-project-2/*", "demo-project/*"))
            .unlabel("Namespace demo-project", "tenant")
            .act("without the label nobody is its tenant", |stage| {
                peers(stage, 1)?;
                stage.condition(
                    "NamespaceIsolation demo-project/default",
                    "PeersResolved",
                    "False Unresolved",
                )
            })
            .expect(isolated()),
        case("isolation-a-rule-ends-and-cuts-what-it-let-in")
            .act("on, with a rule for a few seconds", |stage| {
                stage.isolate(ON, &[("demo-project", "inside")])?;
                let rule = rule!("guest", "{direction: Ingress, peer: {namespace: stranger}}");
                stage.isolate(rule, &[("demo-project", "inside,rule/guest")])
            })
            .expect(cells(&[tcp(80)], &[("stranger/pod", "demo-project/web")]).allowed("*", "*"))
            .open("visit", "stranger/pod", "demo-project/web", tcp(80))
            .act("it ends", |stage| {
                let end = std::time::SystemTime::now() + std::time::Duration::from_secs(2);
                let end = end.duration_since(std::time::UNIX_EPOCH)?.as_secs();
                let end = jiff::Timestamp::from_second(i64::try_from(end)?)?;
                let rule = rule!(
                    "guest",
                    "{direction: Ingress, peer: {namespace: stranger}, expiresAt: 'END'}"
                );
                stage.isolate(
                    &rule.replace("END", &end.to_string()),
                    &[("demo-project", "inside")],
                )?;
                stage.condition("IsolationRule demo-project/guest", "Expired", "True Ended")
            })
            .expect(isolated())
            .cut(&["visit"]),
        case("isolation-reopened-by-somebody-elses-policy")
            .act("on", |stage| {
                stage.isolate(ON, &[("demo-project", "inside")])
            })
            .policy("demo-project/open", "{podSelector: {}, ingress: [{}]}")
            .act("status says so", |stage| {
                let object = "NamespaceIsolation demo-project/default";
                stage.condition(object, "WidenedByForeignPolicy", "True ForeignPolicy")
            })
            .expect(everybody().allowed("*", "*"))
            .delete("NetworkPolicy demo-project/open")
            .act("and that it is over", |stage| {
                let object = "NamespaceIsolation demo-project/default";
                stage.condition(object, "WidenedByForeignPolicy", "False None")
            })
            .expect(isolated()),
        case("isolation-a-preview-enforces-nothing")
            .act("on, as a preview", |stage| {
                let preview = ON.replace("spec: {}", "spec: {mode: Preview}");
                stage.isolate(&preview, &[("demo-project", "-")])?;
                stage.condition(
                    "NamespaceIsolation demo-project/default",
                    "Ready",
                    "False Preview",
                )
            })
            .expect(everybody().allowed("*", "*"))
            .act("in earnest", |stage| {
                stage.isolate(ON, &[("demo-project", "inside")])
            })
            .expect(isolated()),
    ]
}

/// Waits until so many peers are inside.
fn peers(stage: &mut Stage, wanted: usize) -> Result<()> {
    stage.isolated_when("demo-project", &format!("{wanted} peers"), |policy| {
        let peers = policy.and_then(|p| p["spec"]["ingress"][0]["from"].as_array());
        peers.is_some_and(|peers| peers.len() == wanted)
    })
}
