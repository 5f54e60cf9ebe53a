//! One interface over both sources.

use crate::{Event, Folder, Kubernetes};
use ringfence_policy::snapshot::Kind;
use std::path::PathBuf;
use std::str::FromStr;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Events that wait for the consumer; a source that is ahead of it waits as well, so
/// that a list of any size needs no memory of its own.
const QUEUE: usize = 256;

/// What `--source` means: `kubernetes`, or `folder:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The API server.
    Kubernetes,
    /// A folder of manifests.
    Folder(PathBuf),
}

/// A `--source` that is neither.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("found {0:?}; write `kubernetes`, or `folder:PATH` with the path of a folder of manifests")]
pub struct OriginError(String);

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        match text.split_once(':') {
            None if text == "kubernetes" => Ok(Self::Kubernetes),
            Some(("folder", path)) if !path.is_empty() => Ok(Self::Folder(path.into())),
            _ => Err(OriginError(text.to_owned())),
        }
    }
}

/// A running source. Dropping it ends its tasks.
#[derive(Debug)]
pub struct Feed {
    events: mpsc::Receiver<Event>,
    tasks: JoinSet<()>,
}

// === impl Feed ===

impl Feed {
    /// The next event; cancel safe. `None` only when every task of the source has ended,
    /// which they do not by themselves.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// An event that is there already, so that a consumer can take a burst as one batch.
    pub fn try_next(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// Starts watching a folder. Needs a tokio runtime with time and I/O.
    pub fn folder(folder: Folder) -> Self {
        let (sender, events) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        tasks.spawn(folder.run(sender));
        Self { events, tasks }
    }

    /// Starts one watch per kind. Needs a tokio runtime with time and I/O.
    pub fn kubernetes(kubernetes: &Kubernetes, kinds: impl IntoIterator<Item = Kind>) -> Self {
        let (sender, events) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        for kind in kinds {
            tasks.spawn(kubernetes.clone().watch(kind, sender.clone()));
        }
        Self { events, tasks }
    }

    /// How many tasks run: one, or one per kind.
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case("kubernetes" => Ok(Origin::Kubernetes); "api server")]
    #[test_case("folder:/a:b" => Ok(Origin::Folder("/a:b".into())); "folder with a colon")]
    #[test_case("folder:" => Err(OriginError("folder:".into())); "no path")]
    #[test_case("k8s" => Err(OriginError("k8s".into())); "neither")]
    fn origin(text: &str) -> Result<Origin, OriginError> {
        text.parse()
    }
}
