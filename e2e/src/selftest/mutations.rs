//! What may go wrong in the enforcer's program, done by hand in the kernel. Each mutation
//! must turn a case red; one that no case notices is a hole in the list of cases.

use super::kernel::{BOTH, Set, everywhere, of_policy, prepend, rules, sets, sysctl};
use crate::case::Stage;
use anyhow::Result;
use std::cell::Cell;

/// A fault, and the cases that should notice it.
#[derive(Clone, Copy)]
pub struct Mutation {
    /// A unique name.
    pub name: &'static str,
    /// What is changed, for docs/proof.md.
    pub what: &'static str,
    /// Changes it on every node of a stage.
    pub apply: fn(&mut Stage) -> Result<()>,
    /// Variants of the suite, `case/placement-kind`, asked in this order until one is red.
    pub asks: &'static [&'static str],
}

const fn mutation(
    name: &'static str,
    what: &'static str,
    asks: &'static [&'static str],
    apply: fn(&mut Stage) -> Result<()>,
) -> Mutation {
    Mutation {
        name,
        what,
        apply,
        asks,
    }
}

/// All of them.
pub const ALL: &[Mutation] = &[
    mutation(
        "entry-dropped",
        "no jump from FORWARD into the chains that decide",
        &["default-deny-ingress/cross-routed"],
        |stage| rules(stage, &BOTH, "mangle", drops("-A FORWARD ")),
    ),
    mutation(
        "rule-dropped",
        "the jump that judges what arrives at a pod is gone",
        &["default-deny-ingress/same-bridge"],
        |stage| {
            let leads_on = |rule: &str| rule.starts_with("-A RF-TI ") && rule.contains(" -g ");
            rules(stage, &BOTH, "mangle", without(leads_on))
        },
    ),
    mutation(
        "ipv6-twin-missing",
        "IPv4 is enforced, IPv6 is not",
        &["default-deny-ingress/same-routed"],
        |stage| rules(stage, &BOTH[1..], "mangle", drops("-A FORWARD ")),
    ),
    mutation(
        "egress-not-judged",
        "what leaves a pod is not looked at",
        &["default-deny-egress/same-bridge"],
        |stage| {
            let judges = |rule: &str| rule.ends_with(" -j RF-TE");
            rules(stage, &BOTH, "mangle", without(judges))
        },
    ),
    mutation(
        "return-missing",
        "no RETURN after a deny of egress: a long policy of ingress may lift it",
        &["a-policy-of-many-rules-beside-a-short-one/same-bridge"],
        |stage| {
            let after_egress = |rule: &str| {
                ["-A RF-FORWARD -m mark", "-A RF-JUDGE -m mark"]
                    .iter()
                    .any(|start| rule.starts_with(start))
                    && rule.ends_with("-j RETURN")
            };
            rules(stage, &BOTH, "mangle", without(after_egress))
        },
    ),
    mutation(
        "long-policy-denies-nothing",
        "what no rule of a long policy allows is not marked",
        &["a-policy-of-many-rules-beside-a-short-one/same-bridge"],
        |stage| {
            let marks = |rule: &str| rule.starts_with("-A RF-SI-") && rule.contains("-j MARK");
            rules(stage, &BOTH, "mangle", without(marks))
        },
    ),
    mutation(
        "own-address-not-spared",
        "what a pod sends to itself is judged",
        &["a-pod-reaches-itself-through-its-service/same-bridge"],
        |stage| {
            let tree = |rule: &str| rule.starts_with("-A RF-T");
            rules(stage, &BOTH, "mangle", edited(tree, all_of_them))
        },
    ),
    mutation(
        "direction-swapped",
        "rules compare the source where they should compare the destination, and the other way round",
        &["allow-namespace/same-bridge"],
        |stage| rules(stage, &BOTH, "mangle", in_policies(swap)),
    ),
    mutation(
        "deny-first",
        "a pod's chain denies before it asks its policies",
        &["allow-namespace/same-bridge"],
        |stage| prepend(stage, "mangle", "RF-SI-", "-g RF-DENY"),
    ),
    mutation(
        "deny-missing",
        "a pod's chain ends without a deny",
        &["default-deny-ingress/cross-bridge"],
        |stage| {
            let last = |rule: &str| rule.starts_with("-A RF-SI-") && rule.ends_with("-g RF-DENY");
            rules(stage, &BOTH, "mangle", without(last))
        },
    ),
    mutation(
        "policy-forgotten",
        "of several policies of a pod one is not asked",
        &["policies-add-up/same-bridge"],
        |stage| {
            let forgotten = Cell::new(false);
            let first = |rule: &str| {
                let asks = rule.starts_with("-A RF-SI-") && rule.ends_with("-j RETURN");
                asks && !forgotten.replace(true)
            };
            rules(stage, &BOTH, "mangle", without(first))
        },
    ),
    mutation(
        "wrong-port",
        "rules open the next port",
        &["port-by-number/same-bridge"],
        |stage| {
            rules(
                stage,
                &BOTH,
                "mangle",
                in_policies(|rule| rule.replace("--dport 80", "--dport 81")),
            )
        },
    ),
    mutation(
        "end-port-off-by-one",
        "a range of ports begins one too early",
        &["port-range/same-bridge"],
        |stage| {
            rules(
                stage,
                &BOTH,
                "mangle",
                in_policies(|rule| rule.replace("--dport 81:90", "--dport 80:90")),
            )
        },
    ),
    mutation(
        "wrong-protocol",
        "rules of TCP open UDP",
        &["port-by-number/cross-bridge"],
        |stage| {
            rules(
                stage,
                &BOTH,
                "mangle",
                in_policies(|rule| rule.replace("-p tcp -m tcp", "-p udp -m udp")),
            )
        },
    ),
    mutation(
        "named-port-missing",
        "the numbers of a named port are not in its set",
        &["one-port-name-with-two-numbers/same-bridge"],
        |stage| sets(stage, "hash:ip,port", |set| format!("flush {}\n", set.name)),
    ),
    mutation(
        "stale-member",
        "a set keeps the address of a pod that is meant no more",
        &["update-pod-labels/same-bridge"],
        |stage| add(stage, "x/b"),
    ),
    mutation(
        "member-missing",
        "a set lacks one pod",
        &["allow-namespace/same-routed"],
        |stage| sets(stage, "hash:ip", first_out),
    ),
    mutation(
        "namespaces-mixed-up",
        "the set of a namespace has pods of another one",
        &["allow-namespace/cross-bridge"],
        |stage| add(stage, "z/a"),
    ),
    mutation(
        "except-missing",
        "a block's set has what the block excepts",
        &["ingress-block-with-except/cross-bridge"],
        |stage| {
            let block = |v4| {
                if v4 {
                    "172.17.1.0/24"
                } else {
                    "2001:db8:51::/48"
                }
            };
            sets(stage, "hash:net", |set| {
                format!("add {} {}\n", set.name, block(set.v4))
            })
        },
    ),
    mutation(
        "mark-shared",
        "another program uses the bit of our mark, and clears it",
        &["default-deny-ingress/same-bridge"],
        |stage| {
            BOTH.iter().try_for_each(|program| {
                let words = "-w 5 -t mangle -A FORWARD -j MARK --set-xmark 0x0/0x1000";
                everywhere(stage, program, &words.split(' ').collect::<Vec<_>>())
            })
        },
    ),
    mutation(
        "node-judged",
        "what a node sends to its own pods is judged: kubelet's probes fail",
        &["a-node-reaches-its-own-pods-and-they-it/cross-bridge"],
        |stage| {
            let output = |rule: &str| rule.starts_with("-A OUTPUT ");
            let everybody = |rule: &str| rule.replace("-m addrtype ! --src-type LOCAL ", "");
            ["mangle", "filter", "security"]
                .iter()
                .try_for_each(|table| rules(stage, &BOTH, table, edited(output, everybody)))
        },
    ),
    mutation(
        "node-traffic-not-judged",
        "with --node-traffic=enforce, what pods send to their node is not looked at",
        &["a-pods-traffic-to-its-node-is-judged-when-asked-for/cross-bridge"],
        |stage| rules(stage, &BOTH, "mangle", drops("-A INPUT ")),
    ),
    mutation(
        "refusal-silent",
        "what is denied is dropped where it should be refused",
        &["default-deny-ingress/same-routed"],
        |stage| {
            rules(stage, &BOTH, "filter", |rule| {
                let refuses = rule.split_once("-j REJECT");
                Some(refuses.map_or(rule.to_owned(), |(chain, _)| format!("{chain}-j DROP")))
            })
        },
    ),
    mutation(
        "backstop-removed",
        "nothing drops what another program has accepted before us",
        &["an-accept-before-us-opens-nothing/same-bridge"],
        |stage| rules(stage, &BOTH, "security", drops("-A FORWARD ")),
    ),
    mutation(
        "bridge-hidden",
        "the bridge hides its packets from netfilter",
        &["default-deny-ingress/same-bridge"],
        |stage| {
            let words = "link set cni0 type bridge nf_call_iptables 0 nf_call_ip6tables 0";
            everywhere(stage, "ip", &words.split(' ').collect::<Vec<_>>())?;
            sysctl(stage, "bridge/bridge-nf-call-iptables", "0")?;
            sysctl(stage, "bridge/bridge-nf-call-ip6tables", "0")
        },
    ),
    mutation(
        "established-not-cut",
        "what is established is let through before its mark is looked at",
        &["flows-are-cut-by-ingress/same-bridge"],
        |stage| rules(stage, &BOTH, "mangle", drops("-A RF-FORWARD -m connmark")),
    ),
    mutation(
        "flow-mark-missing",
        "flows that a policy comes to deny are not marked in conntrack",
        &["flows-are-cut-by-ingress/cross-bridge"],
        |stage| {
            for family in ["ipv4", "ipv6"] {
                let args = ["-U", "-f", family, "-m", "0"];
                stage
                    .world()?
                    .nodes()
                    .try_for_each(|node| node.output("conntrack", &args, "").map(drop))?;
            }
            Ok(())
        },
    ),
];

