//! Finding and reading the files of a folder.

use anyhow::Context;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Larger than any manifest of a person, and than 10,000 pods as kubectl prints them.
const LARGEST_FILE: u64 = 128 << 20;
/// Links can make a tree endless.
const DEEPEST: usize = 32;

/// What a folder looked like at one moment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    /// Manifests in byte order of their relative paths.
    pub(super) files: Vec<Found>,
    /// Every folder whose changes may concern us, those of link targets too.
    pub(super) folders: BTreeSet<PathBuf>,
}

/// A manifest that was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Relative to the source's folder.
    pub(super) name: Arc<Path>,
    path: PathBuf,
    stamp: Result<Stamp, String>,
}

/// Changes whenever the content does.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The content of a file, or why there is none.
pub(super) type Content = Result<Vec<u8>, String>;

// === impl Tree ===

impl Tree {
    /// Looks through a folder. A file that cannot be looked at is found all the same.
    ///
    /// # Errors
    /// Only when the folder itself cannot be read.
    pub(super) fn walk(root: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        tree.enter(root, Path::new(""), 0)?;
        tree.files.sort_by(|a, b| {
            a.name
                .as_os_str()
                .as_bytes()
                .cmp(b.name.as_os_str().as_bytes())
        });
        Ok(tree)
    }

    /// One file, whatever its name ends in, as what a folder would be that has only this.
    pub(super) fn of_file(path: &Path, meta: &Metadata) -> Self {
        let mut tree = Self::default();
        tree.find(path.to_owned(), path.to_owned(), Ok(Stamp::of(meta)));
        tree
    }

    fn enter(&mut self, folder: &Path, name: &Path, depth: usize) -> io::Result<()> {
        self.folders.insert(folder.to_owned());
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let (path, name) = (entry.path(), name.join(entry.file_name()));
            if is_passed_over(&entry.file_name().to_string_lossy()) {
                continue;
            }
            // Follows links.
            match fs::metadata(&path) {
                Ok(meta) if meta.is_dir() => {
                    if depth >= DEEPEST || self.enter(&path, &name, depth + 1).is_err() {
                        let reason = "the folder cannot be read, or lies too deep".to_owned();
                        self.find(name, path, Err(reason));
                    }
                }
                _ if !is_manifest(&path) => {}
                Ok(meta) if meta.is_file() => {
                    if entry.file_type()?.is_symlink() {
                        self.follow(&path);
                    }
                    self.find(name, path, Ok(Stamp::of(&meta)));
                }
                Ok(_) => self.find(name, path, Err("it is no ordinary file".to_owned())),
                Err(error) => self.find(name, path, Err(error.to_string())),
            }
        }
        Ok(())
    }

    fn find(&mut self, name: PathBuf, path: PathBuf, stamp: Result<Stamp, String>) {
        let name = name.into();
        self.files.push(Found { name, path, stamp });
    }

    /// A link's target changes in another folder than the link's own.
    fn follow(&mut self, link: &Path) {
        let target = fs::canonicalize(link);
        if let Some(folder) = target.as_deref().ok().and_then(Path::parent) {
            self.folders.insert(folder.to_owned());
        }
    }
}

// === impl Found ===

impl Found {
    /// Reads the file.
    pub(super) fn read(&self) -> Content {
        let stamp = self.stamp.as_ref().map_err(String::clone)?;
        let large = || format!("it has more than {} MiB; split it", LARGEST_FILE >> 20);
        if stamp.size > LARGEST_FILE {
            return Err(large());
        }
        let mut content = Vec::new();
        File::open(&self.path)
            .and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut content))
            .map_err(|error| error.to_string())?;
        if content.len() as u64 > LARGEST_FILE {
            return Err(large());
        }
        Ok(content)
    }
}

// === impl Stamp ===

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// Hidden files (also `..data` of a mounted `ConfigMap`) and what editors leave lying about.
fn is_passed_over(name: &str) -> bool {
    name.starts_with(['.', '#', '~']) || name.ends_with('~')
}

/// Whether a file of this name would be read.
pub(super) fn is_read(name: &Path) -> bool {
    is_manifest(name) && !is_passed_over(&name.to_string_lossy())
}

fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    matches!(extension.as_deref(), Some("yaml" | "yml" | "json"))
}

/// SHA-256, in hex, over what is read of a folder: for every manifest, in byte order of
/// the path relative to the folder, the length of the path, the path, the length of the
/// content, and the content; lengths as 8 bytes, big endian. A file that cannot be read
/// does not count.
pub fn digest(folder: &Path) -> anyhow::Result<String> {
    let tree = Tree::walk(folder)
        .with_context(|| format!("cannot read the folder {}", folder.display()))?;
    let contents: Vec<(Arc<Path>, Content)> = tree
        .files
        .iter()
        .map(|file| (Arc::clone(&file.name), file.read()))
        .collect();
    Ok(digest_of(&contents))
}

/// [`digest`] of what has been read.
pub(super) fn digest_of(contents: &[(Arc<Path>, Content)]) -> String {
    let mut hash = Sha256::new();
    for (name, content) in contents {
        let Ok(content) = content else { continue };
        for part in [name.as_os_str().as_bytes(), content] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    let digest = hash.finalize();
    let mut hex = String::with_capacity(2 * digest.len());
    for byte in digest {
        for nibble in [byte >> 4, byte & 15] {
            hex.extend(char::from_digit(nibble.into(), 16));
        }
    }
    hex
}
