//! What a packet costs for 0 to 1000 local pods: through our rules, beside no rules,
//! beside one conntrack rule and beside kube-router's layout, all in turn.

use super::figures::{Figure, Report, Spread};
use super::flood::{Flow, Way};
use super::layouts::{self, Hosts, Locals};
use super::{Options, usage};
use crate::fabric::{Host, Node, Placement, PodKind, Process, Topology, World};
use crate::objects::{self, Folder, HEALTH_PORT, Objects, Watcher};
use crate::sandbox;
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

const NAME: &str = "packets";
/// How long the enforcer may take over a thousand pods.
const APPLY: Duration = Duration::from_secs(30);

/// What packets cross.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layout {
    Nothing,
    Conntrack,
    KubeRouter,
    Ringfence,
}

impl Layout {
    const ALL: [Self; 4] = [
        Self::Nothing,
        Self::Conntrack,
        Self::KubeRouter,
        Self::Ringfence,
    ];

    fn node(self) -> &'static str {
        match self {
            Self::Nothing => "node1",
            Self::Conntrack => "node2",
            Self::KubeRouter => "node3",
            Self::Ringfence => "node4",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Nothing => "no rules",
            Self::Conntrack => "one conntrack rule",
            Self::KubeRouter => "kube-router's layout (imitated)",
            Self::Ringfence => "Ringfence",
        }
    }

    fn enforces(self) -> bool {
        matches!(self, Self::KubeRouter | Self::Ringfence)
    }
}

/// How much is measured.
struct Effort {
    sizes: &'static [usize],
    packets: usize,
    runs: usize,
}

const FULL: Effort = Effort {
    sizes: &[0, 20, 110, 250, 1_000],
    packets: 5_120,
    runs: 20,
};
const QUICK: Effort = Effort {
    sizes: &[0, 20],
    packets: 1_024,
    runs: 2,
};

/// Samples by kind of packet and layout.
type Samples = BTreeMap<(Flow, Layout), Vec<f64>>;

/// Measures and appends to `report`.
pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    let effort = if options.quick { QUICK } else { FULL };
    let mut lab = Lab::create(options)?;
    let mut at_20 = None;
    for size in effort.sizes.iter().copied() {
        eprintln!("packets: {size} local pods");
        lab.program(size)?;
        let samples = lab.measure(&effort)?;
        for flow in [Flow::New, Flow::Established] {
            let spreads = Layout::ALL
                .into_iter()
                .map(|layout| Ok((layout, Spread::of(samples[&(flow, layout)].clone())?)))
                .collect::<Result<BTreeMap<_, _>>>()?;
            if size == 20 && flow == Flow::New {
                at_20 = Some(spreads[&Layout::Ringfence].min);
            }
            report.figures.extend(figures(size, flow, &spreads, at_20));
        }
    }
    Ok(())
}

/// The lines of the table for one size and kind of packet. What is compared is the least
/// of the runs, as noise only ever adds.
fn figures(
    size: usize,
    flow: Flow,
    spreads: &BTreeMap<Layout, Spread>,
    at_20: Option<f64>,
) -> Vec<Figure> {
    let what = match flow {
        Flow::New => "new flow",
        Flow::Established => "established",
    };
    let bare = spreads[&Layout::Conntrack].min;
    let over = |layout| spreads[&layout].min - bare;
    let (ours, theirs) = (over(Layout::Ringfence), over(Layout::KubeRouter));
    spreads
        .iter()
        .map(|(layout, spread)| {
            let name = format!("{what}, {size} local pods, {}", layout.label());
            let mut figure = Figure::new(NAME, name, "ns", *spread);
            if layout.enforces() {
                figure = figure.beside(format!("{:+.0} over conntrack", over(*layout)));
            }
            if *layout != Layout::Ringfence || flow != Flow::New {
                return figure;
            }
            if size >= 110 {
                let share = 100.0 * ours / theirs;
                figure = figure.goal(
                    format!("at most 20% of kube-router's {theirs:.0}: {share:.0}%"),
                    ours <= theirs / 5.0,
                );
            }
            if size == 250
                && let Some(before) = at_20
            {
                let grown = 100.0 * (spread.min / before - 1.0);
                let met = grown.abs() <= 10.0 && figure.goal.as_ref().is_none_or(|g| g.met);
                let first = figure.goal.take().map(|goal| goal.text).unwrap_or_default();
                figure = figure.goal(
                    format!("{first}; within 10% of 20 local pods: {grown:+.1}%"),
                    met,
                );
            }
            figure
        })
        .collect()
}

/// One world: a node for each layout, with three hosts on each.
struct Lab {
    enforcer: Process,
    objects: Folder,
    ways: BTreeMap<Layout, Way>,
    denied: BTreeMap<Layout, Way>,
    flavour: &'static str,
    world: World,
}

// === impl Lab ===

