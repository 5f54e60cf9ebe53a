//! Source addresses bound to interfaces (dataplane trap 9), for routed pods.

use super::names::comment;
use super::ruleset::{Context, Ruleset};
use super::sets::KernelSet;
use super::{Family, Options};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Where a packet with a source that is not bound to its interface ends.
const SPOOFED: &str = "RF-SPOOFED";

/// Packets whose source and interface are not bound to each other: one of the two may be
/// bound to something else.
const UNBOUND: &str = "RF-UNBOUND";

/// The kernel keeps at most 64 interfaces for one network in a `hash:net,iface` set.
const INTERFACES: usize = 60;

fn of_family(options: &Options, family: Family) -> impl Iterator<Item = &(IpAddr, String)> {
    options
        .bindings
        .iter()
        .filter(move |(address, _)| Family::of(*address) == family)
}

fn name(family: Family, what: &str) -> String {
    let prefix = match family {
        Family::V4 => "RF4-",
        Family::V6 => "RF6-",
    };
    format!("{prefix}{what}")
}

/// Every interface that has a binding in either family: nothing else may be sent there.
fn interfaces(options: &Options) -> Vec<&str> {
    let names: BTreeSet<&str> = options.bindings.iter().map(|(_, i)| i.as_str()).collect();
    names.into_iter().collect()
}

/// The sets: (address, interface), the addresses, and the interfaces in groups.
pub(crate) fn sets(options: &Options) -> Vec<(KernelSet, BTreeSet<String>)> {
    let mut all = Vec::new();
    if options.bindings.is_empty() {
        return all;
    }
    for family in options.families().iter().copied() {
        let pairs = of_family(options, family)
            .map(|(a, i)| format!("{a},{i}"))
            .collect();
        let bound = of_family(options, family)
            .map(|(a, _)| a.to_string())
            .collect();
        all.push((
            KernelSet::fixed(name(family, "bind"), family, "hash:net,iface"),
            pairs,
        ));
        all.push((
            KernelSet::fixed(name(family, "bound"), family, "hash:ip"),
            bound,
        ));
        let everyone = match family {
            Family::V4 => "0.0.0.0/0",
            Family::V6 => "::/0",
        };
        for (index, group) in interfaces(options).chunks(INTERFACES).enumerate() {
            let set = KernelSet::fixed(
                name(family, &format!("iface{index}")),
                family,
                "hash:net,iface",
            );
            all.push((
                set,
                group.iter().map(|i| format!("{everyone},{i}")).collect(),
            ));
        }
    }
    all
}

/// The rules, first of all: a source that is bound comes from its interface, and a
/// bound interface sends nothing else. A packet that is as it should be costs one look
/// into a set.
pub(crate) fn rules(context: &Context<'_>, ruleset: &mut Ruleset) -> Vec<String> {
    let (options, family) = (context.options, context.family);
    if options.bindings.is_empty() {
        return Vec::new();
    }
    let bind = name(family, "bind");
    let bound = name(family, "bound");
    let mut unbound = vec![format!("-m set --match-set {bound} src -j {SPOOFED}")];
    for index in 0..interfaces(options).len().div_ceil(INTERFACES) {
        let set = name(family, &format!("iface{index}"));
        unbound.push(format!("-m set --match-set {set} src,src -j {SPOOFED}"));
    }
    ruleset.decide(UNBOUND, unbound);
    let mut spoofed = Vec::new();
    if family == Family::V6 {
        spoofed.push("-s fe80::/10 -j RETURN".to_owned());
        spoofed.push("-s ::/128 -j RETURN".to_owned());
    }
    spoofed.push(format!(
        "{} -j DROP",
        comment("ringfence: not this interface's address")
    ));
    ruleset.decide(SPOOFED, spoofed);
    vec![format!("-m set ! --match-set {bind} src,src -j {UNBOUND}")]
}
