//! `ringfence-enforcer cleanup`: removes exactly what carries our prefix.

use crate::agent::{Driver, clear_mark};
use crate::config::CommonSettings;
use crate::dataplane::Options;
use crate::metrics::Metrics;
use crate::plan::{self, Step};
use crate::state::StateDir;
use crate::system::{self, Flavour, Kernel, LinuxKernel};
use anyhow::Context;
use std::sync::Arc;

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Runs of iptables-restore that had something to remove.
    pub rules: usize,
    /// Runs of ipset that had something to remove.
    pub sets: usize,
    /// Flows that carried our bit.
    pub flows: usize,
    /// Sets that rules of others use, so that the kernel keeps them: emptied.
    pub kept: Vec<String>,
}

/// Cleans this node. Repeating it does no harm.
///
/// # Errors
/// The first thing that could not be removed; what comes before it is gone.
pub fn run(settings: &CommonSettings) -> anyhow::Result<Removed> {
    let mut kernels: Vec<Arc<dyn Kernel>> = Vec::new();
    for flavour in [Flavour::Legacy, Flavour::Nft] {
        let options = system::Options {
            flavour: Some(flavour),
            ..system::Options::default()
        };
        match LinuxKernel::open(options) {
            Ok(kernel) => kernels.push(Arc::new(kernel)),
            // A node need not have both; none at all is told below.
            Err(error) => tracing::info!(%flavour, %error, "this flavour cannot be cleaned"),
        }
    }
    anyhow::ensure!(
        !kernels.is_empty(),
        "neither flavour of iptables is usable here: install iptables and ipset"
    );
    let removed = clean(&kernels, settings.mark.bits())?;
    StateDir::new(&settings.state_dir)
        .remove()
        .context("cannot remove the saved program")?;
    Ok(removed)
}

/// Cleans through these kernels: one for each flavour.
///
/// # Errors
/// As [`run`].
pub fn clean(kernels: &[Arc<dyn Kernel>], mark: u32) -> anyhow::Result<Removed> {
    let mut removed = Removed::default();
    let mut sets = None;
    let mut drivers = Vec::new();
    // A set cannot go while rules of either flavour use it: first all rules.
    for kernel in kernels {
        let options = Options {
            mark,
            ..Options::default()
        };
        let mut driver = Driver::new(Arc::clone(kernel), options, Arc::new(Metrics::default()));
        let flavour = kernel.flavour();
        let readback = driver
            .read_back()
            .with_context(|| format!("cannot read what iptables ({flavour}) holds"))?;
        for step in plan::cleanup(&readback).steps {
            if matches!(step, Step::Rules { .. } | Step::Entries { .. }) {
                driver
                    .run_steps(&[step])
                    .with_context(|| format!("cannot remove the rules of iptables ({flavour})"))?;
                removed.rules += 1;
            } else {
                sets = Some(step);
            }
        }
        drivers.push(driver);
    }
    if let (Some(step), Some(driver)) = (sets, drivers.first_mut()) {
        driver
            .run_steps(&[step])
            .context("cannot remove the address sets")?;
        removed.sets += 1;
        let left = driver.read_back().context("cannot look at what is left")?;
        removed.kept = left.set_names();
    }
    if let Some(kernel) = kernels.first() {
        removed.flows =
            clear_mark(&**kernel, mark).context("cannot take the mark off known connections")?;
    }
    Ok(removed)
}
