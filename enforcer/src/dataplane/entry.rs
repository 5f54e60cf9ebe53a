//! The fixed chains: where packets come in, what is decided before any policy is
//! asked, how a denied packet is answered.

use super::bindings;
use super::names::{View, comment};
use super::policies::PASS;
use super::ruleset::{Context, Ruleset};
use super::{Backstop, DenyAction, Family, Table};
use ringfence_policy::compile::SetSpec;
use ringfence_policy::model::Direction;

/// Forwarded packets.
const FORWARD: &str = "RF-FORWARD";
/// Packets that leave this node with somebody else's source address.
const OUTPUT: &str = "RF-OUTPUT";
/// Packets from pods to this node, with `--node-traffic=enforce`.
const INPUT: &str = "RF-INPUT";
/// Sets the mark.
pub(crate) const DENY: &str = "RF-DENY";
/// Egress of the source, then ingress of the destination.
const JUDGE: &str = "RF-JUDGE";
/// The same as if the packet were an answer.
const JUDGE_MIRRORED: &str = "RF-MJUDGE";
/// What conntrack can make nothing of.
const INVALID: &str = "RF-INVALID";
/// TCP picked up in the middle.
const PICKUP: &str = "RF-PICKUP";
/// IPv6 multicast on a bridge.
const MULTICAST: &str = "RF-MULTICAST";
const REFUSE: &str = "RF-REFUSE";
const BACKSTOP: &str = "RF-BACKSTOP";

/// ICMPv6 neighbour discovery and multicast listener discovery: never judged.
const NEIGHBOUR_DISCOVERY: [u8; 9] = [130, 131, 132, 133, 134, 135, 136, 137, 143];

const NOT_FROM_HERE: &str = "-m addrtype ! --src-type LOCAL";
const SYN_ONLY: &str = "-m tcp --tcp-flags FIN,SYN,RST,ACK SYN";
const NOT_SYN_ONLY: &str = "-m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN";

/// Renders the fixed chains around the `trees` that exist.
pub(crate) fn render(context: &Context<'_>, trees: &[View], ruleset: &mut Ruleset) {
    let trees = Trees(trees);
    ruleset.decide(
        PASS,
        vec![format!("-j MARK --set-xmark {}", context.allowed)],
    );
    ruleset.decide(
        DENY,
        vec![format!("-j MARK --set-xmark {}", context.denied)],
    );
    if trees.any() {
        for (name, mirrored) in [(JUDGE, false), (JUDGE_MIRRORED, true)] {
            ruleset.decide(name, judge(context, &trees, mirrored));
        }
        ruleset.decide(
            PICKUP,
            vec![
                format!("-j {JUDGE}"),
                format!("-m mark --mark {} -j RETURN", context.allowed),
                format!("-j {PASS}"),
                format!("-g {JUDGE_MIRRORED}"),
            ],
        );
    }
    let decided = decide(context, &trees, ruleset);
    let mut rules = forward(context, ruleset);
    rules.extend_from_slice(&decided);
    ruleset.decide(FORWARD, rules);
    let mut rules = output(context);
    rules.extend(decided);
    ruleset.decide(OUTPUT, rules);
    if context.structure.enforce_node_traffic {
        input(context, trees.root(Direction::Egress, false), ruleset);
    }
    entries(context, ruleset);
}

/// The trees that exist.
struct Trees<'a>(&'a [View]);

impl Trees<'_> {
    fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// The chain where a tree begins.
    fn root(&self, direction: Direction, mirrored: bool) -> Option<String> {
        let view = View {
            direction,
            mirrored,
        };
        self.0.contains(&view).then(|| view.root())
    }
}

/// Egress of the source, then ingress of the destination.
fn judge(context: &Context<'_>, trees: &Trees<'_>, mirrored: bool) -> Vec<String> {
    let mut rules = Vec::new();
    let ingress = trees.root(Direction::Ingress, mirrored);
    if let Some(egress) = trees.root(Direction::Egress, mirrored) {
        rules.push(format!("-j {egress}"));
        if ingress.is_some() {
            rules.push(format!("-m mark --mark {} -j RETURN", context.denied));
        }
    }
    rules.extend(ingress.map(|ingress| format!("-g {ingress}")));
    rules
}

