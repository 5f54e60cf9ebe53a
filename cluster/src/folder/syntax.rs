//! From the bytes of a file to its documents, with their lines.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use serde_saphyr::{Options, Spanned};
use std::io::Cursor;

/// One document of a file.
#[derive(Debug, PartialEq)]
pub(super) struct Document {
    /// Where it begins, from 1.
    pub(super) line: usize,
    pub(super) value: Value,
    /// Where the entries of `items` begin, as far as that is known.
    pub(super) items: Vec<usize>,
}

/// Why the file, or the rest of it, is no YAML or JSON.
#[derive(Debug, PartialEq)]
pub(super) struct SyntaxError {
    /// From 1; 0 when unknown.
    pub(super) line: usize,
    pub(super) message: String,
}

/// Reads the documents of a file, up to the first fault.
pub(super) fn documents(bytes: &[u8], json: bool) -> (Vec<Document>, Option<SyntaxError>) {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let line = 1 + newlines(&bytes[..error.valid_up_to()]);
            let message = "is not UTF-8; save it as UTF-8".to_owned();
            return (Vec::new(), Some(SyntaxError { line, message }));
        }
    };
    if json {
        from_json(text)
    } else {
        from_yaml(text)
    }
}

fn from_json(text: &str) -> (Vec<Document>, Option<SyntaxError>) {
    let mut documents = Vec::new();
    let stream = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    for raw in stream {
        let (raw, first) = match raw {
            Ok(raw) => (raw.get(), line_of(text, raw.get())),
            Err(error) => return (documents, Some(json_error(&error, 1))),
        };
        match serde_json::from_str(raw) {
            Ok(value) => documents.push(Document {
                line: first,
                value,
                items: json_items(text, raw),
            }),
            Err(error) => return (documents, Some(json_error(&error, first))),
        }
    }
    (documents, None)
}

/// `first` is the line on which the parser began to count.
fn json_error(error: &serde_json::Error, first: usize) -> SyntaxError {
    let line = first - 1 + error.line();
    SyntaxError {
        line,
        message: error.to_string(),
    }
}

#[derive(Deserialize)]
struct JsonItems<'a> {
    #[serde(borrow, default)]
    items: Vec<&'a RawValue>,
}

fn json_items(text: &str, object: &str) -> Vec<usize> {
    // What is no list has no items; that is all this has to find out.
    let list = serde_json::from_str::<JsonItems>(object);
    let Ok(list) = list else { return Vec::new() };
    let mut lines = Lines::default();
    let items = list.items.iter();
    items
        .map(|item| lines.at(text, offset(text, item.get())))
        .collect()
}

/// Counts forward only, so that 10,000 items cost one pass.
#[derive(Default)]
struct Lines {
    offset: usize,
    newlines: usize,
}

impl Lines {
    fn at(&mut self, text: &str, offset: usize) -> usize {
        let passed = text.as_bytes().get(self.offset..offset).unwrap_or_default();
        self.newlines += newlines(passed);
        self.offset = self.offset.max(offset);
        self.newlines + 1
    }
}

/// Where `part`, a part of `text`, begins in it.
fn offset(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}

fn line_of(text: &str, part: &str) -> usize {
    Lines::default().at(text, offset(text, part))
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.split(|byte| *byte == b'\n').count() - 1
}

#[derive(Deserialize)]
struct YamlItems {
    #[serde(default)]
    items: Vec<Spanned<IgnoredAny>>,
}

fn from_yaml(text: &str) -> (Vec<Document>, Option<SyntaxError>) {
    let mut documents: Vec<Document> = Vec::new();
    let mut fault = None;
    let mut reader = Cursor::new(text);
    for read in serde_saphyr::read_with_options::<_, Spanned<Value>>(&mut reader, options()) {
        match read {
            Ok(spanned) => documents.push(Document {
                line: line(spanned.defined),
                value: spanned.value,
                items: Vec::new(),
            }),
            Err(error) => {
                fault = Some(SyntaxError {
                    line: error.location().map_or(0, line),
                    message: one_line(&error.to_string()),
                });
                break;
            }
        }
    }
    // The lines of items need a reading of their own, as `Value` keeps none.
    if documents.iter().any(|d| d.value.get("items").is_some()) {
        let mut reader = Cursor::new(text);
        let items = serde_saphyr::read_with_options::<_, YamlItems>(&mut reader, options());
        for (document, items) in documents.iter_mut().zip(items) {
            let items = items.map(|list| list.items).unwrap_or_default();
            document.items = items.into_iter().map(|item| line(item.defined)).collect();
        }
    }
    (documents, fault)
}

/// Limits per document: wide enough for 10,000 pods, while aliases cannot blow it up.
pub(super) fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 50_000_000,
            max_nodes: 20_000_000,
            max_documents: 100_000,
            max_total_scalar_bytes: 512 << 20,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
        },
        with_snippet: false,
    }
}

pub(super) fn line(location: serde_saphyr::Location) -> usize {
    usize::try_from(location.line()).unwrap_or(0)
}

fn one_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}
