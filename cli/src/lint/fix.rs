//! Suggested patches, applied to files.
//!
//! The patch says what the object is to become; the difference to what it is becomes the
//! smallest edits of the text, so that comments and formatting elsewhere stay. A text that
//! does not read as the patched object afterwards is not written: the object is printed.

use super::judge::one;
use super::read::{Input, Item};
use anyhow::{Context, Result};
use ringfence_checks::{Config, Finding, Index, Level};
use ringfence_cluster::folder::{self, At, Outline};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use yamlpatch::{Op, Patch, apply_yaml_patches};
use yamlpath::{Component, Document, Route};

/// Patches of one object; each may bring up another finding.
const MOST: usize = 64;

/// Applies what can be applied and says what was done.
pub(super) fn fix(input: &mut Input, config: &Config) -> Result<String> {
    let index = Index::new(input.snapshot.clone());
    let mut said = String::new();
    for number in 0..input.objects.len() {
        let mut tried: Vec<(&str, String)> = Vec::new();
        while tried.len() < MOST {
            let item = &input.objects[number];
            let Some((place, at)) = item.place.clone() else {
                break;
            };
            let Ok(judged) = one(item, input, &index, config) else {
                break;
            };
            let mut next = judged.findings.into_iter().map(|(finding, _)| finding);
            let next = next.find(|f| {
                let is_new = !tried.iter().any(|t| t.0 == f.check && t.1 == f.evidence);
                f.patch.is_some() && f.level >= Level::Warn && is_new
            });
            let Some(finding) = next else { break };
            tried.push((finding.check, finding.evidence.clone()));
            let Some(mended) = mended(&item.value, &finding) else {
                continue;
            };
            let text = input.texts.get(&place.file);
            let Some(text) = text.and_then(|text| edited(&place.file, text, &at, item, &mended))
            else {
                let (check, yaml) = (finding.check, as_yaml(&mended, item)?);
                let remedy = "the file cannot be edited safely; write this instead";
                let _ = writeln!(said, "{place}: {check}: {remedy}:\n{yaml}");
                continue;
            };
            let path = input.root.join(&place.file);
            fs::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
            let _ = writeln!(said, "{place}: {} mended", finding.check);
            input.objects[number].value = mended;
            let file = Arc::clone(&place.file);
            input
                .outlines
                .insert(Arc::clone(&file), Outline::read(&text));
            input.texts.insert(file, text.into());
            refresh_lines(input);
        }
    }
    Ok(said)
}

/// Edits move what stands below them.
fn refresh_lines(input: &mut Input) {
    for item in &mut input.objects {
        if let Some((place, at)) = &mut item.place {
            let outline = input.outlines.get(&place.file);
            place.line = outline.and_then(|o| o.line(at, &[])).unwrap_or(place.line);
        }
    }
}

fn mended(object: &Value, finding: &Finding) -> Option<Value> {
    let mut mended = object.clone();
    // One that does not apply is no suggestion.
    json_patch::patch(&mut mended, finding.patch.as_ref()?).ok()?;
    (mended != *object).then_some(mended)
}

/// The text with the object changed to `mended`; `None` when it does not read so afterwards.
fn edited(file: &Path, text: &str, at: &At, item: &Item, mended: &Value) -> Option<String> {
    if file
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("json"))
    {
        return None;
    }
    let mut way: Vec<Component> = Vec::new();
    for index in &at.items {
        way.extend([Component::from("items"), Component::from(*index)]);
    }
    let (before, after) = (as_written(&item.value, item), as_written(mended, item));
    let range = document(text, item.place.as_ref()?.0.line)?;
    // Entry by entry keeps most; a list in brackets has to be written anew.
    let attempt = |lists: Lists| {
        let mut edits = Vec::new();
        difference(&before, &after, &way, lists, &mut edits);
        let mut changed = text[range.clone()].to_owned();
        for edit in edits {
            changed = applied(&changed, edit)?;
        }
        let edited = [&text[..range.start], &changed, &text[range.end..]].concat();
        is_as_wanted(file, text, &edited, at, &after).then_some(edited)
    };
    attempt(Lists::ByEntry).or_else(|| attempt(Lists::Whole))
}

/// The text of a document after one edit.
fn applied(text: &str, edit: Patch) -> Option<String> {
    let document = Document::new(text).ok()?;
    match edit.operation {
        // A list is written in brackets in place of what stands there, whatever its form.
        Op::Replace(value @ yaml_serde::Value::Sequence(_)) => {
            let (start, end) = document.query_exact(&edit.route).ok()??.location.byte_span;
            // The span of a list in lines may end with the line.
            let end = start + text.get(start..end)?.trim_end().len();
            Some([text.get(..start)?, &flow(&value), text.get(end..)?].concat())
        }
        operation => {
            let edit = Patch {
                route: edit.route,
                operation,
            };
            let changed = apply_yaml_patches(&document, &[edit]).ok()?;
            Some(changed.source().to_owned())
        }
    }
}

