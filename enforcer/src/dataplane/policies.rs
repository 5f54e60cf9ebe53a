//! Signature chains and policy chains: who may, and on what.
//!
//! The rules of a small policy stand in the signature chain itself: one that matches
//! returns, and at the end of the chain the packet is denied. An allowed packet so meets
//! no rule that changes its mark, which is half of what a new flow costs. A long policy is
//! kept once, in a chain of its own. It is asked after the small ones: the packet is marked
//! as denied, and a rule that matches goes to `RF-PASS`, which takes the mark away and,
//! having been gone to, returns to the signature chain.

use super::Family;
use super::entry::DENY;
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

/// A policy with more rules than this gets a chain of its own: as many signatures may hold
/// it as the node has pods, and all of their chains change with it.
const INLINE_RULES: usize = 8;

/// The chains of policies as they were rendered last: a pod that comes or goes changes
/// signatures and the tree, hardly ever a policy.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    /// The sets that had to be left out; with others, nothing is the same.
    broken: BTreeSet<Id>,
    policies: BTreeMap<(Family, View, Id), Rendered>,
}

/// What a chain of the compiler became.
#[derive(Debug)]
struct Rendered {
    /// The compiler makes a new one whenever the policy changes, and keeps it otherwise.
    of: Arc<Chain>,
    form: Form,
}

/// Where a policy's rules stand.
#[derive(Debug)]
enum Form {
    /// In every signature chain. None where the policy has nothing to say in this family.
    Inline(Vec<Line>),
    /// In a chain of their own, which may need further ones for its ports, by name.
    Chains {
        policy: String,
        all: Vec<(String, Arc<Vec<String>>)>,
    },
}

/// A rule, and which rule of the policy begins with it.
#[derive(Debug)]
struct Line {
    rule: String,
    title: Option<String>,
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

    fn get(&mut self, context: &Context<'_>, view: View, id: Id, chain: &Arc<Chain>) -> &Form {
        let fresh = || Rendered {
            of: Arc::clone(chain),
            form: policy(context, view, id, chain),
        };
        let rendered = self
            .policies
            .entry((context.family, view, id))
            .or_insert_with(fresh);
        if !Arc::ptr_eq(&rendered.of, chain) {
            *rendered = fresh();
        }
        &rendered.form
    }
}

/// Renders the signature and policy chains that the tree of `view` leads to.
pub(crate) fn render(context: &Context<'_>, view: View, cache: &mut Cache, ruleset: &mut Ruleset) {
    for (id, signature) in &context.structure.signatures {
        if signature.direction != view.direction {
            continue;
        }
        let mut rules = Vec::new();
        let mut titles = Vec::new();
        let mut long = Vec::new();
        for chain_id in &signature.chains {
            let Some(chain) = context.structure.chains.get(chain_id) else {
                continue; // A chain without rules allows nothing.
            };
            match cache.get(context, view, *chain_id, chain) {
                Form::Inline(lines) => {
                    for line in lines {
                        rules.push(line.rule.clone());
                        let title = line.title.iter();
                        titles.extend(title.map(|t| format!("rule {}: {t}", rules.len())));
                    }
                }
                Form::Chains { policy, all } => {
                    for (name, rules) in all {
                        ruleset.share(name.clone(), Arc::clone(rules));
                    }
                    long.push(format!("-j {policy}"));
                }
            }
        }
        if !long.is_empty() {
            rules.push(format!("-j MARK --set-xmark {}", context.denied));
        }
        for ask in long {
            rules.push(ask);
            rules.push(format!("-m mark --mark {} -j RETURN", context.allowed));
        }
        // Marked already where long policies were asked: but `RF-DENY` counts what is denied.
        rules.push(format!("-g {DENY}"));
        // No packet comes this far, so that none pays for a comment.
        rules.extend(titles.iter().map(|title| comment(title)));
        ruleset.decide(view.signature(*id), rules);
    }
}

/// The rules of one policy. What they depend on besides the chain is in [`Cache`].
fn policy(context: &Context<'_>, view: View, id: Id, chain: &Chain) -> Form {
    let mut chains = Vec::new();
    let mut rules = Vec::new();
    for (position, rule) in chain.rules.iter().enumerate() {
        // Once a rule, and not in the mirrored copy: legacy iptables moves the whole table
        // for every change, and a comment is as long as two rules.
        let mut title = (!view.mirrored)
            .then(|| format!("{} {}[{}]", chain.policy, chain.direction, rule.index));
        let peers = peers(context, view, rule);
        let ports = ports(context, view, rule);
        for set in peers.left_out.iter().chain(&ports.left_out) {
            let text = format!(
                "{} {}[{}]: left out, its set {set} could not be made",
                chain.policy, chain.direction, rule.index
            );
            rules.push((comment(&text), None, Target::Nothing));
        }
        let (peers, ports) = (peers.matches, ports.matches);
        let mut put = |options: &[&str], target: Target| {
            rules.push((words(options), title.take(), target));
        };
        if peers.len() * ports.len() > peers.len() + ports.len() + CHAIN_COST {
            // Peers + ports rules instead of their product.
            let sub = view.ports(id, position);
            for peer in &peers {
                put(&[peer], Target::Ports(sub.clone()));
            }
            let pass = |port: &String| words(&[port, "-g", PASS]);
            chains.push((sub, Arc::new(ports.iter().map(pass).collect())));
            continue;
        }
        for peer in &peers {
            for port in &ports {
                put(&[port, peer], Target::Allow);
            }
        }
    }
    let text = |options: &str, target: &Target, allow: &str| match target {
        Target::Allow => words(&[options, allow]),
        Target::Ports(chain) => words(&[options, "-j", chain]),
        Target::Nothing => options.to_owned(),
    };
    if chains.is_empty() && rules.len() <= INLINE_RULES {
        let line = |(options, title, target): (String, Option<String>, Target)| Line {
            rule: text(&options, &target, "-j RETURN"),
            title,
        };
        return Form::Inline(rules.into_iter().map(line).collect());
    }
    let pass = format!("-g {PASS}");
    let rule = |(options, title, target): (String, Option<String>, Target)| {
        let title = title.map(|title| comment(&title)).unwrap_or_default();
        text(&words(&[&options, &title]), &target, &pass)
    };
    let policy = view.policy(id);
    let rules = rules.into_iter().map(rule).collect();
    chains.push((policy.clone(), Arc::new(rules)));
    Form::Chains {
        policy,
        all: chains,
    }
}

/// What a policy's rule does with a packet that it matches.
enum Target {
    Allow,
    /// Asks the chain of the rule's ports.
    Ports(String),
    /// The rule is a comment.
    Nothing,
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