/// What concerns forwarded packets alone: who may use which source address, and what
/// a bridge floods.
fn forward(context: &Context<'_>, ruleset: &mut Ruleset) -> Vec<String> {
    let mut rules = bindings::rules(context, ruleset);
    let ingress_isolated = context
        .structure
        .endpoints
        .iter()
        .any(|(address, endpoint)| {
            Family::of(*address) == context.family && !endpoint.ingress.is_empty()
        });
    // Before established: an answer to a multicast is none of the flow's ends.
    if context.options.bridges && ingress_isolated {
        let bridged = "-m physdev --physdev-is-bridged";
        match context.family {
            Family::V4 => {
                rules.push(format!("-d 224.0.0.0/4 {bridged} -j DROP"));
                rules.push(format!("-m pkttype --pkt-type broadcast {bridged} -j DROP"));
            }
            Family::V6 => {
                rules.push(format!("-d ff00::/8 {bridged} -j {MULTICAST}"));
                let mut multicast = neighbour_discovery();
                multicast.push("-j DROP".to_owned());
                ruleset.decide(MULTICAST, multicast);
            }
        }
    }
    rules
}

fn neighbour_discovery() -> Vec<String> {
    let rule = |kind| format!("-p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j RETURN");
    NEIGHBOUR_DISCOVERY.iter().map(rule).collect()
}

/// Takes our mark off a packet that came with it. Looking first is cheaper than writing.
fn unmark(context: &Context<'_>) -> String {
    format!(
        "-m mark --mark {} -j MARK --set-xmark {}",
        context.denied, context.allowed
    )
}

/// The mark is ours from here; a cut flow stays cut; what is established goes on.
fn preamble(context: &Context<'_>) -> Vec<String> {
    let mut rules = vec![unmark(context)];
    if !context.options.keep_established {
        rules.push(format!("-m connmark --mark {} -g {DENY}", context.denied));
    }
    rules.push("-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN".to_owned());
    if context.family == Family::V6 {
        rules.extend(neighbour_discovery());
    }
    rules
}

/// With kube-proxy in IPVS mode, Service traffic of pods leaves through OUTPUT. So do the
/// resets by which we refuse: they belong to the flow that is cut, and judging them would
/// leave both of its ends waiting. A reset opens nothing, whoever sent it.
fn output(context: &Context<'_>) -> Vec<String> {
    vec![
        unmark(context),
        "-p tcp -m tcp --tcp-flags RST RST -j RETURN".to_owned(),
    ]
}

/// What every packet goes through that policy may be about. Written out where it is needed,
/// as a chain more is what every packet would pay for.
fn decide(context: &Context<'_>, trees: &Trees<'_>, ruleset: &mut Ruleset) -> Vec<String> {
    let mut rules = preamble(context);
    let judged = trees.any();
    if let Some(isolated) = context.special(&SetSpec::IsolatedPods).filter(|_| judged) {
        // A reject would kill an allowed connection: dropped, and before all else.
        let drop = |side| format!("-m set --match-set {isolated} {side} -j DROP");
        ruleset.decide(INVALID, ["src", "dst"].map(drop).to_vec());
        rules.push(format!("-m conntrack --ctstate INVALID -j {INVALID}"));
    }
    rules.extend(unknown_pods(context, ruleset));
    if judged {
        rules.push(format!(
            "-p tcp {NOT_SYN_ONLY} -m conntrack --ctstate NEW -g {PICKUP}"
        ));
        rules.extend(judge(context, trees, false));
    }
    rules
}

