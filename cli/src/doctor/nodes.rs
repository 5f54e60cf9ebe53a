//! The enforcer on every node: is it there, ready, up to date, and alone?

use super::facts::{Agent, Facts};
use super::line::Line;
use k8s_openapi::api::core::v1::{Node, Pod};
use std::collections::BTreeMap;

/// A line or more for every node.
pub fn lines(facts: &Facts) -> Vec<Line> {
    let (nodes, agents) = match (&facts.nodes, &facts.agents) {
        (Ok(nodes), Ok(agents)) => (nodes, agents),
        (Err(why), _) => {
            let line = Line::unknown("enforcer", "cluster", format!("nodes: {why}"));
            return vec![line.remedy("needs the right to list nodes")];
        }
        (_, Err(why)) => {
            let line = Line::unknown("enforcer", "cluster", format!("its pods: {why}"));
            return vec![line.remedy(format!(
                "needs the right to list pods in {}",
                facts.namespace
            ))];
        }
    };
    if agents.is_empty() {
        let found = format!("no pod of it in the namespace {}", facts.namespace);
        let line = Line::wrong("enforcer", "cluster", found).remedy(
            "install it (`kubectl apply -k manifests/base`), or name its namespace by --namespace",
        );
        return vec![line];
    }
    let mut lines: Vec<Line> = nodes
        .iter()
        .flat_map(|node| on(node, agents, facts))
        .collect();
    lines.extend(flavours(agents));
    lines
}

fn on(node: &Node, agents: &[Agent], facts: &Facts) -> Vec<Line> {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let here =
        |agent: &&Agent| agent.pod.spec.as_ref().and_then(|s| s.node_name.as_deref()) == Some(name);
    // While it is being replaced there are two; the one that is ready counts.
    let mut all: Vec<&Agent> = agents.iter().filter(here).collect();
    all.sort_by_key(|agent| agent.ready != Ok(None));
    let Some(agent) = all.first() else {
        let line = Line::wrong(
            "enforcer",
            name,
            "no pod of it on this node: policies do nothing here",
        );
        return vec![line.remedy(format!(
            "`kubectl -n {} describe daemonset ringfence-enforcer` says why none was made",
            facts.namespace
        ))];
    };
    if let Some(line) = not_running(&agent.pod, name) {
        return vec![line];
    }
    let mut lines = readiness(agent, name);
    lines.push(freshness(agent, name));
    lines.extend(others(agent, name));
    lines
}

/// A pod that does not run: the kubelet's reason, and where its words are.
fn not_running(pod: &Pod, node: &str) -> Option<Line> {
    let status = pod.status.as_ref()?;
    let state = status.container_statuses.iter().flatten().find_map(|c| {
        let state = c.state.as_ref()?;
        let waiting = state
            .waiting
            .as_ref()
            .map(|w| (w.reason.clone(), w.message.clone()));
        let ended = || {
            state
                .terminated
                .as_ref()
                .map(|t| (t.reason.clone(), t.message.clone()))
        };
        waiting.or_else(ended)
    });
    let (reason, message) = match (state, status.phase.as_deref()) {
        (Some(state), _) => state,
        (None, Some("Running")) => return None,
        (None, phase) => (phase.map(str::to_owned), status.message.clone()),
    };
    let (name, namespace) = (
        pod.metadata.name.as_deref()?,
        pod.metadata.namespace.as_deref()?,
    );
    let words: Vec<String> = [reason, message].into_iter().flatten().collect();
    let found = format!("its pod {name} does not run: {}", words.join(": "));
    Some(Line::wrong("enforcer", node, found).remedy(format!(
        "`kubectl -n {namespace} logs {name} --previous` and `kubectl -n {namespace} describe pod {name}`"
    )))
}

/// What `/readyz` says, each reason under the name of what it is about.
fn readiness(agent: &Agent, node: &str) -> Vec<Line> {
    let name = agent.pod.metadata.name.as_deref().unwrap_or_default();
    let namespace = agent.pod.metadata.namespace.as_deref().unwrap_or_default();
    match &agent.ready {
        Ok(None) => vec![
            Line::fine(
                "enforcer",
                node,
                "ready: its program is in the kernel and is kept there",
            ),
            Line::fine("bridge", node, "iptables sees what bridges forward"),
        ],
        Ok(Some(reasons)) => {
            let line = |reason: &str| {
                let (check, remedy) = remedy_of(reason);
                let log = format!("`kubectl -n {namespace} logs {name}` says more");
                Line::wrong(check, node, reason).remedy(remedy.map_or(log, str::to_owned))
            };
            reasons
                .lines()
                .filter(|l| !l.is_empty())
                .map(line)
                .collect()
        }
        Err(why) => {
            let line = Line::unknown("enforcer", node, format!("cannot be asked: {why}"));
            vec![line.remedy("needs the right to get pods/proxy, and a path from the API server to the node's port 20244")]
        }
    }
}

