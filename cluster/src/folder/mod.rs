//! A folder of manifests as a source.
//!
//! ```text
//!  notice (inotify, periodic look) -> files (walk, read) -> syntax (documents, lines)
//!     -> manifest (objects of a file) -> load (all files, what stays in force) -> Replace
//! ```

mod files;
mod load;
mod manifest;
mod notice;
mod syntax;
mod written;

use crate::{Event, Problem, Reason, Replacement, Store};
use anyhow::Context;
use files::{Content, Tree};
use load::Loader;
use notice::Notice;
use ringfence_policy::Snapshot;
use ringfence_policy::snapshot::Kind;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

pub use files::digest;
pub use written::{At, Outline, Step, Written};

/// A folder of manifests: YAML and JSON files, in sub-folders too.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    default_namespace: Arc<str>,
    look: Duration,
}

/// Looks between notices, for file systems that send none (NFS).
const LOOK: Duration = Duration::from_secs(10);
/// The same where inotify is not to be had.
const LOOK_ALONE: Duration = Duration::from_secs(1);
/// How often a folder that changes while it is read is read again.
const TRIES: usize = 5;

// === impl Folder ===

impl Folder {
    /// A folder. Objects without a namespace belong to `default_namespace`, and a note
    /// says so.
    pub fn new(path: impl Into<PathBuf>, default_namespace: impl Into<Arc<str>>) -> Self {
        Self {
            path: path.into(),
            default_namespace: default_namespace.into(),
            look: LOOK,
        }
    }

    /// With another time between looks at a folder that sends no notices.
    #[must_use]
    pub fn with_look(self, look: Duration) -> Self {
        Self { look, ..self }
    }