/// A value on one line.
fn flow(value: &yaml_serde::Value) -> String {
    use yaml_serde::Value as Yaml;
    match value {
        Yaml::Sequence(entries) => {
            let entries: Vec<String> = entries.iter().map(flow).collect();
            format!("[{}]", entries.join(", "))
        }
        Yaml::Mapping(fields) => {
            let field = |(key, value)| format!("{}: {}", flow(key), flow(value));
            let fields: Vec<String> = fields.iter().map(field).collect();
            format!("{{{}}}", fields.join(", "))
        }
        Yaml::String(text) if is_plain(text) => text.clone(),
        // JSON is YAML.
        other => serde_json::to_string(other).unwrap_or_default(),
    }
}

/// Whether a string needs no quotes: a word that no YAML reads as something else.
fn is_plain(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/".contains(c);
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(plain)
        && !words.contains(&text.to_lowercase().as_str())
}

/// The proof: what stands there now is what was to stand there, and all else is as it was.
fn is_as_wanted(file: &Path, text: &str, edited: &str, at: &At, wanted: &Value) -> bool {
    let read = |text: &str| folder::documents_of(file, text.into(), "-").written;
    let (old, new) = (read(text), read(edited));
    old.len() == new.len()
        && old.iter().zip(&new).all(|(old, new)| {
            let wanted = if old.at == *at { wanted } else { &old.value };
            old.at == new.at && without_default(&new.value, "-") == without_default(wanted, "-")
        })
}

/// How lists are changed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lists {
    ByEntry,
    Whole,
}

/// The object without the namespace that had to be put in.
fn as_written(object: &Value, item: &Item) -> Value {
    let mut object = object.clone();
    if let (true, Some(metadata)) = (item.implied_namespace, object["metadata"].as_object_mut()) {
        metadata.remove("namespace");
    }
    object
}

fn without_default(object: &Value, namespace: &str) -> Value {
    let mut object = object.clone();
    if object["metadata"]["namespace"] == namespace
        && let Some(metadata) = object["metadata"].as_object_mut()
    {
        metadata.remove("namespace");
    }
    object
}

/// The edits that make `new` of `old`.
fn difference<'a>(
    old: &Value,
    new: &Value,
    way: &[Component<'a>],
    lists: Lists,
    edits: &mut Vec<Patch<'a>>,
) {
    let by_entry = lists == Lists::ByEntry;
    let below = |step: Component<'a>| [way, &[step]].concat();
    match (old, new) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in before {
                let way = below(key.clone().into());
                match after.get(key) {
                    None => edits.push(edit(&way, Op::Remove)),
                    Some(now) if now == value => {}
                    Some(now) => difference(value, now, &way, lists, edits),
                }
            }
            for (key, value) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
                let (key, value) = (key.clone(), yaml(value));
                edits.push(edit(way, Op::Add { key, value }));
            }
        }
        (Value::Array(before), Value::Array(after)) if by_entry && after.starts_with(before) => {
            let added = after[before.len()..].iter();
            edits.extend(added.map(|value| edit(way, Op::Append { value: yaml(value) })));
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (index, (value, now)) in before.iter().zip(after).enumerate() {
                if value != now {
                    difference(value, now, &below(index.into()), lists, edits);
                }
            }
        }
        (Value::Array(before), Value::Array(after)) if by_entry && is_one_less(before, after) => {
            let same = before.iter().zip(after).take_while(|(a, b)| a == b);
            let gone = below(same.count().into());
            edits.push(edit(&gone, Op::Remove));
        }
        _ => edits.push(edit(way, Op::Replace(yaml(new)))),
    }
}

fn edit<'a>(way: &[Component<'a>], operation: Op<'a>) -> Patch<'a> {
    Patch {
        route: Route::from(way.to_vec()),
        operation,
    }
}

/// Whether `after` is `before` without one entry.
fn is_one_less(before: &[Value], after: &[Value]) -> bool {
    let same = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    before.len() == after.len() + 1 && before[same + 1..] == after[same..]
}

fn yaml(value: &Value) -> yaml_serde::Value {
    yaml_serde::to_value(value).unwrap_or_default()
}

fn as_yaml(object: &Value, item: &Item) -> Result<String> {
    let written = as_written(object, item);
    yaml_serde::to_string(&written).context("cannot print the object")
}

/// The bytes of the document that a line (from 1) belongs to. Only a document marker begins
/// a line with three dashes or dots.
fn document(text: &str, line: usize) -> Option<Range<usize>> {
    let mut start = 0;
    let mut offset = 0;
    for (number, content) in text.split_inclusive('\n').enumerate() {
        let is_marker = content.starts_with("---") || content.starts_with("...");
        if is_marker {
            if number >= line {
                return Some(start..offset);
            }
            start = offset + content.len();
        }
        offset += content.len();
    }
    (start <= text.len()).then_some(start..text.len())
}
