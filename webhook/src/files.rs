//! Files that are taken anew when their content changes.
//!
//! By content, every few seconds: a mounted Secret or `ConfigMap` changes by renaming a
//! symlink, of which a watch of the file learns nothing.

use crate::metrics::{Loaded, Metrics};
use crate::status::{Concern, Status};
use anyhow::{Context, bail};
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// No certificate and no configuration comes near this.
const LARGEST: u64 = 4 << 20;

/// Some files, read together, and what was last made of them.
#[derive(Debug)]
pub struct Files {
    paths: Vec<PathBuf>,
    /// What was judged last, and is not looked at again.
    settled: Option<[u8; 32]>,
    /// What was refused once. Two files of one Secret change at one moment, which may lie
    /// between our reading of them: only what is still refused at the next look is broken.
    doubted: Option<[u8; 32]>,
}

/// One look at the files.
#[derive(Debug)]
pub enum Look<T> {
    /// As before.
    Same,
    /// Changed, and taken.
    New(T),
    /// Changed and refused, perhaps only because they were changing.
    Doubtful,
    /// Changed and refused.
    Broken(anyhow::Error),
}

/// Whom to tell.
#[derive(Clone, Debug)]
pub struct Told {
    /// Which concern a broken file is.
    pub concern: Concern,
    /// Its name in metrics.
    pub what: Loaded,
    /// Readiness.
    pub status: Arc<Status>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

// === impl Files ===

impl Files {
    /// These files.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self {
            paths,
            settled: None,
            doubted: None,
        }
    }

    /// Reads them, and has `take` make something of a content that is new.
    pub fn look<T>(&mut self, take: impl FnOnce(&[Vec<u8>]) -> anyhow::Result<T>) -> Look<T> {
        let (hash, made) = match self.read() {
            Ok(contents) => {
                let hash = digest(&contents);
                if self.settled == Some(hash) {
                    self.doubted = None;
                    return Look::Same;
                }
                (hash, take(&contents))
            }
            // Not to be read is a content like any other.
            Err(error) => {
                let hash = Sha256::digest(format!("{error:#}")).into();
                if self.settled == Some(hash) {
                    return Look::Same;
                }
                (hash, Err(error))
            }
        };
        match made {
            Ok(made) => {
                (self.settled, self.doubted) = (Some(hash), None);
                Look::New(made)
            }
            Err(_) if self.doubted != Some(hash) => {
                self.doubted = Some(hash);
                Look::Doubtful
            }
            Err(error) => {
                (self.settled, self.doubted) = (Some(hash), None);
                Look::Broken(error)
            }
        }
    }

    fn read(&self) -> anyhow::Result<Vec<Vec<u8>>> {
        let read = |path: &PathBuf| {
            let mut content = Vec::new();
            let file = std::fs::File::open(path);
            file.and_then(|f| f.take(LARGEST + 1).read_to_end(&mut content))
                .with_context(|| format!("cannot read {}", path.display()))?;
            if content.len() as u64 > LARGEST {
                bail!("{} is larger than {} MiB", path.display(), LARGEST >> 20);
            }
            Ok(content)
        };
        self.paths.iter().map(read).collect()
    }

    /// Looks every `period`, for ever. `put` gets what is new and good.
    pub async fn follow<T>(
        mut self,
        period: Duration,
        told: Told,
        take: impl Fn(&[Vec<u8>]) -> anyhow::Result<T>,
        put: impl Fn(T),
    ) {
        loop {
            tokio::time::sleep(period).await;
            match self.look(&take) {
                Look::Same | Look::Doubtful => {}
                Look::New(new) => {
                    put(new);
                    told.taken();
                }
                Look::Broken(error) => told.refused(&error),
            }
        }
    }
}

fn digest(contents: &[Vec<u8>]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for content in contents {
        hash.update((content.len() as u64).to_be_bytes());
        hash.update(content);
    }
    hash.finalize().into()
}

// === impl Told ===

impl Told {
    /// What is on disk is in force.
    pub fn taken(&self) {
        self.metrics.reloaded(self.what, true);
        self.status.settle(self.concern);
        tracing::info!(what = self.what.label(), "what changed on disk is in force");
    }

    /// It is not.
    pub fn refused(&self, error: &anyhow::Error) {
        self.metrics.reloaded(self.what, false);
        let what = self.what.label();
        let text = format!(
            "{what}: what is on disk is refused, the one of before stays in force: {error:#}"
        );
        self.status.raise(self.concern, text);
        let error = format!("{error:#}");
        tracing::error!(
            what,
            error,
            "what is on disk is refused; the one of before stays"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn number(contents: &[Vec<u8>]) -> anyhow::Result<i32> {
        let text = std::str::from_utf8(&contents[0])?;
        text.parse().context("no number")
    }

    #[test]
    fn a_change_is_taken_once_and_a_broken_one_is_refused_at_the_second_look() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut files = Files::new(vec![path.clone()]);
        fs::write(&path, "1").unwrap();
        assert!(matches!(files.look(number), Look::New(1)));
        assert!(matches!(files.look(number), Look::Same));
        fs::write(&path, "x").unwrap();
        assert!(matches!(files.look(number), Look::Doubtful));
        assert!(matches!(files.look(number), Look::Broken(_)));
        assert!(matches!(files.look(number), Look::Same));
        fs::write(&path, "2").unwrap();
        assert!(matches!(files.look(number), Look::New(2)));
    }

    #[test]
    fn a_broken_one_that_goes_back_is_news_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut files = Files::new(vec![path.clone()]);
        fs::write(&path, "1").unwrap();
        files.look(number);
        fs::remove_file(&path).unwrap();
        assert!(matches!(files.look(number), Look::Doubtful));
        assert!(matches!(files.look(number), Look::Broken(_)));
        fs::write(&path, "1").unwrap();
        assert!(matches!(files.look(number), Look::New(1)));
    }

    #[test]
    fn a_symlink_that_is_swapped_counts() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a"), "1").unwrap();
        fs::write(at("b"), "2").unwrap();
        std::os::unix::fs::symlink(at("a"), at("link")).unwrap();
        let mut files = Files::new(vec![at("link")]);
        assert!(matches!(files.look(number), Look::New(1)));
        std::os::unix::fs::symlink(at("b"), at("next")).unwrap();
        fs::rename(at("next"), at("link")).unwrap();
        assert!(matches!(files.look(number), Look::New(2)));
    }
}
