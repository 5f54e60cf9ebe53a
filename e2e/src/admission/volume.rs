//! A mounted Secret as a kubelet makes it: files are links into a folder that is swapped
//! in one rename. Programs that watch for writes to the files see none.

use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A Secret (or `ConfigMap`) volume.
#[derive(Debug)]
pub struct Volume {
    folder: PathBuf,
    version: u32,
}

// === impl Volume ===

impl Volume {
    /// An empty one.
    pub fn create(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        Ok(Self { folder, version: 0 })
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Replaces all files at once.
    pub fn write(&mut self, files: &[(&str, &[u8])]) -> Result<()> {
        self.write_all(files)
            .with_context(|| format!("writing the volume {}", self.folder.display()))
    }

    fn write_all(&mut self, files: &[(&str, &[u8])]) -> Result<()> {
        let old = format!("..{}", self.version);
        self.version += 1;
        let new = format!("..{}", self.version);
        fs::create_dir(self.folder.join(&new))?;
        for (name, content) in files {
            fs::write(self.folder.join(&new).join(name), content)?;
        }
        let (swap, data) = (self.folder.join("..data_tmp"), self.folder.join("..data"));
        symlink(&new, &swap)?;
        fs::rename(&swap, &data)?;
        for (name, _) in files {
            let link = self.folder.join(name);
            if !link.is_symlink() {
                symlink(Path::new("..data").join(name), link)?;
            }
        }
        if self.version > 1 {
            fs::remove_dir_all(self.folder.join(old))?;
        }
        Ok(())
    }
}
