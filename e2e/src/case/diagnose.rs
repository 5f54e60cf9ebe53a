//! What a packet that went wrong has crossed.

use super::stage::Stage;
use crate::probe::Transport;
use crate::truth::Row;
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Tables in which Ringfence has rules.
const TABLES: [&str; 3] = ["mangle", "filter", "security"];
/// Lines shown of one set.
const MEMBERS: usize = 30;

/// Repeats the probe, and shows on every node the rules that counted it meanwhile, those of
/// the same chains that looked it up in a set in vain, these sets, and the flow's conntrack
/// entries. Changes nothing: the counters of a cluster belong to others.
pub fn diagnose(stage: &Stage, row: &Row) -> String {
    report(stage, row).unwrap_or_else(|error| format!("(no diagnosis: {error:#})"))
}

fn report(stage: &Stage, row: &Row) -> Result<String> {
    let cell = &row.cell;
    let sent = stage.call(cell)?;
    let save = if cell.v4 {
        "iptables-save"
    } else {
        "ip6tables-save"
    };
    let nodes = stage.node_names();
    let rules = || -> Result<Vec<String>> {
        let places = nodes.iter().flat_map(|n| TABLES.map(|table| (n, table)));
        places
            .map(|(node, table)| stage.on_node(node, save, &["-c", "-t", table]))
            .collect()
    };
    let before = rules()?;
    let again = stage.fire(vec![(cell.from.clone(), sent.clone())])?;
    let after = rules()?;
    let mut text = format!("packet: {}\n", row.expected.flow);
    for observation in again {
        let _ = writeln!(
            text,
            "repeated: {} {}",
            observation.outcome, observation.detail
        );
    }
    let flow = match sent.transport {
        Transport::Port(protocol, port) => {
            let protocol = protocol.to_string().to_lowercase();
            vec!["-p".into(), protocol, "--dport".into(), port.to_string()]
        }
        Transport::Icmp if cell.v4 => vec!["-p".into(), "icmp".into()],
        Transport::Icmp => vec!["-p".into(), "icmpv6".into()],
    };
    let mut counted = before.iter().zip(&after).map(|(b, a)| difference(b, a));
    for node in &nodes {
        let _ = writeln!(text, "--- {node} ({})", stage.door(node)?);
        let mut sets = BTreeSet::new();
        for (table, rules) in TABLES.into_iter().zip(&mut counted) {
            for rule in crossed(&rules) {
                let _ = writeln!(text, "{table} {rule}");
                let words: Vec<&str> = rule.split_whitespace().collect();
                sets.extend(
                    words
                        .windows(2)
                        .filter(|w| w[0] == "--match-set")
                        .map(|w| w[1].to_owned()),
                );
            }
        }
        for set in sets {
            let members = stage.on_node(node, "ipset", &["list", &set])?;
            let shown: Vec<&str> = members.lines().take(MEMBERS).collect();
            let _ = writeln!(text, "{}", shown.join("\n"));
        }
        let (source, target) = (sent.source.to_string(), sent.target.to_string());
        let family = if cell.v4 { "ipv4" } else { "ipv6" };
        let mut args = vec!["-L", "-f", family, "-s", &source, "-d", &target];
        args.extend(flow.iter().map(String::as_str));
        text.push_str(&stage.on_node(node, "conntrack", &args)?);
    }
    Ok(text)
}

/// The lines of `iptables-save -c`, each with what it has counted between two looks. A rule
/// that is new has counted all of it.
fn difference(before: &str, after: &str) -> String {
    let count = |line: &str| -> Option<(u64, String)> {
        let (count, rule) = line.strip_prefix('[')?.split_once("] ")?;
        let (packets, _) = count.split_once(':')?;
        Some((packets.parse().ok()?, rule.to_owned()))
    };
    let known: BTreeMap<String, u64> = before
        .lines()
        .filter_map(count)
        .map(|(n, rule)| (rule, n))
        .collect();
    let lines = after.lines().filter_map(count).map(|(packets, rule)| {
        let before = known.get(&rule).copied().unwrap_or_default();
        format!("[{}] {rule}\n", packets.saturating_sub(before))
    });
    lines.collect()
}

/// Our rules that counted a packet, and those with a set in chains that it went through.
fn crossed(rules: &str) -> Vec<&str> {
    let ours = || rules.lines().filter(|line| line.contains("RF-"));
    let after = |line: &str, option: &str| {
        let mut words = line.split_whitespace();
        words.find(|word| *word == option)?;
        words.next().map(str::to_owned)
    };
    let entered: BTreeSet<String> = ours()
        .filter(|line| counted(line))
        .filter_map(|line| after(line, "-j").or_else(|| after(line, "-g")))
        .collect();
    let in_vain = |line: &str| {
        line.contains("--match-set") && after(line, "-A").is_some_and(|c| entered.contains(&c))
    };
    ours()
        .filter(|line| counted(line) || in_vain(line))
        .collect()
}

/// Whether a line of [`difference`] has counted something.
fn counted(line: &str) -> bool {
    line.starts_with('[') && !line.starts_with("[0]")
}

#[cfg(test)]
mod tests {
    use super::{counted, crossed, difference};

    #[test]
    fn only_rules_that_counted_a_packet() {
        assert!(counted("[2] -A RF-FWD -j RETURN"));
        assert!(!counted("[0] -A RF-FWD -j RETURN"));
        assert!(!counted(":RF-FWD - [2:120]"));
    }

    #[test]
    fn what_was_counted_between_two_looks() {
        let before = "*mangle\n:RF-A - [0:0]\n[7:420] -A RF-A -j RF-B\n[5:300] -A RF-B -j DROP\n";
        let after = "*mangle\n:RF-A - [0:0]\n[9:540] -A RF-A -j RF-B\n[5:300] -A RF-B -j DROP\n\
                     [1:60] -A RF-B -j RF-C\n";
        assert_eq!(
            difference(before, after),
            "[2] -A RF-A -j RF-B\n[0] -A RF-B -j DROP\n[1] -A RF-B -j RF-C\n"
        );
    }

    #[test]
    fn a_set_that_was_asked_in_vain_is_shown() {
        let asked = "[0] -A RF-SI-1 -m set --match-set RF4-1 src -j RETURN";
        let text = format!(
            "[1] -A RF-TI -d 10.0.0.1/32 -g RF-SI-1\n{asked}\n\
             [0] -A RF-SI-2 -m set --match-set RF4-2 src -j RETURN\n\
             [1] -A FORWARD -j KUBE-FORWARD"
        );
        let entered = "[1] -A RF-TI -d 10.0.0.1/32 -g RF-SI-1";
        assert_eq!(crossed(&text), [entered, asked]);
    }
}
