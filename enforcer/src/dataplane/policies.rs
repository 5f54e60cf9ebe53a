//! Signature chains and policy chains: who may, and on what.
//!
//! A signature chain marks the packet as denied, then asks the chain of each policy;
//! a rule that matches goes to `RF-PASS`, which takes the mark away and, having been
//! gone to, returns to the signature chain.

use super::Family;
use super::names::{View, comment};
use super::ruleset::{Context, Ruleset};
use ringfence_policy::compile::{Chain, ChainRule, Id, PeerMatch, PortTest, SetSpec, Structure};
use ringfence_policy::model::Protocol;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Clears the mark.
pub(crate) const PASS: &str = "RF-PASS";

/// `multiport` takes so many ports; a range counts twice.
const MULTIPORT_SLOTS: usize = 15;

/// A chain costs about as much as so many rules.
const CHAIN_COST: usize = 2;

/// The chains of policies as they were rendered last: a pod that comes or goes changes
/// signatures and the tree, hardly ever a policy.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    /// The sets that had to be left out; with others, nothing is the same.
    broken: BTreeSet<Id>,
    policies: BTreeMap<(Family, View, Id), Rendered>,
}

/// What a chain of the compiler became: the chain itself and those for its ports, by name.
#[derive(Debug)]
struct Rendered {
    /// The compiler makes a new one whenever the policy changes, and keeps it otherwise.
    of: Arc<Chain>,
    chains: Vec<(String, Arc<Vec<String>>)>,
}

impl Cache {
    /// To be called before a render with these `broken` sets.
    pub(crate) fn begin(&mut self, broken: &BTreeSet<Id>) {
        if self.broken != *broken {
            self.policies.clear();
            self.broken.clone_from(broken);
        }
    }

    /// Forgets the policies that `structure` no longer has.
    pub(crate) fn retain(&mut self, structure: &Structure) {
        self.policies
            .retain(|(_, _, id), _| structure.chains.contains_key(id));
    }

    fn get(&mut self, context: &Context<'_>, view: View, id: Id, chain: &Arc<Chain>) -> &Rendered {
        let fresh = || Rendered {
            of: Arc::clone(chain),
            chains: policy(context, view, id, chain),
        };
        let rendered = self
            .policies
            .entry((context.family, view, id))
            .or_insert_with(fresh);
        if !Arc::ptr_eq(&rendered.of, chain) {
            *rendered = fresh();
        }
        rendered
    }
}

/// Renders the signature and policy chains that the tree of `view` leads to.
pub(crate) fn render(context: &Context<'_>, view: View, cache: &mut Cache, ruleset: &mut Ruleset) {
    let mut policies = BTreeSet::new();
    for (id, signature) in &context.structure.signatures {
        if signature.direction != view.direction {
            continue;
        }
        let mut rules = vec![format!("-j MARK --set-xmark {}", context.denied)];
        let mut first = true;
        for chain_id in &signature.chains {
            let Some(chain) = context.structure.chains.get(chain_id) else {
                continue; // A chain without rules allows nothing: the mark stays.
            };
            if policies.insert(*chain_id) {
                for (name, rules) in &cache.get(context, view, *chain_id, chain).chains {
                    ruleset.share(name.clone(), Arc::clone(rules));
                }
            }
            let name = view.policy(*chain_id);
            let key = (super::Table::Mangle, name);
            if !ruleset.chains.contains_key(&key) {
                continue;
            }
            if !first {
                rules.push(format!("-m mark --mark {} -j RETURN", context.allowed));
            }
            first = false;
            rules.push(format!("-j {}", key.1));
        }
        ruleset.decide(view.signature(*id), rules);
    }
}

/// The chain of one policy, when it has anything to say in this family, and those for its
/// ports. What it depends on besides the chain is in [`Cache`].
fn policy(
    context: &Context<'_>,
    view: View,
    id: Id,
    chain: &Chain,
) -> Vec<(String, Arc<Vec<String>>)> {
    let mut chains = Vec::new();
    let mut rules = Vec::new();
    for (position, rule) in chain.rules.iter().enumerate() {
        // Once a rule, and not in the mirrored copy: legacy iptables moves the whole table
        // for every change, and a comment is as long as two rules.
        let mut title = String::new();
        if !view.mirrored {
            let text = format!("{} {}[{}]", chain.policy, chain.direction, rule.index);
            title = comment(&text);
        }
        let peers = peers(context, view, rule);
        let ports = ports(context, view, rule);
        for set in peers.left_out.iter().chain(&ports.left_out) {
            let text = format!(
                "{} {}[{}]: left out, its set {set} could not be made",
                chain.policy, chain.direction, rule.index
            );
            rules.push(comment(&text));
        }
        let (peers, ports) = (peers.matches, ports.matches);
        let mut put = |options: &[&str], verdict: &str| {
            let options = words(options);
            let title = std::mem::take(&mut title);
            rules.push(words(&[&options, &title, verdict]));
        };
        if peers.len() * ports.len() > peers.len() + ports.len() + CHAIN_COST {
            // Peers + ports rules instead of their product.
            let sub = view.ports(id, position);
            for peer in &peers {
                put(&[peer], &format!("-j {sub}"));
            }
            let pass = |port: &String| words(&[port, "-g", PASS]);
            chains.push((sub, Arc::new(ports.iter().map(pass).collect())));
            continue;
        }
        let pass = format!("-g {PASS}");
        for peer in &peers {
            for port in &ports {
                put(&[port, peer], &pass);
            }
        }
    }
    if !rules.is_empty() {
        chains.push((view.policy(id), Arc::new(rules)));
    }
    chains
}

