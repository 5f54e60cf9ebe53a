//! A whole program as text for people and for the restore after a reboot.

use super::policies::Cache;
use super::ruleset::{self, Ruleset};
use super::sets::{self, KernelSet};
use super::{Family, Options, Table, bindings};
use ringfence_policy::Program;
use ringfence_policy::compile::{PodSetNamespaces, SetSpec};
use ringfence_policy::model::{Operator, Selector};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A program as text that the restore tools take as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// For `ipset restore`, on a kernel that has none of these sets.
    pub ipset: String,
    /// For `iptables-restore --noflush` and `ip6tables-restore --noflush`.
    pub iptables: Vec<(Family, String)>,
}

/// Renders all of `program`, commented.
pub fn render_full(program: &Program, options: &Options) -> Rendered {
    let mut ipset = String::new();
    for (id, spec) in &program.structure.sets {
        let of_spec = sets::of_spec(*id, spec, &program.structure, options.families());
        if of_spec.is_empty() {
            continue;
        }
        line(&mut ipset, &format!("# {}", describe(spec)));
        for set in of_spec {
            filled(&mut ipset, &set, &sets::members(program, *id, set.family));
        }
    }
    for (set, members) in bindings::sets(options) {
        line(
            &mut ipset,
            "# addresses and the interfaces they are bound to",
        );
        filled(&mut ipset, &set, &members);
    }
    let rules = |family: &Family| {
        let rules = ruleset::render(
            *family,
            &program.structure,
            options,
            &BTreeSet::new(),
            &mut Cache::default(),
        );
        (*family, text(&rules))
    };
    Rendered {
        ipset,
        iptables: options.families().iter().map(rules).collect(),
    }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn filled(out: &mut String, set: &KernelSet, members: &BTreeSet<String>) {
    line(out, &set.create(&set.name, members.len()));
    for member in members {
        line(out, &format!("add {} {member}", set.name));
    }
}

fn text(ruleset: &Ruleset) -> String {
    let mut out = String::new();
    for table in Table::ALL {
        let chains = || ruleset.chains.iter().filter(|((t, _), _)| *t == table);
        if chains().next().is_none() {
            continue;
        }
        line(&mut out, &format!("# {}", table.purpose()));
        line(&mut out, &format!("*{}", table.name()));
        for ((_, name), _) in chains() {
            line(&mut out, &format!(":{name} - [0:0]"));
        }
        for ((_, name), rules) in chains() {
            for rule in rules.iter() {
                line(&mut out, &format!("-A {name} {rule}"));
            }
        }
        for ((_, chain), rule) in ruleset.entries.iter().filter(|((t, _), _)| *t == table) {
            line(&mut out, &format!("-I {chain} 1 {rule}"));
        }
        line(&mut out, "COMMIT");
    }
    out
}

/// What a set holds, for people. On one line whatever the names contain.
fn describe(spec: &SetSpec) -> String {
    let mut text = match spec {
        SetSpec::Pods(set) => {
            let namespaces = match &set.namespaces {
                PodSetNamespaces::Named(name) => format!("namespace {name}"),
                PodSetNamespaces::Labels(selector) => {
                    format!("namespaces with {}", labels(selector))
                }
            };
            format!("pods with {} in {namespaces}", labels(&set.pods))
        }
        SetSpec::Cidrs(nets) => format!("{} networks of an ipBlock list", nets.len()),
        SetSpec::NamedPort {
            name,
            protocol,
            local_only,
        } => {
            let whose = if *local_only {
                "this node's pods"
            } else {
                "all pods"
            };
            format!("{protocol} port {name:?} of {whose}")
        }
        SetSpec::LocalPods => "all pods of this node".to_owned(),
        SetSpec::IsolatedPods => "isolated pods of this node".to_owned(),
        SetSpec::IngressIsolatedPods => "ingress-isolated pods of this node".to_owned(),
        SetSpec::SelfPairs => "isolated pods of this node, each with itself".to_owned(),
    };
    text.retain(|c| !c.is_control());
    text
}

fn labels(selector: &Selector) -> String {
    if selector.is_everything() {
        return "any labels".to_owned();
    }
    let mut out = String::new();
    for requirement in selector.requirements() {
        if !out.is_empty() {
            out.push_str(", ");
        }
        let key = &requirement.key;
        // Writing to a String cannot fail.
        let _ = match &requirement.operator {
            Operator::In(values) => write!(out, "{key} in ({})", values.join(", ")),
            Operator::NotIn(values) => write!(out, "{key} notin ({})", values.join(", ")),
            Operator::Exists => write!(out, "{key}"),
            Operator::DoesNotExist => write!(out, "!{key}"),
        };
    }
    out
}
