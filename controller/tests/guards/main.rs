//! `manifests/base/guards` on a real API server: who may touch what Ringfence keeps, and
//! that namespaces go away whoever is up. Needs root (or user namespaces) and the programs
//! of `make controlplane`; without them it is skipped, but never where `CI` is set.

#![allow(clippy::unwrap_used)]

mod deletion;
mod lab;
mod owned;
mod schema;
mod tenants;

use anyhow::Result;
use lab::Lab;
use ringfence_e2e::controlplane::{self, Programs};
use ringfence_e2e::fabric::{PodKind, Topology, World};
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
    let lab = Lab::start(programs, world).await?;
    owned::what_others_may_not(&lab).await?;
    owned::what_was_retained(&lab).await?;
    owned::whoever_may_override(&lab).await?;
    owned::the_name_of_somebody_else(&lab).await?;
    schema::refusals(&lab).await?;
    tenants::joining_and_leaving(&lab).await?;
    tenants::without_configuration(&lab).await?;
    deletion::of_the_isolation(&lab).await?;
    deletion::of_namespaces(&lab).await?;
    tenants::without_the_custom_resources(&lab).await
}
