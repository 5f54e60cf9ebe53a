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
/// it, the sets that those rules name, and the flow's conntrack entries.
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
    for node in stage.world().nodes() {
        for table in TABLES {
            node.output(tables, &["-w", "5", "-t", table, "-Z"], "")?;
        }
    }
    let again = stage.net().fire(std::slice::from_ref(&shot))?;
    let mut text = format!("packet: {}\n", row.expected.flow);
    for observation in again {
        let _ = writeln!(
            text,
            "repeated: {} {}",
            observation.outcome, observation.detail
        );
    }
    for node in stage.world().nodes() {
        let _ = writeln!(
            text,
            "--- {} (nsenter --net={})",
            node.name(),
            node.netns().path()
        );
        let mut sets = BTreeSet::new();
        for table in TABLES {
            let rules = said(node, save, &["-c", "-t", table])?;
            for rule in rules.lines().filter(|l| l.contains("RF-") && counted(l)) {
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

/// Whether a line of `iptables-save -c` has a counter that is not zero.
fn counted(line: &str) -> bool {
    line.starts_with('[') && !line.starts_with("[0:")
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn only_rules_that_counted_a_packet() {
        assert!(counted("[2:120] -A RF-FWD -j RETURN"));
        assert!(!counted("[0:0] -A RF-FWD -j RETURN"));
        assert!(!counted(":RF-FWD - [2:120]"));
    }
}
