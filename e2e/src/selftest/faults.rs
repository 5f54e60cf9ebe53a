//! Faults of the harness itself: an oracle that lies, a probe that dies, a node that goes
//! away. Each is an error, never a pass.

use super::kernel;
use crate::case::{
    Case, CaseResult, Failure, Fault, Kinds, ObjectsKind, Options, Runner, Stage, Status, cells,
};
use crate::fabric::{Placement, PodKind};
use crate::probe::{Outcome, tcp, udp};
use anyhow::Result;
use nix::sys::signal::Signal;

/// Whether a fault was seen for what it is.
type Seen = fn(&CaseResult) -> bool;

/// Plays all of them; passed: the fault was seen for what it is.
pub fn play(options: &Options, tell: impl Fn(&CaseResult)) -> Vec<CaseResult> {
    let options = Options {
        objects: ObjectsKind::Folder,
        kinds: Kinds::All,
        ..options.clone()
    };
    let faults: [(Case, Seen); 3] = [(lying(), is_lie), (dying(), is_dead), (gone(), is_gone)];
    let play = |(case, seen): (Case, Seen)| {
        let mut runner = Runner::new(options.clone());
        let variants = runner.variants([&case]);
        let mut result = match variants.first() {
            Some(variant) => runner.play(variant),
            None => super::not_run(&case, "no variant of it was asked for"),
        };
        result.status = match &result.status {
            Status::Failed(_) if seen(&result) => Status::Passed,
            Status::NotRun(reason) => Status::NotRun(reason.clone()),
            other => Status::Failed(vec![Failure {
                fault: Fault::Play,
                summary: "the fault was not seen for what it is".into(),
                detail: format!("{other:?}"),
            }]),
        };
        tell(&result);
        result
    };
    faults.into_iter().map(play).collect()
}

fn fault(name: &'static str) -> Case {
    Case::new(name, "scenarios.md, self-tests")
        .kinds(&[PodKind::Bridge])
        .placements(&[Placement::Spread])
}

/// The oracle and the case contradict each other; packets agree with one of them.
fn lying() -> Case {
    fault("self-test: an oracle that lies")
        .expect(cells(&[tcp(80)], &[("x/a", "x/b")]).denied("x/a", "x/b"))
}

fn is_lie(result: &CaseResult) -> bool {
    failures(result).any(|f| f.fault == Fault::Truth)
}

/// A client that cannot send is not one whose packets are dropped.
fn dying() -> Case {
    fault("self-test: a probe that dies")
        .flags(&["--deny-action=drop"])
        .policy("x/deny", "{podSelector: {}, policyTypes: [Egress]}")
        .act("take x/a's link away", |stage| {
            stage.spoil();
            let netns = stage.world()?.host("x/a")?.netns.path();
            let node = stage.world()?.node("node1")?;
            let netns = format!("--net={netns}");
            node.exec("nsenter", &[&netns, "ip", "link", "delete", "eth0"], "")
                .map(drop)
        })
        .expect(cells(&[tcp(80), udp(80)], &[("x/a", "y/a")]))
}

fn is_dead(result: &CaseResult) -> bool {
    let last = result.tables.last();
    last.is_some_and(|(_, rows)| {
        let error = |o: Outcome| o == Outcome::Error;
        !rows.is_empty()
            && rows
                .iter()
                .all(|r| error(r.observed.outcome) && !r.is_right())
    })
}

/// A node that goes with its enforcer while a policy is on its way.
fn gone() -> Case {
    fault("self-test: a node that goes away")
        .act("end everything on node2", end_node2)
        .policy("x/deny", "{podSelector: {}, policyTypes: [Ingress]}")
        .expect(cells(&[tcp(80)], &[("x/a", "x/b")]))
}

fn end_node2(stage: &mut Stage) -> Result<()> {
    stage.spoil();
    stage.enforcer("node2")?.signal(Signal::SIGKILL)?;
    kernel::links_down(stage, "node2")
}

fn is_gone(result: &CaseResult) -> bool {
    failures(result).any(|f| f.fault == Fault::Play && f.detail.contains("node2"))
}

fn failures(result: &CaseResult) -> impl Iterator<Item = &Failure> {
    let failures: &[Failure] = match &result.status {
        Status::Failed(failures) => failures,
        Status::Passed | Status::NotRun(_) => &[],
    };
    failures.iter()
}