/// Addresses of this node's pod range that no known pod has neither send nor receive.
/// The first two of a range are the network's and the gateway's.
fn unknown_pods(context: &Context<'_>, ruleset: &mut Ruleset) -> Vec<String> {
    let mut rules = Vec::new();
    let Some(known) = context.special(&SetSpec::LocalPods) else {
        return rules;
    };
    let ranges = context.structure.unknown_ranges.iter();
    let ranges: Vec<_> = ranges
        .filter(|r| Family::of(r.addr()) == context.family)
        .collect();
    for (chain, flag, side) in [("RF-UNKNOWN-S", "-s", "src"), ("RF-UNKNOWN-D", "-d", "dst")] {
        let mut unknown = Vec::new();
        for range in &ranges {
            let pair = context.family.bits() - 1;
            if u32::from(range.prefix_len()) <= pair {
                unknown.push(format!("{flag} {}/{pair} -j RETURN", range.network()));
            }
            rules.push(format!(
                "{flag} {} -m set ! --match-set {known} {side} -j {chain}",
                range.trunc()
            ));
        }
        if !unknown.is_empty() {
            unknown.push(format!(
                "{} -j DROP",
                comment("ringfence: no known pod has this address")
            ));
            ruleset.decide(chain, unknown);
        }
    }
    rules
}

/// Egress of local pods to this node. What is no SYN and not established answers the
/// node's own connection, and those are always allowed.
fn input(context: &Context<'_>, egress: Option<String>, ruleset: &mut Ruleset) {
    let mut rules = preamble(context);
    if let Some(root) = egress {
        rules.push(format!(
            "-p tcp {NOT_SYN_ONLY} -m conntrack --ctstate NEW -j RETURN"
        ));
        rules.push(format!("-g {root}"));
    }
    ruleset.decide(INPUT, rules);
}

fn entries(context: &Context<'_>, ruleset: &mut Ruleset) {
    let carries = format!("-m mark --mark {}", context.denied);
    let node = context.structure.enforce_node_traffic;
    ruleset
        .chains
        .insert((Table::Filter, REFUSE.to_owned()), refuse(context).into());
    let mut enter = |table, chain: &str, condition: &str, text: &str, ours: &str| {
        // A comment is a match like any other: every packet would pay for one.
        let rule = if condition.is_empty() {
            format!("-j {ours}")
        } else {
            let comment = comment(&format!("ringfence: {text}"));
            format!("{condition} {comment} -j {ours}")
        };
        ruleset.entries.insert((table, chain.to_owned()), rule);
    };
    enter(Table::Mangle, "FORWARD", "", "decide", FORWARD);
    enter(Table::Mangle, "OUTPUT", NOT_FROM_HERE, "decide", OUTPUT);
    if node {
        enter(Table::Mangle, "INPUT", "", "decide", INPUT);
        enter(Table::Filter, "INPUT", &carries, "refuse", REFUSE);
    }
    let sent = format!("{NOT_FROM_HERE} {carries}");
    enter(Table::Filter, "FORWARD", &carries, "refuse", REFUSE);
    enter(Table::Filter, "OUTPUT", &sent, "refuse", REFUSE);
    let backstop = match context.options.backstop {
        Backstop::Security => {
            enter(Table::Security, "FORWARD", &carries, "backstop", BACKSTOP);
            enter(Table::Security, "OUTPUT", &sent, "backstop", BACKSTOP);
            if node {
                enter(Table::Security, "INPUT", &carries, "backstop", BACKSTOP);
            }
            Table::Security
        }
        Backstop::ManglePostrouting => {
            enter(Table::Mangle, "POSTROUTING", &sent, "backstop", BACKSTOP);
            Table::Mangle
        }
    };
    let drop = vec!["-j DROP".to_owned()];
    ruleset
        .chains
        .insert((backstop, BACKSTOP.to_owned()), drop.into());
}

fn refuse(context: &Context<'_>) -> Vec<String> {
    if context.options.deny == DenyAction::Drop {
        return vec!["-j DROP".to_owned()];
    }
    let unreachable = match context.family {
        Family::V4 => "-j REJECT --reject-with icmp-port-unreachable",
        Family::V6 => "-j REJECT --reject-with icmp6-port-unreachable",
    };
    vec![
        // A reset would not find its way back through a bridge behind DNAT.
        format!("-p tcp {SYN_ONLY} -m conntrack --ctstate DNAT {unreachable}"),
        "-p tcp -j REJECT --reject-with tcp-reset".to_owned(),
        unreachable.to_owned(),
    ]
}
