//! Start, memory and latency in a large cluster; CPU while pods come and go.

use super::events::{self, Latency, Plan, Template};
use super::figures::{Figure, Report, Spread};
use super::lab::Lab;
use super::local;
use super::metrics::Page;
use super::peer;
use super::{Bench, Options};
use crate::controlplane::scale::Scale;
use crate::fabric::{Placement, PodKind, Topology};
use anyhow::Result;
use std::time::Duration;

/// After a start or a load, until memory is read.
const REST: Duration = Duration::from_secs(5);

/// How much is measured.
struct Effort {
    pods: &'static [usize],
    policies: usize,
    namespaces: usize,
    starts: usize,
    remote: usize,
    local: usize,
    churn: Duration,
}

const FULL: Effort = Effort {
    pods: &[2_000, 10_000],
    policies: 1_000,
    namespaces: 200,
    starts: 5,
    remote: 250,
    local: 100,
    churn: Duration::from_secs(30),
};
const QUICK: Effort = Effort {
    pods: &[300],
    policies: 100,
    namespaces: 20,
    starts: 1,
    remote: 20,
    local: 5,
    churn: Duration::from_secs(2),
};

/// Measures what of `scale` and `churn` is among `benches`: they share a cluster.
pub fn run(benches: &[Bench], options: &Options, report: &mut Report) -> Result<()> {
    let effort = if options.quick { QUICK } else { FULL };
    let (scale, churn) = (
        benches.contains(&Bench::Scale),
        benches.contains(&Bench::Churn),
    );
    for (n, pods) in effort.pods.iter().copied().enumerate() {
        let last = n + 1 == effort.pods.len();
        if !scale && !last {
            continue;
        }
        eprintln!("scale: making {pods} pods");
        let mut topology = Topology::new(PodKind::Bridge, 1).pods(local::PODS, Placement::Same);
        topology.externals.clear();
        let mut lab = Lab::create(options, topology)?;
        let size = Scale {
            pods,
            policies: effort.policies,
            namespaces: effort.namespaces,
            node: lab.spec()?.clone(),
            local: 110,
        };
        lab.api_mut().populate(&size)?;
        local::prepare(&lab)?;
        if scale {
            starts(&mut lab, &effort, pods, report)?;
        }
        lab.start()?;
        let templates = events::templates(&lab, &size, 20)?;
        if scale {
            remote(&lab, &effort, pods, &templates, report)?;
            local::run(&mut lab, effort.local, pods, report)?;
        }
        if churn && last {
            load(&lab, &effort, pods, &templates, report)?;
        }
        lab.stop()?;
        if let Some(program) = &options.kube_router {
            peer::run(program, &lab, &size, report)?;
        }
    }
    Ok(())
}

fn starts(lab: &mut Lab, effort: &Effort, pods: usize, report: &mut Report) -> Result<()> {
    let (mut lists, mut after, mut total) = (Vec::new(), Vec::new(), Vec::new());
    let (mut resident, mut peak) = (Vec::new(), Vec::new());
    for number in 0..effort.starts {
        eprintln!("scale: {pods} pods, start {}", number + 1);
        let start = lab.start()?;
        lists.push(start.lists.as_secs_f64());
        after.push(start.programmed.saturating_sub(start.lists).as_secs_f64());
        total.push(start.programmed.as_secs_f64());
        std::thread::sleep(REST);
        let memory = lab.memory()?;
        resident.push(memory.resident);
        peak.push(memory.peak);
        lab.stop()?;
    }
    let mut add = |name: &str, unit, samples, limit: Option<f64>| -> Result<()> {
        let spread = Spread::of(samples)?;
        let mut figure = Figure::new("scale", format!("{name}, {pods} pods"), unit, spread);
        if let Some(limit) = limit {
            figure = figure.goal(format!("at most {limit} {unit}"), spread.median <= limit);
        }
        report.figures.push(figure);
        Ok(())
    };
    add("start: until the lists have arrived", "s", lists, None)?;
    add("start: from the lists to programmed", "s", after, Some(1.0))?;
    add("start: in all", "s", total, Some(2.0))?;
    add(
        "resident memory after the start",
        "MiB",
        resident,
        Some(60.0),
    )?;
    add("most resident memory, after the start", "MiB", peak, None)
}