impl Lab {
    fn create(options: &Options) -> Result<Self> {
        let pods: Vec<String> = Layout::ALL
            .iter()
            .flat_map(|layout| {
                ["client", "web", "stranger"]
                    .map(|pod| format!("bench/{pod}-{0}@{0}", layout.node()))
            })
            .collect();
        let mut topology = Topology::new(PodKind::Routed, 4)
            .pods(pods.iter().map(String::as_str), Placement::Same);
        topology.externals.clear();
        let world = World::create(topology)?;
        let mut objects = Folder::create(&Path::new(sandbox::RUN).join(world.name()))?;
        objects.file(
            "objects.json",
            Some("{\"kind\": \"List\", \"apiVersion\": \"v1\", \"items\": []}"),
        )?;
        let flavour = flavour()?;
        let node = world.node(Layout::Ringfence.node())?;
        let mut flags = vec![
            format!("--node-name={}", node.name()),
            format!("--iptables-flavour={flavour}"),
            format!("--health-port={HEALTH_PORT}"),
            "--metrics-port=0".to_owned(),
            format!("--state-dir={}", node.folder().join("state").display()),
        ];
        flags.extend(objects.flags(node.name()));
        let enforcer = node.spawn("enforcer", &options.enforcer, &flags, &[])?;
        let (mut ways, mut denied) = (BTreeMap::new(), BTreeMap::new());
        for layout in Layout::ALL {
            let host = |pod: &str| world.host(&format!("bench/{pod}-{}", layout.node()));
            let (client, web, stranger) = (host("client")?, host("web")?, host("stranger")?);
            ways.insert(layout, way(client, web)?);
            denied.insert(layout, way(stranger, client)?);
        }
        Ok(Self {
            enforcer,
            objects,
            ways,
            denied,
            flavour,
            world,
        })
    }

    /// Puts the rules for `size` local pods on every node, and sees that they hold.
    fn program(&mut self, size: usize) -> Result<()> {
        let restore = format!("iptables-{}-restore", self.flavour);
        self.node(Layout::Conntrack)?
            .exec(&restore, &[], layouts::CONNTRACK_RULE)?;
        let locals = Locals::new(size, self.hosts(Layout::KubeRouter)?);
        let node = self.node(Layout::KubeRouter)?;
        // Sets go when no rule uses them any more.
        node.exec(&restore, &[], "*filter\nCOMMIT\n")?;
        node.exec("ipset", &["destroy"], "")?;
        node.exec("ipset", &["restore"], &layouts::kube_router_sets(&locals))?;
        node.exec(&restore, &[], &layouts::kube_router_rules(&locals))?;

        let locals = Locals::new(size, self.hosts(Layout::Ringfence)?);
        let node = self.world.node(Layout::Ringfence.node())?;
        let address = match self.world.host(node.name())?.addresses[0] {
            IpAddr::V4(address) => address,
            IpAddr::V6(address) => bail!("{} has {address} first, no IPv4 address", node.name()),
        };
        let text = locals.objects(node.name(), address).to_string();
        self.objects.file("objects.json", Some(&text))?;
        let mark = self.objects.mark(Watcher::Enforcer)?;
        objects::wait_applied(node, &mut self.enforcer, &mark, APPLY)?;
        for layout in Layout::ALL.into_iter().filter(|l| l.enforces() && size > 0) {
            ensure!(
                !self.denied[&layout].is_open(),
                "{}: a stranger gets through, nothing is enforced",
                layout.label()
            );
        }
        Ok(())
    }

    fn measure(&self, effort: &Effort) -> Result<Samples> {
        let mut samples = Samples::new();
        for _ in 0..effort.runs {
            for layout in Layout::ALL {
                let way = &self.ways[&layout];
                let node = self.node(layout)?;
                if layout != Layout::Nothing {
                    node.exec("conntrack", &["-F"], "")?;
                }
                way.establish().with_context(|| layout.label().to_owned())?;
                for flow in [Flow::Established, Flow::New] {
                    let cost = on_one_cpu(|| way.nanoseconds(flow, effort.packets))
                        .with_context(|| layout.label().to_owned())?;
                    samples.entry((flow, layout)).or_default().push(cost);
                }
            }
        }
        Ok(samples)
    }

    fn node(&self, layout: Layout) -> Result<&Node> {
        self.world.node(layout.node())
    }

    fn hosts(&self, layout: Layout) -> Result<Hosts> {
        let address = |pod: &str| {
            let host = self.world.host(&format!("bench/{pod}-{}", layout.node()))?;
            ipv4(host)
        };
        Ok(Hosts {
            client: address("client")?,
            web: address("web")?,
            stranger: address("stranger")?,
        })
    }
}

fn way(from: &Host, to: &Host) -> Result<Way> {
    Way::open((&from.netns, ipv4(from)?), (&to.netns, ipv4(to)?))
}

fn ipv4(host: &Host) -> Result<Ipv4Addr> {
    host.addresses
        .iter()
        .find_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        })
        .with_context(|| format!("{} has no IPv4 address", host.name))
}

/// The flavour that `iptables` is here: every layout is written with it.
fn flavour() -> Result<&'static str> {
    let said = std::process::Command::new("iptables")
        .arg("--version")
        .output()
        .context("starting iptables (Debian: apt install iptables)")?;
    let legacy = String::from_utf8_lossy(&said.stdout).contains("legacy");
    Ok(if legacy { "legacy" } else { "nft" })
}

fn on_one_cpu<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            usage::stay_on_this_cpu()?;
            work()
        });
        thread.join().unwrap_or_else(|_| bail!("a thread panicked"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_compare_the_least_of_the_runs() {
        let spread = |min: f64| Spread::of(vec![min, min * 2.0]).unwrap();
        let spreads = BTreeMap::from([
            (Layout::Nothing, spread(3600.0)),
            (Layout::Conntrack, spread(5000.0)),
            (Layout::KubeRouter, spread(11_000.0)),
            (Layout::Ringfence, spread(5600.0)),
        ]);
        let judged = |at_20| {
            let figures = figures(250, Flow::New, &spreads, Some(at_20));
            figures.into_iter().find_map(|f| f.goal).unwrap()
        };
        let goal = judged(5500.0);
        assert!(goal.met, "{}", goal.text);
        assert!(
            goal.text.contains("10%") && goal.text.contains("+1.8%"),
            "{}",
            goal.text
        );
        assert!(!judged(4900.0).met, "grew by 14%");
    }
}
