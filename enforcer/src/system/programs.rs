//! Which programs are used, and which flavour of iptables.

use super::{Error, Family, Flavour};
use std::env;
use std::path::PathBuf;

/// Looked in after `PATH`: a service's `PATH` often lacks them.
const SBIN: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Finds programs in folders.
#[derive(Clone, Debug)]
pub(super) struct SearchPath(Vec<PathBuf>);

impl SearchPath {
    /// `folders`, or (when empty) those of `PATH` and the sbin folders.
    pub fn new(folders: &[PathBuf]) -> Self {
        if !folders.is_empty() {
            return Self(folders.to_vec());
        }
        let path = env::var_os("PATH").unwrap_or_default();
        let mut found: Vec<PathBuf> = env::split_paths(&path).collect();
        found.extend(SBIN.iter().map(PathBuf::from));
        Self(found)
    }

    /// The first file named `program`.
    pub fn find(&self, program: &str) -> Option<PathBuf> {
        self.0
            .iter()
            .map(|folder| folder.join(program))
            .find(|path| path.is_file())
    }

    /// The same, or an error that says what to install.
    pub fn require(&self, program: &str, package: &'static str) -> Result<PathBuf, Error> {
        self.find(program)
            .ok_or_else(|| self.missing(program, package))
    }

    /// `iptables-nft-restore` and the like; else plain `iptables-restore`, if `default`
    /// (what `iptables --version` says) is the wanted flavour.
    pub fn tool(
        &self,
        family: Family,
        flavour: Flavour,
        verb: &str,
        default: Option<Flavour>,
    ) -> Result<PathBuf, Error> {
        let stem = stem(family);
        let exact = format!("{stem}-{flavour}-{verb}");
        self.find(&exact)
            .or_else(|| {
                let plain = self.find(&format!("{stem}-{verb}"));
                plain.filter(|_| default == Some(flavour))
            })
            .ok_or_else(|| self.missing(&exact, "iptables"))
    }

    fn missing(&self, program: &str, package: &'static str) -> Error {
        let searched: Vec<_> = self.0.iter().map(|p| p.display().to_string()).collect();
        Error::Missing {
            program: program.to_owned(),
            package,
            searched: searched.join(":"),
        }
    }
}

/// `iptables` or `ip6tables`.
pub(super) fn stem(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

/// What `iptables --version` says; versions before 1.8 say nothing and are legacy.
pub(super) fn flavour_of_version(version: &str) -> Flavour {
    if version.contains("nf_tables") {
        Flavour::Nft
    } else {
        Flavour::Legacy
    }
}

/// What one flavour holds that is not ours, in both families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    /// kubelet says which flavour it uses by a chain in `mangle`.
    pub hint: bool,
    /// Chains named `KUBE-...`
    pub kube_chains: usize,
    /// Rules.
    pub rules: usize,
}

impl Census {
    /// Counts a chain.
    pub fn chain(&mut self, table: &str, name: &str) {
        self.hint |=
            table == "mangle" && matches!(name, "KUBE-IPTABLES-HINT" | "KUBE-KUBELET-CANARY");
        self.kube_chains += usize::from(name.starts_with("KUBE-"));
    }

    /// Counts what `iptables-save` printed.
    pub fn text(&mut self, text: &str) {
        let mut table = "";
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = name;
            } else if let Some(chain) = line.strip_prefix(':') {
                self.chain(table, chain.split(' ').next().unwrap_or_default());
            } else if line.starts_with("-A ") {
                self.rules += usize::from(!line.contains(super::OWN_CHAIN_PREFIX));
            }
        }
    }
}

/// The flavour that the node's other programs use: as Kubernetes' iptables-wrappers
/// decide, kubelet's hint first. Our own rules do not count, whichever flavour they are.
pub(super) fn choose(nft: Census, legacy: Census, default: Flavour) -> Flavour {
    let rank = |census: Census| (census.hint, census.kube_chains, census.rules);
    match rank(nft).cmp(&rank(legacy)) {
        std::cmp::Ordering::Greater => Flavour::Nft,
        std::cmp::Ordering::Less => Flavour::Legacy,
        std::cmp::Ordering::Equal => default,
    }
}

/// A line number in the complaint of iptables-restore or `ipset restore`.
pub(super) fn complained_line(stderr: &str) -> Option<usize> {
    let lower = stderr.to_ascii_lowercase();
    let mut numbers = lower.match_indices("line").filter_map(|(at, word)| {
        let after = lower[at + word.len()..].trim_start_matches([':', ' ']);
        let digits = after
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(after.len());
        after[..digits].parse().ok()
    });
    numbers.find(|line| *line > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
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

    #[test_case("iptables-restore: line 2 failed", Some(2))]
    #[test_case(
        "iptables-nft-restore v1.8.9 (nf_tables): unknown option\nError occurred at line: 3\nTry",
        Some(3)
    )]
    #[test_case("line 12: RULE_APPEND failed (No such file or directory)", Some(12))]
    #[test_case("ipset v7.17: Error in line 30: Syntax error", Some(30))]
    #[test_case("kernel error: no such line", None)]
    #[test_case("", None)]
    fn lines(stderr: &str, expected: Option<usize>) {
        assert_eq!(complained_line(stderr), expected);
    }

    #[test]
    fn programs_are_found_or_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = SearchPath::new(&[folder.path().to_path_buf()]);
        let error = path
            .tool(Family::V6, Flavour::Nft, "restore", None)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("ip6tables-nft-restore") && error.contains("package iptables"),
            "{error}"
        );

        fs::write(folder.path().join("ip6tables-restore"), "").unwrap();
        assert!(
            path.tool(Family::V6, Flavour::Nft, "restore", Some(Flavour::Legacy))
                .is_err()
        );
        let plain = path
            .tool(Family::V6, Flavour::Nft, "restore", Some(Flavour::Nft))
            .unwrap();
        assert_eq!(plain.file_name().unwrap(), "ip6tables-restore");

        fs::write(folder.path().join("ip6tables-nft-restore"), "").unwrap();
        let exact = path
            .tool(Family::V6, Flavour::Nft, "restore", Some(Flavour::Nft))
            .unwrap();
        assert_eq!(exact.file_name().unwrap(), "ip6tables-nft-restore");
    }
}
