//! The frames of a watch and the pages of a list, taken apart without decoding objects.

use futures::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};
use ringfence_policy::model::{Name, ObjectKey};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::io;

/// One line of a watch: `{"type": ..., "object": ...}`.
#[derive(Debug, Deserialize)]
pub(super) struct Frame<'a> {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) object: &'a RawValue,
}

/// One page of a list.
#[derive(Debug, Deserialize)]
pub(super) struct Page<'a> {
    #[serde(default)]
    pub(super) metadata: PageMeta,
    #[serde(borrow, default)]
    pub(super) items: Option<Vec<&'a RawValue>>,
}

/// `metadata` of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PageMeta {
    pub(super) resource_version: Box<str>,
    #[serde(rename = "continue")]
    pub(super) next: Option<String>,
}

/// What names an object, and nothing else of it.
#[derive(Debug, Deserialize)]
pub(super) struct Named {
    metadata: NamedMeta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NamedMeta {
    name: Option<Name>,
    namespace: Option<Name>,
    resource_version: Box<str>,
    annotations: Option<Progress>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Progress {
    #[serde(rename = "k8s.io/initial-events-end")]
    initial_events_end: Option<Box<str>>,
}

/// No object of Kubernetes comes near this (etcd takes 1.5 MiB).
const LONGEST_LINE: usize = 64 << 20;
/// 500 objects.
const LARGEST_PAGE: u64 = 512 << 20;
/// A buffer that one huge object has blown up is given back.
const KEEP_CAPACITY: usize = 256 << 10;

// === impl Named ===

impl Named {
    /// Namespace and name; `None` without a name, as in a bookmark.
    pub(super) fn key(&self) -> Option<ObjectKey> {
        let name = self.metadata.name.clone()?;
        let namespace = self.metadata.namespace.clone().unwrap_or_default();
        Some(ObjectKey { namespace, name })
    }

    /// `metadata.resourceVersion`
    pub(super) fn version(&self) -> Box<str> {
        self.metadata.resource_version.clone()
    }

    /// Whether this bookmark ends the list that a streaming list begins with.
    pub(super) fn ends_list(&self) -> bool {
        let progress = self.metadata.annotations.as_ref();
        progress.and_then(|p| p.initial_events_end.as_deref()) == Some("true")
    }
}

/// Reads one line into `line`, without its end. `false` at the end of the stream; a last
/// line without an end is a torn one and does not count.
pub(super) async fn read_line(
    stream: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> io::Result<bool> {
    line.clear();
    line.shrink_to(KEEP_CAPACITY);
    loop {
        let part = stream.fill_buf().await?;
        if part.is_empty() {
            return Ok(false);
        }
        let end = part.iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&part[..end.unwrap_or(part.len())]);
        let used = end.map_or(part.len(), |end| end + 1);
        stream.consume_unpin(used);
        if end.is_some() {
            return Ok(true);
        }
        if line.len() > LONGEST_LINE {
            let message = format!("a watch frame of more than {LONGEST_LINE} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
    }
}

/// Reads a whole body.
pub(super) async fn read_body(stream: impl AsyncBufRead + Unpin) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    stream.take(LARGEST_PAGE).read_to_end(&mut body).await?;
    Ok(body)
}