/// Alternatives, each the options of one rule (empty: matches everything), and sets
/// that could not be used.
#[derive(Default)]
struct Alternatives {
    matches: Vec<String>,
    left_out: Vec<Id>,
}

fn peers(context: &Context<'_>, view: View, rule: &ChainRule) -> Alternatives {
    let far_end = if view.pod_is_destination() {
        "src"
    } else {
        "dst"
    };
    let mut all = Alternatives::default();
    for peer in &rule.peers {
        match (peer, context.family) {
            (PeerMatch::Anyone, _)
            | (PeerMatch::AnyV4, Family::V4)
            | (PeerMatch::AnyV6, Family::V6) => all.matches.push(String::new()),
            (PeerMatch::AnyV4 | PeerMatch::AnyV6, _) => {}
            (PeerMatch::Set(id), family) => match context.set(*id) {
                None => all.left_out.push(*id),
                Some(set) => {
                    if has_family(context, *id, family) {
                        all.matches
                            .push(format!("-m set --match-set {set} {far_end}"));
                    }
                }
            },
        }
    }
    if all.matches.iter().any(String::is_empty) {
        all.matches = vec![String::new()];
    }
    all
}

/// Lists of networks are fixed, so one without networks of a family has no kernel set
/// of that family; every other set may get members at any time.
fn has_family(context: &Context<'_>, id: Id, family: Family) -> bool {
    match context.structure.sets.get(&id).map(AsRef::as_ref) {
        Some(SetSpec::Cidrs(nets)) => nets.iter().any(|net| Family::of(net.addr()) == family),
        other => other.is_some(),
    }
}

fn ports(context: &Context<'_>, view: View, rule: &ChainRule) -> Alternatives {
    // Only TCP is judged both ways.
    let relevant = |protocol: Protocol| !view.mirrored || protocol == Protocol::Tcp;
    let mut all = Alternatives::default();
    for port in &rule.ports {
        match port {
            PortTest::AnyProtocol => all.matches.push(String::new()),
            PortTest::Protocol(protocol) if relevant(*protocol) => {
                all.matches.push(format!("-p {}", protocol.netfilter()));
            }
            PortTest::Ranges(protocol, ranges) if relevant(*protocol) => {
                all.matches.extend(port_ranges(view, *protocol, ranges));
            }
            PortTest::Named(id, protocol) if relevant(*protocol) => match context.set(*id) {
                None => all.left_out.push(*id),
                Some(set) => {
                    let side = if view.mirrored { "src,src" } else { "dst,dst" };
                    let protocol = protocol.netfilter();
                    all.matches
                        .push(format!("-p {protocol} -m set --match-set {set} {side}"));
                }
            },
            PortTest::Protocol(_) | PortTest::Ranges(..) | PortTest::Named(..) => {}
        }
    }
    if all.matches.iter().any(String::is_empty) {
        all.matches = vec![String::new()];
    }
    all
}

/// One rule for a single range, else groups that `multiport` can take.
fn port_ranges(view: View, protocol: Protocol, ranges: &[(u16, u16)]) -> Vec<String> {
    let protocol = protocol.netfilter();
    let side = if view.mirrored { "sport" } else { "dport" };
    let mut groups: Vec<Vec<(u16, u16)>> = Vec::new();
    let mut free = 0;
    for (first, last) in ranges {
        let slots = if first == last { 1 } else { 2 };
        if slots > free {
            groups.push(Vec::new());
            free = MULTIPORT_SLOTS;
        }
        free -= slots;
        if let Some(group) = groups.last_mut() {
            group.push((*first, *last));
        }
    }
    let text = |(first, last): &(u16, u16)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}:{last}")
        }
    };
    groups
        .iter()
        .map(|group| {
            let list: Vec<String> = group.iter().map(text).collect();
            match list.as_slice() {
                [one] => format!("-p {protocol} -m {protocol} --{side} {one}"),
                many => format!("-p {protocol} -m multiport --{side}s {}", many.join(",")),
            }
        })
        .collect()
}

/// Joins what is not empty.
fn words(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|p| !p.is_empty()).collect();
    parts.join(" ")
}
