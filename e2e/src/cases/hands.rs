//! What cases do by hand on nodes and in pods, and what they look at.

use crate::case::Stage;
use crate::objects;
use crate::patience;
use crate::probe::{Outcome, Transport};
use crate::sandbox;
use crate::truth::Cell;
use anyhow::{Context, Result, bail, ensure};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Both families' programs.
pub const FAMILIES: [&str; 2] = ["iptables", "ip6tables"];
/// How long something may take that is not announced by the applied generation.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a program on every node; words are separated by blanks.
pub fn everywhere(stage: &Stage, command: &str) -> Result<()> {
    for node in stage.world()?.nodes() {
        run(stage, node.name(), command)?;
    }
    Ok(())
}

/// Runs a program on a node and returns what it printed; words are separated by blanks.
pub fn run(stage: &Stage, node: &str, command: &str) -> Result<String> {
    let mut words = command.split_whitespace();
    let program = words.next().context("an empty command")?;
    let args: Vec<&str> = words.collect();
    stage.world()?.node(node)?.exec(program, &args, "")
}

/// Runs a program in the network of a pod (or of any host).
pub fn inside(stage: &Stage, host: &str, command: &str) -> Result<String> {
    let netns = stage.world()?.host(host)?.netns.path();
    run(stage, "node1", &format!("nsenter --net={netns} {command}"))
}

/// `iptables` and `ip6tables` with the same words on every node.
pub fn tables(stage: &Stage, words: &str) -> Result<()> {
    FAMILIES
        .iter()
        .try_for_each(|program| everywhere(stage, &format!("{program} -w 5 {words}")))
}

/// The program that writes rules for an address.
pub fn program(address: IpAddr) -> &'static str {
    let [v4, v6] = FAMILIES;
    if address.is_ipv4() { v4 } else { v6 }
}

/// The node on which a pod runs.
pub fn node_of(stage: &Stage, pod: &str) -> Result<String> {
    let pods = &stage.world()?.topology().pods;
    let found = pods
        .iter()
        .find(|p| format!("{}/{}", p.namespace, p.name) == pod);
    found
        .map(|p| p.node.clone())
        .with_context(|| format!("no pod is called {pod}"))
}

/// A file below `/proc/sys/net` of every node.
pub fn sysctl(stage: &Stage, key: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/{key}");
    for node in stage.world()?.nodes() {
        node.netns()
            .run(|| std::fs::write(&path, value).with_context(|| format!("writing {path}")))?;
    }
    Ok(())
}

/// What becomes of one probe.
pub fn probe(
    stage: &Stage,
    from: &str,
    to: &str,
    transport: Transport,
    v4: bool,
) -> Result<Outcome> {
    let cell = Cell {
        from: from.into(),
        to: to.into(),
        v4,
        transport,
    };
    let seen = stage.probe(&[(&cell, Outcome::Dropped)])?;
    seen.first()
        .map(|o| o.outcome)
        .context("a probe without an observation")
}

/// Probes over both families.
///
/// # Errors
/// When the outcome is another one.
pub fn see(
    stage: &Stage,
    from: &str,
    to: &str,
    transport: Transport,
    expected: Outcome,
) -> Result<()> {
    for v4 in [true, false] {
        let seen = probe(stage, from, to, transport, v4)?;
        let family = if v4 { "IPv4" } else { "IPv6" };
        ensure!(
            seen == expected,
            "{from} -> {to} {transport} {family}: expected {expected}, observed {seen}"
        );
    }
    Ok(())
}

/// Probes over both families: refused in whatever manner, but refused.
pub fn see_denied(stage: &Stage, from: &str, to: &str, transport: Transport) -> Result<()> {
    for v4 in [true, false] {
        let seen = probe(stage, from, to, transport, v4)?;
        ensure!(
            matches!(seen, Outcome::Rejected | Outcome::Dropped),
            "{from} -> {to} {transport}: expected a deny, observed {seen}"
        );
    }
    Ok(())
}

/// The value of one series of a node's enforcer, without its prefix. Kinds of errors that
/// never happened have no series: 0.
pub fn metric(stage: &Stage, node: &str, series: &str) -> Result<u64> {
    let text = page(stage, node, "/metrics")?;
    let wanted = format!("ringfence_enforcer_{series} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&wanted));
    match line {
        Some(value) => value
            .trim()
            .parse()
            .with_context(|| format!("{series} is {value:?}")),
        None if series.starts_with("errors_total") => Ok(0),
        None => bail!("{node} has no series {series}:\n{text}"),
    }
}

/// A page of a node's enforcer.
pub fn page(stage: &Stage, node: &str, path: &str) -> Result<String> {
    stage
        .world()?
        .node(node)?
        .netns()
        .run(|| objects::get(path))
}

/// Waits until `done`; what it says last is the error.
pub fn eventually(what: &str, mut done: impl FnMut() -> Result<()>) -> Result<()> {
    patience::within(PATIENCE, what, || done().map(|()| true))
}

/// Waits until a series has grown beyond `before`.
pub fn grows(stage: &Stage, node: &str, series: &str, before: u64) -> Result<()> {
    eventually(series, || {
        let now = metric(stage, node, series)?;
        ensure!(now > before, "{series} is still {now}");
        Ok(())
    })
}

/// Ends every enforcer with SIGKILL.
pub fn kill_all(stage: &mut Stage) -> Result<()> {
    stage
        .node_names()
        .iter()
        .try_for_each(|node| stage.kill_enforcer(node))
}

/// Starts an enforcer on every node and waits until everything is applied.
pub fn start_all(stage: &mut Stage) -> Result<()> {
    stage
        .node_names()
        .iter()
        .try_for_each(|node| stage.start_enforcer(node))?;
    stage.wait_applied()
}

/// Every rule and set of a node, as the programs print them.
pub fn everything(stage: &Stage, node: &str) -> Result<String> {
    let mut text = String::new();
    for program in FAMILIES {
        text += &run(stage, node, &format!("{program}-save"))?;
    }
    Ok(text + &run(stage, node, "ipset save")?)
}

/// The folder that the enforcers watch.
pub fn objects_folder(stage: &Stage) -> Result<PathBuf> {
    Ok(Path::new(sandbox::RUN)
        .join(stage.world()?.name())
        .join("objects"))
}

/// A folder of our own, for wrappers and the like.
pub fn own_folder(stage: &Stage, name: &str) -> Result<PathBuf> {
    let folder = Path::new(sandbox::RUN)
        .join(stage.world()?.name())
        .join(name);
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    Ok(folder)
}

/// The first IPv4 address of a host.
pub fn v4(stage: &Stage, host: &str) -> Result<std::net::Ipv4Addr> {
    for address in &stage.world()?.host(host)?.addresses {
        if let IpAddr::V4(v4) = address {
            return Ok(*v4);
        }
    }
    bail!("{host} has no IPv4 address")
}
