//! Whether isolation works: which packets the probe sends, and what their fate says of each
//! node. Pure; `probe` sends them.

use super::facts::{Asked, Facts};
use super::line::Line;
use k8s_openapi::api::apps::v1::DaemonSet;
use ringfence_e2e::probe::Outcome;
use std::collections::{BTreeMap, BTreeSet};

/// Allowed on both sides.
pub const OPEN: u16 = 8080;
/// Allowed by the client's policy, denied by the server's: its node must refuse it.
pub const CLOSED_BY_SERVER: u16 = 8081;
/// Allowed by the server's policy, denied by the client's: its node must refuse it.
pub const CLOSED_BY_CLIENT: u16 = 8082;
/// What servers listen on.
pub const PORTS: [u16; 3] = [OPEN, CLOSED_BY_SERVER, CLOSED_BY_CLIENT];

const CHECK: &str = "isolation";

/// What the probe has seen.
#[derive(Clone, Debug, Default)]
pub struct Isolation {
    /// Nodes on which no packet could be sent, and why.
    pub missing: BTreeMap<String, String>,
    /// What was sent, and what became of it.
    pub packets: Vec<(Packet, Fate)>,
    /// The probe's namespace, where it is not gone yet.
    pub left: Option<String>,
}

/// A TCP connection from the client on one node to the server on another, or the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Packet {
    /// The client's node.
    pub from: String,
    /// The server's.
    pub to: String,
    /// One of [`PORTS`].
    pub port: u16,
    /// Over IPv4, or IPv6.
    pub v4: bool,
}

/// What became of it before there was a policy, and under the policies; each with the
/// system's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Must be allowed, or a deny proves nothing.
    pub before: (Outcome, String),
    /// Under the policies.
    pub after: (Outcome, String),
}

/// How a packet went wrong. The order is that of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// It did not even arrive without a policy.
    NoNetwork,
    /// A policy denies it, and it arrived.
    Leak,
    /// Policies allow it, and it did not arrive.
    Cut,
    /// It could not be sent.
    NotSent,
}

// === impl Packet ===

impl Packet {
    /// Each client calls the server beside it and the one on the next node.
    pub fn plan(nodes: &[String], families: impl Fn(&str, &str) -> Vec<bool>) -> Vec<Self> {
        let mut packets = BTreeSet::new();
        for (index, from) in nodes.iter().enumerate() {
            for to in [from, &nodes[(index + 1) % nodes.len()]] {
                for v4 in families(from, to) {
                    packets.extend(PORTS.map(|port| Self {
                        from: from.clone(),
                        to: to.clone(),
                        port,
                        v4,
                    }));
                }
            }
        }
        packets.into_iter().collect()
    }

    /// Whether the policies let it through.
    pub fn is_allowed(&self) -> bool {
        self.port == OPEN
    }

    /// Whether this is what the policies want of it.
    pub fn is_as_wanted(&self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Allowed => self.is_allowed(),
            Outcome::Rejected | Outcome::Dropped => !self.is_allowed(),
            Outcome::Refused | Outcome::Error => false,
        }
    }

    /// The node whose enforcer decides.
    fn judge(&self) -> &str {
        if self.port == CLOSED_BY_CLIENT {
            &self.from
        } else {
            &self.to
        }
    }

    fn words(&self) -> String {
        let Self {
            from, to, port, v4, ..
        } = self;
        let family = if *v4 { "" } else { " over IPv6" };
        format!("TCP {port} from {from} to {to}{family}")
    }
}

// === impl Fate ===

impl Fate {
    fn fault(&self, packet: &Packet) -> Option<(Fault, String)> {
        let said = |(outcome, detail): &(Outcome, String)| {
            let separator = if detail.is_empty() { "" } else { ", " };
            format!("{} ({outcome}{separator}{detail})", packet.words())
        };
        if self.before.0 == Outcome::Error {
            return Some((Fault::NotSent, said(&self.before)));
        }
        if self.before.0 != Outcome::Allowed {
            return Some((Fault::NoNetwork, said(&self.before)));
        }
        if packet.is_as_wanted(self.after.0) {
            return None;
        }
        let fault = match self.after.0 {
            Outcome::Error => Fault::NotSent,
            _ if packet.is_allowed() => Fault::Cut,
            _ => Fault::Leak,
        };
        Some((fault, said(&self.after)))
    }
}

