//! Which flavour of iptables the node's other programs use.

use super::programs::SearchPath;
use super::{Error, Family, Flavour, OWN_CHAIN_PREFIX, command, nftables};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::time::Duration;

/// What plain `iptables` is; `None` when there is none.
pub(super) fn default_flavour(
    search: &SearchPath,
    timeout: Duration,
) -> Result<Option<Flavour>, Error> {
    let Some(iptables) = search.find(Family::V4.stem()) else {
        return Ok(None);
    };
    let output = command::run(&iptables, &["--version"], "", timeout)?;
    Ok(Some(flavour_of_version(&output.stdout)))
}

/// The flavour in use; `default` (what plain `iptables` is) where nothing tells.
pub(super) fn detect(
    search: &SearchPath,
    default: Option<Flavour>,
    timeout: Duration,
) -> Result<Flavour, Error> {
    let (mut nft, mut legacy) = (Census::default(), Census::default());
    for family in Family::ALL {
        count_nft(family, timeout, &mut nft)?;
        // Without the program there is nobody who could have made such rules.
        let Ok(save) = search.tool(family, Flavour::Legacy, "save", default) else {
            continue;
        };
        for table in legacy_tables(family)? {
            let output = command::run(&save, &["-t", &table], "", timeout)?;
            legacy.text(&output.stdout);
        }
    }
    Ok(choose(nft, legacy, default.unwrap_or(Flavour::Nft)))
}

/// Whether `flavour` holds chains of ours. Makes no table.
pub(super) fn holds_ours(
    search: &SearchPath,
    flavour: Flavour,
    timeout: Duration,
) -> Result<bool, Error> {
    const TABLE: &str = "mangle";
    for family in Family::ALL {
        let held = match flavour {
            Flavour::Nft => match nftables::has_own_chains(family, timeout) {
                // A kernel without nftables.
                Err(Error::Netlink { .. }) => false,
                other => other?,
            },
            Flavour::Legacy => {
                let Ok(save) = search.tool(family, flavour, "save", None) else {
                    continue;
                };
                let chain = format!(":{OWN_CHAIN_PREFIX}");
                legacy_tables(family)?.contains(TABLE)
                    && command::run(&save, &["-t", TABLE], "", timeout)?
                        .stdout
                        .contains(&chain)
            }
        };
        if held {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The tables that legacy iptables has in this network namespace. `thread-self`,
/// because threads may be in different ones.
pub(super) fn legacy_tables(family: Family) -> Result<BTreeSet<String>, Error> {
    let path = match family {
        Family::V4 => "/proc/thread-self/net/ip_tables_names",
        Family::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    match fs::read_to_string(path) {
        Ok(names) => Ok(names.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(source) => Err(Error::Io {
            program: format!("reading {path}"),
            source,
        }),
    }
}

/// Counts by netlink, because text fails where native rules are.
fn count_nft(family: Family, timeout: Duration, census: &mut Census) -> Result<(), Error> {
    const TABLES: [&str; 5] = ["raw", "mangle", "nat", "filter", "security"];
    let chains = match nftables::chains(family, timeout) {
        // A kernel without nftables knows no such request, and has no such rules.
        Err(Error::Netlink { .. }) => return Ok(()),
        other => other?,
    };
    for (table, chain) in &chains {
        if TABLES.contains(&table.as_str()) {
            census.chain(table, chain);
        }
    }
    let own = |name: &str| name.starts_with(OWN_CHAIN_PREFIX);
    for table in TABLES {
        let rules = nftables::rules(family, table, None, timeout)?;
        let foreign = rules
            .iter()
            .filter(|rule| !own(&rule.chain) && !rule.target.as_deref().is_some_and(own));
        census.rules += foreign.count();
    }
    Ok(())
}

// === pure ===

/// What `iptables --version` says; versions before 1.8 say nothing and are legacy.
fn flavour_of_version(version: &str) -> Flavour {
    if version.contains("nf_tables") {
        Flavour::Nft
    } else {
        Flavour::Legacy
    }
}

/// What one flavour holds that is not ours, in both families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Census {
    /// kubelet says which flavour it uses by a chain in `mangle`.
    hint: bool,
    /// Chains named `KUBE-...`
    kube_chains: usize,
    /// Rules.
    rules: usize,
}

impl Census {
    /// Counts a chain.
    fn chain(&mut self, table: &str, name: &str) {
        self.hint |=
            table == "mangle" && matches!(name, "KUBE-IPTABLES-HINT" | "KUBE-KUBELET-CANARY");
        self.kube_chains += usize::from(name.starts_with("KUBE-"));
    }

    /// Counts what `iptables-save` printed.
    fn text(&mut self, text: &str) {
        let mut table = "";
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = name;
            } else if let Some(chain) = line.strip_prefix(':') {
                self.chain(table, chain.split(' ').next().unwrap_or_default());
            } else if line.starts_with("-A ") {
                self.rules += usize::from(!line.contains(OWN_CHAIN_PREFIX));
            }
        }
    }
}

/// The flavour that the node's other programs use: as Kubernetes' iptables-wrappers
/// decide, kubelet's hint first. Our own rules do not count, whichever flavour they are.
fn choose(nft: Census, legacy: Census, default: Flavour) -> Flavour {
    let rank = |census: Census| (census.hint, census.kube_chains, census.rules);
    match rank(nft).cmp(&rank(legacy)) {
        Ordering::Greater => Flavour::Nft,
        Ordering::Less => Flavour::Legacy,
        Ordering::Equal => default,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    fn census(hint: bool, kube_chains: usize, rules: usize) -> Census {
        Census {
            hint,
            kube_chains,
            rules,
        }
    }
    const NONE: Census = Census {
        hint: false,
        kube_chains: 0,
        rules: 0,
    };

    #[test_case(NONE, NONE, Flavour::Legacy, Flavour::Legacy; "nothing: default legacy")]
    #[test_case(NONE, NONE, Flavour::Nft, Flavour::Nft; "nothing: default nft")]
    #[test_case(census(true, 1, 0), census(false, 9, 99), Flavour::Legacy, Flavour::Nft; "the hint wins")]
    #[test_case(census(false, 9, 0), census(true, 1, 0), Flavour::Nft, Flavour::Legacy; "the hint of legacy wins")]
    #[test_case(census(false, 2, 0), census(false, 0, 99), Flavour::Legacy, Flavour::Nft; "kube chains before rules")]
    #[test_case(NONE, census(false, 0, 1), Flavour::Nft, Flavour::Legacy; "rules before the default")]
    fn flavour(nft: Census, legacy: Census, default: Flavour, expected: Flavour) {
        assert_eq!(choose(nft, legacy, default), expected);
    }

    #[test]
    fn census_does_not_count_our_own() {
        let mut found = Census::default();
        found.text("*mangle\n:FORWARD ACCEPT [0:0]\n:KUBE-KUBELET-CANARY - [0:0]\n:RF-A - [0:0]\n-A FORWARD -j RF-A\n-A RF-A -j RETURN\n-A FORWARD -j LOG\nCOMMIT\n");
        assert_eq!(found, census(true, 1, 1));
        let mut found = Census::default();
        found.text("*nat\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n");
        assert!(!found.hint, "the hint is in mangle");
    }

    #[test_case("iptables v1.8.9 (nf_tables)", Flavour::Nft)]
    #[test_case("iptables v1.8.9 (legacy)", Flavour::Legacy)]
    #[test_case("iptables v1.6.1", Flavour::Legacy)]
    fn versions(version: &str, expected: Flavour) {
        assert_eq!(flavour_of_version(version), expected);
    }
}
