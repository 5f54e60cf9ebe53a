//! The objects of project isolation, and what stands beside a fence: the webhook learns of
//! both by watching, from the moment that the custom resources are there.

use super::case;
use crate::admission::Said;
use crate::case::{Case, Stage};
use crate::controlplane::Identity;
use crate::patience::eventually;
use anyhow::{Context, Result};

/// A file of `manifests/base/crds`.
macro_rules! definition {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../manifests/base/crds/",
            $name,
            ".yaml"
        ))
    };
}

const DEFINITIONS: [&str; 3] = [
    definition!("isolationconfigs"),
    definition!("isolationrules"),
    definition!("namespaceisolations"),
];
const FENCE: &str = "\
{apiVersion: ringfence.dev/v1alpha1, kind: NamespaceIsolation, metadata: {name: default, namespace: shop}, spec: {}}
";
const DENY: &str = "\
{apiVersion: ringfence.dev/v1alpha1, kind: IsolationConfig, metadata: {name: default}, spec: {foreignPolicies: Deny}}
";
const THEIRS: &str = "\
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: theirs, namespace: shop}, spec: {podSelector: {}, policyTypes: [Ingress]}}
";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case("admission-isolation")
            .act("the custom resources come", definitions)
            .act("a rule in a namespace that is not isolated", early)
            .act("a rule for a node's address", node)
            .act("policies of others, where they are refused", theirs)
            .act("the custom resources go while objects exist", gone),
    ]
}

/// The rule `shop/r` with one peer, and with more metadata.
fn rule(peer: &str, metadata: &str) -> String {
    format!(
        "{{apiVersion: ringfence.dev/v1alpha1, kind: IsolationRule, \
         metadata: {{name: r, namespace: shop{metadata}}}, \
         spec: {{direction: Ingress, peer: {peer}}}}}\n"
    )
}

/// What the API server says to somebody; nothing is stored.
fn tried(stage: &mut Stage, yaml: &str) -> Result<Said> {
    let args = ["apply", "--dry-run=server", "-f", "-"];
    stage.kubectl_as(Identity::Admin, &args, yaml)
}

fn definitions(stage: &mut Stage) -> Result<()> {
    for text in DEFINITIONS {
        stage.kubectl(&["apply", "-f", "-"], text)?.accepted()?;
    }
    eventually(
        "the kinds are served",
        || Ok(tried(stage, FENCE)?.code == 0),
    )
}

fn early(stage: &mut Stage) -> Result<()> {
    let friend = rule("{namespace: other}", "");
    let said = tried(stage, &friend)?;
    said.accepted()?.warned(&["is not isolated"])?;
    stage.kubectl(&["apply", "-f", "-"], FENCE)?.accepted()?;
    eventually("the webhook knows the fence", || {
        let said = tried(stage, &friend)?;
        Ok(!said.accepted()?.err.contains("is not isolated"))
    })
}

fn node(stage: &mut Stage) -> Result<()> {
    let path = "jsonpath={.status.addresses[?(@.type==\"InternalIP\")].address}";
    let said = stage.kubectl(&["get", "node", "node1", "-o", path], "")?;
    let address = said.accepted()?.out.split_whitespace().next();
    let address = address.context("no address")?;
    let prefix = if address.contains(':') { 128 } else { 32 };
    let peer = format!("{{cidr: {{cidr: '{address}/{prefix}'}}}}");
    tried(stage, &rule(&peer, ""))?.refused(&["node-address-allowed", "externalTrafficPolicy"])?;
    let why = ", annotations: {ignore.ringfence.dev/node-address-allowed: until=2999-12-31 a test}";
    tried(stage, &rule(&peer, why))?.accepted()?;
    Ok(())
}

fn theirs(stage: &mut Stage) -> Result<()> {
    stage.kubectl(&["apply", "-f", "-"], THEIRS)?.accepted()?;
    stage.kubectl(&["apply", "-f", "-"], DENY)?.accepted()?;
    let other = THEIRS.replace("[Ingress]", "[Egress]");
    eventually("what others write is refused", || {
        let said = tried(stage, &other)?;
        Ok(said.code != 0 && said.err.contains("takes no NetworkPolicies of others"))
    })?;
    // What was there stays editable around its spec, and can go.
    let labelled = THEIRS.replace("name: theirs,", "name: theirs, labels: {a: b},");
    tried(stage, &labelled)?.accepted()?;
    let named = ["-n", "shop", "delete", "networkpolicy", "theirs"];
    stage.kubectl(&named, "")?.accepted()?;
    Ok(())
}

fn gone(stage: &mut Stage) -> Result<()> {
    for text in DEFINITIONS {
        let args = ["delete", "--wait=false", "-f", "-"];
        stage.kubectl(&args, text)?.accepted()?;
    }
    eventually("nothing is isolated any more", || {
        Ok(tried(stage, THEIRS)?.code == 0)
    })
}