/// A line or more for every node that was to be probed; one note where none was.
pub fn lines(facts: &Facts) -> Vec<Line> {
    let isolation = match &facts.isolation {
        None => {
            let found = "no packet was sent (--no-probe)";
            return vec![Line::note(CHECK, "cluster", found)];
        }
        Some(Err(why)) => {
            let line = Line::unknown(CHECK, "cluster", format!("no packet could be sent: {why}"));
            return vec![line.remedy(
                "docs/doctor.md says which image and rights it needs; --no-probe leaves the packets out",
            )];
        }
        Some(Ok(isolation)) => isolation,
    };
    let judged = isolation.packets.iter().map(|(packet, _)| packet.judge());
    let nodes: BTreeSet<&str> = judged
        .chain(isolation.missing.keys().map(|node| &**node))
        .collect();
    let mut lines: Vec<Line> = nodes
        .into_iter()
        .flat_map(|node| on(node, isolation, facts))
        .collect();
    if let Some(left) = &isolation.left {
        let found = format!("the probe's namespace {left} is not gone yet");
        lines.push(
            Line::note(CHECK, "cluster", found)
                .remedy(format!("`kubectl get namespace {left} -o yaml` says why")),
        );
    }
    lines
}

fn on(node: &str, isolation: &Isolation, facts: &Facts) -> Vec<Line> {
    if let Some(why) = isolation.missing.get(node) {
        let line = Line::unknown(CHECK, node, format!("no packet could be sent: {why}"));
        return vec![line.remedy(
            "--probe-image names another image of the probe; --no-probe leaves the packets out",
        )];
    }
    let mut sent = 0;
    let mut faults: BTreeMap<Fault, Vec<String>> = BTreeMap::new();
    for (packet, fate) in &isolation.packets {
        if packet.judge() != node {
            continue;
        }
        sent += 1;
        if let Some((fault, words)) = fate.fault(packet) {
            faults.entry(fault).or_default().push(words);
        }
    }
    if faults.is_empty() {
        let found =
            format!("{sent} packets: what policies allow arrives, what they deny is refused");
        return vec![Line::fine(CHECK, node, found)];
    }
    let line = |(fault, words): (Fault, Vec<String>)| {
        let words = words.join("; ");
        let log = || {
            format!(
                "see the other lines of {node}; then {}",
                log_of(node, facts)
            )
        };
        match fault {
            Fault::NoNetwork => Line::wrong(CHECK, node, format!("without any policy it did not arrive: {words}"))
                .remedy("the pod network is broken, or something else denies: another enforcer, a policy of the CNI's own, a cloud firewall"),
            Fault::Leak => Line::wrong(CHECK, node, format!("a policy denies it, and it arrived: {words}")).remedy(log()),
            Fault::Cut => Line::wrong(CHECK, node, format!("policies allow it, and it did not arrive: {words}")).remedy(log()),
            Fault::NotSent => Line::unknown(CHECK, node, format!("could not be sent: {words}"))
                .remedy("run it again; the probe's pods may have been evicted or killed"),
        }
    };
    faults.into_iter().map(line).collect()
}

/// Where the enforcer of a node says more.
fn log_of(node: &str, facts: &Facts) -> String {
    let agents = facts.agents.as_ref().into_iter().flatten();
    let pods = agents.map(|agent| &agent.pod);
    let mut here =
        pods.filter(|pod| pod.spec.as_ref().and_then(|s| s.node_name.as_deref()) == Some(node));
    let name = here.next().and_then(|pod| pod.metadata.name.as_deref());
    name.map_or_else(
        || "install the enforcer there".to_owned(),
        |name| format!("`kubectl -n {} logs {name}`", facts.namespace),
    )
}

/// The probe's image beside the enforcer's: the same registry and tag.
///
/// # Errors
/// A sentence that says why none can be told.
pub fn image_beside(namespace: &str, sets: &[DaemonSet]) -> Asked<String> {
    let ours = sets.iter().find(|set| {
        set.metadata.namespace.as_deref() == Some(namespace)
            && set.metadata.name.as_deref() == Some("ringfence-enforcer")
    });
    let pod = ours.and_then(|set| set.spec.as_ref()?.template.spec.as_ref());
    let image = pod.and_then(|pod| pod.containers.first()?.image.as_deref());
    let Some(image) = image else {
        return Err(format!(
            "there is no DaemonSet {namespace}/ringfence-enforcer to learn the probe's image from: name it by --probe-image"
        ));
    };
    // A digest is that of the enforcer's image alone.
    let beside = image
        .rsplit_once("/enforcer:")
        .filter(|_| !image.contains('@'))
        .map(|(registry, tag)| format!("{registry}/probe:{tag}"));
    beside.ok_or_else(|| {
        format!("the enforcer's image {image} does not tell the probe's: name it by --probe-image")
    })
}