    /// Reads the folder, watches it, and sends every change as one
    /// [`Event::Replace`] until the consumer has gone.
    pub(crate) async fn run(self, events: mpsc::Sender<Event>) {
        let mut notice = match Notice::new() {
            Ok(notice) => Some(notice),
            Err(error) => {
                tracing::warn!(%error, "no inotify; the folder is looked at every second");
                None
            }
        };
        let look = notice
            .as_ref()
            .map_or(self.look.min(LOOK_ALONE), |_| self.look);
        let mut loader = Loader::new(Arc::clone(&self.default_namespace));
        let mut known: Option<Tree> = None;
        let mut sent: Option<Sent> = None;
        loop {
            match self.read(known.take(), &mut notice).await {
                Ok((tree, None)) => known = Some(tree),
                Ok((tree, Some(contents))) => {
                    known = Some(tree);
                    // Parsing thousands of objects must not hold up the consumer.
                    let work = tokio::task::spawn_blocking(move || {
                        let replacement = loader.load(&contents);
                        (loader, replacement)
                    });
                    let Ok((back, replacement)) = work.await else {
                        return;
                    };
                    loader = back;
                    let now = (
                        replacement.generation.digest.clone(),
                        replacement.problems.clone(),
                    );
                    if sent.as_ref() == Some(&now) {
                        tracing::debug!("the folder was touched and says what it said before");
                    } else if events
                        .send(Event::Replace(Box::new(replacement)))
                        .await
                        .is_err()
                    {
                        return;
                    }
                    sent = Some(now);
                }
                Err(error) => {
                    // Once it can be read again, that is news even if it says the same.
                    sent = None;
                    if self.unavailable(&events, &error).await.is_err() {
                        return;
                    }
                }
            }
            let wait = known.as_ref().map_or(look.min(LOOK_ALONE), |_| look);
            tokio::select! {
                () = events.closed() => return,
                // Two writes within one tick of the kernel's clock leave the same stamp,
                // so a notice means reading, whatever the files look like.
                () = changed(&mut notice) => known = None,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Reads the folder if it looks other than `known`.
    async fn read(
        &self,
        mut known: Option<Tree>,
        notice: &mut Option<Notice>,
    ) -> io::Result<(Tree, Option<Contents>)> {
        let mut contents = None;
        for _ in 0..TRIES {
            let path = self.path.clone();
            let before = known.take();
            let (tree, read) =
                tokio::task::spawn_blocking(move || look(&path, before.as_ref())).await??;
            if let Some(notice) = notice {
                notice.watch(&tree.folders);
            }
            // Read until it looks the same after reading as before: then nothing was
            // missed before the watches were set, and no file was read half.
            let settled = read.is_none();
            contents = read.or(contents);
            if settled {
                return Ok((tree, contents));
            }
            known = Some(tree);
        }
        Ok((known.unwrap_or_default(), contents))
    }

    async fn unavailable(
        &self,
        events: &mpsc::Sender<Event>,
        error: &io::Error,
    ) -> Result<(), mpsc::error::SendError<Event>> {
        for kind in Kind::ALL {
            let reason = Reason::Folder {
                folder: self.path.display().to_string(),
                message: error.to_string(),
            };
            events.send(Event::Unavailable { kind, reason }).await?;
        }
        Ok(())
    }
}

/// What the consumer was told last: digest and problems.
type Sent = (String, Vec<Problem>);

/// Every manifest of a folder, in order.
type Contents = Vec<(Arc<Path>, Content)>;

/// Looks through a folder, and reads it if it looks other than before.
fn look(path: &Path, known: Option<&Tree>) -> io::Result<(Tree, Option<Contents>)> {
    let tree = Tree::walk(path)?;
    let contents = (known != Some(&tree)).then(|| contents(&tree));
    Ok((tree, contents))
}

fn contents(tree: &Tree) -> Contents {
    tree.files
        .iter()
        .map(|file| (Arc::clone(&file.name), file.read()))
        .collect()
}

/// Waits for a notice; for ever without inotify.
async fn changed(notice: &mut Option<Notice>) {
    match notice {
        Some(notice) => notice.changed().await,
        None => std::future::pending().await,
    }
}

/// Reads a folder, or a single file, once. A file that cannot be read or parsed is a
/// [`Problem`]; only the path itself not being there is an error.
pub fn load_folder(
    path: &Path,
    default_namespace: &str,
) -> anyhow::Result<(Snapshot, Vec<Problem>)> {
    let contents = contents(&tree(path)?);
    let mut loader = Loader::new(default_namespace.into());
    Ok(parts(loader.load(&contents)))
}

/// What files say, for who judges them as they are written.
#[derive(Debug)]
pub struct Documents {
    /// The objects that decide about packets.
    pub snapshot: Snapshot,
    /// Every object, of whatever kind, with the items of lists one by one.
    pub written: Vec<Written>,
    /// What could not be read, and notes.
    pub problems: Vec<Problem>,
    /// The text of every file that is UTF-8, by its name in [`crate::Place`].
    pub texts: BTreeMap<Arc<Path>, Arc<str>>,
}

/// Reads a folder or a file as [`load_folder`] does, and keeps what is written there.
///
/// # Errors
/// Only the path itself not being there.
pub fn documents(path: &Path, default_namespace: &str) -> anyhow::Result<Documents> {
    Ok(documents_in(&contents(&tree(path)?), default_namespace))
}

/// The same of a text that comes from elsewhere, such as standard input.
pub fn documents_of(name: &Path, bytes: Vec<u8>, default_namespace: &str) -> Documents {
    documents_in(&[(name.into(), Ok(bytes))], default_namespace)
}

fn documents_in(contents: &[(Arc<Path>, Content)], default_namespace: &str) -> Documents {
    let mut loader = Loader::new(default_namespace.into()).keeping_written();
    let (snapshot, problems) = parts(loader.load(contents));
    let texts = contents.iter().filter_map(|(name, content)| {
        // What is not UTF-8 or cannot be read is among the problems.
        let text = std::str::from_utf8(content.as_deref().ok()?).ok()?;
        Some((Arc::clone(name), text.into()))
    });
    Documents {
        snapshot,
        written: loader.into_written(),
        problems,
        texts: texts.collect(),
    }
}

fn tree(path: &Path) -> anyhow::Result<Tree> {
    let tree = std::fs::metadata(path).and_then(|meta| {
        if meta.is_dir() {
            Tree::walk(path)
        } else {
            Ok(Tree::of_file(path, &meta))
        }
    });
    tree.with_context(|| format!("cannot read {}", path.display()))
}

fn parts(replacement: Replacement) -> (Snapshot, Vec<Problem>) {
    let mut store = Store::new(Kind::ALL);
    store.handle(Event::Replace(Box::new(replacement)));
    store.into_parts()
}
