//! What a packet that went wrong has crossed.

use super::stage::Stage;
use crate::fabric::Node;
use crate::truth::Row;
use anyhow::Result;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Tables in which Ringfence has rules.
const TABLES: [&str; 3] = ["mangle", "filter", "security"];
/// Lines shown of one set.
const MEMBERS: usize = 30;

/// Counts from zero, repeats the probe, and shows on every node the rules that counted
/// it, those of the same chains that looked it up in a set in vain, these sets, and the
/// flow's conntrack entries.
pub fn diagnose(stage: &Stage, row: &Row) -> String {
    report(stage, row).unwrap_or_else(|error| format!("(no diagnosis: {error:#})"))
}

fn report(stage: &Stage, row: &Row) -> Result<String> {
    let cell = &row.cell;
    let shot = stage.shot(cell)?;
    let (tables, save) = if cell.v4 {
        ("iptables", "iptables-save")
    } else {
        ("ip6tables", "ip6tables-save")
    };
    for node in stage.world()?.nodes() {
        for table in TABLES {
            node.output(tables, &["-w", "5", "-t", table, "-Z"], "")?;
        }
    }
    let again = stage.net()?.fire(std::slice::from_ref(&shot))?;
    let mut text = format!("packet: {}\n", row.expected.flow);
    for observation in again {
        let _ = writeln!(
            text,
            "repeated: {} {}",
            observation.outcome, observation.detail
        );
    }
    for node in stage.world()?.nodes() {
        let _ = writeln!(
            text,
            "--- {} (nsenter --net={})",
            node.name(),
            node.netns().path()
        );
        let mut sets = BTreeSet::new();
        for table in TABLES {
            let rules = said(node, save, &["-c", "-t", table])?;
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
            let members = said(node, "ipset", &["list", &set])?;
            let shown: Vec<&str> = members.lines().take(MEMBERS).collect();
            let _ = writeln!(text, "{}", shown.join("\n"));
        }
        let (source, target) = (shot.source.to_string(), shot.target.to_string());
        let family = if cell.v4 { "ipv4" } else { "ipv6" };
        let flows = said(
            node,
            "conntrack",
            &["-L", "-f", family, "-s", &source, "-d", &target],
        )?;
        text.push_str(&flows);
    }
    Ok(text)
}

fn said(node: &Node, program: &str, args: &[&str]) -> Result<String> {
    let output = node.output(program, args, "")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
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

/// Whether a line of `iptables-save -c` has a counter that is not zero.
fn counted(line: &str) -> bool {
    line.starts_with('[') && !line.starts_with("[0:")
}

#[cfg(test)]
mod tests {
    use super::{counted, crossed};

    #[test]
    fn only_rules_that_counted_a_packet() {
        assert!(counted("[2:120] -A RF-FWD -j RETURN"));
        assert!(!counted("[0:0] -A RF-FWD -j RETURN"));
        assert!(!counted(":RF-FWD - [2:120]"));
    }
    #[test]
    fn a_set_that_was_asked_in_vain_is_shown() {
        let asked = "[0:0] -A RF-PI-1 -m set --match-set RF4-1 src -j RF-PASS";
        let text = format!(
            "[1:60] -A RF-SI-1 -j RF-PI-1\n{asked}\n\
             [0:0] -A RF-PI-2 -m set --match-set RF4-2 src -j RF-PASS\n\
             [1:60] -A FORWARD -j KUBE-FORWARD"
        );
        assert_eq!(crossed(&text), ["[1:60] -A RF-SI-1 -j RF-PI-1", asked]);
    }
}
