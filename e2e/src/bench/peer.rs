//! kube-router on the same node and the same objects, when a binary of it is given.

use super::events::{self, Plan};
use super::figures::{Figure, Report, Spread};
use super::lab::{Lab, NODE};
use super::usage;
use crate::controlplane::Identity;
use crate::controlplane::scale::Scale;
use crate::fabric::Process;
use anyhow::{Result, ensure};
use std::path::Path;
use std::time::{Duration, Instant};

/// kube-router needs 20 s where this was written.
const START: Duration = Duration::from_mins(3);
/// Between two looks; each starts `ipset`.
const LOOK: Duration = Duration::from_millis(250);
/// One event at a time: it takes up to half a minute for each.
const PLAN: Plan = Plan {
    events: 20,
    every: Duration::from_secs(2),
    jitter: 0.3,
    pods: 20,
    patience: Duration::from_mins(2),
};

/// Measures start, memory and latency, and leaves the node with kube-router's rules: call
/// it last.
pub fn run(program: &Path, lab: &Lab, scale: &Scale, report: &mut Report) -> Result<()> {
    eprintln!("scale: kube-router, {} pods", scale.pods);
    let name = |what: &str| format!("kube-router: {what}, {} pods", scale.pods);
    let mut add = |what: &str, unit, spread| {
        report
            .figures
            .push(Figure::new("peer", name(what), unit, spread));
    };
    let begin = Instant::now();
    let mut process = start(program, lab)?;
    wait_programmed(&mut process, lab, begin)?;
    add(
        "start: in all",
        "s",
        Spread::single(begin.elapsed().as_secs_f64()),
    );
    let memory = usage::memory(process.pid())?;
    add(
        "resident memory after the start",
        "MiB",
        Spread::single(memory.resident),
    );

    let templates = events::templates(lab, scale, 20)?;
    let (latencies, _) = events::follow(lab, process.pid(), &templates, PLAN)?;
    let since_event = latencies.iter().map(|l| l.since_event).collect();
    add(
        "remote pod's address in a set after the watch event",
        "ms",
        Spread::of(since_event)?,
    );
    let memory = usage::memory(process.pid())?;
    add("most resident memory", "MiB", Spread::single(memory.peak));
    Ok(())
}

fn start(program: &Path, lab: &Lab) -> Result<Process> {
    let flags = [
        format!(
            "--kubeconfig={}",
            lab.api().kubeconfig(Identity::Admin).display()
        ),
        format!("--hostname-override={NODE}"),
        "--run-firewall=true".to_owned(),
        "--run-router=false".to_owned(),
        "--run-service-proxy=false".to_owned(),
        "--enable-cni=false".to_owned(),
    ];
    let node = [("NODE_NAME".to_owned(), NODE.to_owned())];
    lab.node()?.spawn("kube-router", program, &flags, &node)
}

/// Until the chain of the last pod's firewall is in the table: it writes all sets first,
/// then the whole table at once.
fn wait_programmed(process: &mut Process, lab: &Lab, begin: Instant) -> Result<()> {
    loop {
        process.check_running()?;
        let save = lab.node()?.exec("iptables-save", &["-t", "filter"], "")?;
        if save.contains("KUBE-POD-FW-") && save.contains("KUBE-NWPLCY-") {
            return Ok(());
        }
        ensure!(
            begin.elapsed() < START,
            "kube-router has programmed nothing after {START:?}; its log ends:\n{}",
            process.log_tail(20)
        );
        std::thread::sleep(LOOK);
    }
}
