//! Tenants, time, and what others write.

use super::{ON, case, everybody, isolated, isolated_from_outside, outside, rule};
use crate::case::{Case, cells};
use crate::probe::tcp;
use serde_json::Value;

/// The project's fence.
const FENCE: &str = "NamespaceIsolation demo-project/default";

/// Where its policy names the tenant's namespaces.
const TENANT: &str = "/spec/ingress/0/from/1/namespaceSelector/matchLabels/tenant";

const FOR_THE_TENANT: &str = "
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

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case("isolation-two-projects-of-one-tenant")
            .label("Namespace demo-project", &[("tenant", "acme")])
            .label("Namespace demo-project-2", &[("tenant", "acme")])
            .label("Namespace stranger", &[("tenant", "other")])
            .isolate(FOR_THE_TENANT, &[("demo-project", "inside")])
            .rendered("demo-project", TENANT, "acme")
            .expect(isolated().allowed("demo-project-2/*", "demo-project/*"))
            .unlabel("Namespace demo-project", "tenant")
            // Without the label nobody is its tenant.
            .rendered("demo-project", TENANT, Value::Null)
            .condition(FENCE, "PeersResolved", "False Unresolved")
            .expect(isolated()),
        case("isolation-a-rule-ends-and-cuts-what-it-let-in")
            .isolate(ON, &[("demo-project", "inside")])
            .isolate(
                rule!("guest", "{direction: Ingress, peer: {namespace: stranger}}"),
                &[("demo-project", "inside,rule/guest")],
            )
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
            .isolate(ON, &[("demo-project", "inside")])
            .policy("demo-project/open", "{podSelector: {}, ingress: [{}]}")
            .condition(FENCE, "WidenedByForeignPolicy", "True ForeignPolicy")
            .expect(everybody().allowed("*", "*"))
            .expect(outside().allowed("*", "*"))
            .delete("NetworkPolicy demo-project/open")
            .condition(FENCE, "WidenedByForeignPolicy", "False None")
            .expect(isolated())
            .expect(isolated_from_outside()),
        case("isolation-a-preview-enforces-nothing")
            .isolate(
                ON.replace("spec: {}", "spec: {mode: Preview}"),
                &[("demo-project", "-")],
            )
            .condition(FENCE, "Ready", "False Preview")
            .expect(everybody().allowed("*", "*"))
            .isolate(ON, &[("demo-project", "inside")])
            .expect(isolated()),
    ]
}
