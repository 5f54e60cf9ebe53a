//! Project isolation on a real API server, by controllers with the rights of the manifests.
//! Needs root (or user namespaces) and the programs of `make controlplane`; without them it
//! is skipped, but never where `CI` is set.

#![allow(clippy::unwrap_used)]

mod companion;
mod faults;
mod kinds;
mod lab;
mod life;
mod people;

use anyhow::Result;
use lab::Lab;
use ringfence_e2e::controlplane::{self, Programs};
use ringfence_e2e::fabric::{PodKind, Topology, World};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    controlplane::test(run)
}

fn run(programs: &Programs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let world = World::create(Topology::new(PodKind::Bridge, 1))?;
    let result = runtime.block_on(whole_way(programs, &world));
    drop(runtime);
    result
}

async fn whole_way(programs: &Programs, world: &World) -> Result<()> {
    let mut lab = Lab::start(programs, world).await?;
    let result = steps(&mut lab).await;
    if result.is_err() {
        for replica in lab.replicas() {
            eprintln!("{}", replica.log_tail(30));
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("controller-isolation");
        lab.plane.save_logs(&folder)?;
        eprintln!("logs of the control plane: {}", folder.display());
    }
    result
}

async fn steps(lab: &mut Lab<'_>) -> Result<()> {
    lab.controller("a")?;
    life::on_and_off(lab).await?;
    life::rules(lab).await?;
    life::the_cluster_changes(lab).await?;
    life::a_rule_ends(lab).await?;
    life::drift_is_repaired(lab).await?;
    life::retained(lab).await?;
    life::preview(lab).await?;
    people::somebody_elses_policy_is_not_adopted(lab).await?;
    people::a_rule_where_nothing_is_isolated(lab).await?;
    people::kubespheres_annotation(lab).await?;
    people::an_admin_without_cluster_rights(lab).await?;
    faults::namespaces_are_deleted(lab).await?;
    faults::killed_at_every_step(lab).await?;
    faults::two_controllers(lab).await?;
    faults::without_a_controller(lab).await?;
    kinds::rules_go_with_their_kind(lab).await?;
    kinds::all_come_and_go(lab).await?;
    companion::beside_a_tool_that_insists(lab).await?;
    Ok(())
}