fn remote(
    lab: &Lab,
    effort: &Effort,
    pods: usize,
    templates: &[Template],
    report: &mut Report,
) -> Result<()> {
    eprintln!("scale: {pods} pods, {} remote events", effort.remote);
    let before = Page::read(lab)?;
    let (latencies, _) = events::follow(
        lab,
        lab.pid()?,
        templates,
        Plan {
            events: effort.remote,
            every: Duration::from_millis(100),
            jitter: 0.3,
            pods: effort.remote,
            patience: Duration::from_secs(10),
        },
    )?;
    let after = Page::read(lab)?;
    let name = |what: &str| format!("remote pod's address in a set, {pods} pods, {what}");
    let event = Spread::of(since_event(&latencies))?;
    report.figures.push(
        Figure::new("scale", name("after the watch event"), "ms", event)
            .beside(after.event_to_kernel_since(&before))
            .goal(
                "median at most 5 ms, p99 at most 15 ms",
                event.median <= 5.0 && event.p99 <= 15.0,
            ),
    );
    let write = Spread::of(latencies.iter().map(|l| l.since_write).collect())?;
    report
        .figures
        .push(Figure::new("scale", name("after the write"), "ms", write));
    Ok(())
}

/// 100 pod events a second, each of which changes a set of the node.
fn load(
    lab: &Lab,
    effort: &Effort,
    pods: usize,
    templates: &[Template],
    report: &mut Report,
) -> Result<()> {
    let every = Duration::from_millis(10);
    let events = usize::try_from(effort.churn.as_millis() / every.as_millis())?;
    eprintln!("churn: {events} events, one every {every:?}");
    let name = |what: &str| format!("100 pod events a second, {pods} pods: {what}");
    let before = Page::read(lab)?;
    let (latencies, cost) = events::follow(
        lab,
        lab.pid()?,
        templates,
        Plan {
            events,
            every,
            jitter: 0.0,
            pods: (events / 6).max(1),
            patience: Duration::from_secs(10),
        },
    )?;
    let after = Page::read(lab)?;
    let share = 100.0 * cost.cpu.as_secs_f64() / cost.wall.as_secs_f64();
    report.figures.push(
        Figure::new(
            "churn",
            name("CPU with its programs"),
            "% of a core",
            Spread::single(share),
        )
        .beside(format!(
            "{:.1} events a second came; {}",
            f64::from(u32::try_from(events)?) / cost.wall.as_secs_f64(),
            after.runs_since(&before)
        ))
        .goal("at most 5%", share <= 5.0),
    );
    let event = Spread::of(since_event(&latencies))?;
    report.figures.push(
        Figure::new(
            "churn",
            name("in the kernel after the watch event"),
            "ms",
            event,
        )
        .beside(after.event_to_kernel_since(&before))
        .goal("p99 at most 60 ms", event.p99 <= 60.0),
    );
    let write = Spread::of(latencies.iter().map(|l| l.since_write).collect())?;
    report.figures.push(Figure::new(
        "churn",
        name("in the kernel after the write"),
        "ms",
        write,
    ));
    std::thread::sleep(REST);
    let memory = lab.memory()?;
    for (what, value) in [
        ("resident memory afterwards", memory.resident),
        ("most resident memory", memory.peak),
    ] {
        let figure = Figure::new("churn", name(what), "MiB", Spread::single(value));
        report.figures.push(figure);
    }
    Ok(())
}

fn since_event(latencies: &[Latency]) -> Vec<f64> {
    latencies.iter().map(|l| l.since_event).collect()
}
