//! The last program on disk, so that a reboot does not open the node before the API
//! server answers.
//!
//! ```text
//! ringfence-program 1 sha256=<hex of everything after this line>
//! mark 4096
//! range 10.244.1.0/24
//! text ipset 1234
//! <1234 bytes>
//! text iptables 567
//! ...
//! ```

use crate::dataplane::{Family, Rendered};
use ipnet::IpNet;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Larger files are not ours.
const MAX_BYTES: u64 = 256 * 1024 * 1024;
const MAGIC: &str = "ringfence-program 1 sha256=";
const FILE: &str = "program";

/// A program as it was given to the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// The mark in its rules.
    pub mark: u32,
    /// The node's pod ranges, for the bridges that carry them.
    pub ranges: Vec<IpNet>,
    /// The text.
    pub rendered: Rendered,
}

/// Why there is no saved program to use.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file cannot be read or written.
    #[error("{what} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("the saved program {} is damaged ({reason}) and is ignored; it is written anew after the next change", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
}

/// The folder it is kept in.
#[derive(Clone, Debug)]
pub struct StateDir {
    folder: PathBuf,
}

// === impl StateDir ===

impl StateDir {
    /// The folder need not exist.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// Reads the program. `None` when there is none.
    ///
    /// # Errors
    /// See [`StateError`]; nothing of a damaged file is used.
    pub fn load(&self) -> Result<Option<Saved>, StateError> {
        let path = self.path();
        let failed = |source| StateError::Io {
            what: "cannot read",
            path: path.clone(),
            source,
        };
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        let damaged = |reason| StateError::Damaged {
            path: path.clone(),
            reason,
        };
        if bytes.len() as u64 > MAX_BYTES {
            return Err(damaged("too large"));
        }
        let text = String::from_utf8(bytes).map_err(|_| damaged("not UTF-8"))?;
        parse(&text).map(Some).map_err(damaged)
    }

    /// Writes the program: after this it is there whole, or the one before it is.
    ///
    /// # Errors
    /// [`StateError::Io`]
    pub fn save(&self, saved: &Saved) -> Result<(), StateError> {
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| StateError::Io { what, path, source }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(failed("cannot make the folder", &self.folder))?;
        let temporary = self.folder.join(".program.new");
        let write = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)?;
            write_to(&mut file, saved)?;
            file.sync_all()
        };
        write().map_err(failed("cannot write", &temporary))?;
        fs::rename(&temporary, self.path()).map_err(failed("cannot replace", &self.path()))?;
        // The rename itself must survive the power cut too.
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed("cannot sync", &self.folder))
    }

    /// Removes what [`Self::save`] made, and the folder if nothing else is in it.
    ///
    /// # Errors
    /// [`StateError::Io`]
    pub fn remove(&self) -> Result<(), StateError> {
        for path in [self.path(), self.folder.join(".program.new")] {
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    let what = "cannot remove";
                    return Err(StateError::Io { what, path, source });
                }
                _ => {}
            }
        }
        // Somebody else's files, or a mount point: then it stays.
        let _ = fs::remove_dir(&self.folder);
        Ok(())
    }
}

/// The parts of the file after its first line, without one more copy of the texts.
fn parts(saved: &Saved) -> Vec<(String, &str)> {
    let mut parts = vec![(format!("mark {}\n", saved.mark), "")];
    parts.extend(
        saved
            .ranges
            .iter()
            .map(|range| (format!("range {range}\n"), "")),
    );
    let header = |tool, text: &str| format!("text {tool} {}\n", text.len());
    let ipset = &saved.rendered.ipset;
    parts.push((header("ipset", ipset), ipset));
    for (family, text) in &saved.rendered.iptables {
        parts.push((header(tool(*family), text), text));
    }
    parts
}

fn write_to(out: &mut impl Write, saved: &Saved) -> io::Result<()> {
    let parts = parts(saved);
    let mut hash = Sha256::new();
    for (header, text) in &parts {
        hash.update(header);
        hash.update(text);
    }
    writeln!(out, "{MAGIC}{}", hex(&hash.finalize()))?;
    for (header, text) in &parts {
        out.write_all(header.as_bytes())?;
        out.write_all(text.as_bytes())?;
    }
    Ok(())
}

