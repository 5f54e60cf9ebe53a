//! The controller and the manifests against a real API server. Needs root (or user
//! namespaces) and the programs of `make controlplane`; without them it is skipped, but
//! never where `CI` is set.

#![allow(clippy::unwrap_used)]

mod admission;
mod hook;
mod lab;
mod overlays;
mod rotation;
mod scan;
mod switch;

use anyhow::{Result, ensure};
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
    overlays::cert_manager(programs)?;
    let result = steps(programs, &mut lab).await;
    if result.is_err() {
        for replica in lab.replicas() {
            eprintln!("{}", replica.log_tail(30));
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("controller-controlplane");
        lab.plane.save_logs(&folder)?;
        eprintln!("logs of the control plane: {}", folder.display());
    }
    result
}

async fn steps(programs: &Programs, lab: &mut Lab<'_>) -> Result<()> {
    lab.controller("a", &["--ca-overlap=1s", "--ca-settle=2s"])
        .await?;
    switch::from_nothing_to_fail(lab).await?;
    lab.controller("b", &["--ca-overlap=1s", "--ca-settle=2s"])
        .await?;
    admission::calls(lab).await?;
    switch::what_others_change_is_repaired(lab).await?;
    switch::down_is_closed_and_harms_nothing_else(lab).await?;
    rotation::three_in_a_row_under_load(lab).await?;
    rotation::a_lost_secret_is_replaced(lab).await?;
    ensure!(lab.holder().await?.as_deref() == Some("a"), "a leads");
    lab.stop("a")?;
    lab.until("b leads", async |lab| {
        Ok(lab.holder().await?.as_deref() == Some("b"))
    })
    .await?;
    println!("ok: b took over from a");
    switch::what_others_change_is_repaired(lab).await?;
    lab.stop("b")?;
    lab.controller("c", &["--certs=external"]).await?;
    switch::external_certificates(lab).await?;
    ensure!(lab.readyz()?.contains("200 OK"), "{}", lab.readyz()?);
    scan::findings_become_reports(programs, lab).await?;
    lab.stop("c")?;
    lab.controller("e", &["--certs=external", "--reports=wgpolicyk8s"])
        .await?;
    scan::policy_reports(lab).await?;
    lab.stop("e")?;
    lab.controller("d", &["--secret=other"]).await?;
    // The service account may see one Secret only.
    lab.until("a missing right is told", async |lab| {
        let said = lab.readyz().unwrap_or_default();
        Ok(said.contains("503")
            && said.contains("watching the Secret")
            && said.contains("forbidden"))
    })
    .await?;
    println!("ok: a missing right is told");
    Ok(())
}
