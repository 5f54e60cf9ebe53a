//! What is the same on every node: other enforcers, and kube-proxy.

use super::facts::Facts;
use super::line::Line;
use k8s_openapi::api::apps::v1::DaemonSet;
use ringfence_checks::facts::{enforcement, masquerade_all};

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

fn other(set: &DaemonSet) -> Option<Line> {
    let other = enforcement::other(&serde_json::to_value(set).ok()?)?;
    let name = other.daemon_set;
    let found = format!("the DaemonSet {name} enforces NetworkPolicies as well");
    Some(Line::wrong("two-enforcers", "cluster", found).remedy(other.remedy))
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