/// Drops the rules that are so.
fn without(is: impl Fn(&str) -> bool) -> impl Fn(&str) -> Option<String> {
    move |rule| (!is(rule)).then(|| rule.to_owned())
}

/// Drops the rules that begin like this.
fn drops(start: &'static str) -> impl Fn(&str) -> Option<String> {
    without(move |rule| rule.starts_with(start))
}

/// Edits the rules that are so.
fn edited(
    is: impl Fn(&str) -> bool,
    edit: impl Fn(&str) -> String,
) -> impl Fn(&str) -> Option<String> {
    move |rule| {
        Some(if is(rule) {
            edit(rule)
        } else {
            rule.to_owned()
        })
    }
}

/// Edits the rules of policies.
fn in_policies(edit: impl Fn(&str) -> String) -> impl Fn(&str) -> Option<String> {
    edited(of_policy, edit)
}

/// Takes the matches out that are turned round: `! -s 10.0.0.1/32`.
fn all_of_them(rule: &str) -> String {
    let mut words = rule.split(' ');
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word == "!" {
            words.nth(1);
        } else {
            kept.push(word);
        }
    }
    kept.join(" ")
}

/// `--match-set NAME src` becomes `--match-set NAME dst` and the other way round.
fn swap(rule: &str) -> String {
    let words = rule.split(' ').map(|word| match word {
        "src" => "dst",
        "dst" => "src",
        other => other,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The command that takes a set's first member out, if it has one.
fn first_out(set: &Set) -> String {
    let first = set.members.first();
    first.map_or(String::new(), |m| format!("del {} {m}\n", set.name))
}

/// Adds a pod's addresses to every set of pods.
fn add(stage: &Stage, pod: &str) -> Result<()> {
    let addresses = stage.world()?.host(pod)?.addresses.clone();
    sets(stage, "hash:ip", |set| set.add(&addresses))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Options, Runner};
    use crate::cases;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_there_are_at_least_twenty() {
        let names: BTreeSet<&str> = ALL.iter().map(|m| m.name).collect();
        assert_eq!(names.len(), ALL.len());
        assert!(ALL.len() >= 20);
    }

    #[test]
    fn every_case_that_is_asked_is_in_the_list() {
        let cases = cases::all();
        let variants = Runner::new(Options::default()).variants(&cases);
        for mutation in ALL {
            for asked in mutation.asks {
                assert!(
                    variants.iter().any(|v| v.name == *asked),
                    "{}: no case is called {asked}",
                    mutation.name
                );
            }
        }
    }

    #[test]
    fn directions_are_swapped() {
        let rule = "-A RF-SI-1 -m set --match-set RF4-1 src -j RETURN";
        assert_eq!(swap(rule), rule.replace("src", "dst"));
        assert_eq!(swap(&swap(rule)), rule);
    }

    #[test]
    fn a_match_that_is_turned_round_is_taken_out() {
        let rule = "-A RF-TI ! -s 10.0.0.1/32 -d 10.0.0.1/32 -g RF-SI-1";
        assert_eq!(all_of_them(rule), "-A RF-TI -d 10.0.0.1/32 -g RF-SI-1");
    }
}
