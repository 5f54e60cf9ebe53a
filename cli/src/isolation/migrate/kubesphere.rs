//! What of KubeSphere's isolation becomes what.
//!
//! | there | here |
//! |---|---|
//! | annotation `kubesphere.io/network-isolate: enabled` on a Namespace | `NamespaceIsolation` |
//! | the same on its Workspace, or `spec.networkIsolation` | `NamespaceIsolation`, `scope: Tenant` |
//! | `NamespaceNetworkPolicy` | one `IsolationRule` for each peer |
//! | `nsnpOptions.allowedIngressNamespaces` | `IsolationConfig`, the same field |

use super::Moved;
use super::read::Found;
use super::rules;
use crate::isolation::isolate::isolation;
use crate::isolation::write::Made;
use anyhow::Result;
use ringfence_api::{Egress, IsolationConfig, IsolationConfigSpec, NamespaceIsolationSpec};
use ringfence_api::{SINGLETON, Scope};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// On Namespaces and Workspaces.
const ISOLATE: &str = "/metadata/annotations/kubesphere.io~1network-isolate";
/// The workspace of a namespace.
const WORKSPACE: &str = "kubesphere.io/workspace";
/// On Nodes: addresses that KubeSphere lets in everywhere.
const SNAT: &str = "/metadata/annotations/kubesphere.io~1snat-node-ips";
/// The node-local cache that KubeSphere allows wherever egress is restricted.
const LOCAL_DNS: [u8; 4] = [169, 254, 25, 10];

/// Everything that moves.
pub fn moved(found: &Found) -> Result<Moved> {
    let mut moved = Moved::default();
    let fences = fences(found, &mut moved);
    let mut rules = Vec::new();
    let mut restricted = BTreeSet::new();
    for rule in &found.rules {
        let told = rules::translate(rule);
        moved.differs.extend(told.differs);
        moved.left_out.extend(told.left_out);
        let namespace = text(rule, "/metadata/namespace");
        if told.egress {
            restricted.insert(namespace);
        }
        match fences.get(namespace) {
            None => moved.differs.push(format!(
                "{}: namespace {namespace} is not isolated; KubeSphere deletes such a rule, here \
                 it stays and counts once the namespace is isolated",
                rules::label(rule)
            )),
            Some(Scope::Tenant) => moved.differs.push(format!(
                "{}: KubeSphere deletes rules where the workspace is isolated, here it counts",
                rules::label(rule)
            )),
            Some(Scope::Namespace) => {}
        }
        for rule in told.rules {
            rules.push(Made::new(&rule, "isolationrules")?);
        }
    }
    moved.objects.push(configuration(
        found,
        &fences,
        !restricted.is_empty(),
        &mut moved.differs,
    )?);
    for (namespace, scope) in &fences {
        let names = |made: &&Made| {
            made.value["metadata"]["namespace"] == *namespace
                && made.value["spec"]["direction"] == "Egress"
        };
        // Nothing of its egress could be moved: that must not open it.
        let bare = restricted.contains(namespace) && !rules.iter().any(|made| names(&made));
        let spec = NamespaceIsolationSpec {
            scope: *scope,
            egress: if bare {
                Egress::Restricted
            } else {
                Egress::Auto
            },
            ..NamespaceIsolationSpec::default()
        };
        moved.objects.push(isolation(namespace, spec)?);
    }
    moved.objects.extend(rules);
    if !fences.is_empty() {
        moved.differs.push(
            "KubeSphere's NetworkPolicies (nsnp-...) stay until isolation is switched off there; \
             until then whatever either of both allows passes"
                .to_owned(),
        );
    }
    Ok(moved)
}

/// The isolated namespaces.
fn fences<'a>(found: &'a Found, moved: &mut Moved) -> BTreeMap<&'a str, Scope> {
    let isolated =
        |workspace: &&Value| is_enabled(workspace) || workspace["spec"]["networkIsolation"] == true;
    let workspaces = found.workspaces.iter().filter(isolated);
    let workspaces: BTreeSet<&str> = workspaces.map(|w| text(w, "/metadata/name")).collect();
    let mut fences = BTreeMap::new();
    for namespace in &found.namespaces {
        let name = text(namespace, "/metadata/name");
        let workspace = namespace["metadata"]["labels"][WORKSPACE].as_str();
        if is_enabled(namespace) {
            if workspace.is_none() {
                moved.differs.push(format!(
                    "namespace {name} is annotated and has no label {WORKSPACE}: KubeSphere leaves \
                     it open without a word, here it is isolated"
                ));
            }
            fences.insert(name, Scope::Namespace);
        } else if workspace.is_some_and(|w| workspaces.contains(w)) {
            fences.insert(name, Scope::Tenant);
        }
    }
    fences
}

fn configuration(
    found: &Found,
    fences: &BTreeMap<&str, Scope>,
    restricts: bool,
    differs: &mut Vec<String>,
) -> Result<Made> {
    let names = found.installer.as_ref().and_then(|installer| {
        installer
            .pointer("/spec/networkpolicy/nsnpOptions/allowedIngressNamespaces")?
            .as_array()
    });
    let names = names.into_iter().flatten().filter_map(Value::as_str);
    let mut spec = IsolationConfigSpec {
        allowed_ingress_namespaces: names.map(str::to_owned).collect(),
        ..IsolationConfigSpec::default()
    };
    if fences.values().any(|scope| *scope == Scope::Tenant) {
        spec.tenant_label = Some(WORKSPACE.to_owned());
        differs.push(format!(
            "a workspace is a tenant: who may set the label {WORKSPACE} now needs the verb assign \
             on tenants (docs/guards.md); KubeSphere's own controllers need it too"
        ));
    }
    if restricts {
        spec.dns.node_local_addresses = vec![LOCAL_DNS.into()];
    }
    let snat = found
        .nodes
        .iter()
        .filter(|node| !text(node, SNAT).is_empty());
    let snat: Vec<&str> = snat.map(|node| text(node, "/metadata/name")).collect();
    if !snat.is_empty() {
        differs.push(format!(
            "KubeSphere lets the addresses of {} in everywhere (kubesphere.io/snat-node-ips), and \
             with them every pod that comes through a node port there; nothing of that is moved",
            snat.join(", ")
        ));
    }
    if !fences.is_empty() {
        differs.push(
            "gateways and load balancers: name the gateways' namespaces in IsolationConfig \
             gatewayNamespaces, or their routes end at the fence (as they do in KubeSphere \
             without a rule)"
                .to_owned(),
        );
    }
    Made::new(&IsolationConfig::new(SINGLETON, spec), "isolationconfigs")
}

fn is_enabled(object: &Value) -> bool {
    text(object, ISOLATE) == "enabled"
}

pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}
