//! A folder of manifests that every node's enforcer watches.

use super::{Mark, Objects, Reference, Watcher};
use anyhow::{Context, Result};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder with one file for each object, written by renaming, so that nobody reads
/// half a file.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// On the same file system, but not watched.
    drafts: PathBuf,
    content: BTreeMap<String, String>,
}

impl Folder {
    /// A new folder below `parent`.
    pub fn create(parent: &Path) -> Result<Self> {
        let (path, drafts) = (parent.join("objects"), parent.join("drafts"));
        for folder in [&path, &drafts] {
            fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        }
        Ok(Self {
            path,
            drafts,
            content: BTreeMap::new(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn put(&mut self, name: &str, content: String) -> Result<()> {
        let (draft, file) = (self.drafts.join(name), self.path.join(name));
        fs::write(&draft, &content).with_context(|| format!("writing {}", draft.display()))?;
        fs::rename(&draft, &file).with_context(|| format!("writing {}", file.display()))?;
        self.content.insert(name.to_owned(), content);
        Ok(())
    }

    fn take(&mut self, name: &str) -> Result<()> {
        let file = self.path.join(name);
        fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
        self.content.remove(name);
        Ok(())
    }
}

impl Objects for Folder {
    fn flags(&self, _: &str) -> Vec<String> {
        vec!["--source".into(), format!("folder:{}", self.path.display())]
    }

    fn folder(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn apply(&mut self, object: &Value) -> Result<()> {
        self.put(&file_name(object)?, serde_json::to_string_pretty(object)?)
    }

    fn delete(&mut self, object: &Value) -> Result<()> {
        self.take(&file_name(object)?)
    }

    fn file(&mut self, name: &str, content: Option<&str>) -> Result<()> {
        match content {
            Some(text) => self.put(name, text.to_owned()),
            None => self.take(name),
        }
    }

    /// As `ringfence-cluster` defines it: for every manifest in byte order of its path
    /// the length of the path, the path, the length of the content, the content; lengths
    /// as 8 bytes, big endian.
    fn mark(&self, _: Watcher) -> Result<Mark> {
        let mut hash = Sha256::new();
        for (name, content) in &self.content {
            for part in [name, content] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
        let mut text = String::with_capacity(64);
        for byte in hash.finalize() {
            write!(text, "{byte:02x}")?;
        }
        Ok(Mark::Digest(text))
    }
}

/// `kind.namespace.name.json`; a name too long for a file is cut and told apart by a hash.
fn file_name(object: &Value) -> Result<String> {
    let Reference {
        kind,
        namespace,
        name,
    } = Reference::of(object)?;
    let mut stem = format!("{}.{namespace}.{name}", kind.to_lowercase());
    if stem.len() > 200 {
        let hash = Sha256::digest(&stem);
        stem.truncate(180);
        for byte in &hash[..8] {
            write!(stem, "{byte:02x}")?;
        }
    }
    Ok(stem + ".json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn long_names_make_distinct_files() {
        let policy = |last: char| {
            let name = format!("{}{last}", "n".repeat(252));
            let metadata = json!({"name": name, "namespace": "x"});
            file_name(&json!({"kind": "NetworkPolicy", "metadata": metadata})).unwrap()
        };
        assert_ne!(policy('a'), policy('b'));
        assert!(policy('a').len() <= 255);
    }
}
