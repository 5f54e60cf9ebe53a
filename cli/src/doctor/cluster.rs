//! What is the same on every node: other enforcers, and kube-proxy.

use super::facts::Facts;
use super::line::Line;
use k8s_openapi::api::apps::v1::DaemonSet;
use ringfence_checks::facts::masquerade_all;

/// A line for each.
pub fn lines(facts: &Facts) -> Vec<Line> {
    let mut lines = others(facts);
    lines.extend(kube_proxy(facts));
    lines
}

fn others(facts: &Facts) -> Vec<Line> {
    let sets = match &facts.daemon_sets {
        Ok(sets) => sets,
        Err(why) => {
            let line = Line::unknown("two-enforcers", "cluster", format!("DaemonSets: {why}"));
            return vec![line.remedy("needs the right to list daemonsets")];
        }
    };
    let found: Vec<Line> = sets.iter().filter_map(other).collect();
    if found.is_empty() {
        return vec![Line::fine(
            "two-enforcers",
            "cluster",
            "no other enforcer runs",
        )];
    }
    found
}

/// A `DaemonSet` that enforces NetworkPolicies, as far as its name and arguments tell.
fn other(set: &DaemonSet) -> Option<Line> {
    let (namespace, name) = (
        set.metadata.namespace.as_deref()?,
        set.metadata.name.as_deref()?,
    );
    let containers = &set.spec.as_ref()?.template.spec.as_ref()?.containers;
    let says = |word: &str| {
        containers.iter().any(|c| {
            let words = c.args.iter().chain(&c.command).flatten();
            words.into_iter().any(|argument| argument.contains(word))
        })
    };
    let has = |container: &str| containers.iter().any(|c| c.name == container);
    let remedy = match name {
        "kube-router" if says("--run-firewall=false") => return None,
        "kube-router" => {
            "give it --run-firewall=false, then `kube-router --cleanup-config` where nothing else of it is used (docs/replacing.md)"
        }
        "calico-node" | "canal" => {
            "Felix enforces whatever NetworkPolicies there are: keep one of the two (docs/replacing.md)"
        }
        "cilium" => {
            "set enable-policy=never in its ConfigMap, or keep Cilium's and remove the enforcer (docs/replacing.md)"
        }
        "antrea-agent" => {
            "its datapath is Open vSwitch: keep Antrea's enforcement and remove the enforcer"
        }
        "weave-net" if has("weave-npc") => {
            "take the container weave-npc out of it (docs/replacing.md)"
        }
        "kube-network-policies" => "delete this DaemonSet (docs/replacing.md)",
        "kindnet" => {
            "newer kindnet enforces too: make the cluster with `make e2e`, or with disableDefaultCNI"
        }
        "aws-node" if says("--enable-network-policy=true") => {
            "set enable-network-policy=false (docs/replacing.md)"
        }
        _ => return None,
    };
    let found = format!("the DaemonSet {namespace}/{name} enforces NetworkPolicies as well");
    Some(Line::wrong("two-enforcers", "cluster", found).remedy(remedy))
}

fn kube_proxy(facts: &Facts) -> Vec<Line> {
    let map = match &facts.kube_proxy {
        Ok(Some(map)) => map,
        Ok(None) => {
            let found = "no ConfigMap kube-system/kube-proxy: mode and masqueradeAll are not known";
            return vec![Line::note("kube-proxy", "cluster", found)
                .remedy("where it runs with masqueradeAll, every policy sees nodes instead of pods behind a Service")];
        }
        Err(why) => {
            let line = Line::unknown("kube-proxy", "cluster", why.clone());
            return vec![
                line.remedy("needs the right to get the ConfigMap kube-system/kube-proxy"),
            ];
        }
    };
    let text = map.data.as_ref().and_then(|d| d.get("config.conf"));
    let mode = text
        .and_then(|t| t.lines().find_map(|l| l.strip_prefix("mode:")))
        .map(|m| m.trim().trim_matches(['"', '\'']))
        .filter(|m| !m.is_empty())
        .unwrap_or("iptables (the default)");
    let value = serde_json::to_value(map).unwrap_or_default();
    match masquerade_all(&value) {
        Some(true) => vec![Line::wrong(
            "kube-proxy",
            "cluster",
            format!("mode {mode}, masqueradeAll: every connection through a Service comes from a node, and policies see that"),
        )
        .remedy("set masqueradeAll: false in the ConfigMap kube-system/kube-proxy and restart kube-proxy")],
        Some(false) => vec![Line::fine("kube-proxy", "cluster", format!("mode {mode}, masqueradeAll off"))],
        None => vec![Line::unknown("kube-proxy", "cluster", "its config.conf cannot be read")],
    }
}
