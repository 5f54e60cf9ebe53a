//! The seam to the kernel, on the kernel: every test in a network namespace of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

#[path = "system/namespace.rs"]
mod namespace;

#[path = "system/conntrack.rs"]
mod conntrack;
#[path = "system/links.rs"]
mod links;
#[path = "system/rules.rs"]
mod rules;
#[path = "system/sets.rs"]
mod sets;

use ringfence_enforcer::system::{Flavour, LinuxKernel, Options};

fn kernel(flavour: Flavour) -> LinuxKernel {
    let options = Options {
        flavour: Some(flavour),
        ..Options::default()
    };
    LinuxKernel::open(options).expect("a kernel")
}
