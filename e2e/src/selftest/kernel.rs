//! Changes by hand in what the enforcer has programmed, while it is held.

use crate::case::Stage;
use crate::fabric::Node;
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use std::net::IpAddr;

/// A family's programs: what reads its rules, and what writes them.
pub const BOTH: [&str; 2] = ["iptables", "ip6tables"];

/// Holds every enforcer: it would mend at once what is changed by hand. The world is not
/// used again.
pub fn hold(stage: &mut Stage) -> Result<()> {
    stage.spoil();
    signal(stage, Signal::SIGSTOP)
}

/// Lets every enforcer go on.
pub fn release(stage: &mut Stage) -> Result<()> {
    signal(stage, Signal::SIGCONT)
}

fn signal(stage: &mut Stage, signal: Signal) -> Result<()> {
    for node in stage.node_names() {
        stage.enforcer(&node)?.signal(signal)?;
    }
    Ok(())
}

/// Edits a table on every node, for these families; `None` drops a rule. Only lines with
/// one of Ringfence's chains are shown to `edit`.
///
/// # Errors
/// When that changes nothing anywhere: then the mutation is none.
pub fn rules(
    stage: &Stage,
    families: &[&str],
    table: &str,
    edit: impl Fn(&str) -> Option<String>,
) -> Result<()> {
    let ours = |line: &str| line.starts_with("-A") && line.contains("RF-");
    rewrite(stage, families, table, |saved| {
        let lines = saved.lines().filter_map(|line| {
            if ours(line) {
                edit(line)
            } else {
                Some(line.to_owned())
            }
        });
        lines.map(|line| line + "\n").collect()
    })
}

/// Puts a rule first into the chains of Ringfence whose names begin with `chains`.
pub fn prepend(stage: &Stage, table: &str, chains: &str, rule: &str) -> Result<()> {
    rewrite(stage, &BOTH, table, |saved| {
        let name = |line: &str| Some(line.strip_prefix(':')?.split(' ').next()?.to_owned());
        let rules: String = saved
            .lines()
            .filter_map(name)
            .filter(|chain| chain.starts_with(chains))
            .fold(String::new(), |all, chain| {
                all + "-A " + &chain + " " + rule + "\n"
            });
        // Chains are declared before the first rule.
        let (declared, others) = saved.split_at(saved.find("\n-A ").map_or(saved.len(), |n| n + 1));
        format!("{declared}{rules}{others}")
    })
}

/// Whether this is a rule of a policy, in a signature's chain or in its own.
pub fn of_policy(rule: &str) -> bool {
    ["-A RF-SI-", "-A RF-SE-", "-A RF-PI-", "-A RF-PE-"]
        .iter()
        .any(|start| rule.starts_with(start))
}

/// Replaces the table by what `edit` makes of it, at once.
fn rewrite(
    stage: &Stage,
    families: &[&str],
    table: &str,
    edit: impl Fn(&str) -> String,
) -> Result<()> {
    let mut changed = false;
    for node in stage.world()?.nodes() {
        for program in families {
            let saved = node.exec(&format!("{program}-save"), &["-t", table], "")?;
            let edited = edit(&saved);
            if edited != saved {
                node.exec(&format!("{program}-restore"), &["-w", "5"], &edited)?;
                changed = true;
            }
        }
    }
    ensure!(changed, "no rule of the {table} table is like that");
    Ok(())
}

/// A set of Ringfence's, as `ipset save` writes it.
pub struct Set<'a> {
    /// Its name.
    pub name: &'a str,
    /// `hash:ip`
    pub kind: &'a str,
    /// Of IPv4 addresses.
    pub v4: bool,
    /// Its members.
    pub members: Vec<&'a str>,
}

impl Set<'_> {
    /// The command that adds these addresses, as far as they are of its family.
    pub fn add(&self, addresses: &[IpAddr]) -> String {
        let own = addresses.iter().filter(|a| a.is_ipv4() == self.v4);
        own.fold(String::new(), |all, address| {
            all + "add " + self.name + " " + &address.to_string() + "\n"
        })
    }
}

