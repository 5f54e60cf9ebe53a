//! Sets as `ipset` knows them.

use super::{Family, names};
use ipnet::IpNet;
use ringfence_policy::Program;
use ringfence_policy::compile::{Element, Id, SetSpec, Structure};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The kernel's own default; a set that needs more gets more.
const LEAST_MAXELEM: usize = 65_536;

/// One set in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KernelSet {
    pub name: String,
    pub family: Family,
    pub kind: &'static str,
    /// The set of the program that it is a family of.
    pub id: Option<Id>,
}

impl KernelSet {
    /// A set that is none of the program.
    pub(crate) fn fixed(name: String, family: Family, kind: &'static str) -> Self {
        Self {
            name,
            family,
            kind,
            id: None,
        }
    }

    /// The line that makes it, with room for `members` and as much again.
    pub(crate) fn create(&self, name: &str, members: usize) -> String {
        let family = match self.family {
            Family::V4 => "inet",
            Family::V6 => "inet6",
        };
        let maxelem = maxelem(members);
        let hashsize = (members / 2).next_power_of_two().clamp(64, 1 << 20);
        format!(
            "create {name} {} family {family} hashsize {hashsize} maxelem {maxelem}",
            self.kind
        )
    }
}

/// The capacity that a set of so many members gets.
pub(crate) fn maxelem(members: usize) -> usize {
    (members * 2).next_power_of_two().max(LEAST_MAXELEM)
}

/// The set type, or `None` for sets that rules of this dataplane do not look at: own
/// addresses are matched in the tree, and whether any pod is isolated is known when
/// the rules are rendered.
fn kind(spec: &SetSpec, structure: &Structure) -> Option<&'static str> {
    match spec {
        SetSpec::Pods(_) | SetSpec::IsolatedPods => Some("hash:ip"),
        SetSpec::LocalPods => (!structure.unknown_ranges.is_empty()).then_some("hash:ip"),
        SetSpec::Cidrs(_) => Some("hash:net"),
        SetSpec::NamedPort { .. } => Some("hash:ip,port"),
        SetSpec::SelfPairs | SetSpec::IngressIsolatedPods => None,
    }
}

/// The kernel sets of one set of the program.
pub(crate) fn of_spec(
    id: Id,
    spec: &SetSpec,
    structure: &Structure,
    families: &[Family],
) -> Vec<KernelSet> {
    let Some(kind) = kind(spec, structure) else {
        return Vec::new();
    };
    let has = |family: &Family| match spec {
        SetSpec::Cidrs(nets) => nets.iter().any(|net| Family::of(net.addr()) == *family),
        _ => true,
    };
    let families = families.iter().copied().filter(has);
    families
        .map(|family| KernelSet {
            name: names::set(family, id),
            family,
            kind,
            id: Some(id),
        })
        .collect()
}

/// The members of one family, as `ipset save` prints them.
pub(crate) fn members(program: &Program, id: Id, family: Family) -> BTreeSet<String> {
    let all = program.members.get(&id).into_iter().flatten();
    all.filter(|e| e.is_ipv4() == (family == Family::V4))
        .map(element)
        .collect()
}

/// A member as `ipset save` prints it.
pub(crate) fn element(element: &Element) -> String {
    match element {
        Element::Address(address) => address.to_string(),
        Element::Net(net) => network(*net),
        Element::Port(address, protocol, port) => {
            format!("{address},{}:{port}", protocol.netfilter())
        }
        Element::Pair(address) => format!("{address},{address}"),
    }
}

/// A network as `ipset save` prints it: a single address without its length.
fn network(net: IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() {
        net.addr().to_string()
    } else {
        net.to_string()
    }
}

/// A member that was read back, in the spelling of [`element`].
pub(crate) fn canonical(member: &str) -> String {
    let mut parts = member.splitn(2, ',');
    let (first, rest) = (parts.next().unwrap_or_default(), parts.next());
    let first = if let Ok(address) = first.parse::<IpAddr>() {
        address.to_string()
    } else if let Ok(net) = first.parse::<IpNet>() {
        network(net)
    } else {
        first.to_owned()
    };
    rest.map_or(first.clone(), |rest| format!("{first},{rest}"))
}