fn parse(text: &str) -> Result<Saved, &'static str> {
    let (first, mut rest) = text.split_once('\n').ok_or("it ends in its first line")?;
    let sum = first
        .strip_prefix(MAGIC)
        .ok_or("it does not begin as a saved program does")?;
    if hex(&Sha256::digest(rest)) != sum {
        return Err("its checksum is wrong");
    }
    let mut saved = Saved::default();
    while let Some((line, after)) = rest.split_once('\n') {
        rest = after;
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("mark"), Some(mark), None) => {
                saved.mark = mark.parse().map_err(|_| "its mark is no number")?;
            }
            (Some("range"), Some(range), None) => {
                let range = range.parse().map_err(|_| "a range is no network")?;
                saved.ranges.push(range);
            }
            (Some("text"), Some(tool), Some(length)) => {
                let length = length.parse().map_err(|_| "a length is no number")?;
                let (body, after) = rest.split_at_checked(length).ok_or("a text is cut off")?;
                rest = after;
                match tool {
                    "ipset" => body.clone_into(&mut saved.rendered.ipset),
                    "iptables" => saved.rendered.iptables.push((Family::V4, body.to_owned())),
                    "ip6tables" => saved.rendered.iptables.push((Family::V6, body.to_owned())),
                    _ => return Err("it is for a tool that this version does not know"),
                }
            }
            _ => return Err("a line makes no sense"),
        }
    }
    Ok(saved)
}

fn tool(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A string takes any write.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use test_case::test_case;

    fn sample() -> Saved {
        Saved {
            mark: 0x1000,
            ranges: vec![
                "10.244.1.0/24".parse().unwrap(),
                "fd00::/64".parse().unwrap(),
            ],
            rendered: Rendered {
                ipset: "create RF4-a hash:ip\nadd RF4-a 10.0.0.1\n".into(),
                iptables: vec![
                    (Family::V4, "*mangle\n-A FORWARD -j RF-X\nCOMMIT\n".into()),
                    (Family::V6, String::new()),
                ],
            },
        }
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path().join("a/b"));
        assert!(state.load().unwrap().is_none());
        state.save(&sample()).unwrap();
        assert_eq!(state.load().unwrap(), Some(sample()));
        let mode = fs::metadata(state.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        state.save(&Saved::default()).unwrap();
        assert_eq!(state.load().unwrap(), Some(Saved::default()));
    }

    #[test_case(&|t: &str| t.replace("10.0.0.1", "10.0.0.2"), "checksum"; "a byte changed")]
    #[test_case(&|t: &str| t[..t.len() - 5].to_owned(), "checksum"; "cut off at the end")]
    #[test_case(&|t: &str| t[..10].to_owned(), "first line"; "cut off in the header")]
    #[test_case(&|_: &str| String::new(), "first line"; "empty")]
    #[test_case(&|_: &str| "{}\n".to_owned(), "begin"; "another file")]
    #[test_case(&|t: &str| t.replace("program 1", "program 2"), "begin"; "another version")]
    fn a_damaged_file_is_named_and_not_used(damage: &dyn Fn(&str) -> String, reason: &str) {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path());
        state.save(&sample()).unwrap();
        let text = fs::read_to_string(state.path()).unwrap();
        fs::write(state.path(), damage(&text)).unwrap();
        let error = state.load().unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        assert!(
            error.contains(&state.path().display().to_string()),
            "{error}"
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path());
        fs::write(state.path(), [0xff, 0xfe, 0]).unwrap();
        assert!(matches!(state.load(), Err(StateError::Damaged { .. })));
    }

    #[test]
    fn lengths_that_lie_do_not_panic() {
        for body in [
            "text ipset 99\nab",
            "text ipset x\n",
            "text nft 0\n",
            "mark q\n",
            "range 1\n",
            "what\n",
        ] {
            let text = format!("{MAGIC}{}\n{body}", hex(&Sha256::digest(body)));
            assert!(parse(&text).is_err(), "{body}");
        }
    }

    #[test]
    fn removing_takes_our_file_and_leaves_others() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("state");
        let state = StateDir::new(&inner);
        state.save(&sample()).unwrap();
        fs::write(inner.join("other"), "x").unwrap();
        state.remove().unwrap();
        assert!(!state.path().exists() && inner.join("other").exists());
        fs::remove_file(inner.join("other")).unwrap();
        state.remove().unwrap();
        assert!(!inner.exists());
        state.remove().unwrap();
    }
}
