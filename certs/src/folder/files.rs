//! The folder's files. Each is replaced by a rename: a reader sees the old or the new one.

use crate::{Authority, Key, Pair};
use anyhow::{Context, Result};
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// What a folder holds, not looked at yet.
#[derive(Clone, Debug, Default)]
pub struct Existing {
    /// `ca.crt`
    pub ca: Option<String>,
    /// `ca.key`
    pub ca_key: Option<Key>,
    /// `tls.crt`
    pub certificate: Option<String>,
    /// `tls.key`
    pub key: Option<Key>,
}

/// What to write. Keys that were not there when it was planned may not be there now.
#[derive(Debug)]
pub struct Files<'a> {
    /// `ca.crt` and `ca.key`, when they are new.
    pub authority: Option<&'a Authority>,
    /// `tls.crt` and `tls.key`.
    pub pair: &'a Pair,
    /// Replace keys that are there.
    pub force: bool,
}

/// Reads a folder; what is not there is `None`, as is the whole folder.
///
/// # Errors
/// A file that is there and cannot be read.
pub fn read(folder: &Path) -> Result<Existing> {
    Ok(Existing {
        ca: read_file(folder, "ca.crt")?,
        ca_key: read_file(folder, "ca.key")?.map(Key::new),
        certificate: read_file(folder, "tls.crt")?,
        key: read_file(folder, "tls.key")?.map(Key::new),
    })
}

/// Writes what is new: keys for their owner only, and before the certificates, so that a
/// key which another process made meanwhile stops this one before it has changed anything.
///
/// # Errors
/// The folder cannot be written, or a key is there and `force` is not set.
pub fn write(folder: &Path, files: &Files<'_>) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let replace = files.force;
    if let Some(authority) = files.authority {
        write_file(folder, "ca.key", authority.key().pem(), 0o600, replace)?;
        write_file(folder, "ca.crt", authority.certificate(), 0o644, true)?;
    }
    write_file(folder, "tls.key", files.pair.key.pem(), 0o600, replace)?;
    write_file(folder, "tls.crt", &files.pair.certificate, 0o644, true)
}

fn read_file(folder: &Path, name: &str) -> Result<Option<String>> {
    let path = folder.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

fn write_file(folder: &Path, name: &str, text: &str, mode: u32, replace: bool) -> Result<()> {
    let path = folder.join(name);
    let file =
        temporary(folder, text, mode).with_context(|| format!("writing {}", path.display()))?;
    persist(file, &path, replace).with_context(|| {
        format!(
            "writing {} (a key that is there is only replaced by --force)",
            path.display()
        )
    })
}

fn temporary(folder: &Path, text: &str, mode: u32) -> io::Result<NamedTempFile> {
    // Readable by its owner only until the mode is set.
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file()
        .set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn persist(file: NamedTempFile, path: &PathBuf, replace: bool) -> io::Result<()> {
    let persisted = if replace {
        file.persist(path)
    } else {
        file.persist_noclobber(path)
    };
    persisted.map(drop).map_err(|error| error.error)
}
