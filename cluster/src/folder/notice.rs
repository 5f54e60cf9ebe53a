//! Noticing that a folder changes.

use futures::StreamExt;
use inotify::{EventMask, EventOwned, EventStream, Inotify, WatchMask};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// Changes that follow each other this closely belong together.
const QUIET: Duration = Duration::from_millis(15);
/// A file that is being written is waited for this long, and a folder that never rests.
const PATIENCE: Duration = Duration::from_secs(3);
/// Room for some dozens of events; one with the longest name takes 272 bytes.
const BUFFER: usize = 8192;

/// inotify on a set of folders.
pub(super) struct Notice {
    events: EventStream<[u8; BUFFER]>,
    /// Files that were written to and not closed since.
    open: BTreeSet<(i32, OsString)>,
}

// === impl Notice ===

impl Notice {
    /// Fails where inotify has reached its limit of instances.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            events: Inotify::init()?.into_event_stream([0; BUFFER])?,
            open: BTreeSet::new(),
        })
    }

    /// Watches these folders as well. Asking again for one that is watched does nothing,
    /// and a folder that took another's place is watched from then on.
    pub(super) fn watch<'a>(&self, folders: impl IntoIterator<Item = &'a PathBuf>) {
        let mask = WatchMask::MODIFY
            | WatchMask::ATTRIB
            | WatchMask::CLOSE_WRITE
            | WatchMask::MOVE
            | WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        for folder in folders {
            match self.events.watches().add(folder, mask) {
                Ok(_) => {}
                // It has just gone; the next look finds out.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(
                        folder = %folder.display(),
                        %error,
                        "cannot watch a folder; its changes are seen by the periodic look only"
                    );
                }
            }
        }
    }

    /// Waits until something has changed and the change is over.
    pub(super) async fn changed(&mut self) {
        self.next().await;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let quiet = timeout(QUIET, self.next()).await.is_err();
            if quiet && self.open.is_empty() {
                return;
            }
            // Nothing more to hear until the writer closes its file.
            if quiet && timeout_at(deadline, self.next()).await.is_err() {
                break;
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        // A writer that keeps its file open must not be waited for every time.
        self.open.clear();
    }

    /// Waits for the next event.
    async fn next(&mut self) {
        match self.events.next().await {
            Some(Ok(event)) => self.note(event),
            Some(Err(error)) => {
                tracing::warn!(%error, "cannot read the changes of folders");
                // The periodic look takes over; this must not become a busy loop.
                tokio::time::sleep(PATIENCE).await;
            }
            None => std::future::pending().await,
        }
    }

    /// Keeps account of the files that are being written.
    fn note(&mut self, event: EventOwned) {
        let Some(name) = event.name else { return };
        // Only what would be read is waited for: editors keep swap files open for hours.
        if !super::files::is_read(Path::new(&name)) {
            return;
        }
        let file = (event.wd.get_watch_descriptor_id(), name);
        let ended = EventMask::CLOSE_WRITE
            | EventMask::DELETE
            | EventMask::MOVED_FROM
            | EventMask::MOVED_TO;
        if event.mask.contains(EventMask::MODIFY) {
            self.open.insert(file);
        } else if event.mask.intersects(ended) {
            self.open.remove(&file);
        }
    }
}
