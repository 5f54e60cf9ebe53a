//! What the webhook adds, shown by packets: names resolve with a real `CoreDNS`, and the
//! scraper comes in; nothing else does.

use super::{WITHOUT_SYSTEM, case, stored};
use crate::case::{Case, Stage, cells, matrix, policy};
use crate::probe::{tcp, udp};
use anyhow::{Context, Result, ensure};

/// A name that resolves as long as DNS is reached.
const NAME: &str = "db.shop.svc.cluster.local";

const SHOP: &str = "\
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: db}
spec: {selector: {pod: db}, ports: [{port: 80}]}
";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case("admission-a-policy-without-dns-comes-back-with-dns")
            .dns()
            .apply(SHOP)
            .resolves("shop/web", NAME, true)
            .typed("a policy that forgot DNS", |stage| {
                apply(stage, "shop/to-db", TO_DB, &["dns"])
            })
            .resolves("shop/web", NAME, true)
            // And nothing else was opened.
            .expect(
                matrix(&[tcp(80), udp(80)])
                    .denied("shop/web", "*")
                    .allowed("shop/web", "shop/db")
                    .allowed("shop/web", "shop/web"),
            )
            .typed("the same without injection", |stage| {
                opted_out(stage, "shop/to-db")
            })
            .resolves("shop/web", NAME, false),
        case("admission-a-deny-of-all-egress-is-left-alone")
            .dns()
            .typed("a pure deny", |stage| {
                apply(
                    stage,
                    "shop/deny",
                    "podSelector: {}\npolicyTypes: [Egress]",
                    &[],
                )
            })
            .expect(cells(&[tcp(80)], &[("shop/web", "kube-system/dns")]).denied("*", "*")),
        case("admission-the-scraper-comes-in")
            .pods(&WITHOUT_SYSTEM)
            .typed("a policy that forgot monitoring", |stage| {
                apply(stage, "shop/from-web", FROM_WEB, &["monitoring"])
            })
            .expect(
                matrix(&[tcp(80), udp(80)])
                    .denied("*", "shop/db")
                    .allowed("shop/db", "shop/db")
                    .allowed("shop/web", "shop/db")
                    .allowed("monitoring/scraper", "shop/db"),
            )
            .typed("the same without injection", |stage| {
                opted_out(stage, "shop/from-web")
            })
            .expect(cells(&[tcp(80)], &[("monitoring/scraper", "shop/db")]).denied("*", "*")),
        case("admission-an-ingress-policy-gains-no-egress")
            .dns()
            .typed("ingress only", |stage| {
                apply(stage, "shop/from-web", FROM_WEB, &["monitoring"])
            })
            .expect(
                cells(
                    &[tcp(80)],
                    &[("shop/db", "other/web"), ("shop/db", "kube-system/dns")],
                )
                .allowed("*", "*"),
            ),
    ]
}

const TO_DB: &str = "\
podSelector: {matchLabels: {pod: web}}
policyTypes: [Egress]
egress:
- to: [{podSelector: {matchLabels: {pod: db}}}]";

const FROM_WEB: &str = "\
podSelector: {matchLabels: {pod: db}}
ingress:
- from: [{podSelector: {matchLabels: {pod: web}}}]";

/// Applies a policy and sees which parts were injected.
fn apply(stage: &mut Stage, key: &str, spec: &str, parts: &[&str]) -> Result<()> {
    let (namespace, _) = key.split_once('/').context("namespace/name")?;
    stage
        .kubectl_apply(&policy(key, spec), namespace)?
        .accepted()?;
    let object = stored(stage, "networkpolicy", key)?;
    for part in ["dns", "monitoring"] {
        let annotation = format!("injected.ringfence.dev/{part}");
        let there = !object["metadata"]["annotations"][&annotation].is_null();
        ensure!(
            there == parts.contains(&part),
            "{part}: expected {}, found {there}: {object:#}",
            parts.contains(&part)
        );
    }
    Ok(())
}

/// The same policy with both switches off: the twin without which the case shows nothing.
fn opted_out(stage: &mut Stage, key: &str) -> Result<()> {
    let (namespace, name) = key.split_once('/').context("namespace/name")?;
    let spec = if name == "to-db" { TO_DB } else { FROM_WEB };
    let off =
        "annotations: {inject.ringfence.dev/dns: 'off', inject.ringfence.dev/monitoring: 'off'}";
    let yaml = policy(key, spec).replace(&format!("name: {name}"), &format!("name: {name}, {off}"));
    stage.kubectl_apply(&yaml, namespace)?.accepted()?;
    Ok(())
}
