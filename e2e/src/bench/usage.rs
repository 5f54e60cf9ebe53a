//! What a process costs, as `/proc` tells it.

use anyhow::{Context, Result};
use nix::unistd::{SysconfVar, sysconf};
use std::fs;
use std::time::Duration;

/// Memory of a process, in MiB.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Memory {
    /// `VmRSS`: resident now.
    pub resident: f64,
    /// `VmHWM`: the most that was ever resident.
    pub peak: f64,
}

/// Memory of a process now.
pub fn memory(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    parse_memory(&text).with_context(|| format!("{path} has no VmRSS and VmHWM"))
}

fn parse_memory(status: &str) -> Option<Memory> {
    let mib = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kib / 1024.0)
    };
    Some(Memory {
        resident: mib("VmRSS:")?,
        peak: mib("VmHWM:")?,
    })
}

/// CPU time of a process and of its children, those that have ended and those that run,
/// user and system.
pub fn cpu(pid: u32) -> Result<Duration> {
    let second = sysconf(SysconfVar::CLK_TCK)?.context("no clock ticks")?;
    let mut all = ticks(pid)?;
    for child in children(pid)? {
        // One that has ended in between is its parent's from now on.
        all += ticks(child).unwrap_or_default();
    }
    Ok(Duration::from_secs(all) / u32::try_from(second)?)
}

fn ticks(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    parse_ticks(&text).with_context(|| format!("{path} is not as expected"))
}

/// The running children of every thread of a process.
fn children(pid: u32) -> Result<Vec<u32>> {
    let path = format!("/proc/{pid}/task");
    let tasks = fs::read_dir(&path).with_context(|| format!("reading {path}"))?;
    let mut all = Vec::new();
    for task in tasks {
        let text = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        for child in text.split_whitespace() {
            all.push(child.parse()?);
        }
    }
    Ok(all)
}

/// The sum of utime, stime, cutime and cstime (fields 14 to 17). The second field, the
/// name, may contain blanks and parentheses.
fn parse_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    fields
        .get(11..15)?
        .iter()
        .map(|f| f.parse::<u64>().ok())
        .sum()
}

/// The CPU that the calling thread may keep for itself, so that what it sends is
/// processed where it is timed.
pub fn stay_on_this_cpu() -> Result<()> {
    let mut cpus = nix::sched::CpuSet::new();
    cpus.set(nix::sched::sched_getcpu()?)?;
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &cpus)
        .context("keeping a thread on one CPU")
}

/// What a figure depends on: CPU, kernel, and the versions of `programs` (program, flag).
pub fn machine(programs: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, key: &str| {
        text.lines()
            .find(|line| line.starts_with(key))
            .and_then(|line| line.split_once(':'))
            .map_or_else(
                || "unknown".to_owned(),
                |(_, value)| value.trim().to_owned(),
            )
    };
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let model = field(&read("/proc/cpuinfo"), "model name");
    let mut facts = vec![
        ("cpu", format!("{cpus} x {model}")),
        ("memory", field(&read("/proc/meminfo"), "MemTotal")),
        (
            "kernel",
            read("/proc/sys/kernel/osrelease").trim().to_owned(),
        ),
        ("load", read("/proc/loadavg").trim().to_owned()),
    ];
    for (program, flag) in programs {
        let said = std::process::Command::new(program).arg(flag).output();
        let version = said.map_or_else(
            |_| "not installed".to_owned(),
            |output| {
                let all = [output.stdout, output.stderr].concat();
                let text = String::from_utf8_lossy(&all);
                text.lines().next().unwrap_or_default().to_owned()
            },
        );
        facts.push((program, version));
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_behind_a_nasty_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 10 20 300 4000 20 0 1 0 9";
        assert_eq!(parse_ticks(stat), Some(4330));
        assert_eq!(parse_ticks("7 (a"), None);
    }

    #[test]
    fn memory_in_mib() {
        let status = "Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n";
        let memory = parse_memory(status).unwrap();
        assert_eq!((memory.resident, memory.peak), (1.0, 2.0));
    }

    #[test]
    fn this_process_costs_something() {
        let pid = std::process::id();
        assert!(memory(pid).unwrap().resident > 0.0);
        cpu(pid).unwrap();
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        assert!(children(pid).unwrap().contains(&child.id()));
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
