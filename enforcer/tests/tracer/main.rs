//! A kernel that only exists here: it takes the text that `ipset restore` and
//! `iptables-restore --noflush` take, refuses what they would refuse, and walks packets
//! through the rules. It reads the text and nothing else; an option, match or target
//! that it does not know is an error, so that no rule goes untested.

#![allow(
    clippy::unwrap_used,
    clippy::format_push_string,
    clippy::needless_pass_by_value
)]

mod cases;
mod kernel;
mod packet;
mod property;
mod real;
mod rule;
mod set;
mod world;

use kernel::Kernel;
use packet::{Hook, Outcome, Packet, Segment, Transport};
use ringfence_enforcer::dataplane::{Family, Options, Readback, parse_readback, render_full};
use ringfence_policy::Program;

/// A fresh kernel with the text that people and the restore after a reboot get.
fn loaded(program: &Program, options: &Options) -> Kernel {
    let rendered = render_full(program, options);
    let mut kernel = Kernel::new();
    for line in rendered.ipset.lines() {
        kernel.ipset(line).unwrap();
    }
    for (family, text) in &rendered.iptables {
        for section in Kernel::sections(text) {
            kernel.table(*family, &section).unwrap();
        }
    }
    kernel
}

/// What the agent would read back from it.
fn readback(kernel: &Kernel) -> Readback {
    let rules = Family::ALL.map(|family| (family, kernel.iptables_save(family)));
    let rules: Vec<_> = rules
        .iter()
        .map(|(family, text)| (*family, text.as_str()))
        .collect();
    parse_readback(&kernel.ipset_save(), &rules).unwrap()
}

/// Everything but the capacity of sets, which depends on the way.
fn contents(kernel: &Kernel) -> Kernel {
    let mut kernel = kernel.clone();
    for set in kernel.sets.values_mut() {
        set.maxelem = 0;
    }
    kernel
}