fn remedy_of(reason: &str) -> (&'static str, Option<&'static str>) {
    if reason.contains("bridged packets") {
        let remedy = "load br_netfilter and set net.bridge.bridge-nf-call-iptables=1 and net.bridge.bridge-nf-call-ip6tables=1 on the node (docs/enforcer.md)";
        return ("bridge", Some(remedy));
    }
    if reason.contains("past netfilter") {
        return (
            "datapath",
            Some("turn that datapath off, or let it enforce the policies instead of Ringfence"),
        );
    }
    ("enforcer", None)
}

/// Whether all it was told is in the kernel.
fn freshness(agent: &Agent, node: &str) -> Line {
    let progress = match &agent.generation {
        Ok(progress) => progress,
        Err(why) => return Line::unknown("caches", node, format!("cannot be asked: {why}")),
    };
    let count = |field: &str| progress[field].as_u64().unwrap_or(0);
    let (observed, applied) = (count("observed"), count("applied"));
    if progress["synced"] != true {
        let line = Line::wrong(
            "caches",
            node,
            "it has not seen all objects since it started",
        );
        return line.remedy("/readyz names the kind that is missing and why");
    }
    if applied < observed {
        let found = format!("{} events behind", observed - applied);
        return Line::note("caches", node, found)
            .remedy("ask again; when it does not fall, see its log");
    }
    Line::fine("caches", node, "all it was told is in the kernel")
}

/// The chains and tables of others that its metrics name.
fn others(agent: &Agent, node: &str) -> Vec<Line> {
    let metrics = match &agent.metrics {
        Ok(metrics) => metrics,
        Err(why) => {
            return vec![Line::unknown(
                "two-enforcers",
                node,
                format!("cannot be asked: {why}"),
            )];
        }
    };
    let found: Vec<(String, f64)> = series(metrics, "ringfence_enforcer_foreign_enforcers", "name")
        .filter(|(_, count)| *count > 0.0)
        .collect();
    if found.is_empty() {
        return vec![Line::fine(
            "two-enforcers",
            node,
            "no chains of another enforcer",
        )];
    }
    let line = |(name, count): (String, f64)| {
        let found = format!(
            "{count} chains of {name}: both enforcers refuse, each by its own reading of the policies"
        );
        Line::wrong("two-enforcers", node, found).remedy(format!(
            "turn {name}'s policies off, then remove what it left behind (docs/replacing.md)"
        ))
    };
    found.into_iter().map(line).collect()
}

/// One note for the whole cluster.
fn flavours(agents: &[Agent]) -> Vec<Line> {
    let mut flavours: BTreeMap<String, usize> = BTreeMap::new();
    for metrics in agents.iter().filter_map(|a| a.metrics.as_ref().ok()) {
        for (flavour, _) in series(metrics, "ringfence_enforcer_node_info", "flavour") {
            *flavours.entry(flavour).or_default() += 1;
        }
    }
    if flavours.is_empty() {
        return Vec::new();
    }
    let words: Vec<String> = flavours
        .iter()
        .map(|(f, n)| format!("{f} on {n}"))
        .collect();
    vec![Line::fine(
        "iptables",
        "cluster",
        format!("flavour as kube-proxy's: {}", words.join(", ")),
    )]
}

/// The values of a metric, by one of its labels.
fn series<'a>(
    metrics: &'a str,
    name: &'a str,
    label: &'a str,
) -> impl Iterator<Item = (String, f64)> + 'a {
    metrics.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?.strip_prefix('{')?;
        let (labels, value) = rest.split_once("} ")?;
        let of = labels
            .split(',')
            .find_map(|pair| pair.strip_prefix(label)?.strip_prefix("=\""))?;
        Some((
            of.trim_end_matches('"').to_owned(),
            value.trim().parse().ok()?,
        ))
    })
}
