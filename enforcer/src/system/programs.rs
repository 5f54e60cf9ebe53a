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
        let stem = family.stem();
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