/// Changes sets of this kind that rules of policies ask, on every node, by commands of
/// `ipset restore`.
///
/// # Errors
/// When there is nothing to change.
pub fn sets(stage: &Stage, kind: &str, edit: impl Fn(&Set) -> String) -> Result<()> {
    let mut changed = false;
    for node in stage.world()?.nodes() {
        let saved = node.exec("ipset", &["save"], "")?;
        let asked = asked(node)?;
        let commands: String = parse(&saved)
            .iter()
            .filter(|set| set.kind == kind && asked.contains(&format!(" {} ", set.name)))
            .map(&edit)
            .collect();
        if !commands.is_empty() {
            node.exec("ipset", &["-exist", "restore"], &commands)?;
            changed = true;
        }
    }
    ensure!(changed, "no {kind} set is like that");
    Ok(())
}

/// The rules of policies, of both families.
fn asked(node: &Node) -> Result<String> {
    let mut rules = String::new();
    for program in BOTH {
        let saved = node.exec(&format!("{program}-save"), &["-t", "mangle"], "")?;
        rules.extend(saved.lines().filter(|line| of_policy(line)));
    }
    Ok(rules)
}

fn parse(saved: &str) -> Vec<Set<'_>> {
    let mut sets: Vec<Set> = Vec::new();
    for line in saved.lines().filter(|line| line.contains(" RF")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words {
            ["create", name, kind, ..] => sets.push(Set {
                name,
                kind,
                v4: !words.contains(&"inet6"),
                members: Vec::new(),
            }),
            ["add", name, member, ..] => {
                if let Some(set) = sets.iter_mut().find(|set| set.name == name) {
                    set.members.push(member);
                }
            }
            _ => {}
        }
    }
    sets
}

/// Runs a program on every node.
pub fn everywhere(stage: &Stage, program: &str, args: &[&str]) -> Result<()> {
    stage
        .world()?
        .nodes()
        .try_for_each(|node| node.exec(program, args, "").map(drop))
}

/// Writes a file below `/proc/sys/net` of every node.
pub fn sysctl(stage: &Stage, key: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/{key}");
    let write = |node: &Node| {
        node.netns()
            .run(|| std::fs::write(&path, value).with_context(|| format!("writing {path}")))
    };
    stage.world()?.nodes().try_for_each(write)
}

/// Takes a node off its networks.
pub fn links_down(stage: &Stage, node: &str) -> Result<()> {
    let node = stage.world()?.node(node)?;
    let links = node.exec("ip", &["-o", "link", "show", "up"], "")?;
    let names = links.lines().filter_map(|line| line.split(": ").nth(1));
    for name in names.filter(|name| *name != "lo") {
        let name = name.split('@').next().unwrap_or(name);
        node.exec("ip", &["link", "set", name, "down"], "")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_read_with_their_members() {
        let saved = "create RF4-1 hash:ip family inet hashsize 64 maxelem 65536\n\
                     add RF4-1 10.0.0.1\nadd RF4-1 10.0.0.2\n\
                     create foreign hash:ip family inet\nadd foreign 10.0.0.9\n\
                     create RF6-1 hash:ip family inet6 hashsize 64 maxelem 65536\n";
        let sets = parse(saved);
        assert_eq!(sets.len(), 2);
        assert_eq!(sets[0].members, ["10.0.0.1", "10.0.0.2"]);
        assert!(sets[1].members.is_empty() && !sets[1].v4);
        let addresses: Vec<IpAddr> = vec!["10.0.0.3".parse().unwrap(), "fd00::3".parse().unwrap()];
        assert_eq!(sets[0].add(&addresses), "add RF4-1 10.0.0.3\n");
        assert_eq!(sets[1].add(&addresses), "add RF6-1 fd00::3\n");
    }
}
